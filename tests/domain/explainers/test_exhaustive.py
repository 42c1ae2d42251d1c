"""Exhaustive enumeration: exact against closed forms and the textbook sum, honest when it must stop."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from service.domain.explainers import exhaustive
from service.domain.explainers.exhaustive import EXHAUSTIVE
from service.domain.explainers.game import Ask, Unsuitable, value_function
from service.domain.schema import FeatureBatch, Scores
from service.errors import DeadlineError
from tests.contracts.watching import Counted
from tests.domain.explainers.games import (
    NEVER,
    Game,
    counted,
    enumerated,
    known_games,
    linear,
    tangled,
    truth,
    xor,
)


@pytest.mark.parametrize("game", known_games(), ids=lambda game: game.name)
def test_known_games_get_their_known_values(game: Game) -> None:
    found = EXHAUSTIVE.build(game.subject)(game.rows, Ask(), NEVER)
    np.testing.assert_allclose([each.values for each in found], game.shapley(game.rows), atol=game.tolerance)
    assert all(each.exact and each.standard_errors is None and each.degraded is None for each in found)


@pytest.mark.parametrize("binary", [False, True])
def test_any_game_agrees_with_the_textbook_sum(binary: bool) -> None:
    subject = tangled(width=6, rows=12, binary=binary)
    rows = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    found = EXHAUSTIVE.build(subject)(rows, Ask(), NEVER)
    np.testing.assert_allclose([each.values for each in found], truth(subject, rows), atol=1e-9)


def test_the_explained_class_and_output_are_the_asked_ones() -> None:
    subject = tangled(width=4, rows=9, binary=True)
    row = np.ones(4, dtype=np.float32)
    explain = EXHAUSTIVE.build(subject)
    (no,) = explain(row[None], Ask(label=0, output="probability"), NEVER)
    expected = enumerated(subject, row, value_function(subject, "probability", 0))
    np.testing.assert_allclose(no.values, expected, atol=1e-9)
    with pytest.raises(Unsuitable, match="no class number 2"):
        explain(row[None], Ask(label=2), NEVER)
    with pytest.raises(Unsuitable, match="no output 'value'"):
        explain(row[None], Ask(output="value"), NEVER)


def test_attributions_add_up_to_the_served_score() -> None:
    subject = tangled(width=5, rows=20, binary=True)
    (found,) = EXHAUSTIVE.build(subject)(np.ones((1, 5), dtype=np.float32), Ask(), NEVER)
    served = float(subject.predict(np.ones((1, 5), dtype=np.float32))[0, 1])
    assert 1 / (1 + np.exp(-found.base_value - found.values.sum())) == pytest.approx(served, abs=1e-7)
    assert found.additivity_gap == pytest.approx(0, abs=1e-9)


def test_every_coalition_is_tried_beside_every_background_row_and_nothing_twice() -> None:
    subject, counter = counted(xor().subject)
    explain = EXHAUSTIVE.build(subject)
    counter.rows = 0
    (found,) = explain(np.zeros((1, 5), dtype=np.float32), Ask(max_evals=1), NEVER)
    assert found.rows_evaluated == counter.rows == 1 + len(subject.background) * (2**5 - 2)


@pytest.mark.parametrize("width", [1, 2])
def test_few_players_are_explained_too(width: int) -> None:
    subject = tangled(width=width, rows=8)
    rows = np.ones((1, width), dtype=np.float32)
    (found,) = EXHAUSTIVE.build(subject)(rows, Ask(), NEVER)
    np.testing.assert_allclose(found.values, truth(subject, rows)[0], atol=1e-9)


def test_a_single_background_row_is_enough() -> None:
    subject = replace(tangled(width=4), background=np.zeros((1, 4), dtype=np.float32))
    rows = np.ones((1, 4), dtype=np.float32)
    (found,) = EXHAUSTIVE.build(subject)(rows, Ask(), NEVER)
    assert found.exact
    np.testing.assert_allclose(found.values, truth(subject, rows)[0], atol=1e-9)


def test_more_than_ten_players_are_refused_with_the_reason() -> None:
    with pytest.raises(Unsuitable, match="11 players have 2\\^11 coalitions"):
        EXHAUSTIVE.build(linear(width=11).subject)


def test_a_background_too_large_for_the_cap_is_sampled_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = tangled(width=5, rows=200)
    rows = np.random.default_rng(1).normal(size=(1, 5)).astype(np.float32)
    monkeypatch.setattr(exhaustive, "MOST_ROWS", 60 * 30)
    explain = EXHAUSTIVE.build(subject)
    exact = truth(subject, rows)[0]
    inside = []
    for seed in range(60):
        (found,) = explain(rows, Ask(seed=seed), NEVER)
        assert not found.exact
        assert found.degraded is not None
        assert "60 of 200 background rows" in found.degraded
        assert found.standard_errors is not None
        inside.append(np.abs(found.values - exact) < 1.96 * found.standard_errors)
    assert 0.91 < np.mean(inside) < 0.985


class _Slow:
    """A model that takes a millisecond for each row, at least."""

    def __init__(self, inner) -> None:
        self.inner = inner

    def __call__(self, rows: FeatureBatch) -> Scores:
        time.sleep(1e-3 * len(rows))
        return self.inner(rows)


def test_a_deadline_gives_a_sampled_answer_in_time() -> None:
    subject = tangled(width=4, rows=100)
    rows = np.ones((1, 4), dtype=np.float32)
    explain = EXHAUSTIVE.build(replace(subject, predict=_Slow(subject.predict)))
    due = time.monotonic() + 0.3  # all would take 1.4 s
    (found,) = explain(rows, Ask(), due)
    assert not found.exact
    assert found.degraded is not None
    assert "of 1401 model rows" in found.degraded
    assert found.standard_errors is not None
    errors = np.abs(found.values - truth(subject, rows)[0])
    assert (errors < 5 * found.standard_errors + 1e-6).all()


def test_a_deadline_that_has_passed_is_an_error() -> None:
    explain = EXHAUSTIVE.build(tangled(width=4))
    with pytest.raises(DeadlineError, match="after 0 background rows"):
        explain(np.ones((1, 4), dtype=np.float32), Ask(), time.monotonic() - 1)


def test_a_model_too_slow_for_two_background_rows_is_given_up_after_one() -> None:
    counter = Counted(tangled(width=10))
    explain = EXHAUSTIVE.build(counter.subject)
    counter.rows, counter.seconds = 0, 1e-4  # 0.1 s for the 1,022 coalitions beside one row
    with pytest.raises(DeadlineError, match="after 1 background row"):
        explain(np.ones((1, 10), np.float32), Ask(), time.monotonic() + 0.05)
    assert counter.rows == 1 + 1022
