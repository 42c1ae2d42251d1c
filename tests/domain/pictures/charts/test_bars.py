"""Bars with their names and numbers."""

from __future__ import annotations

import pytest

from service.domain.pictures.charts.bars import Bar, Twin, bars, twins
from tests.domain.pictures.charts.pictures import assert_sound, extent, shapes, words

BARS = [Bar("Age", 0.3, "0.3 drifted", strong=True), Bar("Income", 0.15, "0.15"), Bar("Home", 0.0, "0")]


def length(bar: tuple[float, float]) -> float:
    return bar[1] - bar[0]


def test_lengths_are_in_proportion_and_nought_has_none() -> None:
    drawn = bars(BARS, "shift")
    (strong,), (weak,) = shapes(drawn, "lower"), shapes(drawn, "raise")
    assert length(extent(strong)) == pytest.approx(2 * length(extent(weak)))
    assert_sound(drawn)


def test_every_bar_is_named_and_told() -> None:
    drawn = bars(BARS, "shift")
    assert set(words(drawn)) == {"Age", "Income", "Home", "0.3 drifted", "0.15", "0"}
    assert drawn.description == "Age: 0.3 drifted; Income: 0.15; Home: 0."


def test_pairs_share_one_scale_and_have_a_legend() -> None:
    drawn = twins(
        [Twin("low", 0.2, 0.4, "20 → 40"), Twin("high", 0.8, 0.6, "80 → 60")], ("before", "after"), "t"
    )
    before, after = shapes(drawn, "muted"), shapes(drawn, "raise")
    lengths = [length(extent(shape)) for shape in (*before[:2], *after[:2])]
    assert lengths == pytest.approx([part * lengths[1] / 0.8 for part in (0.2, 0.8, 0.4, 0.6)])
    assert {"before", "after", "low", "high"} <= set(words(drawn))
    assert_sound(drawn)


@pytest.mark.parametrize("long", [0.0, 1e-300, 1e300])
def test_strange_lengths_and_long_names_stay_on_the_paper(long: float) -> None:
    assert_sound(bars([Bar("名前" * 60, long, "9,007,199,254,740,993"), Bar("b", 1.0, "1")], "t"))
    assert_sound(twins([Twin("x" * 300, long, 1.0, "1 → 2")], ("a", "b"), "t"))
