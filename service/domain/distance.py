"""How far apart two rows of mixed columns are, in typical spreads.

The distance is a sum over columns (Gower, Biometrics 27, 1971, who also divides by their number): numbers
differ by |a - b| / scale, categories by 0 or 1, and a missing value is 1 away from every value and 0 from
another missing one. ``scale`` is the column's interquartile range in the reference rows, which a few extreme
values do not move: from the lower quartile to the upper is as far as from one category to another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import FeatureBatch, Schema

Points: TypeAlias = NDArray[np.float64]
"""Scaled rows, [rows, width]; made by ``MixedDistance.scaled``."""

_ELEMENTS = 2_000_000
"""Column differences that ``pairwise`` holds at a time: 16 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class MixedDistance:
    """The distance as learnt from reference rows; see the module."""

    scale: NDArray[np.float64]
    """Of each column, [width], in the column's own unit; 1 where ``same_or_not``."""
    same_or_not: NDArray[np.bool_]
    """[width]: categories, and numbers that are constant in the reference rows."""

    def scaled(self, rows: FeatureBatch) -> Points:
        """Rows in units of ``scale``, for the methods below."""
        return np.asarray(rows / self.scale, dtype=np.float64)

    def gaps(self, one: Points, other: Points) -> NDArray[np.float64]:
        """The distance column by column, [..., width]; the arguments broadcast."""
        gaps: NDArray[np.float64] = np.abs(one - other)
        unknown = np.isnan(gaps)
        if unknown.any():
            gaps = np.where(unknown, np.isnan(one) != np.isnan(other), gaps)
        if self.same_or_not.any():
            gaps[..., self.same_or_not] = gaps[..., self.same_or_not] > 0
        return gaps

    def between(self, one: Points, other: Points) -> NDArray[np.float64]:
        """The distance of points, [...]; the arguments broadcast."""
        total: NDArray[np.float64] = self.gaps(one, other).sum(axis=-1)
        return total

    def pairwise(self, ones: Points, others: Points) -> NDArray[np.float64]:
        """The distance of every pair, [ones, others]."""
        found = np.empty((len(ones), len(others)))
        step = max(1, _ELEMENTS // max(1, others.size))
        for start in range(0, len(ones), step):
            part = slice(start, start + step)
            found[part] = self.between(ones[part, None], others[None])
        return found


def learn_distance(schema: Schema, rows: FeatureBatch) -> MixedDistance:
    """The distance whose scales are those of reference rows [rows >= 1, width].

    Where half of a column's values or more are the same, its standard deviation stands for the interquartile
    range. An image's pixels share one scale, their standard deviation, since they share a unit.
    """
    exact = rows.astype(np.float64)
    if schema.layout == "image":
        spread = float(exact.std())
        return MixedDistance(np.full(schema.width, spread or 1.0), np.zeros(schema.width, dtype=np.bool_))
    scale = np.ones(schema.width)
    same_or_not = np.ones(schema.width, dtype=np.bool_)
    for column, feature in enumerate(schema.features):
        known = exact[~np.isnan(exact[:, column]), column]
        if feature.categories or len(known) == 0 or known.min() == known.max():
            continue
        lower, upper = np.quantile(known, (0.25, 0.75))
        scale[column] = upper - lower if upper > lower else known.std()
        same_or_not[column] = False
    return MixedDistance(scale, same_or_not)


def nearest_distances(distance: MixedDistance, reference: Points, most: int = 256) -> NDArray[np.float64]:
    """How far reference rows are from their own nearest other row, of ``most`` rows evenly spread, [<= most].

    What is usual here tells whether a made-up row is near enough to be real.
    """
    chosen = np.unique(np.linspace(0, len(reference) - 1, min(most, len(reference))).astype(np.intp))
    found = distance.pairwise(reference[chosen], reference)
    found[np.arange(len(chosen)), chosen] = np.inf
    nearest: NDArray[np.float64] = found.min(axis=1)
    return nearest
