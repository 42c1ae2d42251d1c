"""shap's C code on trees as read, as a fallback and as an oracle of another hand."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.adapters import shap_trees
from service.adapters.shap_trees import TREE_SHAP, build
from service.domain.explainers import tree_exact
from service.domain.explainers.game import Ask, Unsuitable
from service.domain.trees import Mode, TreeEnsemble
from service.errors import DeadlineError
from tests.domain.explainers.forests import enumerated, forest, rows_of
from tests.domain.explainers.games import NEVER
from tests.domain.explainers.tree_subjects import tree_subject

ROOT = Path(__file__).parents[2]
READABLE = (Mode.LEQ, Mode.LT, Mode.GTE, Mode.GT)
EXACT: dict[str, Any] = {"rtol": 0, "atol": 1e-5}


@pytest.mark.parametrize("seed", range(4))
def test_shap_gives_the_shapley_values_with_missing_values_and_every_threshold_test(seed: int) -> None:
    rng = np.random.default_rng(seed)
    trees = forest(rng, modes=READABLE, aggregate="average" if seed % 2 else "sum")
    background, rows = rows_of(rng, 20), rows_of(rng, 5)
    found = build(tree_subject(trees, background))(rows, Ask(), NEVER)
    np.testing.assert_allclose(
        [each.values for each in found], enumerated(trees, rows, background, range(5)), **EXACT
    )


def test_folded_tables_agree_with_shap_on_a_background_too_large_to_enumerate() -> None:
    rng = np.random.default_rng(5)
    trees = forest(rng, trees=60, depth=6, columns=12, modes=READABLE)
    subject = tree_subject(trees, rows_of(rng, 1000, 12))
    rows = rows_of(rng, 10, 12)
    folded, looped = (each(subject)(rows, Ask(), NEVER) for each in (tree_exact.build, build))
    for one, other in zip(folded, looped, strict=True):
        np.testing.assert_allclose(one.values, other.values, **EXACT)
        assert (one.base_value, one.output, one.method) == (other.base_value, other.output, other.method)
        assert (other.additivity_gap or 0) < 1e-4


def test_every_class_is_explained_by_its_own_margin() -> None:
    rng = np.random.default_rng(6)
    trees = forest(rng, modes=READABLE, outputs=3, post="softmax")
    subject, rows = tree_subject(trees, rows_of(rng, 20), "multiclass"), rows_of(rng, 4)
    for label in range(3):
        found = build(subject)(rows, Ask(label=label), NEVER)
        expected = enumerated(trees, rows, subject.background, range(5), label)
        np.testing.assert_allclose([each.values for each in found], expected, **EXACT)


def test_explaining_leaves_the_trees_as_they_were() -> None:
    rng = np.random.default_rng(7)
    trees = forest(rng, modes=READABLE)
    before = [each.copy() for each in (trees.thresholds, trees.leaf_values, trees.columns)]
    build(tree_subject(trees, rows_of(rng, 20)))(rows_of(rng, 3), Ask(), NEVER)
    for one, other in zip(before, (trees.thresholds, trees.leaf_values, trees.columns), strict=True):
        np.testing.assert_array_equal(one, other)


def test_trees_too_large_to_fold_are_explained() -> None:
    trees = _chain(14)
    rng = np.random.default_rng(8)
    subject, rows = (
        tree_subject(trees, rng.normal(size=(10, 14)).astype(np.float32)),
        np.zeros((1, 14), np.float32),
    )
    with pytest.raises(Unsuitable, match="14 players on one path"):
        tree_exact.build(subject)
    (found,) = build(subject)(rows, Ask(), NEVER)
    assert (found.additivity_gap or 0) < 1e-5
    assert np.abs(found.values).max() > 1e-3


@pytest.mark.parametrize("mode", [Mode.EQ, Mode.NEQ, Mode.MEMBER])
def test_tests_that_shap_does_not_know_are_declined(mode: Mode) -> None:
    rng = np.random.default_rng(9)
    with pytest.raises(Unsuitable, match=f"shap knows no {mode.name} test"):
        build(tree_subject(forest(rng, modes=[mode]), rows_of(rng, 5)))


def test_a_tree_that_would_end_the_process_is_declined() -> None:
    trees = _chain(16_384, columns=5)  # 32,769 nodes with its leaves
    with pytest.raises(Unsuitable, match="a tree of 32,769 nodes"):
        shap_trees.shap_trees(trees, 0)


def test_a_tree_too_deep_for_its_time_is_declined() -> None:
    trees = _chain(shap_trees.MAX_DEPTH + 1, columns=5)
    with pytest.raises(Unsuitable, match="a tree 257 tests deep; shap takes too long beyond 256"):
        shap_trees.shap_trees(trees, 0)


def test_trees_that_would_fill_the_memory_are_declined() -> None:
    trees = _chain(200, columns=5)  # 401 nodes with its leaves
    many = replace(trees, roots=np.concatenate([trees.roots, np.full(25_000, ~0)]))
    with pytest.raises(Unsuitable, match=r"10,025,401 cells of memory"):
        shap_trees.shap_trees(many, 0)


def test_the_largest_and_the_deepest_trees_that_are_taken_do_not_end_the_process() -> None:
    found = subprocess.run(
        [sys.executable, "-c", _EXTREMES], cwd=ROOT, check=False, capture_output=True, text=True, timeout=60
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert [float(gap) < 1e-5 for gap in found.stdout.split()] == [True, True]


def test_players_of_several_columns_are_declined() -> None:
    rng = np.random.default_rng(10)
    subject = tree_subject(forest(rng, modes=READABLE), rows_of(rng, 5), owner=(0, 0, 1, 2, 3))
    with pytest.raises(Unsuitable, match="one player owns several columns"):
        build(subject)


def test_nothing_is_started_after_the_deadline() -> None:
    rng = np.random.default_rng(11)
    explainer = build(tree_subject(forest(rng, modes=READABLE), rows_of(rng, 5)))
    with pytest.raises(DeadlineError, match="0 of 2 rows"):
        explainer(rows_of(rng, 2), Ask(), time.monotonic() - 1)


def test_it_stands_in_for_tree_exact_away_from_the_edge() -> None:
    assert TREE_SHAP.name == tree_exact.TREE_EXACT.name
    assert not TREE_SHAP.quick


_EXTREMES = """
import numpy as np
from service.adapters.shap_trees import MAX_DEPTH, MAX_NODES, build
from service.domain.explainers.game import Ask
from tests.adapters.test_shap_trees import _chain, full_tree
from tests.domain.explainers.tree_subjects import tree_subject

rng = np.random.default_rng(12)
for trees in (full_tree(14), _chain(MAX_DEPTH, columns=20)):
    assert len(trees.columns) + len(trees.leaf_values) in (MAX_NODES, 2 * MAX_DEPTH + 1)
    background = rng.normal(size=(20, 20)).astype(np.float32)
    (found,) = build(tree_subject(trees, background))(background[:1] + 1, Ask(), float("inf"))
    print(found.additivity_gap)
"""
"""What could end a process is tried in one of its own."""


def full_tree(depth: int) -> TreeEnsemble:
    """All of its paths are as long; 20 columns in turn."""
    rng = np.random.default_rng(13)
    nodes = np.arange(2**depth - 1)
    children = [2 * nodes + side for side in (1, 2)]
    return TreeEnsemble(
        columns=nodes % 20,
        thresholds=rng.normal(size=len(nodes)).astype(np.float32),
        modes=np.zeros(len(nodes), np.uint8),
        if_true=np.where(children[0] < len(nodes), children[0], ~(children[0] - len(nodes))),
        if_false=np.where(children[1] < len(nodes), children[1], ~(children[1] - len(nodes))),
        nan_is_true=np.zeros(len(nodes), bool),
        roots=np.array([0]),
        leaf_values=rng.normal(size=(2**depth, 1)),
        base=np.zeros(1),
    )


def _chain(depth: int, columns: int = 0) -> TreeEnsemble:
    """One path with a leaf to the side of every node; its columns in turn, or each its own."""
    nodes = np.arange(depth)
    return TreeEnsemble(
        columns=nodes % (columns or depth),
        thresholds=np.linspace(0.5, 0.1, depth, dtype=np.float32),
        modes=np.zeros(depth, np.uint8),
        if_true=np.append(nodes[1:], ~0),
        if_false=~nodes - 1,
        nan_is_true=np.zeros(depth, bool),
        roots=np.array([0]),
        leaf_values=np.linspace(3.0, -1.0, depth + 1)[:, None],
        base=np.zeros(1),
    )
