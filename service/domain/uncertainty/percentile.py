"""From how strange a row is to whether the model knows such rows: its place among the calibration rows.

A row is in domain up to a cut, the k-th smallest of the n calibration scores with k = ceil((n + 1) p) for the
share p (split conformal prediction; Vovk, Gammerman & Shafer 2005; Laxhammar & Falkman 2010 for strangers).
Of rows like the calibration rows at most 1 - p are then called out of domain, whatever the score. The score
must not have been learnt from the calibration rows. Where they are too few for that share, n < p / (1 - p),
the cut is the strangest of them and at most 1 / (n + 1) are called out of domain; the report says how many.

The percentile counts the calibration rows that are strictly less strange, so rows that tie count as none.
Scores that differ by rounding alone tie: one row's may depend on how many rows are scored with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import FeatureBatch
from service.domain.uncertainty.measure import Arrays, Asked, Columns, Fitted, Material, Unfitting

Strangeness: TypeAlias = NDArray[np.float64]
"""One score per row, finite; larger is stranger."""

LEAST_CALIBRATION = 20
"""Fewer calibration rows than this do not show what is usual."""

TIE = 1e-6
"""Scores tie that are farther apart by no more than such a part of them."""

MOST_SHUFFLED = 1000
"""Rows by which the report judges the score."""


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """A fitted measure of kind ``domain``: how strange a row is, and its place among the calibration rows."""

    strangeness: Callable[[Asked], Strangeness]
    ascending: Strangeness
    """Of the calibration rows, [n]."""
    cut: float

    def columns(self, asked: Asked) -> Columns:
        scores = self.strangeness(asked)
        return {
            "domain_score": scores,
            "domain_percentile": percentiles_among(self.ascending, scores),
            "in_domain": scores / (1 + TIE) <= self.cut,
        }

    def at(self, percentile: float) -> Domain:
        """The same with the cut of another percentile, from 0 to 100, both excluded."""
        return replace(self, cut=float(self.ascending[_rank(len(self.ascending), percentile) - 1]))


def percentiles_among(ascending: Strangeness, scores: Strangeness) -> NDArray[np.float64]:
    """What part of some scores [n], which ascend, is below each of others, 0 to 100."""
    return ascending.searchsorted(scores / (1 + TIE)).astype(np.float64) * (100.0 / len(ascending))


def learn_domain(
    material: Material,
    strangeness: Callable[[FeatureBatch], Strangeness],
    arrays: Arrays,
    report: Mapping[str, Any],
) -> Fitted:
    """What ``domain_from`` needs, beside the arrays of the measure itself.

    The report says what share of rows like the calibration rows may be called out of domain, and how often
    a calibration row whose columns were shuffled among the rows scores above one as it is: the area under
    the curve, where 0.5 is no better than a guess.

    Args:
        material: what the measure is fitted to.
        strangeness: scores canonical rows; not learnt from the calibration rows.
        arrays: what the measure itself learnt.
        report: what there is to say about that.

    Raises:
        Unfitting: there are fewer than ``LEAST_CALIBRATION`` rows, or one has no finite score.
    """
    n = len(material.rows)
    if n < LEAST_CALIBRATION:
        raise Unfitting(f"{n} calibration rows are too few; give {LEAST_CALIBRATION}")
    scores = strangeness(material.rows)
    if not np.isfinite(scores).all():
        raise Unfitting(f"calibration row {int((~np.isfinite(scores)).argmax())} has no finite score")
    ascending = np.sort(scores)
    rank = _rank(n, material.percentile)
    cut = ascending[rank - 1]
    shuffled = np.random.default_rng(material.seed).permuted(material.rows[:MOST_SHUFFLED], axis=0)
    told = {
        "cut": float(cut),
        "out_of_domain_at_most": (n + 1 - rank) / (n + 1),
        "auroc_of_shuffled": _auroc(ascending, strangeness(shuffled)),
        **report,
    }
    return Fitted({"ascending": ascending, "cut": cut.reshape(1), **arrays}, told)


def domain_from(arrays: Arrays, strangeness: Callable[[Asked], Strangeness]) -> Domain:
    """The measure that ``learn_domain`` saw."""
    return Domain(strangeness, arrays["ascending"], float(arrays["cut"][0]))


def _rank(n: int, percentile: float) -> int:
    """Which of n ascending scores is the cut, counted from 1; see the module."""
    exact = (n + 1) * percentile / 100
    nearest = round(exact)
    whole = nearest if math.isclose(exact, nearest, rel_tol=1e-12) else math.ceil(exact)
    return min(max(whole, 1), n)


def _auroc(ascending: Strangeness, others: Strangeness) -> float:
    """How often one of the others is above one of the ascending; ties count half."""
    below = ascending.searchsorted(others) + ascending.searchsorted(others, side="right")
    return float(below.mean() / (2 * len(ascending)))
