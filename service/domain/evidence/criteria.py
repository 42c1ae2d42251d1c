"""The criteria of a verdict: which mean is held against which margin, and how that stands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.evidence.bets import Amount, Bounds, Evidence, log_needed
from service.domain.evidence.more import more_rows
from service.domain.evidence.sequential import bounds
from service.domain.slices import ALL

Direction: TypeAlias = Literal["at_most", "at_least"]
State: TypeAlias = Literal["pass", "fail", "open", "waived"]


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """One mean, and the margin that was declared for it before anything was seen."""

    name: str
    direction: Direction
    margin: float
    evidence: Evidence
    slice: str = ALL
    noise: float = 0.0
    """What production differs from itself at most; that much more than ``at_most`` is not yet a failure."""
    change: bool = False
    """Whether it asks for sameness only, which a candidate that is proven better need not have."""
    labelled: bool = False
    """Whether its rows are those whose truth is known."""

    def passes(self, alpha: float) -> NDArray[np.bool_]:
        """Whether the mean is surely within the margin, for each of the sums."""
        return self._refutes(self.margin, alpha, low=self.direction == "at_least")

    def fails(self, alpha: float) -> NDArray[np.bool_]:
        """Whether it is surely beyond the margin, and noise does not explain it."""
        if self.direction == "at_most":
            return self._refutes(self.margin + self.noise, alpha, low=True)
        return self._refutes(self.margin, alpha, low=False)

    def excludes_zero(self, alpha: float, *, worse: bool = False) -> NDArray[np.bool_]:
        """Whether a mean that is 0 for equal models is surely on the better, or the ``worse``, side of it."""
        return self._refutes(0.0, alpha, low=(self.direction == "at_least") != worse)

    def decided(self, alpha: float) -> NDArray[np.bool_]:
        """Whether it passes or fails."""
        return self.passes(alpha) | self.fails(alpha)

    @property
    def rows(self) -> float:
        return self.evidence.rows

    def times(self, factor: Amount) -> Question:
        """As if there had been ``factor`` times as many rows like these; the noise stays as it is."""
        return replace(self, evidence=self.evidence.times(factor))

    def _refutes(self, limit: float, alpha: float, *, low: bool) -> NDArray[np.bool_]:
        """Whether the mean is surely above (``low``), or else below ``limit``."""
        weight = self.evidence.above(limit) if low else self.evidence.below(limit)
        return np.asarray(weight >= log_needed(alpha))


@dataclass(frozen=True, eq=False)  # no slots: bounds and outlook are worked out when somebody looks
class Criterion:
    """How one question stands."""

    question: Question
    state: State
    alpha: float
    """Of both its bounds together."""

    @property
    def name(self) -> str:
        return self.question.name

    @property
    def slice(self) -> str:
        return self.question.slice

    @property
    def rows(self) -> int:
        return int(self.question.evidence.rows)

    @property
    def value(self) -> float | None:
        """The mean of the rows; None before the first."""
        return self.question.evidence.value if self.rows else None

    @cached_property
    def _bounds(self) -> Bounds:
        return bounds(self.question.evidence, self.alpha)

    @property
    def low(self) -> float:
        return self._bounds.low

    @property
    def high(self) -> float:
        return self._bounds.high

    @cached_property
    def more_rows(self) -> int | None:
        """Rows like these that are still needed to decide it; None where it is decided, or never will be."""
        if self.state != "open":
            return None
        return more_rows(self.question, self.alpha)

    @property
    def headed_for_failure(self) -> bool:
        """Whether more rows like these would let it fail."""
        if self.value is None or self.state != "open":
            return False
        over = self.value - self.question.margin
        return (over if self.question.direction == "at_most" else -over) > self.question.noise

    def to_document(self) -> dict[str, Any]:
        """Ready for JSON; ``noise`` is what the margin is raised by before the criterion fails."""
        return {
            "name": self.name,
            "slice": self.slice,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "margin": self.question.margin,
            "noise": self.question.noise,
            "direction": self.question.direction,
            "rows": self.rows,
            "state": self.state,
            "more_rows": self.more_rows,
        }


def judge(question: Question, alpha: float) -> Criterion:
    """How it stands; it is ``waived`` by nobody here."""
    if question.passes(alpha):
        return Criterion(question, "pass", alpha)
    return Criterion(question, "fail" if question.fails(alpha) else "open", alpha)
