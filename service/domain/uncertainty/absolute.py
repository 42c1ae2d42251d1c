"""Intervals of one width for all rows: the served value and as much to both sides as residuals are large."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import ModelSpec
from service.domain.uncertainty.intervals import AROUND, IntervalMeasure, Lesson
from service.domain.uncertainty.measure import Arrays, Asked, Material


@dataclass(frozen=True, slots=True)
class AbsoluteResidual:
    """|value - served value|; the evidence is the served value, [rows, 1]."""

    def evidence(self, asked: Asked) -> NDArray[np.float64]:
        return asked.scores.astype(np.float64)

    def nonconformity(self, evidence: NDArray[np.float64], values: NDArray[Any]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.abs(values - evidence[:, 0])
        return found

    def interval(self, evidence: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
        return evidence + threshold * AROUND


def _learn(material: Material) -> Lesson:
    return Lesson({}, material)


def _shape(_spec: ModelSpec, _arrays: Arrays) -> AbsoluteResidual:
    return AbsoluteResidual()


ABSOLUTE = IntervalMeasure("absolute", _learn, _shape)
