"""Intervals of a regression: every value whose nonconformity is up to a threshold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import ModelSpec
from service.domain.uncertainty.conformal import REPORTED, Pool, Trial, pool, trials
from service.domain.uncertainty.measure import Arrays, Asked, Columns, Fitted, Material, Unfitting

DECISIVE = 0.9
"""The confidence at which measures of a regression are compared."""
AROUND = np.array([-1.0, 1.0])
"""Times a half-width: from a middle to both ends."""


class Shape(Protocol):
    """How far a value is from what was predicted, and which values are no farther than a threshold."""

    def evidence(self, asked: Asked) -> NDArray[np.float64]:
        """[rows, k]"""

    def nonconformity(self, evidence: NDArray[np.float64], values: NDArray[Any]) -> NDArray[np.float64]:
        """[rows]"""

    def interval(self, evidence: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
        """[rows, 2]: every value whose nonconformity is up to the threshold lies between the two."""


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What a shape consists of, and the calibration rows that it has not learnt from."""

    arrays: Arrays
    unseen: Material
    notes: Mapping[str, Any] = field(default_factory=dict)
    """For the report."""


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """A ``Region`` over the values of a regression."""

    shape: Shape
    pool: Pool

    @property
    def scores(self) -> NDArray[np.float64]:
        return self.pool.ascending

    def columns(self, asked: Asked) -> Columns:
        threshold = self.pool.threshold(asked.confidence)
        return {"interval": self.shape.interval(self.shape.evidence(asked), threshold)}

    def evidence(self, asked: Asked) -> NDArray[np.float64]:
        return self.shape.evidence(asked)

    def nonconformity(self, evidence: NDArray[np.float64], labels: NDArray[Any]) -> NDArray[np.float64]:
        return self.shape.nonconformity(evidence, labels)

    def thresholds(self, confidence: float) -> NDArray[np.float64]:
        return np.array([self.pool.threshold(confidence)])

    def regions(self, evidence: NDArray[np.float64], thresholds: NDArray[np.float64]) -> Columns:
        return {"interval": self.shape.interval(evidence, float(thresholds[0]))}

    def with_scores(self, scores: NDArray[np.float64]) -> Intervals:
        return Intervals(self.shape, pool(scores))


@dataclass(frozen=True, slots=True)
class IntervalMeasure:
    """A shape and how it is learnt, as a ``Measure``.

    ``report["loss"]`` is the mean interval score of cross-validation (Winkler, JASA 67, 1972; Gneiting &
    Raftery, JASA 102, 2007), in units of the value: the width, and 2 / (1 - confidence) times how far the
    true value lies outside. The lower the better. None where the rows are too few for ``DECISIVE``.
    """

    name: str
    learn: Callable[[Material], Lesson]
    """Raises ``Unfitting`` where there is too little to learn from."""
    shape: Callable[[ModelSpec, Arrays], Shape]
    least_rows: int = 1
    kind: Literal["region"] = "region"

    def fit(self, material: Material) -> Fitted:
        if material.spec.classes:
            raise Unfitting("labels are no numbers to make an interval of")
        if len(material.rows) < self.least_rows:
            raise Unfitting(f"needs {self.least_rows} calibration rows, there are {len(material.rows)}")
        arrays, notes = self._learn(material)
        tried = list(trials(material, lambda some: self.restore(some.spec, self._learn(some)[0])))
        report = {
            "rows": len(material.rows),
            "scored_rows": len(arrays["scores"]),
            "most_confidence": pool(arrays["scores"]).most_confidence,
            "at": [_summary(tried, confidence) for confidence in REPORTED],
            "loss": _summary(tried, DECISIVE)["loss"],
        }
        return Fitted(arrays, {**report, **notes})

    def restore(self, spec: ModelSpec, arrays: Arrays) -> Intervals:
        return Intervals(self.shape(spec, arrays), pool(arrays["scores"]))

    def _learn(self, material: Material) -> tuple[Arrays, Mapping[str, Any]]:
        lesson = self.learn(material)
        shape, unseen = self.shape(material.spec, lesson.arrays), lesson.unseen
        evidence = shape.evidence(Asked(unseen.rows, unseen.scores, run=unseen.run))
        scores = np.sort(shape.nonconformity(evidence, unseen.labels))
        return {**lesson.arrays, "scores": scores}, lesson.notes


def interval_score(
    intervals: NDArray[np.float64], values: NDArray[np.float64], confidence: float
) -> NDArray[np.float64]:
    """Winkler's, [rows]; infinite for an infinite interval."""
    low, high = intervals.T
    outside = np.maximum(np.maximum(low - values, values - high), 0)
    found: NDArray[np.float64] = high - low + 2 / (1 - confidence) * outside
    return found


def _summary(tried: list[Trial], confidence: float) -> dict[str, float | None]:
    """Coverage, mean width and mean interval score of rows that were unseen; None for what is infinite."""
    intervals = np.concatenate([trial.columns(confidence)["interval"] for trial in tried])
    values = np.concatenate([trial.unseen.labels for trial in tried])
    low, high = intervals.T
    return {
        "confidence": confidence,
        "coverage": float(((low <= values) & (values <= high)).mean()),
        "width": _finite(high - low),
        "loss": _finite(interval_score(intervals, values, confidence)),
    }


def _finite(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if np.isfinite(values).all() else None
