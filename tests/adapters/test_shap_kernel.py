"""shap's KernelExplainer behind our protocol: right where it can be, seeded, quiet, within its budget."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from service.adapters.shap_kernel import KERNEL
from service.domain.explainers.game import Ask, Unsuitable
from service.errors import DeadlineError
from tests.domain.explainers.games import NEVER, Game, counted, known_games, subject_of, tangled, truth


@pytest.mark.parametrize("game", known_games(), ids=lambda game: game.name)
def test_all_coalitions_and_a_small_background_give_the_known_values(game: Game) -> None:
    found = KERNEL.build(game.subject)(game.rows, Ask(max_evals=200_000), NEVER)
    np.testing.assert_allclose([each.values for each in found], game.shapley(game.rows), atol=1e-4)


def test_missing_values_are_values_like_any_other() -> None:
    background = np.random.default_rng(0).normal(size=(20, 3))
    background[::3, 0] = np.nan
    subject = subject_of(lambda x: np.where(np.isnan(x[:, 0]), 2.0, x[:, 0]) * x[:, 1] + x[:, 2], background)
    rows = np.array([[np.nan, 1, 0], [1, 2, 0.5]], dtype=np.float32)
    found = KERNEL.build(subject)(rows, Ask(), NEVER)
    np.testing.assert_allclose([each.values for each in found], truth(subject, rows), atol=1e-5)


@pytest.mark.parametrize("evals", [300, 1000, 4000])
def test_the_budget_is_never_exceeded_and_hardly_wasted(evals: int) -> None:
    subject, counter = counted(tangled(width=12))
    explain = KERNEL.build(subject)
    counter.rows = 0
    (found,) = explain(np.ones((1, 12), np.float32), Ask(max_evals=evals), NEVER)
    assert found.rows_evaluated == counter.rows <= evals
    assert counter.rows > 0.85 * evals


def test_the_answer_says_which_background_it_is_relative_to_and_that_it_has_no_errors() -> None:
    subject = tangled(width=12, rows=500)
    (found,) = KERNEL.build(subject)(np.ones((1, 12), np.float32), Ask(max_evals=1000), NEVER)
    assert found.detail["background_rows"] == 10
    assert found.detail["background"] == "10 of 500 rows; base_value is their average"
    assert found.standard_errors is None
    assert not found.exact
    served = float(subject.predict(np.ones((1, 12), np.float32))[0, 0])
    assert found.base_value + found.values.sum() == pytest.approx(served, abs=1e-9)
    assert found.additivity_gap == pytest.approx(0, abs=1e-9)


def test_identical_requests_get_identical_answers_and_the_global_generator_is_left_alone() -> None:
    explain, row = KERNEL.build(tangled(width=12)), np.ones((1, 12), np.float32)
    np.random.seed(5)  # noqa: NPY002 - the generator that shap uses
    expected = np.random.random(3)  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    one, again, other = (explain(row, Ask(seed=seed), NEVER)[0].values for seed in (1, 1, 2))
    assert (np.random.random(3) == expected).all()  # noqa: NPY002
    assert (one == again).all()
    assert (one != other).any()


def test_it_prints_and_logs_nothing(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    KERNEL.build(tangled())(np.ones((2, 7), np.float32), Ask(), NEVER)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_too_small_a_budget_is_refused() -> None:
    with pytest.raises(Unsuitable, match="max_evals 20 is too few for kernel: needs 27"):
        KERNEL.build(tangled(width=12))(np.ones((1, 12), np.float32), Ask(max_evals=20), NEVER)


def test_a_passed_deadline_is_an_error_and_leaves_the_generator_alone() -> None:
    explain = KERNEL.build(replace(tangled(width=12)))
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - as above
    with pytest.raises(DeadlineError, match="the deadline passed"):
        explain(np.ones((1, 12), np.float32), Ask(), time.monotonic() - 1)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_shap_is_not_imported_before_it_is_needed() -> None:
    program = "import sys; import service.adapters.shap_kernel; sys.exit('shap' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
