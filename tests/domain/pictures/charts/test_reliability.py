"""How often models are right, by how sure they are."""

from __future__ import annotations

import pytest

from service.domain.pictures.charts.reliability import Bin, reliability
from tests.domain.pictures.charts.pictures import assert_sound, lines, middle, shapes

NAMES = ("credit:gbm-1", "credit:gbm-2")


def told(share: float) -> str:
    return f"{share:.0%}"


def test_a_calibrated_bin_lies_on_the_diagonal_and_an_overconfident_one_below() -> None:
    drawn = reliability([Bin(0.7, 0.7)], [Bin(0.9, 0.6)], NAMES, told)
    (diagonal,) = lines(drawn, dashed=True)
    slope = (diagonal.y2 - diagonal.y1) / (diagonal.x2 - diagonal.x1)
    on, below = (middle(shapes(drawn, ink)[0]) for ink in ("raise", "lower"))
    assert on[1] == pytest.approx(diagonal.y1 + slope * (on[0] - diagonal.x1))
    assert below[1] > diagonal.y1 + slope * (below[0] - diagonal.x1)


def test_the_models_differ_in_form_and_are_told_in_words() -> None:
    drawn = reliability([Bin(0.7, 0.7)], [Bin(0.9, 0.6)], NAMES, told)
    assert {len(shape.points) for shape in shapes(drawn, "raise")} == {4}
    assert {len(shape.points) for shape in shapes(drawn, "lower")} == {24}
    assert drawn.description == "credit:gbm-1: 70% sure, 70% right. credit:gbm-2: 90% sure, 60% right."


@pytest.mark.parametrize("bins", [[Bin(1.0, 1.0)], [Bin(0.0, 0.0), Bin(1.0, 0.0)], [Bin(0.999, 1.0)]])
def test_one_model_and_extreme_bins_can_be_drawn(bins: list[Bin]) -> None:
    assert_sound(reliability(bins, [], NAMES, told))
    assert_sound(reliability([], bins, ("x" * 10, "y" * 10), told))
