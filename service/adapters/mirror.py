"""The edge's half of the shadow: hands answered requests over, and never makes anybody wait.

``offer`` appends to a list; ``flush``, called every few milliseconds from the event loop, packs the
list into datagrams and sends them without blocking. Whatever cannot be handed over is counted
in the ledger with its reason.
"""

from __future__ import annotations

import errno
import random
import socket
import time
from collections import deque
from pathlib import Path

from service.adapters import frames, sockets
from service.adapters.frames import Packed
from service.adapters.ledger import Ledger, Side
from service.domain.observation import Mirrored, Outcome

FRAME_BYTES = 96 << 10
"""Datagrams are filled up to here, which every kernel's default buffer takes; one row alone may be larger."""
FRAMES_PER_FLUSH = 8
"""Packing one takes up to half a millisecond, which requests wait for; a backlog is sent over many turns."""
REQUEST_BYTES = 500
"""What Python keeps for a waiting request beside its arrays."""
HEARTBEAT_SECONDS = 1.0
"""An idle edge says how much it has handed over this often, so that a reborn shadow can count what died."""


class Mirror:
    """Bounded, sheddable hand-over of one edge worker's answers.

    Args:
        path: the shadow's socket.
        ledger: where outcomes are counted.
        sender: this worker's number in the ledger.
        sample_rate: share of requests to mirror, 0 to 1.
        room_bytes: arrays that may wait for a full socket; more is counted ``queue_full``.
    """

    def __init__(
        self,
        path: Path,
        ledger: Ledger,
        sender: int,
        *,
        sample_rate: float,
        room_bytes: int,
        seed: int | None = None,
    ) -> None:
        self._path = path
        self._ledger = ledger
        self._sender = sender
        self._sample_rate = sample_rate
        self._room = room_bytes
        self._random = random.Random(seed).random
        self._waiting: deque[Packed] = deque()
        self._waiting_bytes = 0
        self._frame: tuple[bytes, int] | None = None
        self._socket: socket.socket | None = None
        self._last_sent = 0.0
        self._offered = 0
        bury(ledger, sender)

    def offer(self, item: Mirrored) -> None:
        """Takes one answered request; never raises, never blocks."""
        self._offered += len(item.rows)
        if self._sample_rate < 1.0 and self._random() >= self._sample_rate:
            self._count("sampled_out", len(item.rows))
            return
        size = item.rows.nbytes + item.scores.nbytes + len(item.request_id) + frames.OVERHEAD
        if self._waiting_bytes + REQUEST_BYTES * len(self._waiting) + size > self._room:
            self._count("queue_full", len(item.rows))
            return
        if size <= FRAME_BYTES:
            self._waiting.append(frames.pack(item))
            self._waiting_bytes += size
        else:
            parts = [frames.pack(part) for part in _parts(item, size)]
            self._waiting += parts
            self._waiting_bytes += sum(part.size for part in parts)

    def flush(self) -> None:
        """Sends what waits, as far as the socket takes it; a heartbeat where nothing waits."""
        if self._offered:
            self._ledger.offer(self._sender, self._offered)
            self._offered = 0
        if (
            not self._waiting
            and self._frame is None
            and time.monotonic() - self._last_sent < HEARTBEAT_SECONDS
        ):
            return
        if self._socket is None and not self._connect():
            self._shed("shadow_down")
            return
        for _ in range(FRAMES_PER_FLUSH):
            if self._frame is None:
                self._frame = self._pack()
            if not self._send(self._frame):
                return
            self._frame = None
            if not self._waiting:
                return

    def close(self) -> None:
        """Sends what still waits, as far as the socket takes it, and counts the rest."""
        waiting = len(self._waiting) + 1
        while len(self._waiting) < waiting:
            waiting = len(self._waiting)
            self.flush()
        self._shed("queue_full")
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> bool:
        self._last_sent = time.monotonic()
        try:
            self._socket = sockets.sender(self._path)
        except OSError:
            return False
        return True

    def _pack(self) -> tuple[bytes, int]:
        """The next datagram and its rows; without rows it is a heartbeat."""
        taken: list[Packed] = []
        if self._waiting_bytes <= FRAME_BYTES:
            taken += self._waiting
            self._waiting.clear()
            self._waiting_bytes = 0
        else:
            filled = 0
            while self._waiting and (not taken or filled + self._waiting[0].size <= FRAME_BYTES):
                taken.append(self._waiting.popleft())
                filled += taken[-1].size
            self._waiting_bytes -= filled
        rows = sum([item.rows for item in taken])
        return frames.encode(self._sender, self._ledger.handed(self._sender), taken), rows

    def _send(self, frame: tuple[bytes, int]) -> bool:
        """Whether the frame is off our hands."""
        assert self._socket is not None
        data, rows = frame
        self._ledger.hand_over(self._sender, rows)  # first: dying in between leaves rows missing, not unknown
        try:
            self._socket.send(data)
        except BlockingIOError:
            self._ledger.hand_over(self._sender, -rows)
            return False
        except OSError as error:
            self._ledger.hand_over(self._sender, -rows)
            self._frame = None
            if error.errno in (errno.EMSGSIZE, errno.ENOBUFS):
                self._count("too_large", rows)
                return True
            self._socket.close()
            self._socket = None
            self._count("shadow_down", rows)
            self._shed("shadow_down")
            return False
        self._last_sent = time.monotonic()
        return True

    def _shed(self, outcome: Outcome) -> None:
        """Counts everything that waits under one outcome, and lets it go."""
        rows = sum(item.rows for item in self._waiting)
        if self._frame is not None:
            rows += self._frame[1]
            self._frame = None
        self._waiting.clear()
        self._waiting_bytes = 0
        self._count(outcome, rows)

    def _count(self, outcome: Outcome, rows: int) -> None:
        _count(self._ledger, self._sender, outcome, rows)


def bury(ledger: Ledger, sender: int) -> None:
    """Counts the rows that an earlier process of an edge worker took to its grave; nobody else may be it."""
    lost = ledger.unaccounted(sender)
    if lost < 0:  # outcomes that it had counted and not yet noted the rows of
        ledger.offer(sender, -lost)
    else:
        _count(ledger, sender, "shadow_down", lost)


def _count(ledger: Ledger, sender: int, outcome: Outcome, rows: int) -> None:
    if rows:
        for page in range(ledger.pages):
            ledger.count(Side.EDGE, sender, page, outcome, rows)


def _parts(item: Mirrored, size: int) -> list[Mirrored]:
    """A request of many rows in parts of as many rows as fit one frame, at least one each."""
    total = len(item.rows)
    step = max(1, total * FRAME_BYTES // size)
    return [
        item._replace(
            rows=item.rows[start : start + step],
            scores=item.scores[start : start + step],
            first=start,
            total=total,
        )
        for start in range(0, total, step)
    ]
