"""The reference: every row in exactly one bin, edges where no value lies, files that read back equal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.reference import (
    BINS,
    ReferenceVariable,
    cut_points,
    read_reference,
    summarise,
    write_reference,
)
from service.domain.variables import score_columns, variable_columns
from tests.models.graphs import HOMES, Tiny, tiny


def _summary(small: Tiny) -> dict[str, ReferenceVariable]:
    rows = small.material.reference
    return summarise(small.manifest.spec, rows, small.trained(rows).astype(np.float32))


@pytest.mark.parametrize("values", [np.random.default_rng(1).normal(size=1000), np.arange(1000.0) ** 3])
def test_many_distinct_values_fall_into_ten_bins_of_equal_mass(values: np.ndarray) -> None:
    edges = cut_points(values)
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=BINS)
    assert len(counts) == BINS
    assert abs(counts - 100).max() <= 1


def test_few_distinct_values_have_a_bin_each() -> None:
    assert cut_points(np.array([12, 24, 24, 36, 60.0])) == (18.0, 30.0, 48.0)
    assert cut_points(np.array([5.0, 5.0])) == ()
    assert cut_points(np.array([])) == ()


def test_values_too_close_for_a_middle_still_have_a_bin_each() -> None:
    small = tiny("regression")
    close = np.array([[1.0], [np.nextafter(1.0, 2.0)], [1.0]])
    found = summarise(small.manifest.spec, small.material.reference, close)["score"]
    assert found.counts == (2, 1)


def test_a_value_with_most_of_the_mass_has_fewer_bins_and_no_empty_one() -> None:
    values = np.concatenate([np.zeros(900), np.arange(1, 101)]).astype(float)
    edges = np.array(cut_points(values))
    counts = np.bincount(np.searchsorted(edges, values, side="right"))
    assert counts[0] == 900
    assert counts.min() > 0
    assert np.all(np.diff(edges) > 0)


def test_no_reference_value_lies_on_an_edge() -> None:
    values = np.random.default_rng(2).integers(0, 500, 5000).astype(np.float32)
    assert not np.isin(np.array(cut_points(values)), values).any()


def test_every_row_is_counted_once(any_tiny: Tiny) -> None:
    rows = len(any_tiny.material.reference)
    for name, variable in _summary(any_tiny).items():
        assert variable.name == name
        assert variable.rows == sum(variable.counts) + variable.missing == rows
        assert len(variable.counts) == (len(variable.categories) or len(variable.edges) + 1)


def test_missing_values_are_counted_apart() -> None:
    small = tiny("tensor")
    rows = small.material.reference.copy()
    rows[:7, 1] = rows[:4, 2] = np.nan
    found = summarise(small.manifest.spec, rows, np.zeros((1, 2), np.float32))
    assert found["feature:home"].missing == 7
    assert found["feature:home"].categories == HOMES
    assert found["feature:income"].missing == 4
    assert found["feature:age"].missing == 0
    assert found["feature:income"].minimum == np.nanmin(rows[:, 2])
    assert found["feature:income"].maximum == np.nanmax(rows[:, 2])


def test_a_column_that_is_always_missing_has_no_range() -> None:
    small = tiny("tensor")
    rows = small.material.reference.copy()
    rows[:, 2] = np.nan
    income = summarise(small.manifest.spec, rows, np.zeros((1, 2), np.float32))["feature:income"]
    assert (income.counts, income.minimum, income.maximum, income.missing) == ((0,), None, None, len(rows))


def test_scores_are_the_positive_class_the_value_or_one_per_class() -> None:
    scores = np.array([[0.25, 0.75]], np.float32)
    assert {
        name: float(column[0]) for name, column in score_columns(tiny("tensor").manifest.spec, scores)
    } == {"score": 0.75}
    value = np.array([[3.5]], np.float32)
    assert [float(column[0]) for _, column in score_columns(tiny("regression").manifest.spec, value)] == [3.5]
    three = np.array([[0.1, 0.2, 0.7]], np.float32)
    named = dict(score_columns(tiny("image").manifest.spec, three))
    assert list(named) == ["score:a", "score:b", "score:c"]
    assert named["score:b"][0] == np.float32(0.2)


def test_an_images_variables_are_statistics_of_its_pixels() -> None:
    rows = np.array([[0, 0, 0, 1], [0.5, 0.5, 0.5, 0.5]], np.float32)
    found = dict(variable_columns(tiny("image").manifest.spec, rows))
    np.testing.assert_allclose(found["feature:pixel_mean"], [0.25, 0.5])
    np.testing.assert_allclose(found["feature:pixel_std"], [np.sqrt(3) / 4, 0], rtol=1e-6)
    np.testing.assert_array_equal(found["feature:pixel_min"], [0, 0.5])
    np.testing.assert_array_equal(found["feature:pixel_max"], [1, 0.5])


def test_reads_back_what_was_written(any_tiny: Tiny, tmp_path: Path) -> None:
    found = _summary(any_tiny)
    write_reference(found, tmp_path / "reference.json")
    assert read_reference(tmp_path / "reference.json") == found
