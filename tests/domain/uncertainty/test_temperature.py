"""Temperature scaling beside scipy's minimum and scikit-learn's own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from service.domain.uncertainty.measure import Material
from service.domain.uncertainty.temperature import COLDEST, HOTTEST, TEMPERATURE, best_temperature
from tests.domain.uncertainty.stated import Echo, answers, drawn, material, spec, two

CASES = [(2, 1.0), (2, 3.0), (2, 0.3), (5, 0.5), (5, 2.0)]


def temperature(rows: Material) -> float:
    return float(best_temperature(rows.scores, rows.labels)["temperature"])


@pytest.mark.parametrize(("classes", "times"), CASES)
def test_the_temperature_is_where_scipy_finds_the_least_log_loss(classes: int, times: float) -> None:
    rows = drawn(400, classes, times)
    logs = np.log(rows.scores.astype(np.float64))

    def loss(power: float) -> float:
        return float(-log_softmax(power * logs, axis=1)[np.arange(400), rows.labels].mean())

    found = minimize_scalar(loss, bounds=(1 / HOTTEST, 1 / COLDEST), options={"xatol": 1e-10})
    assert temperature(rows) == pytest.approx(1 / found.x, rel=1e-6)


@pytest.mark.parametrize(("classes", "times"), [(2, 1.0), (2, 0.3), (5, 0.5), (5, 2.0)])
def test_calibrated_probabilities_are_scikit_learns(classes: int, times: float) -> None:
    rows, fresh = drawn(400, classes, times), drawn(100, classes, times, seed=1).scores
    echo = FrozenEstimator(Echo(classes).fit(rows.scores, rows.labels))
    theirs = CalibratedClassifierCV(echo, method="temperature", ensemble=False)
    theirs.fit(rows.scores.astype(np.float64), rows.labels)
    ours = answers(TEMPERATURE, rows, fresh)["calibrated"]
    np.testing.assert_allclose(ours, theirs.predict_proba(fresh.astype(np.float64)), atol=1e-6)


@pytest.mark.parametrize("times", [0.5, 2.0])
@pytest.mark.parametrize("classes", [2, 6])
def test_what_a_model_overstates_its_log_odds_by_is_found(classes: int, times: float) -> None:
    assert temperature(drawn(50_000, classes, times)) == pytest.approx(times, rel=0.03)


def test_the_answered_class_stays_the_same() -> None:
    rows = drawn(300, 6, times=4.0)
    calibrated = answers(TEMPERATURE, rows, rows.scores)["calibrated"]
    np.testing.assert_array_equal(calibrated.argmax(axis=1), rows.scores.argmax(axis=1))


def test_a_model_that_is_always_or_never_right_keeps_within_bounds() -> None:
    scores = two(np.tile([0.2, 0.8], 20))
    for right, bound in ((True, COLDEST), (False, HOTTEST)):
        labels = ((scores[:, 1] > 0.5) == right).astype(np.intp)
        rows = material(spec(2), scores, labels)
        assert temperature(rows) == pytest.approx(bound)
        assert np.isfinite(answers(TEMPERATURE, rows, two(np.array([0.0, 0.5, 1.0])))["calibrated"]).all()


def test_zero_is_taken_for_less_than_the_least_that_the_model_has_said() -> None:
    """One wrong certainty among 200 rows does not make a forest unsure of everything."""
    rows = drawn(200, decimals=2)
    floor = float(best_temperature(rows.scores, rows.labels)["floor"])
    assert floor == pytest.approx(0.005)
    zero, half = (answers(TEMPERATURE, rows, two(np.array([share])))["calibrated"] for share in (0, floor))
    np.testing.assert_allclose(zero, half, rtol=0.01)
    scores, labels = rows.scores.copy(), rows.labels.copy()
    scores[0], labels[0] = (1, 0), 1
    assert temperature(material(rows.spec, scores, labels)) < 1.5 * temperature(rows)


def test_scores_far_too_near_to_0_for_pythons_floats_are_no_error() -> None:
    scores = np.array([[1, 1e-42], [1e-42, 1]] * 20, np.float32)
    rows = material(spec(2), scores, np.tile([0, 1], 20))
    for fresh in (scores, scores[:1]):
        np.testing.assert_array_equal(answers(TEMPERATURE, rows, fresh)["calibrated"].argmax(axis=1)[0], 0)
        np.testing.assert_allclose(answers(TEMPERATURE, rows, fresh)["calibrated"].max(axis=1), 1)


def test_the_report_says_the_temperature() -> None:
    fitted = TEMPERATURE.fit(drawn(200, times=2.0))
    assert fitted.report["temperature"] == float(fitted.arrays["temperature"]) > 1
