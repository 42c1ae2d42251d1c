"""Intervals that are wide for difficult rows: a residual is judged by how large it usually is for such rows.

A value's nonconformity is |value - served value| / difficulty (Papadopoulos, Gammerman & Vovk, AIA 2008).
A third of the calibration rows teach the difficulty and the rest are scored, so a row's difficulty owes
nothing to its own residual, nor to any other scored one, and regions cover as often as they say.

What stands for difficulty is the best of these, by how well it foretells the teaching rows' residuals
(mean log score of a Laplace distribution, each row left out of its own forecast): the mean |residual| of the
k nearest teaching rows, by the distance in ``service.domain.distance``, which knows categories and missing
values; the spread of the model's members, where the bundle has their graph; or nothing, which makes all rows
alike. A part of the overall mean |residual| is mixed in, so no difficulty is zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.distance import MixedDistance, Points, learn_distance
from service.domain.schema import FeatureBatch, ModelSpec
from service.domain.uncertainty.conformal import part
from service.domain.uncertainty.intervals import AROUND, IntervalMeasure, Lesson, Shape
from service.domain.uncertainty.measure import Arrays, Asked, Material, Run

LEAST_ROWS = 60
"""Of fewer calibration rows a third teaches nothing, and the rest is soon too few."""
MOST_TEACHING = 500
"""A row is compared with each at request time, 35 µs for 13 columns."""
MOST_COLUMNS = 256
"""Wider rows, such as pictures, would take too long to compare."""
NEIGHBOURS = (5, 10, 20, 40, 80)
MIXED_IN = 0.1
"""Share of the overall mean |residual| in every difficulty."""


_Choice: TypeAlias = tuple[float, dict[str, Any], Arrays]
"""How badly a difficulty foretells, what the report says of it, and what it consists of."""


class Difficulty(Protocol):
    """How large residuals usually are for such rows."""

    def of(self, rows: FeatureBatch, run: Run) -> NDArray[np.float64]:
        """[rows], above 0."""


@dataclass(frozen=True, slots=True, eq=False)
class NeighbourDifficulty:
    """Mean |residual| of the nearest teaching rows, in the value's unit."""

    distance: MixedDistance
    points: Points
    """Teaching rows, [m, width]."""
    residuals: NDArray[np.float64]
    """Their |residual|, [m]."""
    count: int
    """How many of them are near, fewer than m."""

    def of(self, rows: FeatureBatch, _run: Run) -> NDArray[np.float64]:
        apart = self.distance.pairwise(self.distance.scaled(rows), self.points)
        nearest = np.argpartition(apart, self.count, axis=1)[:, : self.count]
        return _mixed(self.residuals[nearest].mean(axis=1), float(self.residuals.mean()))


@dataclass(frozen=True, slots=True, eq=False)
class SpreadDifficulty:
    """Standard deviation of the members' values, in proportion to the teaching rows' residuals."""

    factor: float
    """|residual| for each unit of spread."""
    overall: float
    """Mean |residual|."""

    def of(self, rows: FeatureBatch, run: Run) -> NDArray[np.float64]:
        return _mixed(self.factor * spread(rows, run), self.overall)


@dataclass(frozen=True, slots=True)
class SameDifficulty:
    """1 for every row."""

    def of(self, rows: FeatureBatch, _run: Run) -> NDArray[np.float64]:
        return np.ones(len(rows))


@dataclass(frozen=True, slots=True, eq=False)
class NormalisedResidual:
    """|value - served value| / difficulty; the evidence is the served value and the difficulty, [rows, 2]."""

    difficulty: Difficulty

    def evidence(self, asked: Asked) -> NDArray[np.float64]:
        found = np.empty((len(asked.scores), 2))
        found[:, 0] = asked.scores[:, 0]
        found[:, 1] = self.difficulty.of(asked.rows, asked.run)
        return found

    def nonconformity(self, evidence: NDArray[np.float64], values: NDArray[Any]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.abs(values - evidence[:, 0]) / evidence[:, 1]
        return found

    def interval(self, evidence: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
        found: NDArray[np.float64] = evidence[:, :1] + threshold * evidence[:, 1:] * AROUND
        return found


def spread(rows: FeatureBatch, run: Run) -> NDArray[np.float64]:
    """Standard deviation of the members' values of each row, [rows]."""
    found: NDArray[np.float64] = run("members", rows)[:, :, 0].astype(np.float64).std(axis=1)
    return found


def _learn(material: Material) -> Lesson:
    order = np.random.default_rng(material.seed).permutation(len(material.rows))
    teaching = np.sort(order[: min(len(order) // 3, MOST_TEACHING)])
    taught = part(material, teaching)
    residuals = np.abs(taught.labels - taught.scores[:, 0].astype(np.float64))
    choices = [_same(residuals), *_neighbourly(taught, residuals), *_spread(taught, residuals)]
    _, notes, arrays = min(choices, key=lambda choice: choice[0])
    scored = part(material, np.setdiff1d(order, teaching))
    return Lesson(arrays, scored, {"teaching_rows": len(taught.rows), **notes})


def _shape(_spec: ModelSpec, arrays: Arrays) -> Shape:
    if "spread" in arrays:
        factor, overall = arrays["spread"].tolist()
        return NormalisedResidual(SpreadDifficulty(factor, overall))
    if "points" not in arrays:
        return NormalisedResidual(SameDifficulty())
    distance = MixedDistance(arrays["scale"], arrays["same_or_not"])
    count = int(arrays["neighbours"])
    return NormalisedResidual(NeighbourDifficulty(distance, arrays["points"], arrays["residuals"], count))


NORMALISED = IntervalMeasure("normalised", _learn, _shape, LEAST_ROWS)


def _same(residuals: NDArray[np.float64]) -> _Choice:
    usual = float(residuals.mean()) or 1.0
    return _loss(np.full(len(residuals), usual), residuals), {"difficulty": "same for all rows"}, {}


def _neighbourly(taught: Material, residuals: NDArray[np.float64]) -> Iterator[_Choice]:
    if taught.spec.schema.width > MOST_COLUMNS or not residuals.any():
        return
    distance = learn_distance(taught.spec.schema, taught.reference)
    points = distance.scaled(taught.rows)
    apart = distance.pairwise(points, points)
    np.fill_diagonal(apart, np.inf)
    nearest = residuals[np.argsort(apart, axis=1, kind="stable")]
    for count in NEIGHBOURS:
        if count <= len(points) // 2:
            difficulty = _mixed(nearest[:, :count].mean(axis=1), float(residuals.mean()))
            notes = {"difficulty": "residuals of neighbours", "neighbours": count}
            arrays: Arrays = {
                "scale": distance.scale,
                "same_or_not": distance.same_or_not,
                "points": points,
                "residuals": residuals,
                "neighbours": np.array(count),
            }
            yield _loss(difficulty, residuals), notes, arrays


def _spread(taught: Material, residuals: NDArray[np.float64]) -> Iterator[_Choice]:
    if "members" not in taught.graphs or not residuals.any():
        return
    found = spread(taught.rows, taught.run)
    overall, usual = float(residuals.mean()), float(found.mean())
    if usual > 0:
        factor = overall / usual
        loss = _loss(_mixed(factor * found, overall), residuals)
        yield loss, {"difficulty": "spread of members"}, {"spread": np.array([factor, overall])}


def _mixed(difficulty: NDArray[np.float64], overall: float) -> NDArray[np.float64]:
    return (1 - MIXED_IN) * difficulty + MIXED_IN * overall


def _loss(difficulty: NDArray[np.float64], residuals: NDArray[np.float64]) -> float:
    """Mean negative log score of Laplace distributions of those scales, but for a constant."""
    return float((np.log(difficulty) + residuals / difficulty).mean())
