"""One variable's rows, bin by bin: in the reference data, compared, and left out of the comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.binning import Variable

Counts: TypeAlias = NDArray[np.float64]
"""[bins]: rows in each bin."""

ROWS, FLIPS, GAP, SQUARES = range(4)
"""Columns of the book of bins: rows, flipped rows, score gaps and squared score gaps added up."""
COLUMNS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Tallied:
    """What was seen of one variable."""

    variable: Variable
    compared: NDArray[np.float64]
    """[bins, ``COLUMNS``]"""
    left_out: Counts
    """Rows that arrived and were not compared."""

    @property
    def kept(self) -> Counts:
        """Rows that were compared."""
        kept: Counts = self.compared[:, ROWS]
        return kept
