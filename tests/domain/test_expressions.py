"""Conditions mean what they say on every row, and what cannot be meant is refused with its reason."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.conditions import Both, Compare, Either, Missing, Not, OneOf
from service.domain.expressions import (
    DEEPEST,
    LONGEST,
    ExpressionError,
    between,
    column_of,
    compile_expression,
    equal_to,
    missing_of,
    value_of,
)
from service.domain.schema import Feature, Schema
from tests.domain.models import HOMES, spec

SCHEMA = Schema(
    (
        Feature("age", "float"),
        Feature("home", "string", HOMES, missing=True),
        Feature("income", "float", missing=True),
        Feature("it's `odd`", "float"),
        Feature("not", "int64"),
    ),
    "tensor",
)
ROWS = np.array(
    [
        [18, 0, 100, 1, 0],
        [25, 1, np.nan, 2, 1],
        [25, np.nan, 10, 3, 0],
        [70, 2, 25, -1, 5],
    ],
    np.float32,
)


def holds(text: str) -> list[int]:
    """The rows that the expression holds of."""
    mask = compile_expression(text, SCHEMA).mask(ROWS)
    assert mask.dtype == np.bool_
    assert mask.shape == (len(ROWS),)
    return np.flatnonzero(mask).tolist()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("age < 25", [0]),
        ("age <= 25", [0, 1, 2]),
        ("age > 25", [3]),
        ("age >= 25.0", [1, 2, 3]),
        ("age == 2.5e1", [1, 2]),
        ("25 == age", [1, 2]),
        ("30 > age", [0, 1, 2]),
        ("18 <= age < 25", [0]),
        ("70 >= age > 20 != age", [1, 2, 3]),
        ("`it's ``odd```<-.5", [3]),
        ("`not` >= 1", [1, 3]),
        ("home == 'rent'", [1]),
        ('"rent"==home', [1]),
        ("home in ('rent', 'parents')", [1, 3]),
        ("age in (18, +70)", [0, 3]),
        ("home is missing", [2]),
        ("income is not missing", [0, 2, 3]),
        ("income > age", [0]),
        ("income != age", [0, 2, 3]),
        ("not age < 25 and home == 'rent'", [1]),
        ("not (age < 25 and home == 'rent')", [0, 1, 2, 3]),
        ("age < 25 or age > 60 and home == 'rent'", [0]),
        ("(age < 25 or age > 60) and not home == 'rent'", [0, 3]),
        ("not not age < 25", [0]),
    ],
)
def test_a_condition_holds_of_the_rows_it_says(text: str, rows: list[int]) -> None:
    assert holds(text) == rows


@pytest.mark.parametrize(
    "text",
    ["home != 'rent'", "home == 'rent'", "home in ('rent')", "home not in ('rent')", "home != 'owner'"],
)
def test_a_missing_value_is_in_no_comparison(text: str) -> None:
    assert 2 not in holds(text)


def test_not_turns_an_answer_round_for_missing_values_too() -> None:
    assert holds("not home == 'rent'") == [0, 2, 3]
    assert holds("home != 'rent'") == [0, 3]


def test_a_quote_within_a_word_is_written_twice() -> None:
    schema = Schema((Feature("who", "string", ("it's", 'a "b"')),), "tensor")
    assert compile_expression("who == 'it''s'", schema) == Compare(0, "==", 0.0)
    assert compile_expression('who == "a ""b"""', schema) == Compare(0, "==", 1.0)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "expected a column, a number or a quoted word, found the end"),
        ("age", "expected a comparison, 'in' or 'is missing', found the end"),
        ("age <", "found the end"),
        ("age < 25 and", "found the end"),
        ("age < 25 home", "expected 'and', 'or' or the end, found 'home' at character 10"),
        ("Age < 25", "unknown column 'Age'; there is 'age'"),
        ("height < 25", "unknown column 'height'"),
        ("home == rent", "unknown column 'rent'; words are quoted"),
        ("home == 'hut'", "'hut' is no category of 'home': owner, rent, parents"),
        ("home == 3", "3 is no category of 'home'"),
        ("home < 'rent'", "'home' holds words, which have no order to be compared by <"),
        ("home == age", "'home' holds words; compare it with a quoted word"),
        ("age == 'old'", "'age' is a number, not 'old'"),
        ("'age' is missing", "'age' is no column"),
        ("5 in (5)", "5 is no column"),
        ("1 < 2", "1 < 2 compares no column"),
        ("age < 1e39", "'age' never is 1e+39"),
        ("age < 1e999", "'age' never is inf"),
        ("age is missing", "'age' is never missing"),
        ("home is 'rent'", "expected 'missing' after 'is', found \"'rent'\" at character 9"),
        ("home not 'rent'", "expected 'in' after 'not'"),
        ("home in 'rent'", "expected '(' after 'in'"),
        ("home in ()", "found ')' at character 10"),
        ("home in ('rent'", "expected ')' after the last value, found the end"),
        ("age in (income)", "expected a number or a quoted word, found 'income' at character 9"),
        ("(age < 25", "expected ')' to close the parenthesis, found the end"),
        ("age < 25)", "expected 'and', 'or' or the end, found ')' at character 9"),
        ("age = 25", "character 5, '=', is not understood; write == to compare"),
        ("age < 25 & age > 3", "character 10, '&', is not understood"),
        ("age < 3x", "character 7, '3', is not understood"),
        ("home == 'rent", "the quote ' at character 9 is never closed"),
        ("__import__('os')", "unknown column '__import__'"),
        ("age.__class__ == 1", "unknown column 'age.__class__'"),
        ("not " * (DEEPEST + 1) + "age < 3", f"nested too deeply at character 45; at most {DEEPEST} levels"),
        ("(" * (DEEPEST + 1) + "age < 3" + ")" * (DEEPEST + 1), "nested too deeply at character 12"),
        ("age < 3 or " * 60, f"660 characters are too many; at most {LONGEST}"),
    ],
)
def test_a_mistake_is_refused_by_its_name(text: str, complaint: str) -> None:
    with pytest.raises(ExpressionError) as refusal:
        compile_expression(text, SCHEMA)
    assert complaint in str(refusal.value)


def test_as_deep_as_is_allowed_is_understood() -> None:
    assert holds("(" * DEEPEST + "age < 25" + ")" * DEEPEST) == [0]
    assert holds("not " * DEEPEST + "age < 25") == [0]


def test_depth_is_of_what_is_nested_not_of_what_stands_side_by_side() -> None:
    assert holds(" or ".join(["(age < 25)"] * 3 * DEEPEST)) == [0]


def test_a_long_vocabulary_is_not_listed_whole() -> None:
    words = tuple(f"w{n}" for n in range(100))
    with pytest.raises(ExpressionError, match=r"'x' is no category of 'c': w0, .*, w7, \.\.\.$"):
        value_of(column_of("c", Schema((Feature("c", "string", words),), "tensor")), "x")


def test_an_image_has_no_columns() -> None:
    with pytest.raises(ExpressionError, match="unknown column 'pixel': an image has none"):
        compile_expression("pixel > 3", spec(layout="image", shape=(1, 2, 2)).schema)


def test_a_range_takes_its_lower_end_and_leaves_its_upper_one() -> None:
    age, home = column_of("age", SCHEMA), column_of("home", SCHEMA)
    assert between(age, 18, 25).mask(ROWS).tolist() == [True, False, False, False]
    assert between(age, None, 25) == Compare(0, "<", 25)
    assert between(age, 25, None) == Compare(0, ">=", 25)
    for low, high in ((25, 18), (25, 25), (None, None), (math.nan, 3), (-math.inf, 3)):
        with pytest.raises(ExpressionError, match="'age'"):
            between(age, low, high)
    with pytest.raises(ExpressionError, match="'home' holds words"):
        between(home, 0, 1)


def test_single_conditions_are_those_of_the_language() -> None:
    home = column_of("home", SCHEMA)
    assert equal_to(home, "rent") == compile_expression("home == 'rent'", SCHEMA)
    assert missing_of(home) == compile_expression("home is missing", SCHEMA) == Missing(1)
    assert compile_expression("home not in ('rent')", SCHEMA) == OneOf(1, (1.0,), negated=True)
    both = compile_expression("age < 1 and not age == 0 or home is missing", SCHEMA)
    assert both == Either((Both((Compare(0, "<", 1.0), Not(Compare(0, "==", 0.0)))), Missing(1)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_tenth_is_found_in_the_dtype_of_the_rows(dtype: type) -> None:
    rows = np.array([[0.1, 0, 0, 0, 0], [0.2, 0, 0, 0, 0]], dtype)
    for text in ("age == 0.1", "age in (0.1, 7)", "0.1 <= age <= 0.1"):
        assert compile_expression(text, SCHEMA).mask(rows).tolist() == [True, False]


# An oracle that knows nothing of arrays: each text comes with the same condition of a single row of values.

Row: TypeAlias = tuple[float | None, ...]
Said: TypeAlias = tuple[str, Callable[[Row], bool]]

SIGNS = {
    "==": operator.eq, "!=": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
NUMBERS = st.sampled_from((0, 2))
VALUES = st.integers(-2, 2)


def _compared(column: int, sign: str, value: int) -> Said:
    name = ("age", "", "income")[column]
    return f"{name} {sign} {value}", lambda row: row[column] is not None and SIGNS[sign](row[column], value)


def _chosen(words: list[str], negated: bool) -> Said:
    text = f"home {'not ' if negated else ''}in ({', '.join(map(repr, words))})"
    return text, lambda row: row[1] is not None and (HOMES[int(row[1])] in words) != negated


def _absent(column: int) -> Said:
    return f"{('', 'home', 'income')[column]} is missing", lambda row: row[column] is None


def _not(part: Said) -> Said:
    return f"not ({part[0]})", lambda row: not part[1](row)


def _joined(word: str, parts: list[Said]) -> Said:
    every = all if word == "and" else any
    return f" {word} ".join(f"({text})" for text, _ in parts), lambda row: every(
        part(row) for _, part in parts
    )


SIMPLE = st.one_of(
    st.builds(_compared, NUMBERS, st.sampled_from(list(SIGNS)), VALUES),
    st.builds(_chosen, st.lists(st.sampled_from(HOMES), min_size=1), st.booleans()),
    st.builds(_absent, st.sampled_from((1, 2))),
)
CONDITIONS = st.recursive(
    SIMPLE,
    lambda parts: st.one_of(
        st.builds(_not, parts),
        st.builds(_joined, st.sampled_from(("and", "or")), st.lists(parts, min_size=1, max_size=3)),
    ),
    max_leaves=6,
)
CELLS = st.tuples(
    VALUES, st.none() | st.integers(0, len(HOMES) - 1), st.none() | VALUES, st.just(0), st.just(0)
)


@settings(max_examples=200, deadline=None)
@given(
    CONDITIONS.filter(lambda said: said[0].count("(") <= DEEPEST), st.lists(CELLS, min_size=1, max_size=20)
)
def test_every_condition_holds_of_a_row_as_its_words_do(said: Said, rows: list[Row]) -> None:
    text, condition = said
    array = np.array([[math.nan if cell is None else cell for cell in row] for row in rows], np.float32)
    found = compile_expression(text, SCHEMA)
    assert found.mask(array).tolist() == [condition(row) for row in rows]


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("age home'rent'`(),<>=!.015 andornotismissing\n\"&"), max_size=60))
def test_whatever_is_written_is_understood_or_refused(text: str) -> None:
    try:
        found = compile_expression(text, SCHEMA)
    except ExpressionError:
        return
    assert found.mask(ROWS).shape == (len(ROWS),)
