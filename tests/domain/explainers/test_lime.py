"""LIME: right where the model is linear in who is kept, honest about its fit where it is not."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from service.domain.explainers.game import Ask, Unsuitable
from service.domain.explainers.lime import LIME
from service.domain.schema import FeatureBatch, Scores
from service.errors import DeadlineError
from tests.domain.explainers.games import NEVER, counted, grouped, linear, subject_of, tangled, xor


@pytest.mark.parametrize("game", [linear(), grouped()], ids=lambda game: game.name)
def test_a_linear_model_gets_its_own_contributions(game) -> None:
    found = LIME.build(game.subject)(game.rows, Ask(max_evals=20_000), NEVER)
    for explanation, exact in zip(found, game.shapley(game.rows), strict=True):
        assert explanation.standard_errors is not None
        assert (np.abs(explanation.values - exact) < 5 * explanation.standard_errors + 1e-3).all()
        assert np.corrcoef(explanation.values, exact)[0, 1] > 0.99


def test_one_background_row_and_a_linear_model_fit_perfectly() -> None:
    subject = subject_of(lambda x: x @ np.array([1.0, -2.0, 3.0]), np.zeros((1, 3)))
    (found,) = LIME.build(subject)(np.ones((1, 3), np.float32), Ask(), NEVER)
    np.testing.assert_allclose(found.values, [1, -2, 3], atol=0.02)  # the ridge pulls in a little
    assert found.detail["fidelity_r2"] > 0.999


def test_parity_is_not_linear_and_the_answer_says_so() -> None:
    subject = replace(xor().subject, background=np.zeros((1, 5), dtype=np.float32))
    (found,) = LIME.build(subject)(np.ones((1, 5), np.float32), Ask(), NEVER)
    assert found.detail["fidelity_r2"] < 0.5


def test_a_constant_model_is_all_zeros_and_fits() -> None:
    subject = subject_of(lambda x: np.full(len(x), 2.0), np.zeros((4, 3)))
    (found,) = LIME.build(subject)(np.ones((1, 3), np.float32), Ask(), NEVER)
    np.testing.assert_allclose(found.values, 0, atol=1e-9)
    assert found.detail["fidelity_r2"] == 1


def test_it_claims_no_additivity() -> None:
    (found,) = LIME.build(tangled())(np.ones((1, 7), np.float32), Ask(), NEVER)
    assert found.additivity_gap is None
    assert not found.exact
    assert not LIME.additive


def test_errors_cover_what_unlimited_rows_would_say() -> None:
    subject = tangled(width=5, rows=100)
    row, explain = np.ones((1, 5), np.float32), LIME.build(subject)
    limit = explain(row, Ask(max_evals=400_000, seed=999), NEVER)[0].values
    inside = []
    for seed in range(200):
        (found,) = explain(row, Ask(max_evals=800, seed=seed), NEVER)
        assert found.standard_errors is not None
        inside.append(np.abs(found.values - limit) < 1.96 * found.standard_errors)
    assert 0.92 < np.mean(inside) < 0.98


@pytest.mark.parametrize("evals", [50, 777, 4000])
def test_the_budget_is_kept_exactly(evals: int) -> None:
    subject, counter = counted(tangled())
    explain = LIME.build(subject)
    counter.rows = 0
    (found,) = explain(np.ones((1, 7), np.float32), Ask(max_evals=evals), NEVER)
    assert found.rows_evaluated == counter.rows == evals


def test_identical_requests_get_identical_answers() -> None:
    explain, row = LIME.build(tangled()), np.ones((1, 7), np.float32)
    one, again, other = (explain(row, Ask(seed=seed), NEVER)[0].values for seed in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()


def test_too_small_a_budget_is_refused() -> None:
    with pytest.raises(Unsuitable, match="max_evals 18 is too few for lime: needs 19"):
        LIME.build(tangled())(np.ones((1, 7), np.float32), Ask(max_evals=18), NEVER)


def test_a_deadline_is_kept_with_what_was_done_and_a_passed_one_is_an_error() -> None:
    subject = tangled()

    def slow(rows: FeatureBatch) -> Scores:
        time.sleep(1e-3 * len(rows))
        return subject.predict(rows)

    explain = LIME.build(replace(subject, predict=slow))
    (found,) = explain(np.ones((1, 7), np.float32), Ask(), time.monotonic() + 0.3)
    assert found.degraded is not None
    assert f"after {found.rows_evaluated} of 4000 model rows" in found.degraded
    assert found.rows_evaluated < 1000
    with pytest.raises(DeadlineError, match="after 0 made-up rows"):
        explain(np.ones((1, 7), np.float32), Ask(), time.monotonic() - 1)
