"""One variable's rows, bin by bin: in the reference data, compared, and left out of the comparison."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Counts: TypeAlias = NDArray[np.float64]
"""[bins]: rows in each bin, the missing values' last."""

ROWS, FLIPS, GAP, SQUARES = range(4)
"""Columns of the book of bins: rows, flipped rows, score gaps and squared score gaps added up."""
COLUMNS = 4

MISSING = "missing"
ANY = "any"
"""Label of the one bin of a variable that never varied."""


@dataclass(frozen=True, slots=True)
class Variable:
    """An input or a score, and the bins of its values; see ``models.reference``."""

    name: str
    """``score``, ``score:CLASS`` or ``feature:NAME``."""
    reference: tuple[int, ...]
    """Rows of the reference data in each bin, the missing values' last."""
    edges: tuple[float, ...] = ()
    """Of numbers: increasing; the n-th bin starts at the n-th edge, the first one below it."""
    categories: tuple[str, ...] = ()
    """Of words: one for each bin but the missing values'."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What people call the bins, [bins]."""
        if self.categories:
            return (*self.categories, MISSING)
        if not self.edges:
            return (ANY, MISSING)
        ends = _distinct(self.edges)
        between = (f"{low} to {high}" for low, high in pairwise(ends))
        return (f"below {ends[0]}", *between, f"{ends[-1]} or more", MISSING)


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


def _distinct(edges: tuple[float, ...]) -> list[str]:
    """The edges as briefly as still tells them apart."""
    for digits in range(4, 17):
        shown = [f"{edge:.{digits}g}" for edge in edges]
        if len(set(shown)) == len(shown):
            return shown
    return [repr(edge) for edge in edges]
