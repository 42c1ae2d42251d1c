"""Exact interventional SHAP by shap's C code, for trees whose folded tables would be too large.

Cost grows with the background (28 ms a row for 100 trees of depth 6 and 1,000 rows), and shap's C code holds
the interpreter's lock throughout; so this runs in the Explainer process only. Importing shap takes seconds,
hence it is imported when a model first needs it.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.game import Ask, Explanation, Method, Subject, Unsuitable
from service.domain.explainers.tree_exact import NAME, Contributions, Ready, TreeExplainer, ready
from service.domain.schema import FeatureBatch
from service.domain.trees import Mode, Rows, TreeEnsemble
from service.errors import DeadlineError

MAX_NODES = 32_767
"""Of one tree, leaves included: shap's C code counts in 16 bits and ends the process beyond."""
MAX_DEPTH = 256
"""Of one tree. For every row shap tabulates weights in a time that grows with the cube of the depth: 5 ms
here, 0.3 s at 1,000, a minute at 5,000; and its weights, in float32, lose digits."""
MAX_CELLS = 1 << 23
"""Of all outputs together: trees times the nodes of the largest, as which shap stores all, at 45 bytes."""

_NEGATED = (Mode.GT, Mode.GTE)
_READABLE = (Mode.LEQ, Mode.LT, *_NEGATED)


def build(subject: Subject) -> InTime:
    """Hands every margin's trees and the whole background to shap.

    Raises:
        Unsuitable: no trees, or trees that shap cannot hold: tests for equality or membership, several
            columns of one player, or trees beyond ``MAX_NODES``, ``MAX_DEPTH`` or ``MAX_CELLS``.
    """
    model = ready(subject)
    if len(np.unique(model.owner)) < len(model.owner):
        raise Unsuitable(
            "one player owns several columns of the trees, and these trees are too large to fold"
        )
    found = [_contributions(model, margin) for margin in range(model.trees.outputs)]
    return InTime(TreeExplainer(model, found))


TREE_SHAP = Method(NAME, build)


class InTime:
    """Explains row by row, as long as there is time."""

    def __init__(self, explainer: TreeExplainer) -> None:
        self._explainer = explainer

    def __call__(self, rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
        """See ``game.Explainer``."""
        found: list[Explanation] = []
        for at in range(len(rows)):
            if time.monotonic() >= due:
                raise DeadlineError(f"{at} of {len(rows)} rows were explained in time")
            found += self._explainer(rows[at : at + 1], ask, due)
        return found


def _contributions(model: Ready, margin: int) -> Contributions:
    with warnings.catch_warnings():  # shap's own imports use what matplotlib has deprecated
        warnings.simplefilter("ignore")
        import shap

    trees = shap_trees(model.trees, margin)
    masker = shap.maskers.Independent(model.background.astype(np.float64), max_samples=len(model.background))
    explainer = shap.TreeExplainer(
        {
            "trees": trees,
            "base_offset": 0.0,
            "input_dtype": np.float64,
            "internal_dtype": np.float64,
            "tree_output": "raw_value",
            "objective": "binary_crossentropy",
        },
        masker,
        feature_perturbation="interventional",
    )
    players, dtype = len(model.subject.players), model.trees.thresholds.dtype

    def contributions(rows: Rows) -> NDArray[np.float64]:
        found = np.zeros((len(rows), players))
        compared = rows.astype(dtype, copy=False).astype(np.float64)
        found[:, model.owner] = explainer.shap_values(compared, check_additivity=False)
        return found

    return contributions


def shap_trees(trees: TreeEnsemble, margin: int) -> list[dict[str, NDArray[Any]]]:
    """One output's trees as shap takes them; fresh arrays, because shap writes into them.

    shap only knows x <= t: x < t is that at the float before t, and x > t, x >= t swap the children.

    Raises:
        Unsuitable: shap cannot hold them.
    """
    unreadable = sorted({Mode(mode).name for mode in trees.modes} - {mode.name for mode in _READABLE})
    if unreadable:
        raise Unsuitable(f"the trees are too large to fold, and shap knows no {unreadable[0]} test")
    if trees.aggregate not in ("sum", "average"):
        raise Unsuitable(f"the trees' {trees.aggregate} is no sum of trees")
    _check_size(trees)
    scale = 1 / len(trees.roots) if trees.aggregate == "average" else 1.0
    return [_one_tree(trees, root, trees.leaf_values[:, margin] * scale) for root in trees.roots.tolist()]


def _check_size(trees: TreeEnsemble) -> None:
    level, tree, depth = trees.roots, np.arange(len(trees.roots)), -1
    sizes = np.zeros(len(trees.roots), dtype=np.intp)
    while level.size:
        sizes += np.bincount(tree, minlength=len(sizes))
        inner, depth = level >= 0, depth + 1
        nodes, tree = level[inner], np.tile(tree[inner], 2)
        level = np.concatenate([trees.if_true[nodes], trees.if_false[nodes]])
    largest = int(sizes.max(initial=0))
    if largest > MAX_NODES:
        raise Unsuitable(f"a tree of {largest:,} nodes; shap's C code takes no more than {MAX_NODES:,}")
    if depth > MAX_DEPTH:
        raise Unsuitable(f"a tree {depth:,} tests deep; shap takes too long beyond {MAX_DEPTH}")
    if (cells := largest * len(sizes) * trees.outputs) > MAX_CELLS:
        raise Unsuitable(f"trees that take shap {cells:,} cells of memory, more than {MAX_CELLS:,}")


def _one_tree(trees: TreeEnsemble, root: int, values: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    order = [root]
    for child in order:  # grows while it is walked
        if child >= 0:
            order += [int(trees.if_true[child]), int(trees.if_false[child])]
    found = np.array(order)
    inner, number = found >= 0, {child: at for at, child in enumerate(order)}
    nodes = found[inner]
    modes = trees.modes[nodes]
    negated = np.isin(modes, _NEGATED)
    before = np.nextafter(trees.thresholds[nodes], trees.thresholds.dtype.type(-np.inf))
    strict = np.isin(modes, [Mode.LT, Mode.GTE])

    def children(of: NDArray[np.intp]) -> NDArray[np.int32]:
        filled = np.full(len(found), -1, dtype=np.int32)
        filled[inner] = [number[child] for child in of.tolist()]
        return filled

    def per_node(of: NDArray[Any], rest: float, dtype: type) -> NDArray[Any]:
        filled: NDArray[Any] = np.full(len(found), rest, dtype=dtype)
        filled[inner] = of
        return filled

    if_true, if_false = trees.if_true[nodes], trees.if_false[nodes]
    leaf_values = np.zeros((len(found), 1))
    leaf_values[~inner, 0] = values[~found[~inner]]
    return {
        "children_left": children(np.where(negated, if_false, if_true)),
        "children_right": children(np.where(negated, if_true, if_false)),
        "children_default": children(np.where(trees.nan_is_true[nodes], if_true, if_false)),
        "features": per_node(trees.columns[nodes], -2, np.int32),
        "thresholds": per_node(np.where(strict, before, trees.thresholds[nodes]), -2, np.float64),
        "values": leaf_values,
        "node_sample_weight": np.ones(len(found)),
    }
