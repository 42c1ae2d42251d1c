"""The edge's half of the shadow, over a real socket: never waits, and counts what it drops."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from service.adapters import frames, mirror, sockets
from service.adapters.frames import Frame
from service.adapters.ledger import Ledger
from service.adapters.mirror import FRAME_BYTES, FRAMES_PER_FLUSH, Mirror
from service.domain.observation import Mirrored, Outcome

WIDTH = 3
SENDER = 5
ROOM = 16 << 20


def request(first: int, rows: int = 1, width: int = WIDTH) -> Mirrored:
    """Rows that carry their number, from ``first`` on."""
    numbers = np.arange(first, first + rows, dtype=np.float32)[:, None]
    return Mirrored(f"id-{first}", 0, np.tile(numbers, width), np.hstack([1 - numbers, numbers]))


def numbers(heard: list[Frame], width: int = WIDTH) -> list[int]:
    """The rows' numbers in the order of arrival."""
    values = np.frombuffer(b"".join(frame.values for frame in heard), np.float32).reshape(-1, width)
    scores = np.frombuffer(b"".join(frame.scores for frame in heard), np.float32).reshape(-1, 2)
    np.testing.assert_array_equal(values[:, 0], scores[:, 1])
    return [int(number) for number in values[:, -1]]


class Ear:
    """What listens at the socket and remembers every frame."""

    def __init__(self, path: Path) -> None:
        self.socket: socket.socket = sockets.receiver(path)
        self.socket.setblocking(False)
        self.frames: list[Frame] = []

    def listen(self) -> list[Frame]:
        """The datagrams that arrived since the last call, heartbeats left out."""
        before = len(self.frames)
        with suppress(BlockingIOError):
            while True:
                self.frames.append(frames.decode(self.socket.recv(8 << 20)))
        return [frame for frame in self.frames[before:] if frame.rows]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shadow.sock"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.bin", ("m:one", "m:two"))


@pytest.fixture
def ear(path: Path) -> Iterator[Ear]:
    listening = Ear(path)
    yield listening
    listening.socket.close()


class Busy:
    """A socket that is always full."""

    def send(self, data: bytes) -> int:
        raise BlockingIOError

    def close(self) -> None:
        pass


def deliver(sending: Mirror, ear: Ear) -> list[Frame]:
    """Everything that the mirror holds, and what it had sent before."""
    heard = ear.listen()
    while sending._waiting or sending._frame:
        sending.flush()
        heard += ear.listen()
    return heard


Make = Callable[..., Mirror]


@pytest.fixture
def make(path: Path, ledger: Ledger) -> Iterator[Make]:
    """Makes mirrors that are closed at the end; takes ``rate`` and ``room``."""
    made: list[Mirror] = []

    def mirrors(rate: float = 1.0, room: int = ROOM) -> Mirror:
        made.append(Mirror(path, ledger, SENDER, sample_rate=rate, room_bytes=room, seed=1))
        return made[-1]

    yield mirrors
    for one in made:
        one.close()


def counted(ledger: Ledger) -> dict[Outcome, int]:
    """Outcomes that are not nought; the same for both candidates."""
    first, second = ({name: rows for name, rows in ledger.totals(index).items() if rows} for index in (0, 1))
    assert first == second
    return first


def test_rows_arrive_in_order_with_their_requests(make: Make, ledger: Ledger, ear: Ear) -> None:
    sending = make()
    for first in range(0, 50, 5):
        sending.offer(request(first, 5))
    sending.flush()
    heard = ear.listen()
    assert numbers(heard) == list(range(50))
    assert [name for frame in heard for name in frame.request_ids] == [
        f"id-{first}" for first in range(0, 50, 5)
    ]
    assert (ledger.handed(SENDER), counted(ledger)) == (50, {})


def test_says_who_answered(make: Make, ear: Ear) -> None:
    sending = make()
    sending.offer(request(0))
    sending.offer(request(1)._replace(answerer=2))
    sending.flush()
    assert [who for frame in ear.listen() for who in frame.answerers] == [0, 2]


def test_each_frame_says_what_was_handed_over_before_it(make: Make, ear: Ear) -> None:
    sending = make()
    for first in (0, 3, 7):
        sending.offer(request(first, 2))
        sending.flush()
    ear.listen()
    assert [(frame.sender, frame.first) for frame in ear.frames] == [(SENDER, 0), (SENDER, 2), (SENDER, 4)]


def test_with_nothing_listening_rows_are_counted_as_such(make: Make, ledger: Ledger) -> None:
    sending = make()
    sending.offer(request(0, 4))
    sending.flush()
    assert counted(ledger) == {"shadow_down": 4}
    assert ledger.handed(SENDER) == 0


def test_finds_a_shadow_that_comes_later(make: Make, path: Path, ledger: Ledger) -> None:
    sending = make()
    sending.offer(request(0))
    sending.flush()
    ear = Ear(path)
    sending.offer(request(1))
    sending.flush()
    assert numbers(ear.listen()) == [1]
    ear.socket.close()
    assert counted(ledger) == {"shadow_down": 1}


def test_a_dead_shadow_costs_what_waited_and_a_reborn_one_gets_the_rest(
    make: Make, path: Path, ledger: Ledger
) -> None:
    sending, ear = make(), Ear(path)
    sending.offer(request(0))
    sending.flush()
    ear.socket.close()
    sending.offer(request(1, 3))
    sending.flush()
    reborn = Ear(path)
    sending.offer(request(4, 2))
    sending.flush()
    assert numbers(reborn.listen()) == [4, 5]
    assert reborn.frames[0].first == 1
    assert counted(ledger) == {"shadow_down": 3}
    reborn.socket.close()


def test_rows_wait_for_a_busy_shadow_and_beyond_the_room_they_are_counted(
    make: Make, ledger: Ledger, ear: Ear
) -> None:
    sending = make(room=30 * frames.pack(request(0, 100)).size)
    offered = 0
    while not counted(ledger):  # nobody reads: first the socket fills, then the room
        sending.offer(request(offered, 100))
        sending.flush()
        offered += 100
    assert counted(ledger) == {"queue_full": 100}
    assert numbers(deliver(sending, ear)) == list(range(offered - 100))
    assert ledger.handed(SENDER) == offered - 100


def test_the_room_is_free_again_once_rows_are_gone(make: Make, ledger: Ledger, ear: Ear) -> None:
    sending = make(room=frames.pack(request(190, 10)).size)
    for first in range(0, 200, 10):
        sending.offer(request(first, 10))
        sending.flush()
        ear.listen()
    assert counted(ledger) == {}


@pytest.mark.parametrize("rows", [4_000, 20_000, 123_457])
def test_a_request_larger_than_a_frame_is_split_and_arrives_whole_and_in_order(
    make: Make, ledger: Ledger, ear: Ear, rows: int
) -> None:
    sending = make()
    sending.offer(request(0, 7))
    sending.offer(request(7, rows))
    sending.offer(request(7 + rows))
    heard = deliver(sending, ear)
    assert numbers(heard) == list(range(rows + 8))
    names = [name for frame in heard for name in frame.request_ids]
    assert (names[0], set(names[1:-1]), names[-1]) == ("id-0", {"id-7"}, f"id-{7 + rows}")
    assert counted(ledger) == {}
    assert ledger.handed(SENDER) == rows + 8


def test_frames_stay_below_what_every_kernel_takes(make: Make, ledger: Ledger, ear: Ear) -> None:
    sending = make()
    for first in range(5_000):
        sending.offer(request(first)._replace(request_id="x" * 128))
    sizes = []
    while sending._waiting or sending._frame:
        sending.flush()
        with suppress(BlockingIOError):
            while True:
                sizes.append(len(ear.socket.recv(8 << 20)))
    assert max(sizes) <= FRAME_BYTES
    assert ledger.handed(SENDER) == 5_000


def test_a_single_row_larger_than_the_socket_takes_is_counted_and_the_next_one_arrives(
    make: Make, ledger: Ledger, ear: Ear
) -> None:
    sending = make(room=1 << 30)
    granted = 2 * int(Path("/proc/sys/net/core/wmem_max").read_text())
    huge = np.zeros((1, granted // 4 + 1), np.float32)
    sending.offer(Mirrored("huge", 0, huge, np.zeros((1, 2), np.float32)))
    sending.offer(request(1))
    sending.flush()
    assert numbers(ear.listen()) == [1]
    assert counted(ledger) == {"too_large": 1}


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.75])
def test_the_sampling_rate_is_kept_within_five_standard_deviations(
    make: Make, ledger: Ledger, ear: Ear, rate: float
) -> None:
    sending, offered = make(rate), 10_000
    for first in range(offered):
        sending.offer(request(first))
    out = counted(ledger)["sampled_out"]
    assert abs(out - offered * (1 - rate)) <= 5 * math.sqrt(offered * rate * (1 - rate))
    assert len(numbers(deliver(sending, ear))) == offered - out


def test_a_request_is_sampled_as_a_whole(make: Make, ledger: Ledger, ear: Ear) -> None:
    sending = make(0.5)
    for first in range(0, 700, 7):
        sending.offer(request(first, 7))
    sending.flush()
    arrived = numbers(ear.listen())
    assert arrived == [first + step for first in range(0, 700, 7) if first in arrived for step in range(7)]
    assert counted(ledger) == {"sampled_out": 700 - len(arrived)}


def test_an_idle_edge_says_now_and_then_what_it_handed_over(
    make: Make, ledger: Ledger, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending = make()
    sending.offer(request(0, 3))
    sending.flush()
    sending.flush()  # too early
    assert len(ear.listen()) == len(ear.frames) == 1
    monkeypatch.setattr(mirror, "HEARTBEAT_SECONDS", 0.0)
    sending.flush()
    ear.listen()
    assert ear.frames[1] == Frame(frames.VERSION, SENDER, 3, [], [], [], [], [], b"", b"")
    assert (ledger.handed(SENDER), counted(ledger)) == (3, {})


def test_a_backlog_is_sent_over_many_turns(make: Make, ear: Ear) -> None:
    sending = make()
    for first in range(0, 2 * FRAMES_PER_FLUSH * 6_000, 6_000):
        sending.offer(request(first, 6_000))  # more than half a frame each
    sending.flush()
    assert 0 < len(ear.listen()) <= FRAMES_PER_FLUSH
    assert sending._waiting


def test_rows_that_waited_in_an_edge_that_was_killed_are_counted(make: Make, ledger: Ledger) -> None:
    killed = make()
    killed._socket = Busy()  # type: ignore[assignment]  # a fake
    killed.offer(request(0, 70))
    killed.flush()
    assert counted(ledger) == {}
    make()
    assert counted(ledger) == {"shadow_down": 70}


def test_closing_sends_what_waits(make: Make, ledger: Ledger, ear: Ear) -> None:
    sending = make()
    sending.offer(request(0, 3))
    sending.close()
    assert numbers(ear.listen()) == [0, 1, 2]
    assert counted(ledger) == {}


def test_closing_before_a_full_socket_counts_what_is_left(make: Make, ledger: Ledger, ear: Ear) -> None:
    sending = make()
    offered = 0
    while sending._frame is None:
        sending.offer(request(offered))
        sending.flush()
        offered += 1
    sending.offer(request(offered, 2))
    sending.close()
    assert counted(ledger) == {"queue_full": 3}
    assert ledger.handed(SENDER) == offered - 1 == len(numbers(ear.listen()))
