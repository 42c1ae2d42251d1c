"""The closer look at some of the rows that arrive: how strange they are, and whether a classifier tells them
from the reference data.

That costs some 0.1 ms a row, so it is done for a bounded number of rows a minute, drawn at random from each
batch, in a thread that nobody waits for.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import FeatureBatch
from service.domain.variables import DOMAIN

log = logging.getLogger("understudy.drift")

CHUNK_ROWS = 100
"""Rows of one turn."""
QUEUE_BYTES = 16 << 20
"""Rows that may wait; what finds no room is not looked at."""

Percentile: TypeAlias = Callable[[FeatureBatch], NDArray[np.floating[Any]]]
"""How strange rows are: the share of the calibration rows that are less so, 0 to 100, [rows]."""


class TwoSample(Protocol):
    """Learns to tell rows from the reference data, see ``service.domain.drift.two_sample``."""

    def look(self, rows: FeatureBatch) -> tuple[int, int]:
        """Of these and as many reference rows: how many it told right, and how many there were."""


class Counts(Protocol):
    """Where what was found is counted."""

    def count_column(self, variable: str, values: NDArray[np.floating[Any]]) -> None: ...

    def told(self, right: int, rows: int) -> None: ...


@dataclass(slots=True)
class Looks:
    """``offer`` belongs to the receiver's thread, ``look`` to another one; nothing raises.

    Args:
        counts: production's.
        per_minute: rows that are looked at; as many may come at once.
        percentile: None where the bundle has no measure of the domain.
        two_sample: None where there are too few reference rows.
        seed: of the draw.
    """

    counts: Counts
    per_minute: int
    percentile: Percentile | None = None
    two_sample: TwoSample | None = None
    clock: Callable[[], float] = time.monotonic
    seed: int = 0
    _random: np.random.Generator = field(init=False)
    _allowed: float = field(init=False)
    _since: float = field(init=False)
    _queue: deque[FeatureBatch] = field(default_factory=deque)
    _queued_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _complaints: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)
        self._allowed = float(self.per_minute)
        self._since = self.clock()

    def offer(self, rows: FeatureBatch) -> None:
        """Draws as many of these rows as may be looked at by now."""
        now = self.clock()
        self._allowed = min(self.per_minute, self._allowed + (now - self._since) * self.per_minute / 60)
        self._since = now
        wanted = min(len(rows), int(self._allowed))
        if not wanted:
            return
        self._allowed -= wanted
        drawn = rows
        if wanted < len(rows):
            drawn = rows[np.sort(self._random.choice(len(rows), wanted, replace=False))]
        with self._lock:
            if self._queued_bytes + drawn.nbytes <= QUEUE_BYTES:
                self._queue.append(drawn)
                self._queued_bytes += drawn.nbytes

    def look(self) -> bool:
        """Looks at a hundred rows; whether more wait."""
        rows = self._next()
        if rows is None:
            return False
        if self.percentile is not None:
            try:
                self.counts.count_column(DOMAIN, self.percentile(rows))
            except Exception as error:  # a graph that fails, or a bug of ours
                self._complain("how strange rows are is not known", error)
        if self.two_sample is not None:
            try:
                self.counts.told(*self.two_sample.look(rows))
            except Exception as error:
                self._complain("rows are not told from the reference data", error)
        return bool(self._queue)

    def _next(self) -> FeatureBatch | None:
        with self._lock:
            if not self._queue:
                return None
            taken = [self._queue.popleft()]
            count = len(taken[0])
            while self._queue and count < CHUNK_ROWS:
                taken.append(self._queue.popleft())
                count += len(taken[-1])
            rows = np.concatenate(taken)
            if count > CHUNK_ROWS:
                self._queue.appendleft(rows[CHUNK_ROWS:])
                rows = rows[:CHUNK_ROWS]
            self._queued_bytes -= rows.nbytes
            return rows

    def _complain(self, what: str, error: Exception) -> None:
        complaint = (what, type(error).__name__)
        if complaint not in self._complaints:
            self._complaints.add(complaint)
            log.error("%s (%s is logged once)", what, complaint[1], exc_info=error)
