"""Models with expectations, rows near their limits, and the slow and plain way to judge them."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from service.domain.expectations import Expectation, Expectations, Kind, Reaction
from service.domain.schema import Feature, FeatureBatch, Layout, Schema

WORDS = ("a", "b", "c", "d")
NUMBERS = st.one_of(
    st.integers(-5, 5).map(float),
    st.floats(-10, 10, width=32),
    st.floats(-10, 10),
    st.sampled_from([0.1, 0.2, 0.3, 1e-45, -0.0, 1e9]),
)
REACTIONS: tuple[Reaction, ...] = ("warn", "refuse", "ignore")


@st.composite
def features(draw: st.DrawFn, name: str) -> tuple[Feature, Expectation]:
    """A feature and what is expected of it; some shares of missing values are 0, none is watched."""
    kind = draw(st.sampled_from(["float", "int64", "string"]))
    missing = kind != "int64" and draw(st.booleans())
    seen = draw(st.none() | st.tuples(NUMBERS, NUMBERS).map(sorted).map(tuple)) if kind != "string" else None
    words = draw(st.none() | st.sets(st.sampled_from(WORDS), min_size=1)) if kind == "string" else None
    expected = Expectation(
        on_violation=draw(st.sampled_from(REACTIONS)),
        range=seen,
        categories=None if words is None else tuple(sorted(words)),
        missing_rate=draw(st.sampled_from([None, 0.0])) if missing else None,
        whole=kind == "float" and draw(st.booleans()),
    )
    return Feature(name, kind, WORDS if kind == "string" else (), missing), expected


@st.composite
def tables(draw: st.DrawFn) -> tuple[Schema, Expectations]:
    """A table of one to four columns and what is expected of it."""
    count = draw(st.integers(1, 4))
    pairs = [draw(features(f"f{index}")) for index in range(count)]
    layout: Layout = draw(st.sampled_from(["tensor", "columns"]))
    return Schema(tuple(feature for feature, _ in pairs), layout), tuple(each for _, each in pairs)


@st.composite
def posted(draw: st.DrawFn, feature: Feature, expected: Expectation) -> float | int | str | None:
    """What a caller may send for the feature, often at a limit."""
    if feature.missing and draw(st.integers(0, 3)) == 0:
        return None
    if feature.type == "string":
        return draw(st.sampled_from(WORDS))
    limits = [limit for limit in expected.range or () if abs(limit) < 1e30]
    near = [math.nextafter(limit, way) for limit in limits for way in (-math.inf, math.inf)]
    near += [float(np.nextafter(np.float32(limit), np.float32(way))) for limit in limits for way in (-99, 99)]
    number = draw(NUMBERS | st.sampled_from([*limits, *near])) if limits else draw(NUMBERS)
    return math.floor(number) if feature.type == "int64" or draw(st.booleans()) else number


@st.composite
def requests(
    draw: st.DrawFn, least: int = 1
) -> tuple[Schema, Expectations, list[list[float | int | str | None]]]:
    """A table, what is expected of it, and a few rows."""
    schema, expectations = draw(tables())
    row = st.tuples(*(posted(*pair) for pair in zip(schema.features, expectations, strict=True)))
    rows = draw(st.lists(row.map(list), min_size=least, max_size=5))
    return schema, expectations, rows


def canonical(schema: Schema, rows: list[list[float | int | str | None]]) -> FeatureBatch:
    """Posted rows in canonical form."""
    values = [
        [
            math.nan if value is None else WORDS.index(value) if isinstance(value, str) else value
            for value in row
        ]
        for row in rows
    ]
    return np.array(values, schema.dtype)


def breach_of(
    schema: Schema, column: int, expected: Expectation, value: float | int | str | None
) -> Kind | None:
    """How one posted value breaks the expectation, as one would explain it to a caller."""
    feature = schema.features[column]
    if expected.on_violation == "ignore":
        return None
    if value is None:
        return "missing" if expected.missing_rate == 0 else None
    if isinstance(value, str):
        return "category" if expected.categories is not None and value not in expected.categories else None
    if expected.range is not None:
        low, high = expected.range
        whole = feature.type == "int64"
        ends: tuple[float, float] = (math.ceil(low), math.floor(high)) if whole else (low, high)
        # as the graph takes it: an integer of a float32 tensor is rounded like any other number
        exact = whole and schema.dtype == np.float64
        held = float if exact else np.float32
        outside = not held(ends[0]) <= held(value) <= held(ends[1])
        if outside:
            return "range"
    held = schema.dtype.type(value)
    return "type" if expected.whole and held != np.floor(held) else None


def oracle(
    schema: Schema, expectations: Expectations, rows: list[list[float | int | str | None]]
) -> dict[tuple[int, int], Kind]:
    """Every breach by row and column, found value by value."""
    found = {}
    for row, values in enumerate(rows):
        for column, value in enumerate(values):
            kind = breach_of(schema, column, expectations[column], value)
            if kind is not None:
                found[row, column] = kind
    return found
