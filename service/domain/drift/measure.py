"""What a measure of drift is: a number for two samples of one variable that are counted in the same bins."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from service.domain.binning import Variable

SMOOTHING = 0.5
"""Rows added to each bin where a share stands in a logarithm, so that none is nought."""


class Seen(NamedTuple):
    """The bins that are not empty in both samples; [bins] each."""

    reference: NDArray[np.float64]
    """Rows."""
    live: NDArray[np.float64]
    reference_shares: NDArray[np.float64]
    """With ``SMOOTHING``; all above nought, of sum 1."""
    live_shares: NDArray[np.float64]


class Steps(NamedTuple):
    """The ordered bins, seen or not."""

    gaps: NDArray[np.float64]
    """What share of the live rows is in this bin or before, less that of the reference rows; [bins]."""
    rows: float
    """The harmonic sum of both samples' rows in these bins, 1 / (1 / n + 1 / m)."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One variable's rows, bin by bin; both have at least one row, and counts may be fractions."""

    reference: NDArray[np.float64]
    """Rows of the reference data, [bins]."""
    live: NDArray[np.float64]
    """Rows that arrived, [bins]."""
    ordered: int
    """How many of the first bins are in the order of their values; 0 for words and labels."""
    missing: int
    """Which bin holds missing values."""
    strange: tuple[int, ...]
    """Bins of what the reference data never had: words, and values below its least or above its largest."""

    @classmethod
    def of(
        cls, variable: Variable, live: NDArray[np.float64], reference: NDArray[np.float64] | None = None
    ) -> Sample:
        """Rows in a variable's bins beside its reference data, or beside other rows."""
        beside = np.array(variable.reference, np.float64) if reference is None else reference
        return cls(beside, live, variable.ordered, variable.missing, variable.strange)

    @cached_property
    def rows(self) -> float:
        """Live rows."""
        return float(self.live.sum())

    @cached_property
    def unit(self) -> float:
        """What chance makes of a measure is in proportion to this: 1 / n + 1 / m for n and m rows."""
        return 1.0 / self.rows + 1.0 / float(self.reference.sum())

    @cached_property
    def freedom(self) -> int:
        """Seen bins but one, and at least 0."""
        return max(0, len(self.seen.live) - 1)

    @cached_property
    def seen(self) -> Seen:
        """Without bins that are empty in both samples, which say nothing."""
        chosen = (self.reference + self.live) > 0
        reference, live = self.reference[chosen], self.live[chosen]
        return Seen(reference, live, _smoothed(reference), _smoothed(live))

    @cached_property
    def steps(self) -> Steps | None:
        """None where bins have no order, or a sample has no row in those that have."""
        reference, live = (rows[: self.ordered].cumsum() for rows in (self.reference, self.live))
        if not self.ordered or not reference[-1] or not live[-1]:
            return None
        n, m = float(live[-1]), float(reference[-1])
        return Steps(live / n - reference / m, n * m / (n + m))


class Measure(Protocol):
    """One way to say how far the two samples lie apart.

    Guarantee, held over all of them by ``tests/contracts``: two samples with the same shares show no change;
    the order of words does not matter; a word or class that neither sample has changes nothing.
    """

    @property
    def name(self) -> str:
        """In ``/drift``, and after ``understudy:drift_`` in Prometheus."""

    @property
    def unit(self) -> str:
        """What the number counts, for people."""

    def value(self, sample: Sample) -> float | None:
        """The number; None where the measure has nothing to say about such a variable."""


def _smoothed(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    more = rows + SMOOTHING
    shares: NDArray[np.float64] = more / more.sum()
    return shares
