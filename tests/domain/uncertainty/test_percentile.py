"""A row's place among the calibration rows, and the cut that keeps its promise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from service.domain.schema import FeatureBatch
from service.domain.uncertainty.measure import Asked, Columns, Fitted, Unfitting
from service.domain.uncertainty.percentile import LEAST_CALIBRATION, domain_from, learn_domain
from tests.domain.uncertainty.tables import correlated, material, numbers


def learn(scores: np.ndarray, percentile: float = 99.0) -> Fitted:
    """Rows of one column, which is their score."""
    given = material(numbers(1), scores[:, None], scores[:, None], percentile)
    return learn_domain(given, lambda rows: rows[:, 0], {}, {})


def columns(fitted: Fitted, *scores: float) -> Columns:
    domain = domain_from(fitted.arrays, lambda asked: np.asarray(asked.rows[:, 0], np.float64))
    rows = np.array(scores)[:, None]
    return domain.columns(Asked(rows, np.zeros((len(rows), 1), np.float32)))


def test_the_percentile_is_the_share_of_calibration_rows_that_are_less_strange() -> None:
    fitted = learn(np.random.default_rng(0).permutation(200.0 * np.arange(200)))
    assert columns(fitted, -1, 0, 1, 200 * 100, 200 * 199, 1e9)["domain_percentile"].tolist() == [
        0, 0, 0.5, 50, 99.5, 100,
    ]  # fmt: skip


def test_rows_that_tie_with_a_row_are_not_less_strange() -> None:
    fitted = learn(np.repeat([1.0, 2.0], 50))
    assert columns(fitted, 1, 1.5, 2, 2.5)["domain_percentile"].tolist() == [0, 50, 50, 100]


def test_rows_whose_scores_differ_by_rounding_alone_tie() -> None:
    fitted = learn(np.repeat([1.0, 2.0], [10, 90]))
    above, below = (np.float64(2) * (1 + part) for part in (1e-7, -1e-7))
    found = columns(fitted, 2, above, below, 2.001)
    assert found["domain_percentile"].tolist() == [10, 10, 10, 100]
    assert found["in_domain"].tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("n", "percentile", "rank"),
    [(99, 99, 99), (999, 99, 990), (1000, 99, 991), (199, 90, 180), (100, 50, 51)],
)
def test_the_cut_is_the_calibration_score_that_conformal_prediction_takes(
    n: int, percentile: float, rank: int
) -> None:
    fitted = learn(np.arange(1.0, n + 1), percentile)
    assert columns(fitted, rank, rank + 0.5)["in_domain"].tolist() == [True, False]
    assert fitted.report["out_of_domain_at_most"] == pytest.approx((n + 1 - rank) / (n + 1))
    assert fitted.report["out_of_domain_at_most"] <= 1 - percentile / 100 + 1e-12


def test_with_too_few_rows_for_the_share_the_strangest_is_the_cut_and_the_report_says_so() -> None:
    fitted = learn(np.arange(1.0, 51))
    assert columns(fitted, 50, 50.5)["in_domain"].tolist() == [True, False]
    assert fitted.report["out_of_domain_at_most"] == pytest.approx(1 / 51)


@given(st.integers(20, 300), st.floats(0.1, 99.9))
def test_a_row_out_of_domain_is_always_at_a_higher_percentile_than_one_in_domain(
    n: int, percentile: float
) -> None:
    rng = np.random.default_rng(n)
    found = columns(learn(rng.integers(0, 40, n).astype(np.float64), percentile), *np.arange(-1, 42, 0.5))
    inside = found["in_domain"]
    assert not inside.all()
    if inside.any():
        assert found["domain_percentile"][inside].max() < found["domain_percentile"][~inside].min()


@pytest.mark.parametrize(("n", "percentile"), [(20, 99.0), (114, 99.0), (300, 95.0), (300, 60.0)])
def test_rows_like_the_calibration_rows_are_out_of_domain_as_often_as_the_report_says(
    n: int, percentile: float
) -> None:
    rng = np.random.default_rng(0)
    trials, out, promised = 4000, 0, 0.0
    for _ in range(trials):
        scores = rng.normal(size=n + 1)
        fitted = learn(scores[:-1], percentile)
        out += not columns(fitted, scores[-1])["in_domain"][0]
        promised = fitted.report["out_of_domain_at_most"]
    band = 4 * np.sqrt(promised * (1 - promised) / trials)
    assert out / trials == pytest.approx(promised, abs=band)


@pytest.mark.parametrize("percentile", [0.1, 50.0, 95.0, 99.0, 99.9])
def test_another_percentile_has_the_cut_that_fitting_with_it_has(percentile: float) -> None:
    scores = np.random.default_rng(3).normal(size=150)
    usual = domain_from(learn(scores).arrays, lambda asked: asked.rows[:, 0])
    assert usual.at(percentile).cut == float(learn(scores, percentile).arrays["cut"][0])


def test_too_few_calibration_rows_tell_nothing() -> None:
    with pytest.raises(Unfitting, match=f"{LEAST_CALIBRATION - 1} calibration rows are too few"):
        learn(np.arange(LEAST_CALIBRATION - 1.0))


def test_a_calibration_row_without_a_score_is_named() -> None:
    scores = np.arange(30.0)
    scores[7] = np.nan
    with pytest.raises(Unfitting, match="calibration row 7 has no finite score"):
        learn(scores)


def test_the_report_tells_how_well_rows_with_shuffled_columns_are_found_out() -> None:
    rows = correlated(np.random.default_rng(0), 800, 3)
    given = material(numbers(3), rows, rows)

    def told(strangeness: Callable[[FeatureBatch], np.ndarray]) -> float:
        auroc: float = learn_domain(given, strangeness, {}, {}).report["auroc_of_shuffled"]
        return auroc

    assert told(lambda rows: rows[:, 0]) == pytest.approx(0.5)  # a shuffled column holds the same values
    assert told(lambda rows: np.zeros(len(rows))) == 0.5
    apart = told(lambda rows: rows.std(axis=1))
    shuffled = np.random.default_rng(given.seed).permuted(rows, axis=0)
    known = np.repeat([0, 1], len(rows))
    assert apart == pytest.approx(roc_auc_score(known, np.concatenate([rows, shuffled]).std(axis=1)))
    assert apart > 0.8
