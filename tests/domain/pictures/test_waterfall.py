"""The waterfall's arithmetic and geometry, before anything draws it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from service.domain.pictures.layout import MARGIN, WIDTH, Line, Picture, Shape, Text, text_width
from service.domain.pictures.waterfall import TOP, bars_of, waterfall
from service.domain.pictures.wording import warnings
from tests.domain.pictures.documents import EVERY, LIME, MODEL, SAMPLED, VALUES, document, many, typed

SHIFT = {"start": 0.0, "middle": 0.5, "end": 1.0}
"""Share of a text that lies left of its place."""

DRAWN = {name: found for name, found in EVERY.items() if found["values"]}


def shapes(picture: Picture, start: str) -> list[Shape]:
    """Bars and diamonds whose tip begins with ``start``, in drawing order."""
    return [mark for mark in picture.marks if isinstance(mark, Shape) and mark.tip.startswith(start)]


def texts(picture: Picture) -> list[str]:
    return [typed(mark.text) for mark in picture.marks if isinstance(mark, Text)]


def whiskers(picture: Picture) -> list[Line]:
    """Level strokes of error bars, without their rims of paper."""
    return [
        mark
        for mark in picture.marks
        if isinstance(mark, Line) and mark.ink == "text" and mark.y1 == mark.y2 and mark.x1 != mark.x2
    ]


@pytest.mark.parametrize("found", [document(), SAMPLED, document(many(40)), EVERY["top"]])
def test_each_bar_begins_where_the_last_ended_and_the_last_ends_at_the_output(found: dict[str, Any]) -> None:
    bars = bars_of(found)
    assert bars[0].start == found["base_value"]
    assert all(after.start == before.end for before, after in pairwise(bars))
    others = found.get("others", {"value": 0.0})["value"]
    assert bars[-1].end == pytest.approx(found["base_value"] + sum(found["values"].values()) + others)


def test_bars_meet_in_the_picture_too() -> None:
    picture = waterfall(document(), MODEL)
    names = ["Records = yes", "Income = 129", "Home = rent", "Age = 30", "Debt = missing"]
    found = [shapes(picture, name)[0].points for name in names]
    tips = [points[2][0] for points in found]
    starts = [points[0][0] for points in found]
    assert tips[:-1] == pytest.approx(starts[1:])
    assert starts[0] == pytest.approx(shapes(picture, "average")[0].points[1][0])
    assert tips[-1] == pytest.approx(shapes(picture, "output")[0].points[1][0])


def test_bars_are_as_long_as_their_values() -> None:
    picture = waterfall(document(), MODEL)
    lengths = [
        shapes(picture, name)[0].points[2][0] - shapes(picture, name)[0].points[0][0]
        for name in ("Records", "Income", "Home")
    ]
    assert lengths[1] / lengths[0] == pytest.approx(VALUES["Income"] / VALUES["Records"])
    assert lengths[2] / lengths[0] == pytest.approx(VALUES["Home"] / VALUES["Records"])


def test_what_raises_is_blue_and_points_right_and_what_lowers_is_orange_and_points_left() -> None:
    picture = waterfall(document(), MODEL)
    raising, lowering = shapes(picture, "Income")[0], shapes(picture, "Records")[0]
    assert raising.ink == "raise"
    assert lowering.ink == "lower"
    assert raising.points[2][0] == max(x for x, _ in raising.points)
    assert lowering.points[2][0] == min(x for x, _ in lowering.points)


def test_features_come_by_size_and_those_beyond_the_first_are_one_bar() -> None:
    values = many(40)
    bars = bars_of(document(values))
    assert [bar.name for bar in bars[:-1]] == [f"f{index}" for index in range(TOP)]
    assert bars[-1].name == "28 other features"
    assert bars[-1].value == pytest.approx(sum(list(values.values())[TOP:]))


def test_one_feature_too_many_is_shown_rather_than_called_other() -> None:
    bars = bars_of(document(many(TOP + 1)))
    assert [bar.name for bar in bars] == [f"f{index}" for index in range(TOP + 1)]


def test_features_that_the_caller_did_not_want_named_are_counted_among_the_others() -> None:
    bars = bars_of(document(many(40), others={"features": 5, "value": 2.0}))
    assert bars[-1].name == "33 other features"
    assert bars[-1].value == pytest.approx(sum(list(many(40).values())[TOP:]) + 2.0)


def test_every_shown_feature_stands_once_with_its_value() -> None:
    said = texts(waterfall(document(), MODEL))
    for label, value in {
        "Income = 129": "+0.62",
        "Home = rent": "-0.25",
        "Records = yes": "-1.12",
        "Debt = missing": "0",
        "average": "0.50",
        "output": "-0.23",
    }.items():
        assert said.count(label) == 1
        assert said.count(value) >= 1


def test_whiskers_reach_1_96_standard_errors_to_either_side() -> None:
    picture = waterfall(SAMPLED, MODEL)
    records = shapes(picture, "Records")[0].points
    per_unit = abs(records[2][0] - records[0][0]) / abs(VALUES["Records"])
    found = whiskers(picture)
    assert len(found) == 4
    for line, name in zip(found, ("Records", "Income", "Home", "Age"), strict=True):
        tip = shapes(picture, name)[0].points[2][0]
        assert line.x2 - line.x1 == pytest.approx(2 * 1.96 * SAMPLED["standard_errors"][name] * per_unit)
        assert (line.x1 + line.x2) / 2 == pytest.approx(tip)


def test_an_exact_explanation_has_no_whiskers() -> None:
    assert whiskers(waterfall(document(), MODEL)) == []
    assert "exact" in texts(waterfall(document(), MODEL))[1]


def test_the_others_have_no_whisker() -> None:
    errors = dict.fromkeys(many(40), 0.1)
    assert bars_of(document(many(40), standard_errors=errors))[-1].error is None


def test_values_that_do_not_add_up_are_not_stacked_and_lead_to_no_output() -> None:
    assert {bar.start for bar in bars_of(LIME)} == {0.0}
    picture = waterfall(LIME, MODEL)
    assert "output" not in texts(picture)
    assert "average" not in texts(picture)


def test_values_that_are_left_out_where_nothing_adds_up_are_counted_in_words() -> None:
    said = " ".join(texts(waterfall({**LIME, "values": many(40)}, MODEL)))
    assert "28 other features not shown" in said
    assert "not shown" not in " ".join(texts(waterfall(document(many(40)), MODEL)))


@pytest.mark.parametrize("name", DRAWN)
def test_nothing_leaves_the_paper(name: str) -> None:
    picture = waterfall(DRAWN[name], MODEL)
    for mark in picture.marks:
        if isinstance(mark, Text):
            width = text_width(mark.text, mark.size, mark.bold)
            left = mark.x - width * SHIFT[mark.anchor]
            assert left >= 0, mark
            assert left + width <= WIDTH, mark
            assert 0 < mark.y < picture.height
        elif isinstance(mark, Shape):
            assert all(0 <= x <= WIDTH and 0 <= y <= picture.height for x, y in mark.points)
        elif isinstance(mark, Line):
            assert min(mark.x1, mark.x2) >= MARGIN
            assert max(mark.x1, mark.x2) <= WIDTH - MARGIN


@pytest.mark.parametrize("name", DRAWN)
def test_no_words_overlap(name: str) -> None:
    boxes = []
    for mark in waterfall(DRAWN[name], MODEL).marks:
        if isinstance(mark, Text):
            width = text_width(mark.text, mark.size, mark.bold)
            left = mark.x - width * SHIFT[mark.anchor]
            boxes.append((left, left + width, mark.y - mark.size, mark.y, mark.text))
    boxes.sort()
    for place, (left, right, top, bottom, text) in enumerate(boxes):
        for other in boxes[place + 1 :]:
            apart = other[0] >= right - 0.2 or other[2] >= bottom or other[3] <= top
            assert apart, f"{text!r} at {left} overlaps {other[4]!r}"


def test_a_warning_is_part_of_the_picture() -> None:
    warned = [
        mark for mark in waterfall(SAMPLED, MODEL).marks if isinstance(mark, Text) and mark.ink == "warning"
    ]
    assert [mark.text for mark in warned] == warnings(SAMPLED)


def test_the_picture_in_words_tells_all_that_is_drawn() -> None:
    described = typed(waterfall(SAMPLED, MODEL).description)
    for part in ("average 0.50", "Income = 129: +0.62 ± 0.20", "Records = yes: -1.12 ± 0.39", "output -0.23"):
        assert part in described
