"""The oracles know the answers of games that can be solved by hand, and see a wrong explanation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from load_tests import explanation_oracles
from load_tests.explanation_oracles import ENUMERATION, EXACT, SHAP, Agreement, Plan, compare, shapley
from models.bundle import Bundle
from service.domain.explainers.game import Ask, Explainer, Explanation, Subject
from service.domain.explainers.tree_exact import TREE_EXACT
from service.domain.schema import FeatureBatch

TINY = Plan(rows=1, players=3, background=10, whole=1)


def worth(value: Callable[[set[int]], float], players: int) -> np.ndarray[Any, Any]:
    return np.array(
        [value({p for p in range(players) if number >> p & 1}) for number in range(2**players)], float
    )


def test_a_glove_of_one_hand_is_worth_more_where_the_other_hand_has_two() -> None:
    """Two left gloves and one right one; a pair is worth 1 (Shapley & Shubik 1969)."""
    gloves = worth(lambda members: 2 in members and bool(members & {0, 1}), 3)
    assert shapley(gloves) == pytest.approx([1 / 6, 1 / 6, 4 / 6])


def test_players_of_a_sum_get_their_own_part_and_those_who_change_nothing_get_nothing() -> None:
    parts = [3.0, 0.0, -1.0, 0.5]
    values = shapley(worth(lambda members: 7.0 + sum(parts[player] for player in members), 4))
    assert values == pytest.approx(parts)


def test_every_player_gets_the_average_of_what_it_adds_in_every_order() -> None:
    from itertools import permutations

    game = np.random.default_rng(0).normal(size=32)
    added = np.zeros(5)
    orders = list(permutations(range(5)))
    for order in orders:
        inside = 0
        for player in order:
            added[player] += game[inside | 1 << player] - game[inside]
            inside |= 1 << player
    assert shapley(game) == pytest.approx(added / len(orders))


def test_each_exact_method_that_can_explain_a_model_is_compared(demo_bundle: Callable[[str], Bundle]) -> None:
    found = {(each.method, each.oracle): each for each in compare(demo_bundle("diabetes:gbr-1"), TINY)}
    assert set(found) == {
        ("tree-exact", ENUMERATION),
        ("tree-exact by shap", ENUMERATION),
        ("exhaustive", ENUMERATION),
        ("tree-exact", SHAP),
    }
    assert all(each.error <= 1e-5 for each in found.values())
    linear = [each.method for each in compare(demo_bundle("credit:linear-1"), TINY)]
    assert linear == ["linear-exact", "exhaustive"]


def test_a_method_that_is_a_little_wrong_is_seen(
    demo_bundle: Callable[[str], Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(subject: Subject) -> Explainer:
        explain = TREE_EXACT.build(subject)

        def wrong(rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
            return [replace(each, values=each.values * 1.001) for each in explain(rows, ask, due)]

        return wrong

    monkeypatch.setitem(EXACT, "tree-exact", replace(TREE_EXACT, build=build))
    found = [*compare(demo_bundle("cancer:forest-1"), TINY)]
    verdicts = {finding.what: finding.verdict for finding in explanation_oracles.findings(found)}
    missed = [what for what, verdict in verdicts.items() if verdict == "not met"]
    assert missed == ["tree-exact beside enumeration, 1 models: largest difference"]


def test_the_worst_model_decides() -> None:
    good = Agreement("a:1", "exhaustive", ENUMERATION, 1, 2, spread=1.0, difference=1e-7)
    large = replace(good, model="b:1", spread=100.0, difference=5e-4)
    assert [finding.verdict for finding in explanation_oracles.findings([good, large])] == ["met"]
    bad = replace(good, model="c:1", difference=5e-5)
    assert [finding.verdict for finding in explanation_oracles.findings([good, bad, large])] == ["not met"]
