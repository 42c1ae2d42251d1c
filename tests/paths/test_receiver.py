"""The receiver: spreads rows over the candidates, and finds the rows that never arrived."""

from __future__ import annotations

import numpy as np
import pytest

from service.domain.observation import Parts, ShadowBatch
from service.paths.distributions import Arrivals
from service.paths.receiver import RefusedCandidate, ShadowReceiver
from service.paths.recorder import NoRecorder
from tests.paths.shadows import FakeAccount, World, origin_of


class FakeCandidate:
    """Remembers how many rows it was offered."""

    def __init__(self) -> None:
        self.account = FakeAccount()
        self.offers: list[int] = []

    def offer(self, batch: ShadowBatch) -> None:
        self.offers.append(len(batch))


@pytest.fixture
def candidate() -> FakeCandidate:
    return FakeCandidate()


@pytest.fixture
def receiver(candidate: FakeCandidate) -> ShadowReceiver:
    return ShadowReceiver((candidate,))


def rows_of(count: int) -> ShadowBatch:
    zeros = np.zeros((count, 3), np.float32)
    origin = origin_of("id", rows=count)
    return ShadowBatch(zeros, zeros[:, :2], np.zeros(count, np.uint8), np.zeros(count, np.int16), 0.0, origin)


def test_a_sender_that_is_new_or_unknown_to_this_life_is_asked_what_it_lost(
    receiver: ShadowReceiver, candidate: FakeCandidate
) -> None:
    receiver.receive(4, 100, 3, rows_of(3))
    receiver.receive(4, 103, 2, rows_of(2))
    receiver.receive(5, 0, 0, None)
    assert candidate.account.buried == [(4, 100), (5, 0)]
    assert candidate.offers == [3, 2]
    assert not candidate.account.rows


def test_rows_between_two_frames_that_never_arrived_are_counted(
    receiver: ShadowReceiver, candidate: FakeCandidate
) -> None:
    receiver.receive(4, 0, 3, rows_of(3))
    receiver.receive(4, 10, 1, rows_of(1))
    receiver.receive(4, 16, 0, None)
    assert dict(candidate.account.rows) == {"shadow_down": 12}
    assert candidate.account.by_sender == {4: 12}


def test_each_sender_is_followed_on_its_own(receiver: ShadowReceiver, candidate: FakeCandidate) -> None:
    receiver.receive(1, 0, 3, rows_of(3))
    receiver.receive(2, 50, 1, rows_of(1))
    receiver.receive(1, 3, 1, rows_of(1))
    receiver.receive(2, 51, 1, rows_of(1))
    assert not candidate.account.rows


def test_rows_that_cannot_be_read_are_counted(receiver: ShadowReceiver, candidate: FakeCandidate) -> None:
    receiver.receive(1, 0, 7, None)
    receiver.receive(1, 7, 0, None)
    assert dict(candidate.account.rows) == {"candidate_error": 7}


def test_only_candidates_that_run_want_a_thread(
    candidate: FakeCandidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch)
    receiver = ShadowReceiver((RefusedCandidate(candidate.account), world.shadow))
    assert receiver.running() == [world.shadow]


def test_the_recorder_gets_what_the_candidates_get_and_its_losses_are_found_alike(
    candidate: FakeCandidate,
) -> None:
    page = FakeAccount()
    receiver = ShadowReceiver((candidate,), NoRecorder(page))
    ones = np.ones(2, np.int64)
    receiver.receive(4, 100, 2, rows_of(2), Parts(("a", "b"), ones, ones * 0, ones))
    receiver.receive(4, 110, 5, None)
    assert page.buried == candidate.account.buried == [(4, 100)]
    assert dict(page.rows) == {"store_error": 7, "shadow_down": 8}
    assert dict(candidate.account.rows) == {"candidate_error": 5, "shadow_down": 8}


def test_without_candidates_the_recorder_alone_is_served() -> None:
    page = FakeAccount()
    ShadowReceiver((), NoRecorder(page)).receive(1, 0, 3, None)
    assert dict(page.rows) == {"store_error": 3}


class FakeCounts:
    """Remembers how many rows it was given."""

    def __init__(self) -> None:
        self.rows = 0

    def count(self, rows: np.ndarray, scores: np.ndarray, own: np.ndarray, senders: np.ndarray) -> None:
        assert len(rows) == len(scores) == len(own) == len(senders)
        self.rows += len(rows)


def test_rows_are_counted_by_bin_and_their_losses_are_found_like_any_other(candidate: FakeCandidate) -> None:
    page, counts = FakeAccount(), FakeCounts()
    receiver = ShadowReceiver((candidate,), arrivals=Arrivals(page, counts))
    receiver.receive(4, 100, 2, rows_of(2))
    receiver.receive(4, 110, 5, None)
    assert counts.rows == 2
    assert page.buried == candidate.account.buried == [(4, 100)]
    assert dict(page.rows) == {"failed": 5, "shadow_down": 8}


def test_a_heartbeat_is_nobodys_row() -> None:
    page, counts = FakeAccount(), FakeCounts()
    receiver = ShadowReceiver((), NoRecorder(page), Arrivals(page, counts))
    receiver.receive(1, 0, 0, None)
    assert (dict(page.rows), counts.rows) == ({}, 0)


def test_rows_of_a_sender_that_is_gone_are_counted_once(
    receiver: ShadowReceiver, candidate: FakeCandidate
) -> None:
    receiver.receive(4, 0, 3, rows_of(3))
    receiver.part(4, 10)
    receiver.part(4, 10)
    assert dict(candidate.account.rows) == {"shadow_down": 7}
    receiver.part(5, 8)
    assert candidate.account.buried == [(4, 0), (5, 8)], "one that this life never heard of"


def test_a_sender_that_came_back_is_not_taken_leave_of(
    receiver: ShadowReceiver, candidate: FakeCandidate
) -> None:
    receiver.receive(4, 0, 3, rows_of(3))
    receiver.receive(4, 3, 2, rows_of(2))
    receiver.part(4, 3)
    receiver.receive(4, 5, 1, rows_of(1))
    assert not candidate.account.rows
