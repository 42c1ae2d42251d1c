"""One number that makes a model less sure of itself, or surer: temperature scaling.

Log-probabilities are divided by a temperature, the one of least log-loss on the calibration rows, and shared
out anew by a softmax (Guo, Pleiss, Sun & Weinberger, ICML 2017). The order of a row's classes stays.
With one number to learn, a few dozen calibration rows are enough.

A forest often answers 0, which has no logarithm. It is taken for half of the least positive score among the
calibration rows: less than what such a model can say, and not so little that one mistake decides everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import ModelSpec, Scores
from service.domain.uncertainty.held_out import fitted
from service.domain.uncertainty.measure import Arrays, Asked, Columns, Fitted, Kind, Material

COLDEST, HOTTEST = 0.05, 20.0
"""A model that is right about every calibration row would have a temperature of 0."""
_MOST = 700.0
"""Python's floats hold e to this power."""


@dataclass(frozen=True, slots=True)
class Tempered:
    """Gives ``calibrated``."""

    temperature: float
    floor: float
    """Stands for scores below it."""

    def columns(self, asked: Asked) -> Columns:
        scores = asked.scores
        if scores.shape == (1, 2):  # a tenth of what numpy would take for one row
            first, second = max(scores.item(0), self.floor), max(scores.item(1), self.floor)
            odds = exp(min(log(first / second) / self.temperature, _MOST))
            share = 1 / (1 + odds)
            return {"calibrated": np.array([[odds * share, share]])}
        return {"calibrated": _softmax(_logs(scores, self.floor) / self.temperature)}


class TemperatureScaling:
    """Learns ``temperature`` and ``floor``, float64 []."""

    name = "temperature"
    kind: Kind = "probability"

    def fit(self, material: Material) -> Fitted:
        found = fitted(material, best_temperature, self.restore)
        return Fitted(found.arrays, {**found.report, "temperature": float(found.arrays["temperature"])})

    def restore(self, spec: ModelSpec, arrays: Arrays) -> Tempered:  # noqa: ARG002 - all classes alike
        return Tempered(float(arrays["temperature"]), float(arrays["floor"]))


def best_temperature(scores: Scores, labels: NDArray[np.intp]) -> Arrays:
    """The temperature of least log-loss, or the nearest bound.

    The log-loss is convex in the temperature's inverse, and its slope is the mean over rows of the expected
    log-probability less the true label's: where that is 0 is looked for.
    """
    from scipy.optimize import brentq  # only packaging needs scipy

    floor = float(scores[scores > 0].min(initial=1)) / 2
    logs = _logs(scores, floor)
    true = logs[np.arange(len(labels)), labels]

    def slope(power: float) -> float:
        return float(((_softmax(power * logs) * logs).sum(axis=1) - true).mean())

    least, most = 1 / HOTTEST, 1 / COLDEST
    if slope(least) >= 0:
        power = least
    elif slope(most) <= 0:
        power = most
    else:
        power = brentq(slope, least, most)
    return {"temperature": np.array(1 / power), "floor": np.array(floor)}


def _logs(scores: Scores, floor: float) -> NDArray[np.float64]:
    logs: NDArray[np.float64] = np.log(np.maximum(scores, floor, dtype=np.float64))
    return logs


def _softmax(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    shares: NDArray[Any] = np.exp(logs - logs.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


TEMPERATURE = TemperatureScaling()
