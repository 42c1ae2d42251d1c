"""Limits as callers write them: decimals, which the graph takes as float32."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.expectations import Expectation, active, posted_limits
from service.domain.schema import LARGEST, WHOLE, Feature, Schema

NUMBER, COUNT = Feature("number", "float"), Feature("count", "int64")


@given(st.floats(-LARGEST, LARGEST), st.floats(-LARGEST, LARGEST))
def test_the_limits_are_the_outermost_decimals_that_round_into_the_range(one: float, other: float) -> None:
    low, high = sorted((one, other))
    least, greatest = posted_limits(NUMBER, Expectation(range=(low, high)))
    assert np.float32(least) == np.float32(low)
    assert np.float32(greatest) == np.float32(high)
    with np.errstate(over="ignore"):
        assert least == -LARGEST or np.float32(math.nextafter(least, -math.inf)) < np.float32(low)
        assert greatest == LARGEST or np.float32(math.nextafter(greatest, math.inf)) > np.float32(high)


@pytest.mark.parametrize(
    ("feature", "seen", "limits"),
    [
        (NUMBER, None, (-LARGEST, LARGEST)),
        (NUMBER, (-1e300, 1e300), (-LARGEST, LARGEST)),
        (COUNT, None, (-WHOLE, WHOLE)),
        (COUNT, (18, 68), (18, 68)),
        (COUNT, (-0.5, 2.5), (0, 2)),
        (COUNT, (-1e300, 1e300), (-WHOLE, WHOLE)),
    ],
)
def test_no_limit_is_wider_than_the_model_can_take(
    feature: Feature, seen: tuple[float, float] | None, limits: tuple[float, float]
) -> None:
    assert posted_limits(feature, Expectation(range=seen)) == limits


def test_what_is_ignored_is_not_expected() -> None:
    schema = Schema((NUMBER, COUNT), "tensor")
    kept, ignored = Expectation("refuse", range=(0, 1)), Expectation("ignore", range=(0, 1))
    assert active(schema, (kept, ignored)) == (kept, Expectation())
    assert active(schema, ()) == (Expectation(), Expectation())
    assert active(Schema((), "image", (2, 2)), ()) == (Expectation(),)
