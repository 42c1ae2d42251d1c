"""The rising curve that fits the calibration rows best: isotonic regression of what happened on the score.

Rows are pooled until their shares rise with the score (Zadrozny & Elkan, KDD 2002; pool-adjacent-violators,
Ayer et al. 1955), and between pools the curve is a straight line. Of two classes the second has a curve; of
more each has one against the rest, and the results are divided by their sum.

n rows cannot tell a share below about 1/n from 0, so every curve stays within 1/(n+2) and (n+1)/(n+2), which
Laplace's rule of succession gives for "never" and "always": no probability is 0 or 1 for two classes, and for
more none is 0.

The curve may bend at every row, so it wants many (Niculescu-Mizil & Caruana, ICML 2005, advise a thousand).
Fewer than ``FEWEST`` are refused: where they happen to hold no mistake, not even cross-validation sees that
the curve has learnt never to expect one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import ModelSpec, Scores
from service.domain.uncertainty.held_out import fitted
from service.domain.uncertainty.measure import Arrays, Asked, Columns, Fitted, Kind, Material

FEWEST = 200
"""Calibration rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A rising piecewise linear function, constant beyond its ends."""

    knots: NDArray[np.float64]
    """Ascending scores."""
    shares: NDArray[np.float64]
    at_knots: list[tuple[float, float, float]]
    """(score, share, slope to the next) of each knot; for single rows."""
    scores: list[float]
    """``knots``, for single rows."""

    def one(self, score: float) -> float:
        place = bisect_right(self.scores, score) - 1
        if place < 0:
            return self.at_knots[0][1]
        knot, share, slope = self.at_knots[place]
        return share + (score - knot) * slope

    def every(self, scores: Scores) -> NDArray[np.float64]:
        return np.interp(scores, self.knots, self.shares)


@dataclass(frozen=True, slots=True, eq=False)
class Rising:
    """Gives ``calibrated``."""

    curves: tuple[Curve, ...]
    """One for the second of two classes, else one for each class."""

    def columns(self, asked: Asked) -> Columns:
        scores = asked.scores
        if len(self.curves) == 1:
            if len(scores) == 1:  # a third of what numpy would take for one row
                share = self.curves[0].one(scores.item(1))
                return {"calibrated": np.array([[1 - share, share]])}
            shares = self.curves[0].every(scores[:, 1])
            return {"calibrated": np.stack([1 - shares, shares], axis=1)}
        if len(scores) == 1:
            parts = [curve.one(score) for curve, score in zip(self.curves, scores[0].tolist(), strict=True)]
            total = sum(parts)
            return {"calibrated": np.array([[part / total for part in parts]])}
        pieces = np.stack([curve.every(scores[:, at]) for at, curve in enumerate(self.curves)], axis=1)
        return {"calibrated": pieces / pieces.sum(axis=1, keepdims=True)}


class Isotonic:
    """Learns ``knots`` and ``shares``, float64 [k], of all curves in turn, and ``sizes``, intp [curves]."""

    name = "isotonic"
    kind: Kind = "probability"

    def fit(self, material: Material) -> Fitted:
        return fitted(material, learn_curves, self.restore, FEWEST)

    def restore(self, spec: ModelSpec, arrays: Arrays) -> Rising:  # noqa: ARG002 - the arrays tell all
        ends = np.cumsum(arrays["sizes"])[:-1]
        knots, shares = (np.split(arrays[name], ends) for name in ("knots", "shares"))
        return Rising(tuple(_curve(*each) for each in zip(knots, shares, strict=True)))


def learn_curves(scores: Scores, labels: NDArray[np.intp]) -> Arrays:
    """What ``Isotonic`` consists of, from served scores [n, classes] and labels [n]."""
    classes = range(1, 2) if scores.shape[1] == 2 else range(scores.shape[1])
    found = [_best_curve(scores[:, each], labels == each) for each in classes]
    return {
        "knots": np.concatenate([knots for knots, _ in found]),
        "shares": np.concatenate([shares for _, shares in found]),
        "sizes": np.array([len(knots) for knots, _ in found]),
    }


def tallied(
    scores: NDArray[np.floating], positive: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.intp]]:
    """Distinct scores in ascending order, how many rows have each, and how many of these are positive."""
    distinct, place = np.unique(scores.astype(np.float64), return_inverse=True)
    return distinct, np.bincount(place), np.bincount(place[positive], minlength=len(distinct))


def _best_curve(
    scores: NDArray[np.floating], positive: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Knots and shares; of each pool only its ends are kept."""
    from scipy.optimize import isotonic_regression  # only packaging needs scipy

    distinct, counts, positives = tallied(scores, positive)
    blocks = isotonic_regression(positives / counts, weights=counts).blocks
    first, last = blocks[:-1], blocks[1:] - 1
    pooled = np.add.reduceat(positives, first) / np.add.reduceat(counts, first)
    shares = np.clip(pooled, 1 / (len(scores) + 2), (len(scores) + 1) / (len(scores) + 2))
    ends, kept = np.unique(np.stack([first, last], axis=1), return_index=True)
    return distinct[ends], np.repeat(shares, 2)[kept]


def _curve(knots: NDArray[np.float64], shares: NDArray[np.float64]) -> Curve:
    return Curve(knots, shares, list(_with_slopes(knots, shares)), knots.tolist())


def _with_slopes(
    knots: NDArray[np.float64], shares: NDArray[np.float64]
) -> Iterator[tuple[float, float, float]]:
    slopes = np.diff(shares) / np.diff(knots)
    yield from zip(knots.tolist(), shares.tolist(), [*slopes.tolist(), 0.0], strict=True)


ISOTONIC = Isotonic()
