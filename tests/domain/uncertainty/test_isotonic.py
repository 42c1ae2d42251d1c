"""Isotonic regression beside scikit-learn's, and beside the formula that defines it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression

from service.domain.uncertainty.isotonic import FEWEST, ISOTONIC, learn_curves, tallied
from service.domain.uncertainty.measure import Unfitting
from tests.domain.uncertainty.stated import Echo, answers, drawn, material

Floats = NDArray[np.float64]


def rising(counts: NDArray[np.intp], positives: NDArray[np.intp]) -> Floats:
    """The isotonic fit by definition: the greatest over all starts of the least mean over all ends."""
    rows, positive = (np.concatenate([[0], np.cumsum(each)]) for each in (counts, positives))
    places = range(len(counts))
    means = [[(positive[b + 1] - positive[a]) / (rows[b + 1] - rows[a]) for b in places[a:]] for a in places]
    return np.array([max(min(means[a][place - a :]) for a in range(place + 1)) for place in places])


@pytest.mark.parametrize("decimals", [None, 1, 2])
def test_the_curve_is_the_formulas_at_every_calibration_score(decimals: int | None) -> None:
    for seed in range(10):
        rows = drawn(80, seed=seed, decimals=decimals)
        distinct, counts, positives = tallied(rows.scores[:, 1], rows.labels == 1)
        found = learn_curves(rows.scores, rows.labels)
        curve = np.interp(distinct, found["knots"], found["shares"])
        np.testing.assert_allclose(curve, rising(counts, positives).clip(1 / 82, 81 / 82), atol=1e-12)


@pytest.mark.parametrize("decimals", [None, 1, 2])
def test_between_calibration_scores_the_curve_is_scikit_learns(decimals: int | None) -> None:
    rows, fresh = drawn(300, decimals=decimals), drawn(500, seed=1).scores
    theirs = IsotonicRegression(y_min=1 / 302, y_max=301 / 302, out_of_bounds="clip")
    theirs.fit(rows.scores[:, 1].astype(np.float64), rows.labels)
    wanted = theirs.predict(fresh[:, 1].astype(np.float64))
    np.testing.assert_allclose(answers(ISOTONIC, rows, fresh)["calibrated"][:, 1], wanted, atol=1e-12)


def test_many_classes_are_scikit_learns_but_for_what_is_kept_from_0_and_1() -> None:
    rows, fresh = drawn(2000, 4, times=2.0), drawn(300, 4, times=2.0, seed=1).scores
    theirs = CalibratedClassifierCV(
        FrozenEstimator(Echo(4).fit(rows.scores, rows.labels)), method="isotonic", ensemble=False
    )
    theirs.fit(rows.scores.astype(np.float64), rows.labels)
    wanted = theirs.predict_proba(fresh.astype(np.float64))
    np.testing.assert_allclose(answers(ISOTONIC, rows, fresh)["calibrated"], wanted, atol=4 / 2002)


def test_no_probability_is_nearer_to_0_or_1_than_the_rows_can_tell() -> None:
    rows = drawn(200, times=5.0)
    calibrated = answers(ISOTONIC, rows, drawn(500, seed=1, decimals=1).scores)["calibrated"]
    assert calibrated.min() == pytest.approx(1 / 202)
    assert calibrated.max() == pytest.approx(201 / 202)


def test_a_constant_model_gets_the_share_of_the_label() -> None:
    rows, same = drawn(200), np.full((200, 2), 0.5, np.float32)
    constant = answers(ISOTONIC, material(rows.spec, same, rows.labels), same)
    np.testing.assert_allclose(constant["calibrated"][:, 1], rows.labels.mean())


def test_too_few_rows_for_a_curve_are_declined() -> None:
    with pytest.raises(Unfitting, match=f"{FEWEST - 1} calibration rows are too few"):
        ISOTONIC.fit(drawn(FEWEST - 1))
