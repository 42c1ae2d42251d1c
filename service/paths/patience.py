"""When to leave the store in peace: after a failure, longer and longer, and after whatever took it long."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

PAUSES = (0.5, 30.0)
"""Seconds until a failed store is tried again, at first and at most; doubled each time, and up to half of it
less by chance: replicas that lost their store at the same moment do not come back at the same."""
SLOW_SECONDS = 0.1
"""From here on a transaction is slow."""
REST = 9.0
"""For so many times as long as a slow one took there is no other. Labels on their way in wait for each on
SQLite, and a process of idle priority may take seconds for one where all CPUs are busy."""


@dataclass(slots=True)
class Patience:
    """Of one thread with one store.

    Args:
        clock: seconds that only ever go on.
        draw: uniform in [0, 1).
    """

    clock: Callable[[], float] = time.monotonic
    draw: Callable[[], float] = random.random
    _pause: float = 0.0
    _resume: float = 0.0

    @property
    def left(self) -> float:
        """Seconds for which the store is still left in peace."""
        return max(0.0, self._resume - self.clock())

    def resting(self) -> bool:
        """Whether it is."""
        return self.clock() < self._resume

    def failed(self) -> float:
        """Notes that the store failed, and gives the seconds until it may be tried again."""
        first, longest = PAUSES
        self._pause = min(2 * self._pause, longest) if self._pause else first
        pause = self._pause * (1 - self.draw() / 2)
        self._resume = self.clock() + pause
        return pause

    def succeeded(self) -> None:
        """Notes that the store works, so that its next failure counts as the first."""
        self._pause = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """A transaction, after which there is a rest where it was slow."""
        begun = self.clock()
        yield
        took = self.clock() - begun
        if took >= SLOW_SECONDS:
            self._resume = self.clock() + min(REST * took, PAUSES[1])
