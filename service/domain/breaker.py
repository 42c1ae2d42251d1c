"""A circuit breaker as a frozen record: each event gives the next record.

Closed until ``limit`` failures in a row, then open for a pause that doubles with every trip up to
``longest`` seconds. When the pause is over one trial is allowed; its success closes the breaker.
Callers that call concurrently say when a call ``started``, so that there is one trial and not many.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Breaker:
    """Rules and state of one breaker."""

    limit: int = 5
    """Failures in a row that open it."""
    pause: float = 5.0
    """Seconds of the first pause."""
    longest: float = 300.0
    """Seconds of the longest pause."""
    failures: int = 0
    trips: int = 0
    open_until: float = 0.0
    """On the caller's monotonic clock, in seconds; 0 while closed."""
    trial: bool = False
    """Whether a call was let through since it opened, and is not over."""

    @property
    def is_open(self) -> bool:
        return self.open_until > 0


def allows(breaker: Breaker, now: float) -> bool:
    """Whether a call may be made at ``now`` (seconds)."""
    return now >= breaker.open_until


def started(breaker: Breaker, now: float) -> Breaker:
    """After a call that ``allows`` let through began; while it tries an open breaker, no other call may."""
    if not breaker.is_open:
        return breaker
    return replace(breaker, trial=True, open_until=now + breaker.pause)


def succeeded(breaker: Breaker, now: float) -> Breaker:
    """After a call that worked, at ``now``; one that began before the breaker opened closes nothing."""
    if breaker.failures == 0 and not breaker.is_open:
        return breaker
    if now < breaker.open_until and not breaker.trial:
        return breaker
    return replace(breaker, failures=0, trips=0, open_until=0.0, trial=False)


def failed(breaker: Breaker, now: float) -> Breaker:
    """After a call that failed at ``now``: one more failure, and a pause where that is enough.

    A call that began before the breaker opened tells nothing new: it prolongs no pause.
    """
    if now < breaker.open_until and not breaker.trial:
        return breaker
    failures = breaker.failures + 1
    if failures < breaker.limit and not breaker.is_open:
        return replace(breaker, failures=failures)
    return tripped(replace(breaker, failures=failures), now)


def tripped(breaker: Breaker, now: float, trips: int | None = None) -> Breaker:
    """Opened at ``now``; ``trips`` overrides how often it opened before."""
    before = breaker.trips if trips is None else trips
    pause = min(breaker.pause * 2.0 ** min(before, 30), breaker.longest)
    return replace(breaker, trips=before + 1, open_until=now + pause, trial=False)
