"""The shadow's threads: what is in the socket counts to the end, and what stands still is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from service.adapters import frames, sockets
from service.adapters.ledger import Ledger, Side
from service.adapters.mirror import Mirror
from service.adapters.seats import Seats, departed
from service.domain.comparison import Comparison
from service.domain.disagreement.measure import Pair
from service.domain.evidence.measures import DISAGREEMENT
from service.domain.evidence.sheet import sheet
from service.domain.observation import Mirrored
from service.domain.schema import FeatureBatch, Scores
from service.paths.receiver import ShadowReceiver
from service.paths.shadow import CandidateShadow, ShadowLimits
from service.wiring import shadow_process
from service.wiring.shadow import LedgerAccount
from service.wiring.shadow_process import Arrived, ShadowProcess
from tests.domain.models import spec

MODEL = spec()
ROWS = 7


class Nothing:
    """A sink that forgets."""

    def compared(self, comparison: Comparison) -> None:
        pass


class World:
    """One shadow with one candidate, and its ledger; the test is the edge."""

    def __init__(self, home: Path) -> None:
        self.path, self.seats = home / "shadow.sock", Seats(home)
        self.ledger = Ledger(home / "ledger.bin", ("m:2",))
        self.gate = threading.Event()
        self.gate.set()
        self.process = ShadowProcess(
            ShadowReceiver((self.candidate(),)),
            sockets.receiver(self.path),
            self.read,
            departed=lambda: departed(self.ledger, self.seats),
        )

    def candidate(self) -> CandidateShadow:
        account, limits = LedgerAccount(self.ledger, 0), ShadowLimits(deadline=1e9)
        pair = sheet(Pair(MODEL, spec("new")), DISAGREEMENT)
        return CandidateShadow(
            pair, lambda rows: rows, self.infer, self.infer, (), account, Nothing(), limits
        )

    def infer(self, batch: FeatureBatch, due: float) -> Scores:
        self.gate.wait(30)
        return np.full((len(batch), 2), 0.5, np.float32)

    def read(self, datagram: memoryview, received: float) -> Arrived:
        frame = frames.decode(datagram)
        if not frame.rows:
            return frame.sender, frame.first, 0, None, None
        return frame.sender, frame.first, frame.rows, frames.batch_of(frame, MODEL, received), None

    def mirror(self, sender: int) -> Mirror:
        return Mirror(self.path, self.ledger, sender, sample_rate=1.0, room_bytes=1 << 20)

    def outcomes(self) -> dict[str, int]:
        return {name: rows for name, rows in self.ledger.totals(0).items() if rows}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.gate.set()
    made.process.stop()


def item() -> Mirrored:
    values = np.ones((ROWS, 3), np.float32)
    return Mirrored("id", 0, values, values[:, :2])


def await_true(look: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not look():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


def test_what_is_in_the_socket_when_it_is_told_to_stop_is_still_compared(world: World) -> None:
    """Of the last rows of an edge that has just ended, say: nobody will ask for them again."""
    mirror = world.mirror(0)
    for _ in range(5):
        mirror.offer(item())
        mirror.flush()
    mirror.close()
    world.process._stopping.set()  # before it has looked into the socket for the first time
    world.process.start()
    world.process.stop()
    assert world.outcomes() == {"compared": 5 * ROWS}


def test_rows_of_an_edge_that_died_while_it_sent_are_counted_though_nobody_succeeds_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_process, "LOOKS_SECONDS", 0.01)
    number, seat = world.seats.take(3)
    world.process.start()
    mirror = world.mirror(number)
    mirror.offer(item())
    mirror.flush()
    await_true(lambda: world.outcomes() == {"compared": ROWS})
    world.ledger.hand_over(number, 2)  # it noted them, and was killed before it sent them
    time.sleep(0.3)
    assert world.outcomes() == {"compared": ROWS}, "it lives, and may still send them"
    seat.leave()
    await_true(lambda: world.outcomes() == {"compared": ROWS, "shadow_down": 2})
    mirror.close()


def test_what_a_dead_shadow_held_of_a_dead_edge_is_counted_by_the_next_one(world: World) -> None:
    world.ledger.offer(40, ROWS)
    world.ledger.hand_over(40, ROWS)
    world.ledger.count(Side.SHADOW, 40, 0, "compared", 3)
    world.process.start()
    await_true(lambda: world.outcomes() == {"compared": 3, "shadow_down": ROWS - 3})


def test_rows_of_a_dead_edge_that_still_wait_for_the_candidate_are_not_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_process, "LOOKS_SECONDS", 0.01)
    world.gate.clear()
    world.process.start()
    mirror = world.mirror(3)
    mirror.offer(item())
    mirror.flush()
    mirror.close()
    time.sleep(0.3)
    assert world.outcomes() == {}
    world.gate.set()
    await_true(lambda: world.outcomes() == {"compared": ROWS})


def test_a_look_that_fails_does_not_make_the_shadow_deaf(world: World, tmp_path: Path) -> None:
    def broken() -> list[tuple[int, int]]:
        raise OSError("no descriptor is left")

    world.process.departed = broken
    world.process.start()
    mirror = world.mirror(0)
    mirror.offer(item())
    mirror.flush()
    await_true(lambda: world.outcomes() == {"compared": ROWS})
    mirror.close()


def test_a_candidate_that_stands_still_is_named_until_it_moves(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_process, "STUCK_SECONDS", 1.0)
    world.process.start()
    await_true(lambda: world.process._turns)
    assert world.process.stuck() is None, "one without work turns all the same"
    world.gate.clear()
    mirror = world.mirror(0)
    mirror.offer(item())
    mirror.flush()
    await_true(lambda: world.process.stuck() == "the shadow of m:new")
    world.gate.set()
    await_true(lambda: world.process.stuck() is None)
    mirror.close()


def test_nothing_is_stuck_while_it_stops(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping is bounded; being killed meanwhile would lose what is being written."""
    monkeypatch.setattr(shadow_process, "STUCK_SECONDS", -1.0)
    world.process.start()
    await_true(lambda: world.process.stuck() is not None)
    world.process.stop()
    assert world.process.stuck() is None
