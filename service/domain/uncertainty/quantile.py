"""Conformalised quantile regression: what a bundle's quantile graph says, widened or narrowed until it holds.

A value's nonconformity is how far it lies outside the two quantiles, negative inside (Romano, Patterson &
Candès, NeurIPS 2019). The graph need not be right, nor its quantiles those of the confidence asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import ModelSpec
from service.domain.uncertainty.intervals import AROUND, IntervalMeasure, Lesson
from service.domain.uncertainty.measure import Arrays, Asked, Material, Unfitting


@dataclass(frozen=True, slots=True)
class QuantileGap:
    """How far a value is outside two quantiles; the evidence is the lower and the upper one, [rows, 2]."""

    def evidence(self, asked: Asked) -> NDArray[np.float64]:
        """Quantiles that the graph gives in the wrong order are put in the right one."""
        found: NDArray[np.float64] = np.sort(asked.run("quantiles", asked.rows).astype(np.float64), axis=1)
        return found

    def nonconformity(self, evidence: NDArray[np.float64], values: NDArray[Any]) -> NDArray[np.float64]:
        low, high = evidence.T
        found: NDArray[np.float64] = np.maximum(low - values, values - high)
        return found

    def interval(self, evidence: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
        """Where narrowing leaves nothing, the middle of the quantiles, which can only cover more."""
        found = evidence + threshold * AROUND
        if threshold < 0:
            crossed = found[:, 0] > found[:, 1]
            found[crossed] = evidence[crossed].mean(axis=1, keepdims=True)
        return found


def _learn(material: Material) -> Lesson:
    if "quantiles" not in material.graphs:
        raise Unfitting("the bundle has no graph of quantiles")
    return Lesson({}, material)


def _shape(_spec: ModelSpec, _arrays: Arrays) -> QuantileGap:
    return QuantileGap()


QUANTILE = IntervalMeasure("quantile", _learn, _shape)
