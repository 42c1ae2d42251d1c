"""Points stand for rows whatever these hold, and in no matter which unit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from service.domain.schema import Feature
from service.domain.uncertainty.encoding import (
    LEAST_REFERENCE,
    Encoding,
    encoding_from,
    learn_encoding,
)
from service.domain.uncertainty.measure import Unfitting
from tests.domain.uncertainty.tables import HOMES, images, mixed, mixed_rows, numbers

WORTH = 0.5


def learnt() -> Encoding:
    return learn_encoding(mixed().schema, mixed_rows(np.random.default_rng(0), 300), WORTH)


def point(age: float, income: float, home: float, wheels: float) -> list[float]:
    found: list[float] = learnt().points(np.array([[age, income, home, wheels]]))[0].tolist()
    return found


def test_a_number_is_scaled_near_the_middle_and_logarithmic_far_out() -> None:
    rows = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]] * 4)
    points = learn_encoding(numbers(1).schema, rows, WORTH).points(np.array([[2.0], [2.012], [2e6]]))
    np.testing.assert_allclose(points[:, 0], [0, 0.01, np.log(2 * 2e6 / 1.2)], rtol=1e-4)


def test_a_category_a_constant_and_a_missing_value_are_indicators() -> None:
    encoding = learnt()
    assert encoding.numbers.tolist() == [0, 1]
    assert encoding.valued.tolist() == [2] * len(HOMES) + [3]
    assert encoding.missing.tolist() == [1, 2]
    assert point(40, 7, 1, 3)[2:] == [0, WORTH, 0, 0, WORTH, 0, 0]
    assert point(40, 7, np.nan, 4)[2:] == [0, 0, 0, 0, 0, 0, WORTH]


def test_two_categories_are_one_apart() -> None:
    one, other = np.array(point(40, 7, 0, 3)), np.array(point(40, 7, 1, 3))
    assert np.abs(one - other).sum() == 1


def test_a_missing_number_lies_in_the_middle_and_says_that_it_is_missing() -> None:
    middle = float(learnt().centre[1])
    missing, there = point(40, np.nan, 0, 3), point(40, middle, 0, 3)
    assert missing[:-2] == there[:-2]
    assert (missing[-2], there[-2]) == (WORTH, 0)


def test_a_column_that_is_always_missing_only_says_so() -> None:
    rows = np.random.default_rng(0).normal(size=(30, 2))
    rows[:, 1] = np.nan
    encoding = learn_encoding(numbers(2).schema, rows, WORTH)
    assert encoding.points(np.array([[0.0, np.nan], [0.0, 1.0]]))[:, 1].tolist() == [WORTH, 0]


@given(
    scale=st.floats(1e-3, 1e3), shift=st.floats(-1e3, 1e3), values=st.lists(st.floats(-50, 50), min_size=1)
)
def test_the_unit_of_a_column_does_not_matter(scale: float, shift: float, values: list[float]) -> None:
    reference = np.random.default_rng(0).normal(size=(50, 1))
    rows = np.array(values)[:, None]
    plain = learn_encoding(numbers(1).schema, reference, WORTH).points(rows)
    moved = learn_encoding(numbers(1).schema, reference * scale + shift, WORTH).points(rows * scale + shift)
    np.testing.assert_allclose(moved, plain, atol=1e-6)


@given(arrays_of.arrays(np.float32, (3, 4)))
def test_every_coordinate_is_finite_whatever_the_row_holds(rows: np.ndarray) -> None:
    reference = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    assert np.isfinite(learn_encoding(numbers(4).schema, reference, WORTH).points(rows)).all()
    assert np.isfinite(learnt().points(rows.astype(np.float64))).all()


def test_an_infinite_value_is_farther_than_any_number_on_its_own_side() -> None:
    largest = float(np.finfo(np.float32).max)
    up, far, down = (point(value, 7, 0, 3)[0] for value in (np.inf, largest, -np.inf))
    assert down == -up < 0 < far < up


def test_a_row_is_encoded_alike_alone_and_among_others() -> None:
    rows = mixed_rows(np.random.default_rng(1), 40)
    encoding = learnt()
    alone = np.concatenate([encoding.points(rows[at : at + 1]) for at in range(len(rows))])
    np.testing.assert_array_equal(alone, encoding.points(rows))


def test_rows_are_only_read() -> None:
    rows = mixed_rows(np.random.default_rng(1), 40)
    rows.setflags(write=False)
    learnt().points(rows)


def test_an_image_has_one_coordinate_for_each_pixel() -> None:
    rows = np.random.default_rng(0).random((30, 12)).astype(np.float32)
    rows[:, 0] = 0
    encoding = learn_encoding(images(3, 2, 2).schema, rows, WORTH)
    assert encoding.points(rows).shape == (30, encoding.coordinates) == (30, 12)


def test_an_encoding_comes_back_from_its_arrays() -> None:
    rows = mixed_rows(np.random.default_rng(1), 40)
    again = encoding_from({"other": np.zeros(1), **learnt().arrays()})
    np.testing.assert_array_equal(again.points(rows), learnt().points(rows))


def test_too_few_reference_rows_teach_nothing() -> None:
    with pytest.raises(Unfitting, match=f"{LEAST_REFERENCE - 1} reference rows are too few"):
        learn_encoding(numbers(1).schema, np.arange(LEAST_REFERENCE - 1.0)[:, None], WORTH)


def test_reference_rows_that_are_all_the_same_teach_nothing() -> None:
    with pytest.raises(Unfitting, match="all the same"):
        learn_encoding(numbers(2).schema, np.ones((50, 2), np.float32), WORTH)


def test_a_table_of_nothing_but_categories_is_encoded() -> None:
    feature = Feature("home", "string", ("rent", "owner"))
    spec = numbers(1)
    schema = replace(spec.schema, features=(feature,), layout="columns")
    rows = np.array([[0.0], [1.0]] * 20)
    assert learn_encoding(schema, rows, WORTH).points(rows[:2]).tolist() == [[WORTH, 0], [0, WORTH]]
