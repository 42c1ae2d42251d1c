"""The surrogate tree finds what was planted, treats missing values and categories apart, and reads well."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.tree import DecisionTreeRegressor

from models.surrogate import Column, Split, Tree, fit, rules

HOMES = ("owner", "rent", "parents")
COLUMNS = (Column("Income", missing=True), Column("Home", HOMES, missing=True), Column("Age"))


def _rows(count: int = 400, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = np.column_stack(
        [rng.uniform(0, 300, count), rng.integers(0, 3, count), rng.uniform(18, 80, count)]
    )
    rows[rng.random(count) < 0.2, 0] = np.nan
    return rows


def _said(tree: Tree) -> dict[str, float]:
    return {condition: float(leaf.mean[0]) for condition, leaf in rules(tree, COLUMNS)}


def test_a_planted_rule_comes_back_in_words() -> None:
    rows = _rows()
    rows[:, 0] = np.random.default_rng(1).choice([50, 118, 122, 200], size=len(rows))
    target = ((rows[:, 0] <= 120) & (rows[:, 1] == 1)).astype(float)[:, None]
    tree = fit(rows, target, (Column("Income"), *COLUMNS[1:]))
    said = {condition: leaf.mean[0] for condition, leaf in rules(tree, (Column("Income"), *COLUMNS[1:]))}
    assert said == {
        "Home = rent and Income <= 120": 1.0,
        "Home = rent and Income > 120": 0.0,
        "Home is not rent": 0.0,
    }
    np.testing.assert_array_equal(tree.predict(rows), target)


def test_missing_values_go_their_own_way() -> None:
    rows = _rows()
    missing = np.isnan(rows[:, 0])
    tree = fit(rows, missing.astype(float)[:, None], COLUMNS)
    assert _said(tree) == {"Income is missing": 1.0, "Income is given": 0.0}


@pytest.mark.parametrize("as_low", [True, False])
def test_missing_values_join_the_side_they_resemble(as_low: bool) -> None:
    rows = _rows()
    low = np.where(np.isnan(rows[:, 0]), as_low, rows[:, 0] <= 100)
    tree = fit(rows, low.astype(float)[:, None], COLUMNS)
    np.testing.assert_array_equal(tree.predict(rows)[:, 0], low)
    assert sorted("or missing" in condition for condition in _said(tree)) == [False, True]
    assert all(("<=" in text) == as_low for text in _said(tree) if "or missing" in text)


def test_numbers_split_as_in_an_independent_tree() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(300, 4)).astype(np.float32)
    targets = np.column_stack([np.sin(3 * rows[:, 0]) + rows[:, 1], rows[:, 2] ** 2]).astype(np.float64)
    columns = [Column(f"x{index}") for index in range(4)]
    own = fit(rows, targets, columns, depth=4, smallest_leaf=10, least_gain=0.0)
    oracle = DecisionTreeRegressor(max_depth=4, min_samples_leaf=10).fit(rows, targets)
    np.testing.assert_allclose(own.predict(rows), oracle.predict(rows), atol=1e-12)


def test_leaves_are_no_smaller_than_asked_and_ways_no_longer() -> None:
    rows = _rows()
    targets = np.random.default_rng(1).normal(size=(len(rows), 1))
    tree = fit(rows, targets, COLUMNS, depth=3, smallest_leaf=25, least_gain=0.0)
    assert sum(leaf.rows for _, leaf in tree.leaves()) == len(rows)
    assert all(leaf.rows >= 25 and len(way) <= 3 for way, leaf in tree.leaves())
    assert len(tree.leaves()) > 4


def test_noise_is_not_split_when_a_gain_is_asked_for() -> None:
    rows = _rows()
    targets = np.random.default_rng(1).normal(size=(len(rows), 1))
    assert len(fit(rows, targets, COLUMNS, least_gain=0.1).leaves()) == 1
    assert rules(fit(rows, np.ones((len(rows), 1)), COLUMNS), COLUMNS)[0][0] == "always"


def test_thresholds_on_one_way_become_one_interval() -> None:
    leaf = Tree(np.zeros(1), 1)
    inner = Tree(np.zeros(1), 2, Split(2, "below", 30.0), leaf, leaf)
    tree = Tree(np.zeros(1), 3, Split(2, "below", 60.0), inner, leaf)
    assert [condition for condition, _ in rules(tree, COLUMNS)] == ["Age <= 30", "30 < Age <= 60", "Age > 60"]
