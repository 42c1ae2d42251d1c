"""Figures of calibration beside scikit-learn's and beside what is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from service.domain.uncertainty.reliability import (
    FLOOR,
    brier,
    calibration_error,
    log_losses,
    proper,
    reliability,
)
from tests.domain.uncertainty.stated import drawn, two


@pytest.mark.parametrize("classes", [2, 5])
def test_log_loss_and_brier_score_are_scikit_learns(classes: int) -> None:
    rows = drawn(300, classes)
    probabilities, labels = proper(rows.scores), rows.labels
    assert log_losses(probabilities, labels).mean() == pytest.approx(log_loss(labels, probabilities))
    theirs = brier_score_loss(labels, probabilities, scale_by_half=True, labels=range(classes))
    assert brier(probabilities, labels) == pytest.approx(theirs)


def test_a_certainty_that_does_not_come_true_costs_much_but_not_everything() -> None:
    sure = np.array([[1.0, 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(log_losses(sure, np.array([0, 1])), [0, -np.log(FLOOR)])


def test_the_table_counts_each_row_once_and_says_what_was_stated_and_what_happened() -> None:
    second = np.array([0.0, 0.1, 0.1000001, 0.15, 0.2, 0.95, 1.0])
    table = reliability(proper(np.stack([1 - second, second], axis=1)), np.array([0, 1, 0, 0, 1, 1, 1]))
    assert [(each.low, each.high, each.rows) for each in table] == [(0, 0.1, 2), (0.1, 0.2, 3), (0.9, 1, 2)]
    assert [each.observed for each in table] == pytest.approx([1 / 2, 1 / 3, 1])
    assert [each.predicted for each in table] == pytest.approx([0.05, 0.45 / 3, 0.975], abs=1e-6)


def test_calibration_error_is_the_gap_of_a_model_that_overstates() -> None:
    """Half of the rows for which 0.9 was stated come true, and all for which 0 was do not."""
    table = reliability(
        proper(two(np.repeat([0.9, 0.0], 100))), np.tile([0, 1], 100) * (np.arange(200) < 100)
    )
    assert calibration_error(table) == pytest.approx(0.4 / 2)


@pytest.mark.parametrize("classes", [2, 5])
def test_calibration_error_of_true_probabilities_vanishes_with_many_rows(classes: int) -> None:
    honest, bold = (drawn(200_000, classes, times) for times in (1.0, 2.0))
    assert calibration_error(reliability(proper(honest.scores), honest.labels)) < 0.005
    assert calibration_error(reliability(proper(bold.scores), bold.labels)) > 0.05


def test_of_many_classes_the_likeliest_is_what_the_table_is_about() -> None:
    probabilities = np.array([[0.2, 0.5, 0.3], [0.85, 0.1, 0.05]])
    table = reliability(probabilities, np.array([2, 0]))
    assert [(each.predicted, each.observed) for each in table] == [(0.5, 0), (0.85, 1)]


def test_scores_become_probabilities_that_add_up_whatever_they_are() -> None:
    scores = np.array([[0.2, 0.6], [0, 0], [1, 0]], np.float32)
    wanted = np.array([[0.25, 0.75], [0.5, 0.5], [1, 0]])
    np.testing.assert_allclose(proper(scores), wanted, atol=1e-7)
    np.testing.assert_allclose(np.concatenate([proper(row[None]) for row in scores]), wanted, atol=1e-7)
