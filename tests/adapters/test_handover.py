"""Whatever dies between edge and shadow, every offered row ends in exactly one outcome.

A model-based test: real mirrors, sockets, ledger and receiver; random offers, flushes, deaths and
rebirths on both sides. Only rows that a killed edge still held in its own memory are unknown to the ledger;
the test counts those itself.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from service.adapters import frames, mirror, sockets
from service.adapters.ledger import Ledger
from service.adapters.mirror import Mirror
from service.adapters.presence import Presence
from service.adapters.seats import Seats, bury_vacant, departed
from service.domain.comparison import Comparison
from service.domain.disagreement.measure import Pair
from service.domain.evidence.measures import DISAGREEMENT
from service.domain.evidence.sheet import sheet
from service.domain.observation import Mirrored
from service.domain.schema import FeatureBatch, Scores
from service.errors import InferenceError
from service.paths.receiver import RefusedCandidate, ShadowReceiver
from service.paths.shadow import CandidateShadow, ShadowLimits
from service.wiring.shadow import LedgerAccount
from service.wiring.shadow_process import Arrived, ShadowProcess
from tests.domain.models import spec

MODEL = spec()
SENDERS = (0, 9, 63)
RUNNING, REFUSED = 0, 1


class Sums:
    """A sink that adds up compared rows, over all lives of the shadow."""

    def __init__(self) -> None:
        self.rows = 0

    def compared(self, comparison: Comparison) -> None:
        self.rows += comparison.rows["all"]


def infer(batch: FeatureBatch, due: float) -> Scores:
    """Fails on rows that say so."""
    if (batch[:, 0] < 0).any():
        raise InferenceError("a row to refuse")
    return np.full((len(batch), 2), 0.5, np.float32)


class World:
    """Three edge workers, a ledger, and a shadow that may be dead."""

    def __init__(self, home: Path, seed: int) -> None:
        self.draw = random.Random(seed)
        self.path = home / "shadow.sock"
        self.ledger = Ledger(home / "ledger.bin", ("m:running", "m:refused"))
        self.seats = Seats(home)
        self.held: dict[int, Presence] = {}
        self.mirrors = {sender: self.mirror(sender) for sender in SENDERS}
        self.sink = Sums()
        self.offered = self.unknown = 0
        self.socket: socket.socket | None = None
        self.receiver = ShadowReceiver(())

    def mirror(self, sender: int) -> Mirror:
        seed = self.draw.randrange(1 << 30)
        number, self.held[sender] = self.seats.take(sender)
        assert number == sender
        return Mirror(self.path, self.ledger, sender, sample_rate=0.9, room_bytes=40_000, seed=seed)

    def offer(self) -> None:
        for _ in range(self.draw.randrange(1, 20)):
            rows = self.draw.choice([1, 1, 1, 5, 200])
            values = np.full((rows, 3), self.draw.choice([1.0] * 9 + [-1.0]), np.float32)
            item = Mirrored("id", self.draw.choice([0, 1]), values, values[:, :2])
            self.mirrors[self.edge()].offer(item)
            self.offered += rows

    def flush(self) -> None:
        self.mirrors[self.edge()].flush()

    def edge(self) -> int:
        """One of those that live."""
        return self.draw.choice(sorted(self.mirrors))

    def arrive(self) -> None:
        """Some datagrams reach the receiver, if it lives."""
        for _ in range(self.draw.randrange(8)):
            if not self.receive():
                return

    def receive(self) -> bool:
        if self.socket is None:
            return False
        try:
            frame = frames.decode(self.socket.recv(1 << 20))
        except BlockingIOError:
            return False
        rows = frame.rows
        batch = frames.batch_of(frame, MODEL, 0.0) if rows else None
        if self.draw.random() < 0.95:  # else it could not be read
            self.receiver.receive(frame.sender, frame.first, rows, batch)
        return True

    def work(self) -> None:
        for shadow in self.receiver.running():
            shadow.run_once(wait=0.0)

    def shadow_dies(self) -> None:
        if self.socket is not None:
            self.socket.close()
        self.socket = None
        self.receiver = ShadowReceiver(())

    def shadow_is_born(self) -> None:
        self.shadow_dies()
        self.socket = sockets.receiver(self.path)
        self.socket.setblocking(False)
        limits = ShadowLimits(deadline=1e9, queue_rows=600, batch_rows=64)
        account = LedgerAccount(self.ledger, RUNNING)
        shadow = CandidateShadow(
            sheet(Pair(MODEL, spec("new")), DISAGREEMENT),
            lambda rows: rows,
            infer,
            infer,
            (),
            account,
            self.sink,
            limits,
            clock=lambda: 0.0,
        )
        self.receiver = ShadowReceiver((shadow, RefusedCandidate(LedgerAccount(self.ledger, REFUSED))))

    def edge_restarts(self) -> None:
        sender = self.edge()
        self.mirrors[sender].close()
        self.held[sender].leave()
        self.mirrors[sender] = self.mirror(sender)

    def edge_is_killed(self) -> None:
        sender = self.edge()
        self.kill(sender)
        self.mirrors[sender] = self.mirror(sender)

    def edge_vanishes(self) -> None:
        """As where there are fewer workers than before; one stays."""
        if len(self.mirrors) > 1:
            self.kill(self.edge())

    def edge_returns(self) -> None:
        bury_vacant(self.ledger, self.seats)  # as every edge does when it starts
        for sender in SENDERS:
            if sender not in self.mirrors:
                self.mirrors[sender] = self.mirror(sender)
                return

    def kill(self, sender: int) -> None:
        dead = self.mirrors.pop(sender)
        # rows since its last turn are in no count, neither as answered nor with an outcome, or with both
        self.unknown += dead._offered + min(0, self.ledger.unaccounted(sender))
        if dead._socket is not None:
            dead._socket.close()
        self.held[sender].leave()

    def come_to_rest(self) -> None:
        """An edge has started anew; a living shadow hears from every edge, or that it is gone."""
        bury_vacant(self.ledger, self.seats)
        self.shadow_dies()
        self.shadow_is_born()
        for _ in range(3):  # a dead peer is noticed, then connected to again, then told
            for sending in self.mirrors.values():
                sending.flush()
                while sending._waiting or sending._frame is not None:
                    self.receive()
                    sending.flush()
            while self.receive():
                pass
        for sender, handed in departed(self.ledger, self.seats):
            self.receiver.part(sender, handed)
        while self.receiver.running()[0].waiting():
            self.work()

    def look(self) -> None:
        """Takes leave of edges that are gone, once all that came is received."""
        gone = departed(self.ledger, self.seats)
        if self.socket is not None:
            while self.receive():
                pass
            for sender, handed in gone:
                self.receiver.part(sender, handed)

    def end(self) -> None:
        self.shadow_dies()
        for sending in self.mirrors.values():
            sending.close()
        for held in self.held.values():
            held.leave()


@pytest.mark.parametrize("seed", range(30))
def test_every_offered_row_ends_in_exactly_one_outcome(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(mirror, "HEARTBEAT_SECONDS", 0.0)
    world = World(tmp_path, seed)
    request.addfinalizer(world.end)
    usual: list[Callable[[], None]] = [world.offer, world.flush, world.arrive, world.work]
    rare = [world.shadow_dies, world.shadow_is_born, world.edge_restarts, world.edge_is_killed]
    rare += [world.edge_vanishes, world.edge_returns, world.look, world.shadow_is_born]
    world.shadow_is_born()
    for _ in range(400):
        world.draw.choice(usual if world.draw.random() < 0.9 else rare)()
        for candidate in (RUNNING, REFUSED):
            counted = sum(world.ledger.totals(candidate).values())
            assert counted + world.ledger.in_flight(candidate) <= world.offered
    world.come_to_rest()
    for candidate in (RUNNING, REFUSED):
        totals = world.ledger.totals(candidate)
        assert sum(totals.values()) == world.offered - world.unknown, totals
        assert world.ledger.in_flight(candidate) == 0
        for sender in SENDERS:
            assert world.ledger.handed(sender) == world.ledger.accounted(sender, candidate)
    totals = world.ledger.totals(RUNNING)
    assert totals["compared"] == world.sink.rows > 0
    assert totals["shadow_down"] > 0


class Guillotine:
    """A socket at which the process dies."""

    def send(self, data: bytes) -> int:
        raise KeyboardInterrupt

    def close(self) -> None:
        pass


def test_rows_of_an_edge_that_dies_while_it_sends_are_found_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(mirror, "HEARTBEAT_SECONDS", 0.0)
    world = World(tmp_path, 0)
    request.addfinalizer(world.end)
    world.shadow_is_born()
    dying = world.mirrors[9]
    values = np.ones((7, 3), np.float32)
    dying._sample_rate = 1.0
    dying.offer(Mirrored("id", 0, values, values[:, :2]))
    dying._socket = Guillotine()  # type: ignore[assignment]  # a fake
    with pytest.raises(KeyboardInterrupt):
        dying.flush()
    world.held[9].leave()
    world.mirrors[9] = world.mirror(9)
    world.come_to_rest()
    assert {name: rows for name, rows in world.ledger.totals(RUNNING).items() if rows} == {"shadow_down": 7}
    assert world.ledger.in_flight(RUNNING) == 0


def test_a_candidate_is_blamed_for_each_death_in_its_run_until_it_works(tmp_path: Path) -> None:
    path = tmp_path / "ledger.bin"

    def reborn() -> LedgerAccount:
        return LedgerAccount(Ledger(path, ("m:running", "m:refused")), RUNNING)

    assert reborn().crashes() == 0
    for deaths in (1, 2, 3):
        reborn().set_running(True)
        assert reborn().crashes() == deaths
        assert reborn().crashes() == deaths  # a death outside a run blames nobody
    account = reborn()
    account.clear_crashes()
    assert reborn().crashes() == 0
    assert LedgerAccount(account.ledger, REFUSED).crashes() == 0


def test_a_datagram_that_nobody_can_read_does_not_make_the_shadow_deaf(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.bin", ("m:running", "m:refused"))

    def read(datagram: memoryview, received: float) -> Arrived:
        frame = frames.decode(datagram)
        if frame.first == 99:
            raise ZeroDivisionError("a bug of ours")
        return frame.sender, frame.first, frame.rows, frames.batch_of(frame, MODEL, received), None

    receiver = ShadowReceiver((RefusedCandidate(LedgerAccount(ledger, REFUSED)),))
    process = ShadowProcess(receiver, sockets.receiver(tmp_path / "s"), read)
    process.start()
    values = np.ones((7, 3), np.float32)
    item = Mirrored("id", 0, values, values[:, :2])
    with sockets.sender(tmp_path / "s") as edge:
        edge.setblocking(True)
        for datagram in (
            b"garbage",
            frames.encode(5, 99, [frames.pack(item)]),
            frames.encode(5, 0, [frames.pack(item)]),
        ):
            edge.send(datagram)
    end = time.monotonic() + 10
    while ledger.totals(REFUSED)["candidate_error"] != 7:
        assert time.monotonic() < end
        time.sleep(0.001)
    process.stop()
