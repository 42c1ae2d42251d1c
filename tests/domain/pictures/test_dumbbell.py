"""Two models' shares of influence on one scale."""

from __future__ import annotations

import pytest

from service.domain.pictures.dumbbell import TOP, dumbbell
from service.domain.pictures.layout import Picture, Shape, Text
from tests.domain.pictures.documents import typed

MOVED = [
    {"feature": "Income", "production": 0.5, "candidate": -0.25},
    {"feature": "Home", "production": -0.25, "candidate": 0.0},
]
NAMES = ("credit:gbm-1", "credit:gbm-2")


def places(picture: Picture) -> list[float]:
    """x of every diamond and disc that stands for a share."""
    found = [mark for mark in picture.marks if isinstance(mark, Shape) and mark.tip]
    return [sum(x for x, _ in mark.points) / len(mark.points) for mark in found]


def test_both_models_shares_lie_on_one_scale() -> None:
    first, second, third, fourth = places(dumbbell(MOVED, NAMES))
    per_unit = (first - second) / 0.75
    assert second == pytest.approx(third)
    assert fourth - third == pytest.approx(0.25 * per_unit)


def test_the_two_models_differ_in_form_and_colour_and_are_named() -> None:
    picture = dumbbell(MOVED, NAMES)
    forms = {mark.ink: len(mark.points) for mark in picture.marks if isinstance(mark, Shape)}
    assert forms == {"raise": 4, "lower": 24}
    said = [typed(mark.text) for mark in picture.marks if isinstance(mark, Text)]
    assert "production credit:gbm-1" in said
    assert "candidate credit:gbm-2" in said
    assert "+0.500 → -0.250" in said


def test_only_the_first_features_are_drawn_and_counted() -> None:
    picture = dumbbell(MOVED * TOP, NAMES)
    assert len(places(picture)) == 2 * TOP
    assert any(isinstance(mark, Text) and f"the {TOP} features" in mark.text for mark in picture.marks)


def test_shares_that_are_all_zero_can_be_drawn() -> None:
    still = [{"feature": "Income", "production": 0.0, "candidate": 0.0}]
    first, second = places(dumbbell(still, NAMES))
    assert first == pytest.approx(second)
