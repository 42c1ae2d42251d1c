"""What every measure of kind ``domain`` promises, whatever it learns and whatever the rows are."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from service.domain.schema import FeatureBatch, ModelSpec
from service.domain.uncertainty.measure import Asked, Columns, Fitted, Graph, Material, Measure, Unfitting
from service.domain.uncertainty.registry import of_kind
from tests.domain.uncertainty.tables import correlated, images, material, mixed, mixed_rows, numbers

DOMAIN = of_kind("domain")
FRESH = 3000


@dataclass(frozen=True, eq=False)
class Posed:
    """A table to learn from, and rows like it that nobody learnt from."""

    material: Material
    rows: FeatureBatch

    @property
    def spec(self) -> ModelSpec:
        return self.material.spec


def repeats(spec: ModelSpec, reference: FeatureBatch) -> Any:
    """An autoencoder for the sake of the law: it repeats the median row."""
    middle = np.nan_to_num(np.nanmedian(reference, axis=0))
    spread = np.nan_to_num(np.nanstd(reference, axis=0), nan=1.0) + 0.1

    def run(graph: Graph, rows: FeatureBatch) -> NDArray[np.float64]:
        assert graph == "reconstruction"
        gaps = (np.where(np.isnan(rows), middle, rows) - middle) / spread
        errors: NDArray[np.float64] = np.square(np.clip(gaps, -1e9, 1e9)).mean(axis=1)
        return errors

    return run


@cache
def posed(name: str, calibration: int = 2000) -> Posed:
    rng = np.random.default_rng(0)
    count = 500 + calibration + FRESH
    if name == "mixed":
        spec, rows = mixed(), mixed_rows(rng, count)
    elif name == "numbers":
        spec, rows = numbers(5), correlated(rng, count)
    else:
        spec, rows = images(1, 4, 4), correlated(rng, count, 16)
    rows.setflags(write=False)
    reference = rows[:500]
    plain = material(spec, reference, rows[500 : 500 + calibration])
    whole = replace(plain, graphs=frozenset({"reconstruction"}), run=repeats(spec, reference))
    return Posed(whole, rows[500 + calibration :])


@cache
def fitted(measure: Measure, name: str) -> Fitted:
    return measure.fit(posed(name).material)


def judged(measure: Measure, name: str, rows: FeatureBatch) -> Columns:
    given = posed(name)
    asked = Asked(rows, np.zeros((len(rows), 1), np.float32), run=given.material.run)
    return measure.restore(given.spec, fitted(measure, name).arrays).columns(asked)


each_measure = pytest.mark.parametrize("measure", DOMAIN, ids=lambda measure: measure.name)
each_table = pytest.mark.parametrize("name", ["mixed", "numbers", "images"])


def test_the_kind_has_measures_and_their_names_differ() -> None:
    assert [measure.name for measure in DOMAIN] == ["reconstruction", "mahalanobis", "knn"]


@each_measure
@each_table
def test_rows_like_the_training_data_are_out_of_domain_as_seldom_as_said(measure: Measure, name: str) -> None:
    """Calibration and fresh rows are both samples, so the band is wider than a binomial's alone."""
    out = int((~judged(measure, name, posed(name).rows)["in_domain"]).sum())
    share = fitted(measure, name).report["out_of_domain_at_most"]
    assert share <= 0.01
    calibration = len(posed(name).material.rows)
    low, high = (binom.ppf(end, calibration, share) / calibration for end in (0.001, 0.999))
    assert binom.ppf(0.001, FRESH, low) <= out <= binom.ppf(0.999, FRESH, high)


@each_measure
@each_table
def test_percentiles_of_rows_like_the_training_data_are_spread_evenly(measure: Measure, name: str) -> None:
    found = np.sort(judged(measure, name, posed(name).rows)["domain_percentile"])
    even = np.linspace(0, 100, len(found))
    assert np.abs(found - even).max() < 100 * 1.95 * np.sqrt(
        1 / FRESH + 1 / 2000
    )  # Kolmogorov-Smirnov, 0.001


@each_measure
@each_table
def test_a_row_far_away_in_every_number_is_out_of_domain(measure: Measure, name: str) -> None:
    rows = posed(name).rows[:20].copy()
    rows[:, :2] = 1e4
    found = judged(measure, name, rows)
    assert not found["in_domain"].any()
    assert (found["domain_percentile"] > 99).all()


@each_measure
@each_table
def test_columns_have_the_names_shapes_and_types_that_were_agreed(measure: Measure, name: str) -> None:
    for count in (0, 1, 7):
        found = judged(measure, name, posed(name).rows[:count])
        assert {key: (array.shape, array.dtype) for key, array in found.items()} == {
            "domain_score": ((count,), np.float64),
            "domain_percentile": ((count,), np.float64),
            "in_domain": ((count,), np.bool_),
        }
        assert (found["domain_score"] >= 0).all()
        assert ((found["domain_percentile"] >= 0) & (found["domain_percentile"] <= 100)).all()


@each_measure
@each_table
def test_a_row_is_judged_alike_alone_and_among_others(measure: Measure, name: str) -> None:
    rows = posed(name).rows[:50]
    together = judged(measure, name, rows)["domain_score"]
    alone = [judged(measure, name, rows[at : at + 1])["domain_score"][0] for at in range(len(rows))]
    np.testing.assert_allclose(alone, together, rtol=1e-9)


@each_measure
@each_table
def test_nothing_infinite_or_unknown_comes_out_whatever_goes_in(measure: Measure, name: str) -> None:
    rows = posed(name).rows[:7].copy()
    rows[0, 0], rows[1, 0], rows[2, 0], rows[3] = np.nan, np.inf, -np.inf, np.nan
    rows[4, :2] = np.finfo(np.float32).max
    rows[5, :2] = -np.finfo(np.float32).max
    found = judged(measure, name, rows)
    assert np.isfinite(found["domain_score"]).all()
    assert np.isfinite(found["domain_percentile"]).all()
    assert not found["in_domain"][[1, 2, 4, 5]].any()


@each_measure
@each_table
def test_fitting_twice_learns_the_same_and_changes_nothing_it_was_given(measure: Measure, name: str) -> None:
    again = measure.fit(posed(name).material)
    assert again.report == fitted(measure, name).report
    assert again.arrays.keys() == fitted(measure, name).arrays.keys()
    for key, array in again.arrays.items():
        np.testing.assert_array_equal(array, fitted(measure, name).arrays[key])


@each_measure
def test_what_was_learnt_survives_being_written_down(measure: Measure) -> None:
    file = io.BytesIO()
    np.savez(file, **fitted(measure, "mixed").arrays)
    file.seek(0)
    given = posed("mixed")
    asked = Asked(given.rows, np.zeros((FRESH, 1), np.float32), run=given.material.run)
    with np.load(file, allow_pickle=False) as arrays:
        found = measure.restore(given.spec, dict(arrays)).columns(asked)
    for key, array in judged(measure, "mixed", given.rows).items():
        np.testing.assert_array_equal(found[key], array)


@each_measure
def test_a_lower_percentile_calls_more_rows_strange(measure: Measure) -> None:
    given = posed("mixed")
    loose = measure.fit(replace(given.material, percentile=80.0))
    asked = Asked(given.rows, np.zeros((FRESH, 1), np.float32), run=given.material.run)
    out = ~measure.restore(given.spec, loose.arrays).columns(asked)["in_domain"]
    assert out.mean() == pytest.approx(0.2, abs=0.05)


@each_measure
def test_too_little_calibration_is_declined_in_a_sentence(measure: Measure) -> None:
    given = posed("mixed").material
    few = replace(given, rows=given.rows[:5], scores=given.scores[:5], labels=given.labels[:5])
    with pytest.raises(Unfitting, match="5 calibration rows are too few"):
        measure.fit(few)


OF_ENCODED_ROWS = tuple(measure for measure in DOMAIN if measure.name != "reconstruction")
each_of_encoded_rows = pytest.mark.parametrize("measure", OF_ENCODED_ROWS, ids=lambda measure: measure.name)


@each_of_encoded_rows
def test_the_unit_of_a_column_does_not_change_a_score(measure: Measure) -> None:
    given = posed("mixed")
    factors = np.array([12.0, 1e-3, 1.0, 1.0])
    moved = replace(
        given.material, rows=given.material.rows * factors, reference=given.material.reference * factors
    )
    quantity = measure.restore(given.spec, measure.fit(moved).arrays)
    found = quantity.columns(Asked(given.rows * factors, np.zeros((FRESH, 1), np.float32)))
    plain = judged(measure, "mixed", given.rows)
    np.testing.assert_allclose(found["domain_score"], plain["domain_score"], rtol=1e-5)


@each_of_encoded_rows
def test_a_category_that_training_never_saw_makes_a_row_stranger(measure: Measure) -> None:
    seen = np.array([[40.0, np.exp(2.0), 0.0, 3.0]])
    unseen, odd = seen.copy(), seen.copy()
    unseen[0, 2], odd[0, 3] = 3.0, 4.0
    scores = [judged(measure, "mixed", row)["domain_score"][0] for row in (seen, unseen, odd)]
    assert scores[0] < min(scores[1:])


@each_of_encoded_rows
def test_a_value_missing_where_it_may_be_is_nothing_strange(measure: Measure) -> None:
    rows = posed("mixed").rows
    missing = rows[np.isnan(rows).any(axis=1)]
    assert len(missing) > 100
    assert judged(measure, "mixed", missing)["in_domain"].mean() > 0.9
