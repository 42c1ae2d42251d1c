"""Permutation sampling: laws, budget, deadline, determinism, and errors that cover what they claim to."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from service.domain.explainers.game import Ask, Subject, Unsuitable
from service.domain.explainers.permutation import PERMUTATION, design_of
from service.domain.schema import FeatureBatch, Scores
from service.errors import DeadlineError
from tests.domain.explainers.games import (
    NEVER,
    Game,
    counted,
    known_games,
    linear,
    subject_of,
    tangled,
    truth,
    xor,
)


def rows_for(subject: Subject, count: int = 4, seed: int = 9) -> FeatureBatch:
    width = subject.background.shape[1]
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


@pytest.mark.parametrize("game", known_games(), ids=lambda game: game.name)
def test_known_games_are_within_the_stated_errors(game: Game) -> None:
    found = PERMUTATION.build(game.subject)(game.rows, Ask(max_evals=3000), NEVER)
    for explanation, exact in zip(found, game.shapley(game.rows), strict=True):
        assert explanation.standard_errors is not None
        assert (np.abs(explanation.values - exact) < 5 * explanation.standard_errors + game.tolerance).all()
        assert np.abs(explanation.values - exact).max() < 0.1


def test_a_linear_model_is_exact_from_every_background_row_once() -> None:
    game = linear(rows=40)
    # 40 rows and 10 repeats at 10 model rows each: nothing is left to sample but rounding
    found = PERMUTATION.build(game.subject)(game.rows, Ask(max_evals=4 * 400 + 1), NEVER)
    np.testing.assert_allclose([each.values for each in found], game.shapley(game.rows), atol=1e-5)


@pytest.mark.parametrize("evals", [100, 1000, 4000])
@pytest.mark.parametrize("binary", [False, True])
def test_attributions_add_up_to_the_served_score_whatever_was_sampled(evals: int, binary: bool) -> None:
    subject = tangled(width=8, rows=60, binary=binary)
    rows = rows_for(subject)
    scores = subject.predict(rows)[:, -1].astype(np.float64)
    served = np.log(scores) - np.log(subject.predict(rows)[:, 0].astype(np.float64)) if binary else scores
    for explanation, output in zip(
        PERMUTATION.build(subject)(rows, Ask(max_evals=evals), NEVER), served, strict=True
    ):
        assert explanation.base_value + explanation.values.sum() == pytest.approx(output, abs=1e-9)
        assert explanation.additivity_gap == pytest.approx(0, abs=1e-9)


def test_the_base_value_is_the_average_over_the_whole_background() -> None:
    subject = tangled(rows=300)
    (found,) = PERMUTATION.build(subject)(rows_for(subject, 1), Ask(max_evals=200), NEVER)
    assert found.base_value == pytest.approx(subject.predict(subject.background).astype(np.float64).mean())


def test_a_column_the_model_ignores_gets_nothing_beyond_the_error() -> None:
    game = linear(width=12, rows=200)
    (found,) = PERMUTATION.build(game.subject)(game.rows[:1], Ask(max_evals=1000), NEVER)
    assert found.standard_errors is not None
    assert abs(found.values[1]) < 5 * found.standard_errors[1] + 1e-6


def test_twins_get_the_same_within_the_error() -> None:
    background = np.random.default_rng(5).normal(size=(80, 4))
    background[:, 1] = background[:, 0]
    subject = subject_of(lambda x: np.tanh(x[:, 0] + x[:, 1]) * x[:, 2] + x[:, 3], background)
    (found,) = PERMUTATION.build(subject)(np.ones((1, 4), np.float32), Ask(max_evals=6000), NEVER)
    assert found.standard_errors is not None
    assert abs(found.values[0] - found.values[1]) < 4 * found.standard_errors[:2].sum()


def test_explanations_of_a_sum_of_models_are_the_sum_of_theirs() -> None:
    background = np.random.default_rng(6).normal(size=(60, 5))

    def product(x: np.ndarray) -> np.ndarray:
        return x[:, 0] * x[:, 1] * x[:, 2]

    def wave(x: np.ndarray) -> np.ndarray:
        return np.sin(x[:, 2] + x[:, 3])

    def both(x: np.ndarray) -> np.ndarray:
        return product(x) + wave(x)

    row, ask = np.ones((1, 5), np.float32), Ask(max_evals=2000)
    parts = [PERMUTATION.build(subject_of(each, background))(row, ask, NEVER)[0] for each in (product, wave)]
    (whole,) = PERMUTATION.build(subject_of(both, background))(row, ask, NEVER)
    # the same coalitions for all three: no sampling noise stands between them
    np.testing.assert_allclose(whole.values, parts[0].values + parts[1].values, atol=2e-3)


@pytest.mark.parametrize("evals", [57, 100, 999, 4000])
def test_the_budget_is_never_exceeded_and_hardly_wasted(evals: int) -> None:
    subject, counter = counted(tangled(width=8, rows=30))
    explain = PERMUTATION.build(subject)
    counter.rows = 0
    (found,) = explain(rows_for(subject, 1), Ask(max_evals=evals), NEVER)
    assert found.rows_evaluated == counter.rows <= evals
    assert counter.rows > evals - 2 * 7


def test_all_coalitions_of_a_row_take_one_session_run() -> None:
    subject, counter = counted(tangled(width=8, rows=30))
    explain = PERMUTATION.build(subject)
    counter.seen.clear()
    explain(rows_for(subject, 1), Ask(max_evals=4000), NEVER)
    assert counter.calls - 1 == 2  # the row itself and its coalitions; the background was scored at load
    assert counter.seen == [1, 285 * 14]


def test_a_budget_without_two_pairs_is_refused_with_what_it_takes() -> None:
    subject = tangled(width=8)
    with pytest.raises(Unsuitable, match="max_evals 28 is too few for 8 players: needs 29"):
        PERMUTATION.build(subject)(rows_for(subject, 1), Ask(max_evals=28), NEVER)
    (found,) = PERMUTATION.build(subject)(rows_for(subject, 1), Ask(max_evals=29), NEVER)
    assert found.rows_evaluated == 29


def test_a_row_is_explained_alike_alone_and_in_a_batch_and_twice() -> None:
    subject = tangled(width=8)
    rows, explain, ask = rows_for(subject), PERMUTATION.build(subject), Ask(max_evals=500, seed=3)
    together = explain(rows, ask, NEVER)
    alone = [explain(rows[index : index + 1], ask, NEVER)[0] for index in range(len(rows))]
    for one, other in zip(together, alone, strict=True):
        assert one.off_manifold_share == other.off_manifold_share
        np.testing.assert_allclose(one.values, other.values, rtol=0, atol=1e-12)
    again = explain(rows, ask, NEVER)
    assert all((one.values == other.values).all() for one, other in zip(together, again, strict=True))
    (another,) = explain(rows[:1], replace(ask, seed=4), NEVER)
    assert (another.values != together[0].values).any()


def test_two_models_are_explained_by_the_same_coalitions() -> None:
    first, second = counted(tangled(seed=1)), counted(tangled(seed=2))
    met: list[list[FeatureBatch]] = [[], []]
    for (subject, _), kept in zip((first, second), met, strict=True):

        def predict(rows: FeatureBatch, subject: Subject = subject, kept: list = kept) -> Scores:
            kept.append(rows)
            return subject.predict(rows)

        explain = PERMUTATION.build(replace(subject, predict=predict, background=first[0].background))
        explain(np.ones((1, 7), np.float32), Ask(max_evals=300), NEVER)
    assert all((one == other).all() for one, other in zip(*met, strict=True))


@pytest.mark.parametrize(("pairs", "rows"), [(10, 1000), (200, 1000), (900, 1000), (1200, 1000), (3000, 70)])
def test_background_rows_are_used_equally_often_but_for_one(pairs: int, rows: int) -> None:
    drawn = design_of(pairs, 5, rows, seed=0).drawn
    counts = np.bincount(drawn)
    used = counts[counts > 0]
    assert used.sum() == pairs
    assert used.max() - used.min() <= 1
    assert len(used) >= min(rows, 0.85 * pairs)


def test_one_player_gets_the_whole_difference() -> None:
    subject = tangled(width=1, rows=20)
    rows = np.ones((1, 1), dtype=np.float32)
    (found,) = PERMUTATION.build(subject)(rows, Ask(max_evals=50), NEVER)
    np.testing.assert_allclose(found.values, truth(subject, rows)[0], atol=1e-9)
    assert found.off_manifold_share is None


def test_missing_values_are_values_like_any_other() -> None:
    background = np.random.default_rng(7).normal(size=(60, 3))
    background[::4, 0] = np.nan
    subject = subject_of(lambda x: np.where(np.isnan(x[:, 0]), 2.0, x[:, 0]) * x[:, 1] + x[:, 2], background)
    rows = np.array([[np.nan, 1, 0], [1, 1, np.nan]], dtype=np.float32)[:1]
    (found,) = PERMUTATION.build(subject)(rows, Ask(max_evals=4000), NEVER)
    assert found.standard_errors is not None
    assert (np.abs(found.values - truth(subject, rows)[0]) < 5 * found.standard_errors).all()


@pytest.mark.parametrize("evals", [200, 1000, 3000, 9000])
def test_standard_errors_cover_the_exact_values_in_95_percent_of_cases(evals: int) -> None:
    subject = tangled(width=7, rows=150)
    rows = rows_for(subject, 6)
    exact, explain = truth(subject, rows), PERMUTATION.build(subject)
    inside = []
    for seed in range(240):
        row = seed % len(rows)
        (found,) = explain(rows[row : row + 1], Ask(max_evals=evals, seed=seed), NEVER)
        assert found.standard_errors is not None
        inside.append(np.abs(found.values - exact[row]) < 1.96 * found.standard_errors)
    assert 0.93 <= np.mean(inside) <= 0.975  # 1,680 cases: one standard error is half a point


def test_background_errors_cover_what_another_background_would_say() -> None:
    population = tangled(width=5, rows=4000, seed=8)
    rows = rows_for(population, 1)
    whole = PERMUTATION.build(population)(rows, Ask(max_evals=120_000), NEVER)[0].values
    rng, inside = np.random.default_rng(10), []
    for _ in range(60):
        part = replace(population, background=population.background[rng.permutation(4000)[:60]])
        (found,) = PERMUTATION.build(part)(rows, Ask(max_evals=6000), NEVER)
        errors = np.array(found.detail["background_standard_errors"])
        inside.append(np.abs(found.values - whole) < 1.96 * errors)
    assert 0.90 < np.mean(inside) < 0.985


def test_more_evaluations_give_smaller_errors() -> None:
    subject = tangled(width=9, rows=400)
    explain = PERMUTATION.build(subject)
    errors = []
    for evals in (500, 2000, 8000):
        (found,) = explain(rows_for(subject, 1), Ask(max_evals=evals), NEVER)
        assert found.standard_errors is not None
        errors.append(found.standard_errors.mean())
    assert errors[0] > 1.5 * errors[1] > 2.25 * errors[2]


class _Slow:
    """A model that takes a millisecond for each row, at least."""

    def __init__(self, subject: Subject) -> None:
        self.inner = subject.predict

    def __call__(self, rows: FeatureBatch) -> Scores:
        time.sleep(1e-3 * len(rows))
        return self.inner(rows)


def test_a_deadline_is_kept_with_wider_errors_that_say_so() -> None:
    subject = tangled(width=6, rows=30)
    slow = replace(subject, predict=_Slow(subject))
    explain = PERMUTATION.build(slow)
    due = time.monotonic() + 0.4  # two rows of 2,000 model rows would take 4 s
    found = explain(rows_for(subject, 2), Ask(max_evals=2000), due)
    for explanation in found:
        assert explanation.degraded is not None
        assert f"after {explanation.rows_evaluated} of 1991 model rows" in explanation.degraded
        assert 21 <= explanation.rows_evaluated < 500
        assert explanation.additivity_gap == pytest.approx(0, abs=1e-9)


def test_a_deadline_that_has_passed_is_an_error() -> None:
    subject = xor().subject
    with pytest.raises(DeadlineError, match="after 0 pairs"):
        PERMUTATION.build(subject)(np.ones((1, 5), np.float32), Ask(), time.monotonic() - 1)
