"""The second graph's error becomes a score; nothing else is learnt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from service.domain.schema import FeatureBatch
from service.domain.uncertainty.measure import Asked, Graph, Material, Unfitting
from service.domain.uncertainty.reconstruction import RECONSTRUCTION
from tests.domain.uncertainty.tables import correlated, material, numbers

SPEC = numbers(5)


def from_middle(graph: Graph, rows: FeatureBatch) -> NDArray[np.float32]:
    """An autoencoder that repeats a row's mean in every column."""
    assert graph == "reconstruction"
    return np.square(rows - rows.mean(axis=1, keepdims=True)).mean(axis=1)


def with_autoencoder() -> Material:
    rng = np.random.default_rng(0)
    plain = material(SPEC, correlated(rng, 100), correlated(rng, 500))
    return replace(plain, graphs=frozenset({"reconstruction"}), run=from_middle)


def asked(rows: FeatureBatch, run: object = from_middle) -> Asked:
    return Asked(rows, np.zeros((len(rows), 1), np.float32), run=run)


def test_the_score_is_the_error_of_the_graph() -> None:
    fitted = RECONSTRUCTION.fit(with_autoencoder())
    rows = np.array([[1, 1, 1, 1, 1], [2, -2, 2, -2, 2]], np.float32)
    found = RECONSTRUCTION.restore(SPEC, fitted.arrays).columns(asked(rows))
    np.testing.assert_allclose(found["domain_score"], from_middle("reconstruction", rows))
    assert found["domain_score"].dtype == np.float64
    assert found["in_domain"].tolist() == [True, False]


@pytest.mark.parametrize("error", [np.nan, np.inf])
def test_an_error_that_is_no_finite_number_is_as_large_as_any(error: float) -> None:
    quantity = RECONSTRUCTION.restore(SPEC, RECONSTRUCTION.fit(with_autoencoder()).arrays)
    found = quantity.columns(asked(np.ones((1, 5)), lambda graph, rows: np.full(len(rows), error)))
    assert np.isfinite(found["domain_score"]).all()
    assert found["domain_percentile"].tolist() == [100]
    assert not found["in_domain"][0]


def test_a_bundle_without_the_graph_is_declined() -> None:
    with pytest.raises(Unfitting, match="no reconstruction graph"):
        RECONSTRUCTION.fit(replace(with_autoencoder(), graphs=frozenset({"members"})))


def test_a_graph_that_fails_on_a_calibration_row_is_declined() -> None:
    broken = replace(with_autoencoder(), run=lambda graph, rows: np.full(len(rows), np.nan))
    with pytest.raises(Unfitting, match="calibration row 0"):
        RECONSTRUCTION.fit(broken)
