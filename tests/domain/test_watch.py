"""Rows unlike training's are found, all of them and no others."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from scipy.stats import binom

from service.domain.expectations import Expectation, Reaction
from service.domain.schema import Feature, FeatureBatch, Schema
from service.domain.watch import FALSE_ALARMS, MANY_ROWS, MOST_BREACHES, Breaches, Watch, most_missing
from tests.domain.expecting import canonical, oracle, requests

AGE = Feature("Age", "float", missing=True)


def table(*columns: Feature) -> Schema:
    return Schema(columns, "tensor")


def look(expected: Expectation, *values: float, feature: Feature = AGE) -> Breaches | None:
    """How a table of one column is judged."""
    return Watch(table(feature), (expected,)).look(np.array([[value] for value in values], np.float32))


def messages(found: Breaches | None) -> list[str]:
    assert found is not None
    return [breach.message for breach in found.warned]


@given(requests())
def test_exactly_the_strange_values_are_found_in_one_row_and_in_many(request_: tuple) -> None:  # type: ignore[type-arg]  # a schema, expectations and rows
    schema, expectations, posted = request_
    watch, rows = Watch(schema, expectations), canonical(schema, posted)
    wanted = oracle(schema, expectations, posted)
    together = watch.look(rows)
    assert (together is None) == watch.fits(rows) == (not wanted)
    if together is not None:
        described = {(b.row, b.column): b.kind for b in (*together.refused, *together.warned)}
        assert described == wanted
        assert together.counts == Counter((column, kind) for (_, column), kind in wanted.items())
        refusing = {breach.column for breach in together.refused}
        assert refusing == {c for _, c in wanted if expectations[c].on_violation == "refuse"}
    for index in range(len(rows)):
        alone = watch.look(rows[index : index + 1])
        mine = {column: kind for (row, column), kind in wanted.items() if row == index}
        found = [] if alone is None else [*alone.refused, *alone.warned]
        assert {breach.column: breach.kind for breach in found} == mine
        if alone is not None and together is not None and len(rows) > 1:
            texts = {b.message for b in (*together.refused, *together.warned) if b.row == index}
            assert {breach.message for breach in found} == texts


def test_messages_name_the_value_and_what_training_saw() -> None:
    ages = Expectation(range=(18, 68), missing_rate=0.0, whole=True)
    assert messages(look(ages, 93)) == ["93 is outside 18 to 68, which training saw"]
    assert messages(look(ages, 30.5)) == ["30.5 is a fraction; training saw whole numbers only"]
    assert messages(look(ages, np.nan)) == ["missing, which training never saw"]
    assert messages(look(Expectation(range=(0.1, 0.2)), 0.3)) == [
        "0.3 is outside 0.1 to 0.2, which training saw"
    ]
    home = Feature("Home", "string", ("own", "rent"))
    assert messages(look(Expectation(categories=("own",)), 1, feature=home)) == [
        "'rent' is a category that training never saw"
    ]


def test_the_ends_of_a_range_are_inside_it_as_float32_holds_them() -> None:
    expected = Expectation(range=(0.1, 0.7))
    ends = np.float32(0.1), np.float32(0.7)
    assert look(expected, *ends) is None
    below, above = np.nextafter(ends, np.float32([-1, 1]))
    assert messages(look(expected, below, above)) == [
        f"{below!s} is outside 0.1 to 0.7, which training saw",
        f"{above!s} is outside 0.1 to 0.7, which training saw",
    ]


@pytest.mark.parametrize(
    ("reaction", "refused", "warned"), [("warn", 0, 1), ("refuse", 1, 0), ("ignore", None, None)]
)
def test_the_manifest_says_what_becomes_of_a_strange_value(
    reaction: Reaction, refused: int | None, warned: int | None
) -> None:
    for values in ([9.0], [9.0, 0.0]):
        found = look(Expectation(reaction, range=(0, 1)), *values)
        if refused is None or warned is None:
            assert found is None
        else:
            assert found is not None
            assert (len(found.refused), len(found.warned)) == (refused, warned)


@pytest.mark.parametrize("width", [1, 80])
def test_many_breaches_are_counted_to_the_last_and_described_up_to_a_limit(width: int) -> None:
    schema = table(*(Feature(f"f{index}", "float") for index in range(width)))
    watch = Watch(schema, (Expectation(range=(0, 1)),) * width)
    for rows in (1, 70):
        found = watch.look(np.full((rows, width), 2, np.float32))
        assert found is not None
        assert sum(found.counts.values()) == rows * width
        assert len(found.warned) == min(MOST_BREACHES, rows * width)
        assert found.refused == []
        places = [(breach.row or 0, breach.column) for breach in found.warned]
        assert places == sorted(places)


def test_an_image_is_judged_as_a_whole() -> None:
    schema = Schema((), "image", (2, 2))
    watch = Watch(schema, (Expectation(range=(0, 16)),))
    rows = np.array([[0, 16, 3, 4], [-2, 1, -9, 0], [1, 17, 255, -1]], np.float32)
    assert watch.look(rows[:1]) is None
    found = watch.look(rows)
    assert found is not None
    assert found.counts == {(0, "range"): 2}
    assert [(breach.row, breach.message) for breach in found.warned] == [
        (1, "-9 is outside 0 to 16, which training saw"),
        (2, "255 is outside 0 to 16, which training saw"),
    ]
    alone = watch.look(rows[2:])
    assert alone is not None
    assert alone.warned[0].row == 0


@pytest.mark.parametrize("rows", [20, 100, 5000])
@pytest.mark.parametrize("rate", [0.01, 0.08, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("alarm", [FALSE_ALARMS, FALSE_ALARMS / 30])
def test_the_most_missing_values_are_those_of_the_exact_binomial_test(
    rows: int, rate: float, alarm: float
) -> None:
    most = most_missing(rate, rows, alarm)
    assert binom.sf(most, rows, rate) < alarm
    assert most == 0 or binom.sf(most - 1, rows, rate) >= alarm


def with_missing(rates: list[float], rows: int, rng: np.random.Generator) -> FeatureBatch:
    values = np.ones((rows, len(rates)), np.float32)
    values[rng.random(values.shape) < rates] = np.nan
    return values


def test_rows_as_in_training_hardly_ever_miss_too_much() -> None:
    rates = [0.002, 0.05, 0.3, 0.6, 0.01]
    schema = table(*(Feature(f"f{index}", "float", missing=True) for index in range(len(rates))))
    watch = Watch(schema, tuple(Expectation(missing_rate=rate) for rate in rates))
    rng = np.random.default_rng(3)
    requests_, alarms = 4000, 0
    for _ in range(requests_):
        alarms += watch.look(with_missing(rates, 100, rng)) is not None
    assert alarms <= binom.ppf(0.9999, requests_, FALSE_ALARMS)


def test_a_share_of_missing_values_far_above_training_s_is_one_breach_without_a_row() -> None:
    expected = Expectation(missing_rate=0.08)
    values = np.ones(100)
    values[:40] = np.nan
    found = look(expected, *values)
    assert found is not None
    assert found.counts == {(0, "missing"): 1}
    assert [(breach.row, breach.message) for breach in found.warned] == [
        (None, "40 of 100 are missing; 8% were in training")
    ]
    refused = look(Expectation("refuse", missing_rate=0.08), *values)
    assert refused is not None
    assert len(refused.refused) == 1
    assert look(Expectation("ignore", missing_rate=0.08), *values) is None


def test_few_rows_say_nothing_about_a_share() -> None:
    expected = Expectation(missing_rate=0.001)
    assert look(expected, *[np.nan] * (MANY_ROWS - 1)) is None
    assert look(expected, *[np.nan] * MANY_ROWS) is not None


def test_nothing_is_expected_where_nothing_is_said() -> None:
    largest = float(np.finfo(np.float32).max)
    assert Watch(table(AGE), ()).look(np.array([[largest], [-largest], [np.nan]], np.float32)) is None
    assert look(Expectation(), largest, np.nan) is None
