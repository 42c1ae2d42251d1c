"""Answers are recorded, shed or counted, and what the store does to them is nobody else's business."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.domain.conditions import Compare
from service.domain.evidence.paired import Settle
from service.domain.evidence.settling import Settling
from service.domain.labels import Joined, Learn, Record, answerer
from service.domain.observation import Parts, ShadowBatch
from service.domain.slices import Slice
from service.errors import StoreError
from service.paths.recorder import DAY, Recorder, RecordLimits
from tests.domain.models import spec
from tests.paths.shadows import FakeAccount

PRODUCTION, CANARY = answerer(spec(), "production", ["renters"]), answerer(spec("new"), "canary", ["renters"])


class FakeStore:
    """Keeps everything in memory, or fails."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, int], Record] = {}
        self.writes: list[int] = []
        self.joins = 0
        self.looks = 0
        self.swept: list[float] = []
        self.error: Exception | None = None
        self.slow = 0.0
        self.takes: Callable[[float], None] = lambda seconds: None
        self.unmeasured: StoreError | None = None
        self.left = 0
        self.known: dict[str, bytes] = {}

    def learnt(self) -> dict[str, bytes]:
        return dict(self.known)

    def write(self, answers: Sequence[Record]) -> set[tuple[str, int]]:
        if self.error is not None:
            raise self.error
        self.takes(self.slow)
        self.writes.append(len(answers))
        new: set[tuple[str, int]] = set()
        for record in answers:
            key = (record.request_id, record.first)
            if self.records.setdefault(key, record) is record:
                new.add(key)
        return new

    def join(self, learn: Learn, settle: Settle | None) -> Joined:
        self.takes(self.slow)
        self.joins += 1
        if isinstance(self.error, StoreError):
            raise self.error
        return Joined(misfits=1, more=self.joins == 1)

    def look_again(self, settle: Settle) -> None:
        self.looks += 1

    def measure(self, most_rows: int) -> None:
        self.most_rows = most_rows
        if self.unmeasured is not None:
            raise self.unmeasured

    def sweep(self, before: float) -> bool:
        self.takes(self.slow)
        self.swept.append(before)
        self.left -= 1
        return self.left > 0


class World:
    """A recorder with a clock that is set by hand."""

    def __init__(self, **limits: Any) -> None:
        self.now = 1_000.0
        self.page = FakeAccount()
        self.store = FakeStore()
        self.store.takes = self.wait
        self.found: list[Joined] = []
        self.recorder = Recorder(
            account=self.page,
            store=lambda: self.store,
            answerers=(PRODUCTION, CANARY, None),
            slices=(Slice("renters", Compare(1, "==", 1.0)),),
            limits=RecordLimits(**{"batch": 10, **limits}),
            judge=lambda batch: batch.scores * 2.0,
            joined=self.found.append,
            clock=lambda: self.now,
            now=lambda: self.now + 1e9,
        )

    def offer(self, *names: str, rows: int = 1, who: int = 0, sender: int = 3, first: int = 0) -> None:
        count = rows * len(names)
        values = np.array([[number, number % 2, 0] for number in range(count)], np.float32).reshape(-1, 3)
        positive = np.linspace(0, 1, count, dtype=np.float32)
        each = np.full(len(names), rows)
        parts = Parts(names, each, each * 0 + first, each + first)
        batch = ShadowBatch(
            values,
            np.stack([1 - positive, positive], axis=1),
            np.full(count, who, np.uint8),
            np.full(count, sender, np.int16),
            self.now,
            parts.origin(),
        )
        self.recorder.offer(batch, parts)

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def turn(self, seconds: float = 1.0) -> None:
        self.wait(seconds)
        self.recorder.run_once(wait=0.0)


def test_an_answer_is_recorded_with_all_that_a_label_will_want() -> None:
    world = World()
    world.offer("a", "b", rows=2, first=4)
    world.turn()
    record = world.store.records["b", 4]
    assert (record.request_id, record.first, record.total, record.answered_at) == ("b", 4, 6, 1e9 + 1_000)
    assert record.answerer == PRODUCTION
    assert record.scores[:, 1].tolist() == pytest.approx([2 / 3, 1])
    np.testing.assert_array_equal(record.evidence, record.scores * 2.0)
    assert record.evidence is not None
    assert record.evidence.dtype == np.float64
    assert record.slices is not None
    assert record.slices.tolist() == [0, 1]
    assert dict(world.page.rows) == {"written": 4}
    assert dict(world.page.by_sender) == {3: 4}


def test_answers_wait_a_second_for_others_unless_there_are_enough() -> None:
    world = World()
    world.offer("a")
    world.turn(0.5)
    assert world.store.writes == []
    world.turn(0.5)
    assert world.store.writes == [1]
    world.offer(*[f"r{number}" for number in range(25)])
    world.turn(0.0)
    assert world.store.writes == [1, 10, 10, 5]


def test_who_answered_is_recorded_and_who_is_unknown_is_counted() -> None:
    world = World()
    world.offer("a", who=1)
    world.offer("b", who=2)
    world.offer("c", who=9)
    world.turn()
    assert {key: record.answerer for key, record in world.store.records.items()} == {("a", 0): CANARY}
    assert dict(world.page.rows) == {"written": 1, "store_error": 2}


def test_an_id_that_comes_again_is_counted_as_such() -> None:
    world = World()
    world.offer("a", "b", "a")
    world.turn()
    world.offer("b", rows=3)
    world.turn()
    assert dict(world.page.rows) == {"written": 2, "repeated": 4}


def test_a_share_of_the_requests_is_recorded_and_it_is_always_the_same_one() -> None:
    kept = []
    for _ in range(2):
        world = World(rate=0.3, batch=5_000)
        names = [f"request-{number}" for number in range(4_000)]
        world.offer(*names[:2_000], rows=2)
        world.offer(*names[2_000:], rows=2)
        world.turn()
        assert world.page.rows["written"] + world.page.rows["sampled_out"] == 8_000
        assert world.page.rows["written"] == 2 * len(world.store.records)
        kept.append(set(world.store.records))
        assert all(record.scores.shape == (2, 2) for record in world.store.records.values())
    assert kept[0] == kept[1]
    assert len(kept[0]) == pytest.approx(1_200, abs=150)  # five standard deviations


def test_what_does_not_fit_the_queue_is_shed_and_counted() -> None:
    for limits in ({"queue_rows": 5}, {"queue_bytes": 5 * 20}):
        world = World(**limits)
        for number in range(4):
            world.offer(f"r{number}", rows=2)
        assert dict(world.page.rows) == {"queue_full": 4}
        world.turn()
        assert dict(world.page.rows) == {"queue_full": 4, "written": 4}
        world.offer("later", rows=5)
        world.turn()
        assert world.page.rows["written"] == 9


def test_a_store_that_fails_is_tried_again_after_longer_and_longer_pauses_and_nothing_is_lost() -> None:
    world = World()
    world.recorder._patience.draw = lambda: 0.0
    world.store.error = StoreError("locked")
    world.offer("a")
    tries = []
    for _ in range(2_000):
        before = world.recorder._patience._resume
        world.turn(0.1)
        if world.recorder._patience._resume != before:
            tries.append(world.recorder._patience._resume - world.now)
    assert tries[:7] == pytest.approx([0.5, 1, 2, 4, 8, 16, 30])
    world.offer("b")
    world.store.error = None
    world.turn(30.0)
    assert set(world.store.records) == {("a", 0), ("b", 0)}
    assert dict(world.page.rows) == {"written": 2}


def test_records_that_can_never_be_written_hold_up_nobody() -> None:
    world = World()
    world.store.error = ZeroDivisionError()
    world.offer("a", rows=3)
    world.turn()
    world.store.error = None
    world.offer("b")
    world.turn()
    assert dict(world.page.rows) == {"store_error": 3, "written": 1}


def test_a_judge_that_fails_costs_the_evidence_alone() -> None:
    def fails(batch: ShadowBatch) -> NDArray[np.float64]:
        raise ZeroDivisionError

    world = World()
    world.recorder.judge = fails
    world.offer("a")
    world.turn()
    assert world.store.records["a", 0].evidence is None


def test_labels_are_joined_every_second_until_there_are_no_more() -> None:
    world = World()
    for _ in range(10):
        world.turn(0.5)
    assert world.store.joins == 6
    assert len(world.found) == 6


def test_what_others_could_not_judge_is_looked_for_now_and_then() -> None:
    world = World()
    for _ in range(60):
        world.turn(1.0)
    assert world.store.looks == 0, "there is nothing to judge by"
    world.recorder.settle = Settling({})
    for _ in range(130):
        world.turn(1.0)
    assert 2 <= world.store.looks <= 3


def test_what_is_old_is_swept_now_and_then_until_it_is_gone() -> None:
    world = World(keep_days=3, most_rows=77)
    world.store.left = 50
    for _ in range(60):
        world.turn(2.0)
    assert world.store.left <= 0
    assert 50 <= len(world.store.swept) <= 53
    assert world.store.swept[0] == pytest.approx(1e9 + 1_000 - 3 * DAY, abs=60)
    assert world.store.most_rows == 77


def test_what_is_old_goes_even_where_nothing_can_be_written_or_measured() -> None:
    world = World()
    world.store.error = world.store.unmeasured = StoreError("full")
    world.offer("a")
    for _ in range(130):
        world.turn(1.0)
    assert 2 <= len(world.store.swept) <= 3
    assert world.recorder.waiting()


def test_a_slow_store_gets_rests_in_which_labels_are_filed_and_no_work_is_left_out() -> None:
    world = World()
    world.store.slow = 2.0
    world.store.left = 1_000
    names = iter(range(10**6))
    began, busy = world.now, 0.0
    while world.now - began < 600:
        world.offer(str(next(names)))
        before = world.now
        world.turn(0.1)
        busy += world.now - before - 0.1
    assert busy < 0.15 * 600
    assert len(world.store.writes) >= 5
    assert world.store.joins >= 5
    assert len(world.store.swept) >= 5


def test_what_was_learnt_is_taken_up_first_and_again_and_again() -> None:
    world = World()
    seen: list[tuple[float, dict[str, bytes], int]] = []
    world.recorder.restore = lambda learnt: seen.append((world.now, dict(learnt), len(world.store.writes)))
    world.offer("a")
    for second in range(61):
        world.store.known = {"m": str(second).encode()}
        world.turn(1.0)
    assert [(now, learnt["m"], writes) for now, learnt, writes in seen] == [
        (1_001, b"0", 0),
        (1_031, b"30", 1),
        (1_061, b"60", 1),
    ]


def test_what_waits_at_the_end_is_written_or_counted() -> None:
    world = World()
    world.offer(*[f"r{number}" for number in range(25)])
    world.recorder.close()
    assert dict(world.page.rows) == {"written": 25}
    world.offer("a", "b")
    world.store.error = StoreError("gone")
    world.recorder.close()
    assert dict(world.page.rows) == {"written": 25, "store_error": 2}
    assert not world.recorder.waiting()


def test_the_last_try_of_the_store_is_told() -> None:
    world = World()
    tries: list[bool] = []
    world.recorder.tried = tries.append
    world.offer("a")
    world.turn()
    assert set(tries) == {True}
    world.store.error = StoreError("the disk is full")
    world.offer("b")
    world.turn()
    assert tries[-1] is False
    world.store.error = None
    world.turn(60)
    assert tries[-1] is True


def test_a_store_that_takes_no_record_at_all_is_told_though_labels_can_be_joined() -> None:
    world = World()
    tries: list[bool] = []
    world.recorder.tried = tries.append
    world.store.error = RuntimeError("permission denied for table records")
    world.offer("a")
    world.turn()
    world.turn(60)
    assert set(tries) == {False}
    world.store.error = None
    world.offer("b")
    world.turn(60)
    assert tries[-1] is True
