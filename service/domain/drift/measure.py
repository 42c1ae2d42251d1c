"""What a measure of drift is: a number for two samples of one variable that are counted in the same bins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

SMOOTHING = 0.5
"""Rows added to each bin where a share stands in a logarithm, so that none is nought."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One variable's rows, bin by bin; both have at least one row, and counts may be fractions."""

    reference: NDArray[np.float64]
    """Rows of the reference data, [bins]."""
    live: NDArray[np.float64]
    """Rows that arrived, [bins]."""
    ordered: int
    """How many of the first bins are in the order of their values, from below the reference data's least value
    to above its largest; 0 for words and labels. The bins after them are words, ``missing``, ``unseen``."""
    missing: int
    """Which bin holds missing values."""
    strange: tuple[int, ...]
    """Bins of what the reference data cannot have: words it lacks, values below its least or above its largest."""


class Measure(Protocol):
    """One way to say how far the two samples lie apart.

    Guarantee, held over all of them by ``tests/contracts``: of two samples with the same shares it is what it is
    at rest; the order of words does not matter; a bin that is empty in both changes nothing.
    """

    @property
    def name(self) -> str:
        """In ``/drift``, and after ``understudy:drift_`` in Prometheus."""

    @property
    def unit(self) -> str:
        """What the number counts, for people."""

    def value(self, sample: Sample) -> float | None:
        """The number; None where the measure has nothing to say about such a variable."""
