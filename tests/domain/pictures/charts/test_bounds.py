"""A value over time within its bounds."""

from __future__ import annotations

import pytest

from service.domain.pictures.charts.bounds import Point, bounds
from tests.domain.pictures.charts.pictures import assert_sound, lines, middle, shapes, words

POINTS = [
    Point(0.0, "1 Nov 10:00", 0.03, 0.0, 1.0),
    Point(3600.0, "1 Nov 11:00", 0.02, 0.01, 0.035),
    Point(10_800.0, "1 Nov 13:00", 0.015, 0.012, 0.019),
]


def told(value: float) -> str:
    return f"{100 * value:.3g} %"


def test_time_runs_evenly_whatever_the_looks() -> None:
    drawn = bounds(POINTS, 0.05, told, "flips")
    xs = [x for x, _ in shapes(drawn, "band")[0].points[: len(POINTS)]]
    assert xs[2] - xs[1] == pytest.approx(2 * (xs[1] - xs[0]))
    latest, _ = middle(shapes(drawn, "raise")[-1])
    assert latest == pytest.approx(xs[2])


def test_the_margin_is_dashed_and_named() -> None:
    drawn = bounds(POINTS, 0.05, told, "flips")
    (margin,) = lines(drawn, dashed=True)
    _, latest = middle(shapes(drawn, "raise")[-1])
    assert margin.y1 < latest
    assert "margin 5 %" in words(drawn)
    assert lines(bounds(POINTS, None, told, "flips"), dashed=True) == []


def test_early_bounds_that_know_nothing_do_not_flatten_the_rest() -> None:
    drawn = bounds(POINTS, 0.05, told, "flips")
    (band,) = shapes(drawn, "band")
    ys = [y for _, y in band.points]
    upper, lower = ys[2], ys[3]
    assert lower - upper > 10
    assert min(ys) >= 0
    assert_sound(drawn)


def test_it_is_told_in_words() -> None:
    said = bounds(POINTS, 0.05, told, "flips").description
    assert said == (
        "At 1 Nov 10:00 3 %, between 0 % and 100 %. "
        "At 1 Nov 13:00 1.5 %, surely between 1.2 % and 1.9 %. The margin is 5 %."
    )


@pytest.mark.parametrize(
    "points",
    [
        POINTS[:1],
        [Point(5.0, "a", 0.0, 0.0, 0.0)],
        [Point(5.0, "a", 0.0, 0.0, 0.0), Point(5.0, "b", 0.0, 0.0, 0.0)],
        [Point(0.0, "a", -1e12, -2e12, 3e12), Point(1.0, "b", 1e12, -2e12, 3e12)],
        [Point(0.0, "a", 1e-300, 0.0, 1e-299)],
    ],
)
def test_one_look_and_strange_numbers_can_be_drawn(points: list[Point]) -> None:
    assert_sound(bounds(points, None, told, "value"))
    assert_sound(bounds(points, 0.0, told, "value"))
