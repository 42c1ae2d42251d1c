"""When each request of an open-loop run is due: a fixed schedule that waits for nobody."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """Request ``i`` is due ``i / rate`` seconds after the start, for ``seconds`` seconds.

    Latency is counted from the due time, not from the time of sending: a server that stalls makes the
    requests behind it late, and that lateness is measured rather than left out ("coordinated omission").
    """

    rate: float
    """Requests per second."""
    seconds: float

    def __post_init__(self) -> None:
        if self.rate <= 0 or self.seconds <= 0:
            raise ValueError(f"rate and seconds are above 0, found {self.rate} and {self.seconds}")

    @property
    def count(self) -> int:
        """Requests of the whole run; at least 1."""
        return max(1, round(self.rate * self.seconds))

    def due(self, index: int) -> float:
        """Seconds after the start at which request ``index`` is due."""
        return index / self.rate

    def due_by(self, elapsed: float) -> int:
        """How many requests are due ``elapsed`` seconds after the start."""
        if elapsed < 0:
            return 0
        return min(self.count, int(elapsed * self.rate) + 1)
