"""Decision trees as ONNX Runtime evaluates them, in arrays.

Comparisons are made in the dtype of ``thresholds``, as ONNX Runtime makes them, so a value falls on the same
side of a threshold as in the served graph; sums are float64. ONNX Runtime adds up in float32, hence scores
agree to about 1e-6 of the largest partial sum, not to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.floating[Any]]
Margins: TypeAlias = NDArray[np.float64]
"""Raw scores before the post-transform, [rows, outputs]."""
Post: TypeAlias = Literal["none", "logistic", "softmax", "softmax_zero", "probit"]
Aggregate: TypeAlias = Literal["sum", "average", "min", "max"]

_CHUNK = 1 << 20  # (row, tree) pairs that walk down at once


class Mode(IntEnum):
    """How a node tests its column; numbered as in ``nodes_modes`` of ai.onnx.ml 5."""

    LEQ = 0
    LT = 1
    GTE = 2
    GT = 3
    EQ = 4
    NEQ = 5
    MEMBER = 6


@dataclass(frozen=True, slots=True, eq=False)
class TreeEnsemble:
    """Trees whose leaves are added up to margins, and what makes scores of margins.

    A child or root is a node where it is 0 or more; a negative ``c`` is leaf ``~c``. None has two parents.
    """

    columns: NDArray[np.intp]
    """Tested column of each node, [nodes]."""
    thresholds: NDArray[np.floating[Any]]
    """float32, or float64 for a graph that takes doubles, [nodes]; 0 where the mode is MEMBER."""
    modes: NDArray[np.uint8]
    """``Mode`` of each node, [nodes]."""
    if_true: NDArray[np.intp]
    """[nodes]"""
    if_false: NDArray[np.intp]
    """[nodes]"""
    nan_is_true: NDArray[np.bool_]
    """Whether NaN takes the true branch whatever the comparison says, [nodes]."""
    roots: NDArray[np.intp]
    """[trees]"""
    leaf_values: NDArray[np.float64]
    """[leaves, outputs]; an output that a leaf leaves out is 0, under min and max the losing infinity."""
    base: NDArray[np.float64]
    """Added to every row's margins, [outputs]."""
    aggregate: Aggregate = "sum"
    post: Post = "none"
    complement: bool = False
    """One margin is the second class's of two: its score is p, the first class's 1 - p."""
    members: Mapping[int, NDArray[np.floating[Any]]] = field(default_factory=dict)
    """The values that take the true branch, of each node whose mode is MEMBER."""

    @property
    def outputs(self) -> int:
        """Columns of the margins."""
        return int(self.leaf_values.shape[1])

    def passes(self, nodes: NDArray[np.intp], values: Rows) -> NDArray[np.bool_]:
        """Whether ``values`` take the true branch of ``nodes``; both broadcast, of any shape.

        ``values`` are compared after a cast to the thresholds' dtype.
        """
        nodes, values = np.broadcast_arrays(nodes, values.astype(self.thresholds.dtype, copy=False))
        limits, modes = self.thresholds[nodes], self.modes[nodes]
        taken = np.zeros(nodes.shape, dtype=bool)
        for mode in np.unique(modes):
            of_mode = modes == mode
            taken[of_mode] = self._compare(Mode(mode), nodes[of_mode], values[of_mode], limits[of_mode])
        taken |= self.nan_is_true[nodes] & np.isnan(values)
        return taken

    def leaves(self, rows: Rows) -> NDArray[np.intp]:
        """The leaf that each row reaches in each tree, [rows, trees]."""
        found = np.empty((len(rows), len(self.roots)), dtype=np.intp)
        step = max(1, _CHUNK // max(1, len(self.roots)))
        for start in range(0, len(rows), step):
            found[start : start + step] = self._walk(rows[start : start + step])
        return found

    def margins(self, rows: Rows) -> Margins:
        """Raw scores of the head's input rows [rows, columns]; float64 [rows, outputs]."""
        reached = self.leaves(rows)
        if self.aggregate in ("sum", "average"):
            total = np.zeros((len(rows), self.outputs))
            for tree in reached.T:
                total += self.leaf_values[tree]
            return self.base + (total / len(self.roots) if self.aggregate == "average" else total)
        pick = np.minimum if self.aggregate == "min" else np.maximum
        extreme: Margins = pick.reduce(self.leaf_values[reached], axis=1)
        return self.base + np.where(np.isinf(extreme), 0.0, extreme)

    def scores(self, margins: Margins) -> NDArray[np.float64]:
        """What the graph answers for these margins, [rows, outputs], or [rows, 2] of a ``complement``."""
        scores = transformed(margins, self.post)
        return np.concatenate([1 - scores, scores], axis=1) if self.complement else scores

    def _walk(self, rows: Rows) -> NDArray[np.intp]:
        at = np.repeat(self.roots[None, :], len(rows), axis=0).ravel()
        row = np.repeat(np.arange(len(rows)), len(self.roots))
        moving = np.flatnonzero(at >= 0)
        while moving.size:
            nodes = at[moving]
            taken = self.passes(nodes, rows[row[moving], self.columns[nodes]])
            at[moving] = np.where(taken, self.if_true[nodes], self.if_false[nodes])
            moving = moving[at[moving] >= 0]
        return ~at.reshape(len(rows), len(self.roots))

    def _compare(self, mode: Mode, nodes: NDArray[np.intp], values: Rows, limits: Rows) -> NDArray[np.bool_]:
        if mode is Mode.MEMBER:
            found = np.zeros(len(nodes), dtype=bool)
            for node in np.unique(nodes):
                here = nodes == node
                found[here] = np.isin(values[here], self.members[int(node)])
            return found
        return np.asarray(_COMPARISONS[mode](values, limits))


_COMPARISONS = {
    Mode.LEQ: np.less_equal,
    Mode.LT: np.less,
    Mode.GTE: np.greater_equal,
    Mode.GT: np.greater,
    Mode.EQ: np.equal,
    Mode.NEQ: np.not_equal,
}


def transformed(margins: Margins, post: Post) -> NDArray[np.float64]:
    """``margins`` [rows, outputs] after the post-transform of ai.onnx.ml, as ONNX Runtime reads it."""
    if post == "logistic":
        small = np.exp(-np.abs(margins))
        likely: NDArray[np.float64] = np.where(margins < 0, small, 1.0) / (1 + small)
        return likely
    if post in ("softmax", "softmax_zero"):
        shifted = np.exp(margins - margins.max(axis=1, keepdims=True))
        if post == "softmax_zero":  # a margin of nought stays nought
            shifted = np.where(np.abs(margins) > 1e-7, shifted, 0.0)
        shares: NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
        return shares
    if post == "probit":
        return _inverse_erf(2 * margins - 1) * float(np.sqrt(2.0))
    return margins


def _inverse_erf(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Winitzki's closed form with the constants of ONNX Runtime; off by up to 2e-3 as it is there."""
    logarithm = np.log((1 - x) * (1 + x))
    middle = 2 / (3.14159 * 0.147) + 0.5 * logarithm
    found: NDArray[np.float64] = np.sign(x) * np.sqrt(-middle + np.sqrt(middle * middle - logarithm / 0.147))
    return found
