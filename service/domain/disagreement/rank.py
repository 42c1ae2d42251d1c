"""Rank correlation: whether both models put rows in the same order.

Ranks of single rows cannot be added up, but a table of how many rows each pair of score bins holds can: over
any hours, slices and replicas. From it follow Spearman's rho (of mid-ranks) and Kendall's tau-b exactly as of
scores that were rounded to their bins; both treat rows in one bin as ties. With the ten bins of the reference
data they are a few hundredths off those of the unrounded scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.disagreement.measure import Compared, Contributions, Pair, Sums
from service.domain.schema import Scores


@dataclass(frozen=True, slots=True)
class Rank:
    """Column ``I,J`` counts scores in production's bin I and the candidate's bin J of ``pair.cuts``.

    Of two classes the positive one's score counts, of a regression the value. Of more classes each class's
    score counts: whether both models put (row, class) pairs in the same order.
    """

    name: str = "rank"

    def columns(self, pair: Pair) -> tuple[str, ...]:
        if not pair.cuts:
            return ()
        bins = range(len(pair.cuts) + 1)
        return tuple(f"{before},{after}" for before in bins for after in bins)

    def contributions(self, pair: Pair, compared: Compared) -> Contributions:
        rows, bins = len(compared), len(pair.cuts) + 1
        before, after = _bins(pair, compared.before), _bins(pair, compared.after)
        found, every = np.zeros((rows, bins**2)), np.arange(rows)
        for cells in (before * bins + after).T:
            found[every, cells] += 1.0
        return found

    def show(self, pair: Pair, sums: Sums, rows: int) -> dict[str, Any]:  # noqa: ARG002 - the table has its own
        bins = len(pair.cuts) + 1
        table = sums.reshape(bins, bins)
        return {"spearman": spearman(table), "kendall": kendall(table)}


def spearman(table: NDArray[np.float64]) -> float | None:
    """Rho of the rows counted in ``table`` [bins, bins]; None where one side has no two different bins."""
    first, second = (_middles(table.sum(axis=axis)) for axis in (1, 0))
    spread = math.sqrt(float(table.sum(axis=1) @ first**2) * float(table.sum(axis=0) @ second**2))
    return _bounded(float(first @ table @ second), spread)


def kendall(table: NDArray[np.float64]) -> float | None:
    """Tau-b of the same (Kendall, Biometrika 33, 1945)."""
    before_both = np.zeros_like(table)
    before_both[1:, 1:] = table.cumsum(axis=0).cumsum(axis=1)[:-1, :-1]
    mirrored = table[:, ::-1]
    before_one = np.zeros_like(table)
    before_one[1:, 1:] = mirrored.cumsum(axis=0).cumsum(axis=1)[:-1, :-1]
    difference = float((table * before_both).sum() - (mirrored * before_one).sum())
    untied = [_pairs(table.sum()) - _pairs(table.sum(axis=axis)).sum() for axis in (1, 0)]
    return _bounded(difference, math.sqrt(float(untied[0]) * float(untied[1])))


def _bins(pair: Pair, scores: Scores) -> NDArray[np.intp]:
    counted = scores if pair.production.task == "multiclass" else scores[:, -1:]
    return np.searchsorted(pair.cuts, counted, side="right")


def _middles(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mid-rank of each bin, as a distance from the mean rank."""
    middles: NDArray[np.float64] = np.cumsum(counts) - counts / 2 - counts.sum() / 2
    return middles


def _pairs(counts: Any) -> Any:
    return counts * (counts - 1) / 2


def _bounded(value: float, scale: float) -> float | None:
    return min(1.0, max(-1.0, value / scale)) if scale > 0 else None
