"""Score gap: how far the two models' scores for one row lie apart, in spreads.

The spread is 1 for probabilities and the reference scores' standard deviation for a regression. So gaps of
probabilities are 0 to 1; those of a regression have no upper bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.disagreement.measure import Compared, Contributions, Pair, Sums
from service.domain.schema import Scores

PROBABILITY_BUCKETS: tuple[float, ...] = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
"""Upper bounds of the histogram for probabilities; 0.0 counts rows that agree to the bit."""
BOUNDS: tuple[float, ...] = (0.0, 1e-7, 1e-6, 1e-5, 1e-4, *PROBABILITY_BUCKETS[1:], math.inf)
"""Upper bounds of the measure's own histogram, in spreads: fine enough to tell rounding from a difference."""
MOST_SPREADS = 5.0
"""A regression's gap of more standard deviations of the reference scores than this is capped at this."""
_TOTALS = ("sum", "signed", "squares", "capped", "deviation")


@dataclass(frozen=True, slots=True)
class Gap:
    """Totals of the gap, and rows by its size.

    Of a row, ``sum`` gets the gap, ``signed`` the candidate's score minus production's (the positive class's,
    or the value; 0 for multi-class models, where there is no one direction), ``squares`` the gap's square,
    ``capped`` the gap but at most ``cap``, ``deviation`` the squared distance of that from
    ``expected["gap"]``, and ``le:BOUND`` a one where the gap is at most that and more than the bound before.
    Bounds of a mean are only to be had of what is capped; of two probabilities every gap is.
    """

    name: str = "gap"

    def columns(self, pair: Pair) -> tuple[str, ...]:  # noqa: ARG002 - the same for every pair
        return (*_TOTALS, *(f"le:{bound:g}" for bound in BOUNDS))

    def contributions(self, pair: Pair, compared: Compared) -> Contributions:
        gap = gaps(compared.before, compared.after) / pair.spread
        found = np.zeros((len(gap), len(_TOTALS) + len(BOUNDS)))
        found[:, 0] = gap
        if pair.production.task != "multiclass":
            found[:, 1] = (compared.after[:, -1].astype(np.float64) - compared.before[:, -1]) / pair.spread
        found[:, 2] = gap * gap
        most = cap(pair)
        found[:, 3] = np.minimum(gap, most)
        found[:, 4] = np.square(found[:, 3] - min(compared.expected.get("gap", 0.0), most))
        found[np.arange(len(gap)), np.searchsorted(BOUNDS, gap) + len(_TOTALS)] = 1.0
        return found

    def show(self, pair: Pair, sums: Sums, rows: int) -> dict[str, Any]:
        total, signed, squares = sums[:3].tolist()
        mean = total / rows if rows else None
        return {
            "mean": mean,
            "signed_mean": None if mean is None or pair.production.task == "multiclass" else signed / rows,
            "std": None if mean is None else math.sqrt(max(0.0, squares / rows - mean * mean)),
            "histogram": [
                {"at_most": None if bound == math.inf else bound, "rows": int(count)}
                for bound, count in zip(BOUNDS, sums[len(_TOTALS) :], strict=True)
            ],
        }


def cap(pair: Pair) -> float:
    """The largest gap that ``capped`` knows, in spreads."""
    return 1.0 if pair.production.classes else MOST_SPREADS


def gaps(a: Scores, b: Scores) -> NDArray[np.float64]:
    """Largest absolute difference over a row's outputs; [rows], in the outputs' own unit, finite."""
    largest: NDArray[np.float64] = np.abs(np.subtract(a, b, dtype=np.float64)).max(axis=1)
    return largest


def gap_buckets(classification: bool, spread: float) -> tuple[float, ...]:
    """Histogram bounds: fixed for probabilities, multiples of the reference ``spread`` for values."""
    if classification:
        return PROBABILITY_BUCKETS
    return tuple(bound * spread for bound in PROBABILITY_BUCKETS)
