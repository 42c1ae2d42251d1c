"""Distances to the nearest are those of comparing with every row."""

from __future__ import annotations

import tracemalloc

import numpy as np
from sklearn.neighbors import NearestNeighbors

from service.domain.distance import MixedDistance
from service.domain.uncertainty.encoding import learn_encoding
from service.domain.uncertainty.knn import KNN, NEAREST, WORTH
from tests.domain.uncertainty.tables import correlated, judged, material, mixed, mixed_rows, numbers


def test_the_score_is_the_mean_distance_to_the_nearest_reference_rows() -> None:
    rng = np.random.default_rng(0)
    reference, calibration, rows = (mixed_rows(rng, count) for count in (300, 100, 50))
    spec = mixed()
    fitted = KNN.fit(material(spec, reference, calibration))
    found = judged(KNN, spec, fitted, rows)["domain_score"]
    encoding = learn_encoding(spec.schema, reference, WORTH)
    oracle = NearestNeighbors(n_neighbors=NEAREST, metric="manhattan", algorithm="brute")
    distances, _ = oracle.fit(encoding.points(reference)).kneighbors(encoding.points(rows))
    np.testing.assert_allclose(found, distances.mean(axis=1), rtol=1e-5, atol=1e-6)


def test_categories_and_missing_values_are_as_far_apart_as_for_explanations() -> None:
    spec = mixed()
    reference = mixed_rows(np.random.default_rng(0), 300)
    points = learn_encoding(spec.schema, reference, WORTH).points
    row = np.array([[40.0, 7.0, 0.0, 3.0]])
    explained = MixedDistance(np.ones(4), np.array([False, False, True, True]))
    other = row.copy()
    other[0, 2] = 1.0
    assert np.abs(points(row) - points(other)).sum() == explained.between(row, other)[0] == 1


def test_a_hole_between_two_clumps_is_out_of_domain() -> None:
    rng = np.random.default_rng(0)
    spec = numbers(2)

    def clumps(count: int) -> np.ndarray:
        side = rng.choice([-8.0, 8.0], count)[:, None]
        return (side + rng.normal(size=(count, 2))).astype(np.float32)

    fitted = KNN.fit(material(spec, clumps(400), clumps(400)))
    found = judged(KNN, spec, fitted, np.array([[0, 0], [8, 8], [-8, -8]], np.float32))
    assert found["in_domain"].tolist() == [False, True, True]


def test_ten_thousand_rows_need_little_more_memory_than_their_points() -> None:
    rng = np.random.default_rng(0)
    spec = numbers(5)
    fitted = KNN.fit(material(spec, correlated(rng, 100), correlated(rng, 100)))
    rows = correlated(rng, 10_000)
    judged(KNN, spec, fitted, rows[:1])
    tracemalloc.start()
    judged(KNN, spec, fitted, rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * len(rows) * 5 * 8
