"""How explanations are asked for, counted and compared in the laws that all methods obey."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.game import Ask, Explainer, Explanation, Gradient, Subject, Unsuitable
from service.domain.schema import FeatureBatch, Scores
from service.errors import DeadlineError

ROUNDING = 2e-5
"""What float32 scores leave of a log-odds."""


def answer(
    explain: Explainer, rows: FeatureBatch, ask: Ask, due: float
) -> list[Explanation] | Unsuitable | DeadlineError:
    """The explanations, or why there are none."""
    try:
        return explain(rows, ask, due)
    except (Unsuitable, DeadlineError) as error:
        return error


@dataclass(eq=False)
class Counted:
    """A model whose rows are counted, derivatives included; it may be slow."""

    own: Subject
    rows: int = 0
    seconds: float = 0.0
    """That each row takes at least."""

    @property
    def subject(self) -> Subject:
        gradient = None if self.own.gradient is None else CountedGradient(self, self.own.gradient)
        return replace(self.own, predict=self.predict, gradient=gradient)

    def predict(self, rows: FeatureBatch) -> Scores:
        self.evaluated(len(rows))
        return self.own.predict(rows)

    def evaluated(self, rows: int) -> None:
        self.rows += rows
        if self.seconds:
            time.sleep(self.seconds * rows)


@dataclass(frozen=True, eq=False)
class CountedGradient:
    """The derivative of a ``Counted`` model."""

    counted: Counted
    own: Gradient

    def __call__(self, rows: FeatureBatch, label: int) -> NDArray[np.float32]:
        self.counted.evaluated(len(rows))
        return self.own(rows, label)

    def maps(self, rows: FeatureBatch, label: int) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        found = self.own.maps(rows, label)
        if found is not None:
            self.counted.evaluated(len(rows))
        return found


def same(one: Explanation, other: Explanation) -> bool:
    """Whether two explanations are equal to the last bit."""
    return alike(one, other, rounding=0) and one.detail == other.detail


def alike(one: Explanation, other: Explanation, rounding: float = ROUNDING) -> bool:
    """Whether two explanations of one row say the same, to within ``rounding``."""
    plain = ("method", "exact", "output", "label", "rows_evaluated", "degraded")
    if any(getattr(one, name) != getattr(other, name) for name in plain):
        return False
    first, second = (
        [each.base_value, *each.values, *([] if each.standard_errors is None else each.standard_errors)]
        for each in (one, other)
    )
    return len(first) == len(second) and np.allclose(first, second, rtol=rounding, atol=rounding)


def is_a_sentence(error: Exception) -> bool:
    """Whether a caller can read why, after a name and a colon."""
    return len(str(error).split()) >= 4 and "\n" not in str(error)
