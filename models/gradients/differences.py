"""Finite differences of margins at a few points, each point in another output's margin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.game import Gradient
from service.domain.schema import FeatureBatch

Margins: TypeAlias = Callable[[FeatureBatch], NDArray[np.floating[Any]]]
"""Rows to margins, [rows, outputs]."""

Derivatives: TypeAlias = NDArray[np.float64]
"""[points, checked columns]"""


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """Where derivatives are looked at."""

    points: FeatureBatch
    """[points, width]"""
    columns: NDArray[np.intp]
    """Of each point, [points, checked columns]."""
    spread: NDArray[np.float64]
    """By how much each column varies, [width]."""
    outputs: int

    def of(self, gradient: Gradient) -> Derivatives:
        """What a gradient says."""
        whole = [gradient(point[None], at % self.outputs)[0] for at, point in enumerate(self.points)]
        return np.take_along_axis(np.stack(whole).astype(np.float64), self.columns, axis=1)

    def differences(self, margins: Margins, step: float) -> Derivatives:
        """Central differences over ``step`` times a column's spread to either side."""
        found = [
            self._at(margins, point, own, step * self.spread[own], at % self.outputs)
            for at, (point, own) in enumerate(zip(self.points, self.columns, strict=True))
        ]
        return np.stack(found)

    def _at(
        self,
        margins: Margins,
        point: NDArray[np.floating[Any]],
        columns: NDArray[np.intp],
        steps: NDArray[np.float64],
        output: int,
    ) -> NDArray[np.float64]:
        around = np.repeat(point[None].astype(np.float64), 2 * len(columns), axis=0)
        above = np.arange(len(columns))
        below = above + len(columns)
        around[above, columns] += steps
        around[below, columns] -= steps
        values = margins(around)[:, output].astype(np.float64)
        found: NDArray[np.float64] = values[above] - values[below]
        return found / (around[above, columns] - around[below, columns])


def apart(one: Derivatives, other: Derivatives) -> Derivatives:
    """|one - other| as a share of a point's largest derivative."""
    largest = np.maximum(np.abs(one), np.abs(other)).max(axis=1, keepdims=True)
    shares: Derivatives = np.abs(one - other) / np.maximum(largest, np.finfo(np.float32).tiny)
    return shares
