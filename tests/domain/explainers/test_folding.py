"""Folded tables against the definition of Shapley values, on ensembles with every kind of node."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import factorial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.domain.explainers import addresses, grouping
from service.domain.explainers.bins import answers, cut
from service.domain.explainers.folding import Fold, Folding
from service.domain.explainers.game import Unsuitable
from service.domain.explainers.interventional import pattern_tables
from service.domain.trees import Mode, Rows, TreeEnsemble
from tests.domain.explainers.forests import GRID, enumerated, forest, rows_of

EXACT: dict[str, Any] = {"rtol": 0, "atol": 1e-6}


def fold_of(trees: TreeEnsemble, background: Rows, owner: Any = range(5), output: int = 0) -> Fold:
    owners = np.array(list(owner), dtype=np.intp)
    return Folding(trees, background, owners, int(owners.max()) + 1).fold(output)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_attributions_are_the_shapley_values_of_every_kind_of_node(
    seed: int, dtype: type[np.floating[Any]]
) -> None:
    rng = np.random.default_rng(seed)
    trees = forest(rng, depth=1 + seed % 5, dtype=dtype)
    background, rows = rows_of(rng, 1 + 2 * seed), rows_of(rng, 4)
    found = fold_of(trees, background).contributions(rows)
    np.testing.assert_allclose(found, enumerated(trees, rows, background, range(5)), **EXACT)


@pytest.mark.parametrize("mode", list(Mode))
def test_each_kind_of_test_is_exact_by_itself(mode: Mode) -> None:
    rng = np.random.default_rng(int(mode))
    trees = forest(rng, modes=[mode])
    background, rows = rows_of(rng, 15), rows_of(rng, 6, missing=0.4)
    found = fold_of(trees, background).contributions(rows)
    np.testing.assert_allclose(found, enumerated(trees, rows, background, range(5)), **EXACT)


@pytest.mark.parametrize("owner", [(0, 0, 1, 1, 2), (0, 1, 0, 1, 0), (0, 0, 0, 0, 0)])
def test_columns_of_one_player_act_together(owner: tuple[int, ...]) -> None:
    rng = np.random.default_rng(5)
    trees, background, rows = forest(rng, depth=5), rows_of(rng, 12), rows_of(rng, 4)
    found = fold_of(trees, background, owner).contributions(rows)
    np.testing.assert_allclose(found, enumerated(trees, rows, background, owner), **EXACT)


@pytest.mark.parametrize("output", [0, 1, 2])
def test_every_output_has_tables_of_its_own(output: int) -> None:
    rng = np.random.default_rng(6)
    trees = forest(rng, outputs=3, aggregate="average")
    trees.leaf_values[rng.random(trees.leaf_values.shape) < 0.5] = 0  # leaves that are silent on an output
    background, rows = rows_of(rng, 12), rows_of(rng, 4)
    found = fold_of(trees, background, output=output).contributions(rows)
    np.testing.assert_allclose(found, enumerated(trees, rows, background, range(5), output), **EXACT)


@pytest.mark.parametrize("merge_bytes", [-1, 0, 1 << 30])
@pytest.mark.parametrize("dense_bytes", [0, 1 << 30])
def test_how_leaves_share_tables_and_how_these_are_found_changes_nothing(
    merge_bytes: int, dense_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(7)
    trees, background, rows = forest(rng), rows_of(rng, 12), rows_of(rng, 4)
    monkeypatch.setattr(grouping, "MERGE_BYTES", merge_bytes)
    monkeypatch.setattr(addresses, "DENSE_BYTES", dense_bytes)
    fold = fold_of(trees, background)
    expected = addresses.Dense if dense_bytes else addresses.Sparse
    assert isinstance(fold.addresses, expected)
    found = np.concatenate([fold.contributions(rows[:1]), fold.contributions(rows[1:])])
    np.testing.assert_allclose(found, enumerated(trees, rows, background, range(5)), **EXACT)


def test_merging_makes_fewer_groups_and_more_bytes() -> None:
    rng = np.random.default_rng(8)
    trees, background = forest(rng, trees=20, depth=6), rows_of(rng, 12)
    owner = np.arange(5)
    small = Folding(trees, background, owner, 5).fold(0, budget=1 << 17)
    large = Folding(trees, background, owner, 5).fold(0, budget=1 << 24)
    assert len(small.slot_group) > len(large.slot_group)
    assert small.entries.nbytes < large.entries.nbytes


def test_attributions_add_up_to_the_margin_less_the_backgrounds_mean() -> None:
    rng = np.random.default_rng(9)
    trees, background, rows = forest(rng, trees=50, depth=6), rows_of(rng, 300), rows_of(rng, 500)
    found = fold_of(trees, background).contributions(rows)
    base = trees.margins(background).mean()
    np.testing.assert_allclose(base + found.sum(axis=1), trees.margins(rows)[:, 0], **EXACT)


def test_a_column_that_no_tree_tests_gets_nothing() -> None:
    rng = np.random.default_rng(10)
    trees = forest(rng, columns=3)
    found = fold_of(trees, rows_of(rng, 20)).contributions(rows_of(rng, 10))
    assert not found[:, 3:].any()
    assert found[:, :3].any()


def test_columns_that_the_trees_treat_alike_get_the_same() -> None:
    rng = np.random.default_rng(11)
    one = forest(rng, columns=2, depth=5)
    swapped = replace(one, columns=1 - one.columns)
    background, rows = rows_of(rng, 20, 2), rows_of(rng, 10, 2)
    background, rows = np.tile(background[:, :1], 2), np.tile(rows[:, :1], 2)
    found = sum(fold_of(trees, background, range(2)).contributions(rows) for trees in (one, swapped))
    np.testing.assert_allclose(found[:, 0], found[:, 1], **EXACT)


def test_attributions_of_a_sum_of_models_are_the_sum_of_attributions() -> None:
    rng = np.random.default_rng(12)
    trees = forest(rng)
    more = replace(trees, leaf_values=3 * trees.leaf_values)
    background, rows = rows_of(rng, 20), rows_of(rng, 10)
    one, three = (fold_of(each, background).contributions(rows) for each in (trees, more))
    np.testing.assert_allclose(3 * one, three, **EXACT)


def test_attributions_are_those_of_each_background_row_on_average() -> None:
    rng = np.random.default_rng(13)
    trees, background, rows = forest(rng), rows_of(rng, 7), rows_of(rng, 5)
    alone = [fold_of(trees, background[at : at + 1]).contributions(rows) for at in range(7)]
    np.testing.assert_allclose(
        fold_of(trees, background).contributions(rows), np.mean(alone, axis=0), **EXACT
    )


def test_a_row_against_itself_explains_nothing_and_swapping_row_and_background_turns_the_sign() -> None:
    rng = np.random.default_rng(14)
    trees, rows = forest(rng), rows_of(rng, 2)
    first, second = rows[:1], rows[1:]
    np.testing.assert_allclose(fold_of(trees, first).contributions(first), 0, **EXACT)
    there, back = fold_of(trees, first).contributions(second), fold_of(trees, second).contributions(first)
    np.testing.assert_allclose(there, -back, **EXACT)


def test_trees_that_are_leaves_explain_nothing() -> None:
    trees = forest(np.random.default_rng(15), depth=0)
    assert not fold_of(trees, rows_of(np.random.default_rng(0), 5)).contributions(np.ones((2, 5))).any()


def chain(columns: NDArray[np.intp]) -> TreeEnsemble:
    """One path that tests these columns, with a leaf to the side of every node."""
    depth = len(columns)
    return TreeEnsemble(
        columns=columns,
        thresholds=np.linspace(1, -1, depth, dtype=np.float32),
        modes=np.zeros(depth, np.uint8),
        if_true=np.append(np.arange(1, depth), ~0),
        if_false=~np.arange(1, depth + 1),
        nan_is_true=np.zeros(depth, bool),
        roots=np.array([0]),
        leaf_values=np.linspace(1, 3, depth + 1)[:, None],
        base=np.zeros(1),
    )


def test_more_players_on_a_path_than_a_table_can_hold_are_refused() -> None:
    trees, background = chain(np.arange(13)), np.zeros((3, 13))
    with pytest.raises(Unsuitable, match="13 players on one path of a tree, more than 12"):
        fold_of(trees, background, range(13))
    twelve = fold_of(trees, background, (0, 0, *range(1, 12)))
    row = np.full((1, 13), 0.5)
    gained = trees.margins(row).item() - trees.margins(background).mean()
    assert twelve.contributions(row).sum() == pytest.approx(gained, abs=1e-6)


def test_twelve_players_on_a_path_are_exact() -> None:
    rng = np.random.default_rng(19)
    trees = chain(np.arange(12))
    background, row = rng.normal(size=(5, 12)).astype(np.float32), np.full((1, 12), -0.9, np.float32)
    found = fold_of(trees, background, range(12)).contributions(row)
    np.testing.assert_allclose(found, enumerated(trees, row, background, range(12)), **EXACT)


def test_a_column_tested_again_and_again_on_one_path_is_exact_and_takes_little_memory() -> None:
    rng = np.random.default_rng(20)
    trees = chain(np.arange(60) % 3)
    background, rows = (
        rng.uniform(-1, 1, (20, 3)).astype(np.float32),
        rng.uniform(-1, 1, (5, 3)).astype(np.float32),
    )
    fold = fold_of(trees, background, range(3))
    np.testing.assert_allclose(
        fold.contributions(rows), enumerated(trees, rows, background, range(3)), **EXACT
    )
    assert fold.nbytes < 1 << 20


def test_paths_so_long_that_folding_would_not_end_are_refused_at_once() -> None:
    with pytest.raises(Unsuitable, match=r"under .* conditions, more than"):
        fold_of(chain(np.arange(16_384) % 5), np.zeros((3, 5)))


def test_tables_beyond_the_budget_are_refused() -> None:
    rng = np.random.default_rng(16)
    folding = Folding(forest(rng, trees=40, depth=6), rows_of(rng, 3), np.arange(5), 5)
    with pytest.raises(Unsuitable, match=r"tables of .* more than"):
        folding.fold(0, budget=1 << 10)


@pytest.mark.parametrize("aggregate", ["min", "max"])
def test_trees_that_are_not_added_up_are_refused(aggregate: Any) -> None:
    trees = forest(np.random.default_rng(17), aggregate=aggregate)
    with pytest.raises(Unsuitable, match=f"the trees' {aggregate} is no sum"):
        fold_of(trees, np.zeros((3, 5)))


@pytest.mark.parametrize("players", [1, 2, 3, 4, 5, 7])
def test_pattern_tables_are_the_shapley_weights_summed_over_the_background(players: int) -> None:
    rng = np.random.default_rng(players)
    patterns = 1 << players
    shares = rng.dirichlet(np.ones(patterns), size=2)
    expected = np.zeros((2, patterns, players))
    for explained, other in product(range(patterns), repeat=2):
        if explained | other == patterns - 1:
            inside, outside = explained & ~other, ~explained & other
            p, q = inside.bit_count(), outside.bit_count()
            for player in range(players):
                if inside >> player & 1:
                    weight = factorial(p - 1) * factorial(q) / factorial(p + q)
                    expected[:, explained, player] += shares[:, other] * weight
                if outside >> player & 1:
                    weight = factorial(p) * factorial(q - 1) / factorial(p + q)
                    expected[:, explained, player] -= shares[:, other] * weight
    np.testing.assert_allclose(pattern_tables(shares), expected, rtol=0, atol=1e-14)


def test_pattern_tables_of_twelve_players_stay_exact() -> None:
    met = np.zeros((1, 1 << 12))
    met[0, 0] = 1.0  # the background meets nothing, the row everything: a unanimity game
    np.testing.assert_allclose(pattern_tables(met)[0, -1], np.full(12, 1 / 12), rtol=1e-13)


def test_within_a_bin_every_node_gives_one_answer() -> None:
    rng = np.random.default_rng(18)
    trees = forest(rng, trees=20)
    bins = cut(trees)
    found = answers(trees, bins)
    special = np.array([-np.inf, np.inf, np.nan, -0.0, 0.0, 1e-45, -1e-45, *GRID], np.float32)
    rows = np.concatenate([rows_of(rng, 300), np.tile(special[:, None], 5)])
    located: NDArray[np.intp] = bins.locate(rows)
    for node, column in enumerate(trees.columns.tolist()):
        place = int(np.searchsorted(bins.columns, column))
        expected = trees.passes(np.array(node), rows[:, column])
        np.testing.assert_array_equal(found.of(node, located[:, place]), expected)
