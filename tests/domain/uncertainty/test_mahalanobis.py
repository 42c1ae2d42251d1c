"""Distances are those of the textbook, and hold up where covariances are hard to invert."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf

from service.domain.uncertainty.encoding import learn_encoding
from service.domain.uncertainty.mahalanobis import MAHALANOBIS, WORTH, shrunk_covariance
from tests.domain.uncertainty.tables import (
    correlated,
    images,
    judged,
    material,
    mixed,
    mixed_rows,
    numbers,
)


@pytest.mark.parametrize(("n", "width"), [(20, 3), (30, 64), (400, 5), (1000, 1)])
def test_the_covariance_is_shrunk_as_scikit_learn_shrinks_it(n: int, width: int) -> None:
    points = correlated(np.random.default_rng(n), n, width).astype(np.float64)
    oracle = LedoitWolf().fit(points)
    covariance, shrinkage = shrunk_covariance(points)
    assert shrinkage == pytest.approx(oracle.shrinkage_, abs=1e-12)
    np.testing.assert_allclose(covariance, oracle.covariance_, rtol=1e-9, atol=1e-12)


def test_the_score_is_the_mahalanobis_distance_of_the_points() -> None:
    rng = np.random.default_rng(0)
    reference, calibration, rows = (mixed_rows(rng, count) for count in (300, 100, 50))
    spec = mixed()
    encoding = learn_encoding(spec.schema, reference, WORTH)
    points = encoding.points(reference)
    fitted = MAHALANOBIS.fit(material(spec, reference, calibration))
    found = judged(MAHALANOBIS, spec, fitted, rows)["domain_score"]
    oracle = LedoitWolf().fit(points)
    np.testing.assert_allclose(found, np.sqrt(oracle.mahalanobis(encoding.points(rows))), rtol=1e-6)
    inverse = np.linalg.inv(oracle.covariance_)
    by_scipy = cdist(encoding.points(rows), points.mean(axis=0)[None], "mahalanobis", VI=inverse)[:, 0]
    np.testing.assert_allclose(found, by_scipy, rtol=1e-6)
    assert fitted.report["shrinkage"] == pytest.approx(oracle.shrinkage_)


def test_a_row_whose_values_do_not_belong_together_is_strange() -> None:
    rng = np.random.default_rng(0)
    spec = numbers(5)
    fitted = MAHALANOBIS.fit(material(spec, correlated(rng, 500), correlated(rng, 500)))
    together, against = np.full((1, 5), 2.0, np.float32), np.array([[2, -2, 2, -2, 2]], np.float32)
    found = judged(MAHALANOBIS, spec, fitted, np.concatenate([together, against]))
    assert found["in_domain"].tolist() == [True, False]
    assert found["domain_score"][1] > 2 * found["domain_score"][0]


def test_columns_that_say_the_same_twice_do_no_harm() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(700, 3))
    twice = np.concatenate([base, base, -base, np.ones((700, 1))], axis=1)
    spec = numbers(10)
    fitted = MAHALANOBIS.fit(material(spec, twice[:300], twice[300:600]))
    found = judged(MAHALANOBIS, spec, fitted, twice[600:])
    assert np.isfinite(found["domain_score"]).all()
    assert found["in_domain"].mean() > 0.9
    broken = twice[600:601].copy()
    broken[0, 0] = -broken[0, 3]
    assert not judged(MAHALANOBIS, spec, fitted, broken)["in_domain"][0]


def test_two_columns_that_are_always_opposite_can_be_learnt() -> None:
    """Their sample covariance is singular, and Ledoit and Wolf would not shrink it."""
    coin = np.array([[1.0, -1.0], [-1.0, 1.0]] * 20)
    spec = numbers(2)
    fitted = MAHALANOBIS.fit(material(spec, coin, coin))
    found = judged(MAHALANOBIS, spec, fitted, np.array([[1.0, -1.0], [1.0, 1.0]]))
    assert np.isfinite(found["domain_score"]).all()
    assert found["in_domain"].tolist() == [True, False]


def test_images_of_more_pixels_than_there_are_rows_can_be_learnt() -> None:
    rng = np.random.default_rng(0)
    spec = images(1, 20, 20)
    rows = rng.random((260, 1)).astype(np.float32) * np.ones((1, 400), np.float32)
    rows += 0.1 * rng.random((260, 400)).astype(np.float32)
    fitted = MAHALANOBIS.fit(material(spec, rows[:100], rows[100:220]))
    found = judged(MAHALANOBIS, spec, fitted, np.concatenate([rows[220:], rng.random((40, 400))]))
    assert found["in_domain"][:40].mean() > 0.9
    assert not found["in_domain"][40:].any()
