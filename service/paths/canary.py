"""The candidate that may answer callers: how it is kept from them where it fails, and when it is trusted."""

from __future__ import annotations

from dataclasses import dataclass

from service.domain.breaker import Breaker
from service.domain.canary import Rollout
from service.domain.projection import Projection
from service.paths.question import Serving

PROVEN_RUNS = 50
"""Quick runs after which a canary needs no thread, which costs a request more than its inference does."""
QUICK_SECONDS = 0.02
"""The longest that the event loop waits for a canary."""


@dataclass(slots=True)
class Canary:
    """A candidate that may answer, with the breaker that protects callers from it."""

    serving: Serving
    project: Projection
    breaker: Breaker
    proven: int = 0
    """Quick runs in a row, up to ``PROVEN_RUNS``: then it is run on the event loop, as production is."""
    dawdled: bool = False
    """Whether it once took long there, after which it never runs there again."""

    @property
    def trusted(self) -> bool:
        """Whether the event loop may wait for it."""
        return self.proven >= PROVEN_RUNS and not self.breaker.failures

    def took(self, seconds: float, *, here: bool) -> None:
        """Learns how long one run took, on the event loop or beside it."""
        if seconds > QUICK_SECONDS:
            self.proven = 0
            self.dawdled = self.dawdled or here
        elif self.proven < PROVEN_RUNS and not self.dawdled:
            self.proven += 1


@dataclass(frozen=True, slots=True)
class Split:
    """The canary split in force; replaced as a whole when the configuration changes."""

    rollout: Rollout
    canary: Canary | None
    """Present where ``rollout`` is active."""
