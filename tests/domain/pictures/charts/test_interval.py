"""Bounds against a margin in the cell of a table."""

from __future__ import annotations

import pytest

from service.domain.pictures.charts.interval import interval
from tests.domain.pictures.charts.pictures import assert_sound, extent, lines, middle, shapes


def test_bounds_lie_within_the_allowed_side_just_when_they_are_within_the_margin() -> None:
    for low, high, within in ((0.01, 0.02, True), (0.03, 0.06, False), (0.06, 0.08, False)):
        drawn = interval((low + high) / 2, low, high, 0.05, "at_most", "raise", "said")
        bounds = max(lines(drawn, dashed=False), key=lambda line: line.x2 - line.x1)
        assert (bounds.x2 <= extent(*shapes(drawn, "band"))[1]) is within


def test_the_allowed_side_is_the_other_one_for_a_lower_margin() -> None:
    most = interval(0.0, -0.01, 0.01, 0.02, "at_most", "raise", "said")
    least = interval(0.0, -0.01, 0.01, -0.02, "at_least", "raise", "said")
    assert extent(*shapes(most, "band"))[0] == 0.0
    assert extent(*shapes(least, "band"))[1] == least.width
    for drawn in (most, least):
        (margin,) = lines(drawn, dashed=True)
        assert margin.x1 in extent(*shapes(drawn, "band"))


def test_the_value_lies_between_its_bounds() -> None:
    drawn = interval(0.04, 0.01, 0.06, 0.05, "at_most", "muted", "said")
    bounds = max(lines(drawn, dashed=False), key=lambda line: line.x2 - line.x1)
    assert bounds.x1 < middle(*shapes(drawn, "muted"))[0] < bounds.x2
    assert drawn.description == "said"


@pytest.mark.parametrize(
    ("value", "low", "high", "margin"),
    [(0.0, 0.0, 0.0, 0.0), (0.5, 0.0, 1.0, 1e-9), (1e300, -1e300, 1e301, 1.0), (0.0, 0.0, 1.0, 0.0)],
)
def test_bounds_far_beyond_the_margin_are_cut(value: float, low: float, high: float, margin: float) -> None:
    assert_sound(interval(value, low, high, margin, "at_most", "lower", "said"))
