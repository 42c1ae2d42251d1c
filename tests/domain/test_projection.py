"""A candidate sees production's rows in its own terms, or is refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from service.domain.projection import projection
from service.domain.schema import Feature, ModelSpec
from service.errors import ConfigurationError
from tests.domain.models import FEATURES, HOMES, spec

AGE, HOME, INCOME = FEATURES
NAN = np.nan
ROWS = np.array([[30, 0, 1.5], [40, 1, NAN], [50, NAN, -2], [60, 2, 0.25]], np.float32)


def test_an_identical_schema_is_the_same_array() -> None:
    assert projection(spec(), spec("new"))(ROWS) is ROWS


def test_an_image_of_the_same_shape_is_the_same_array() -> None:
    image = spec(layout="image", shape=(1, 3))
    assert projection(image, spec("new", layout="image", shape=(1, 3)))(ROWS) is ROWS


def test_another_order_and_fewer_features() -> None:
    view = projection(spec(), spec("new", INCOME, AGE))(ROWS)
    np.testing.assert_array_equal(view, ROWS[:, [2, 0]])
    assert view.flags.c_contiguous
    assert view.dtype == np.float32


@pytest.mark.parametrize(("before", "after"), [("tensor", "columns"), ("columns", "tensor")])
def test_another_layout_gets_its_own_dtype(before: str, after: str) -> None:
    production, candidate = spec(layout=before), spec("new", layout=after)  # type: ignore[arg-type]  # a layout
    rows = ROWS.astype(production.schema.dtype)
    view = projection(production, candidate)(rows)
    assert view.dtype == candidate.schema.dtype
    np.testing.assert_array_equal(view, ROWS)


@pytest.mark.parametrize("layout", ["tensor", "columns"])
def test_categories_are_recoded_by_word_and_missing_stays_missing(layout: str) -> None:
    more = Feature("home", "string", ("boat", "rent", "parents", "tent", "owner"), missing=True)
    candidate = spec("new", AGE, more, layout=layout)  # type: ignore[arg-type]  # a layout
    view = projection(spec(), candidate)(ROWS)
    np.testing.assert_array_equal(view[:, 1], [4, 1, NAN, 2])
    np.testing.assert_array_equal(view[:, 0], ROWS[:, 0])


def test_every_word_survives_a_random_recoding() -> None:
    rng = np.random.default_rng(5)
    words = tuple(f"w{number}" for number in range(40))
    known = tuple(rng.permutation([*words, *(f"extra{number}" for number in range(9))]).tolist())
    production = spec("prod", Feature("word", "string", words))
    candidate = spec("new", Feature("word", "string", known))
    codes = rng.integers(0, 40, 300)
    view = projection(production, candidate)(codes[:, None].astype(np.float32))
    assert [known[int(code)] for code in view[:, 0]] == [words[code] for code in codes]


def test_the_rows_of_production_are_left_as_they_are() -> None:
    rows, before = ROWS.copy(), ROWS.copy()
    projection(spec(), spec("new", Feature("home", "string", HOMES[::-1], missing=True)))(rows)
    np.testing.assert_array_equal(rows, before)


def test_no_rows_stay_no_rows() -> None:
    candidate = spec("new", Feature("home", "string", HOMES[::-1], missing=True))
    assert projection(spec(), candidate)(ROWS[:0]).shape == (0, 1)


WHOLE = Feature("age", "int64")
REFUSED: dict[str, tuple[ModelSpec, ModelSpec, str]] = {
    "a feature that production lacks": (spec(), spec("new", Feature("shoe", "float")), "'shoe'"),
    "a number for a word": (spec(), spec("new", Feature("home", "float", missing=True)), "'home'"),
    "a word for a number": (spec(), spec("new", Feature("age", "string", HOMES)), "'age'"),
    "whole numbers of fractions": (spec(), spec("new", WHOLE, layout="columns"), "'age'"),
    "no missing values": (spec(), spec("new", Feature("income", "float")), "'income'"),
    "an unknown category": (
        spec(),
        spec("new", Feature("home", "string", HOMES[1:], missing=True)),
        "'owner'",
    ),
    "another task": (spec(), spec("new", task="regression"), "regression"),
    "other classes": (spec(), spec("new", classes=("good", "bad")), "['good', 'bad']"),
    "an image of a table": (spec(), spec("new", layout="image", shape=(1, 3)), "tensor"),
    "a table of an image": (spec(layout="image", shape=(1, 3)), spec("new"), "tensor"),
    "another image": (
        spec(layout="image", shape=(1, 3)),
        spec("new", layout="image", shape=(3, 1)),
        "tensor",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_and_names_the_model_and_the_difference(case: str) -> None:
    production, candidate, named = REFUSED[case]
    with pytest.raises(ConfigurationError) as caught:
        projection(production, candidate)
    assert "m:new" in str(caught.value)
    assert named in str(caught.value)


@pytest.mark.parametrize("wanted", [Feature("age", "int64"), Feature("age", "float")])
def test_a_whole_number_serves_a_whole_number_and_a_fraction(wanted: Feature) -> None:
    production = spec("prod", WHOLE, layout="columns")
    rows = np.array([[3.0], [2.0**53]])
    np.testing.assert_array_equal(projection(production, spec("new", wanted, layout="columns"))(rows), rows)


def test_a_candidate_may_allow_missing_values_that_production_refuses() -> None:
    view = projection(spec(), spec("new", Feature("age", "float", missing=True)))(ROWS)
    np.testing.assert_array_equal(view, ROWS[:, :1])
