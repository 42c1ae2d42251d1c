"""Tree ensembles in arrays: which way each value goes, and what becomes of the leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.domain.trees import Aggregate, Mode, TreeEnsemble, transformed
from tests.domain.explainers.forests import forest, rows_of

NAN, INF = float("nan"), float("inf")


def stump(mode: Mode, threshold: float = 1.5, nan_is_true: bool = False, **rest: Any) -> TreeEnsemble:
    """Says 1 where the one node is true, else 0."""
    return TreeEnsemble(
        columns=np.array([0]),
        thresholds=np.array([threshold], np.float32),
        modes=np.array([mode], np.uint8),
        if_true=np.array([~0]),
        if_false=np.array([~1]),
        nan_is_true=np.array([nan_is_true]),
        roots=np.array([0]),
        leaf_values=np.array([[1.0], [0.0]]),
        base=np.zeros(1),
        **rest,
    )


@pytest.mark.parametrize(
    ("mode", "below", "at", "above"),
    [
        (Mode.LEQ, 1, 1, 0),
        (Mode.LT, 1, 0, 0),
        (Mode.GTE, 0, 1, 1),
        (Mode.GT, 0, 0, 1),
        (Mode.EQ, 0, 1, 0),
        (Mode.NEQ, 1, 0, 1),
    ],
)
def test_a_value_right_at_a_threshold_goes_where_the_mode_says(
    mode: Mode, below: int, at: int, above: int
) -> None:
    near = np.float32(1.5)
    rows = np.array([[np.nextafter(near, np.float32(0))], [near], [np.nextafter(near, np.float32(2))]])
    assert stump(mode).margins(rows).ravel().tolist() == [below, at, above]
    assert stump(mode).margins(np.array([[-INF], [INF]], np.float32)).ravel().tolist() == [below, above]


def test_values_are_compared_as_float32_like_the_served_graph() -> None:
    barely_above = np.array([[1.5 + 1e-12]])
    assert stump(Mode.LEQ).margins(barely_above).item() == 1


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is not Mode.NEQ])
def test_a_missing_value_goes_where_the_node_sends_it(mode: Mode) -> None:
    missing, sets = np.array([[NAN]], np.float32), {0: np.array([1.0], np.float32)}
    assert stump(mode, nan_is_true=True, members=sets).margins(missing).item() == 1
    assert stump(mode, nan_is_true=False, members=sets).margins(missing).item() == 0


def test_a_membership_test_knows_all_its_members_and_nothing_else() -> None:
    trees = stump(Mode.MEMBER, members={0: np.array([2, 5.5], np.float32)})
    assert trees.margins(np.array([[2], [5.5], [3], [0]], np.float32)).ravel().tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("aggregate", "expected"), [("sum", 7.5), ("average", 4.0), ("min", 2.5), ("max", 5.5)]
)
def test_trees_are_put_together_as_the_aggregate_says(aggregate: Aggregate, expected: float) -> None:
    leaf = np.array([], np.intp)
    trees = TreeEnsemble(
        columns=leaf,
        thresholds=leaf.astype(np.float32),
        modes=leaf.astype(np.uint8),
        if_true=leaf,
        if_false=leaf,
        nan_is_true=leaf.astype(bool),
        roots=np.array([~0, ~1]),
        leaf_values=np.array([[2.0], [5.0]]),
        base=np.array([0.5]),
        aggregate=aggregate,
    )
    assert trees.margins(np.zeros((1, 1), np.float32)).item() == expected


def test_rows_are_walked_down_one_at_a_time_or_together_with_the_same_result() -> None:
    rng = np.random.default_rng(3)
    trees, rows = forest(rng, trees=9, outputs=3), rows_of(rng, 40)
    alone = np.concatenate([trees.margins(rows[at : at + 1]) for at in range(len(rows))])
    np.testing.assert_array_equal(trees.margins(rows), alone)


def test_a_lone_margin_of_two_classes_answers_a_pair_that_adds_up_to_one() -> None:
    trees = stump(Mode.LEQ, post="logistic", complement=True)
    scores = trees.scores(np.array([[0.0], [np.log(3)]]))
    np.testing.assert_allclose(scores, [[0.5, 0.5], [0.25, 0.75]])


def test_post_transforms_have_their_textbook_values() -> None:
    margins = np.array([[0.0, np.log(2), -1000.0]])
    np.testing.assert_allclose(transformed(margins, "logistic"), [[0.5, 2 / 3, 0.0]], atol=1e-12)
    np.testing.assert_allclose(transformed(margins, "softmax"), [[1 / 3, 2 / 3, 0.0]], atol=1e-12)
    np.testing.assert_allclose(transformed(margins, "softmax_zero"), [[0.0, 1.0, 0.0]], atol=1e-12)
    np.testing.assert_array_equal(transformed(margins, "none"), margins)
    np.testing.assert_allclose(transformed(np.array([[0.5, 0.975]]), "probit"), [[0.0, 1.96]], atol=5e-3)
