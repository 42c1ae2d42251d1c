"""What every measure of disagreement is given, and what it gives back.

A measure turns each compared row into a few numbers whose sums say all that it will ever want to know. So a
batch, an hour, a slice and all replicas together are the same thing: vectors that add up. Nothing else is
kept of ordinary rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import ModelSpec, Scores

Contributions: TypeAlias = NDArray[np.float64]
"""[rows, columns]: what each row adds to a measure's sums."""
Sums: TypeAlias = NDArray[np.float64]
"""[columns]: contributions added up over any rows."""
Region: TypeAlias = NDArray[np.bool_] | NDArray[np.float64]
"""What a model held possible: bool [rows, classes], or float64 [rows, 2] intervals of a regression."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Scores a and b are the same answer where |a - b| <= absolute + relative * |a|; a is production's."""

    absolute: float = 1e-6
    relative: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """The two models that are compared, and what the comparison is held against."""

    production: ModelSpec
    candidate: ModelSpec
    tolerance: Tolerance = Tolerance()
    spread: float = 1.0
    """Unit of score gaps: 1 for probabilities, the reference scores' standard deviation for a regression."""
    costs: NDArray[np.float64] | None = None
    """[true class, answered class]: what each answer costs, any unit; None where all mistakes are alike."""
    cuts: tuple[float, ...] = ()
    """Ascending inner edges by which scores are put into bins, from the reference data."""


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Two models' answers to the same rows, and the truth where it is known."""

    before: Scores
    """Production's, [rows, outputs]; finite."""
    after: Scores
    """The candidate's, [rows, outputs]; finite."""
    before_region: Region | None = None
    """Production's label sets or intervals at the confidence of its manifest; None where it has none."""
    after_region: Region | None = None
    labels: NDArray[np.intp] | NDArray[np.float64] | None = None
    """[rows]: indices into the classes, or values; None where the truth is not known."""
    expected: Mapping[str, float] = field(default_factory=dict)
    """By quantity: what its mean was before these rows, 0 where nothing was known. Sums of squared distances
    from it are what empirical-Bernstein bounds need; any guess made before the rows were seen is valid."""

    def __len__(self) -> int:
        return len(self.before)


class Measure(Protocol):
    """One way to say how far two models differ, or who is right; stateless."""

    @property
    def name(self) -> str: ...

    def columns(self, pair: Pair) -> tuple[str, ...]:
        """Names of its sums, the same for the same pair always; empty where it says nothing about it."""

    def contributions(self, pair: Pair, compared: Compared) -> Contributions:
        """[len(compared), len(columns(pair))]; finite, vectorised. Not called where ``columns`` is empty."""

    def show(self, pair: Pair, sums: Sums, rows: int) -> dict[str, Any]:
        """What the sums over ``rows`` rows say, ready for JSON; None where rows are too few to say it."""


def mean(total: float, rows: int) -> float | None:
    """The mean of what ``rows`` rows add up to; None where there is none."""
    return float(total) / rows if rows else None


def truth(compared: Compared) -> NDArray[np.intp] | NDArray[np.float64]:
    """The labels of the compared rows, [rows].

    Raises:
        ValueError: they are not known.
    """
    if compared.labels is None:
        raise ValueError("who was right cannot be said of rows whose truth is not known")
    return compared.labels
