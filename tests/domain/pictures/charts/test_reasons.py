"""Two models' reasons side by side."""

from __future__ import annotations

import pytest

from service.domain.pictures.charts.reasons import reasons, shares
from tests.domain.pictures.charts.pictures import assert_sound, extent, shapes, words
from tests.domain.pictures.documents import HOSTILE, typed

NAMES = ("credit:gbm-1", "credit:gbm-2")


def test_shares_keep_their_signs_and_add_up_to_all_of_the_influence() -> None:
    found = shares({"Age": 3.0, "Home": -1.0, "Debt": 0.0})
    assert found == {"Age": 0.75, "Home": -0.25, "Debt": 0.0}
    assert shares({"Age": 0.0}) == {"Age": 0.0}
    assert shares({"Age": 1e308, "Home": 1e308}) == {"Age": 0.5, "Home": 0.5}


def test_both_models_have_the_same_scale_and_direction() -> None:
    drawn = reasons({"Age": 0.5, "Home": -0.5}, {"Age": 0.5, "Home": -0.5}, NAMES)
    lengths = [
        right - left for left, right in map(extent, [*shapes(drawn, "raise"), *shapes(drawn, "lower")])
    ]
    assert lengths == pytest.approx([lengths[0]] * 4)
    raised, lowered = shapes(drawn, "raise")[0], shapes(drawn, "lower")[0]
    assert extent(lowered)[1] == pytest.approx(extent(raised)[0])


def test_the_heaviest_features_of_either_model_come_first_and_the_rest_is_left_out() -> None:
    production = {f"f{place}": 0.01 * place for place in range(12)}
    drawn = reasons(production, {"f0": -0.9}, NAMES, most=3)
    said = [text for text in words(drawn) if text.startswith("f")]
    assert said == ["f0", "f11", "f10"]
    assert typed(drawn.description).endswith("f0: 0% and -90%; f11: +11% and 0%; f10: +10% and 0%.")


def test_patches_of_an_image_can_be_told_apart() -> None:
    patches = [f"rows {row}-{row + 1}, columns {column}-{column + 1}" for row in (0, 6) for column in (2, 4)]
    drawn = reasons(dict.fromkeys(patches, 0.25), {}, NAMES)
    assert {text for text in words(drawn) if text.startswith("rows")} == set(patches)


def test_hostile_names_and_nought_can_be_drawn() -> None:
    assert_sound(reasons({HOSTILE * 20: 1.0}, {"名前" * 50: -1.0}, (HOSTILE, HOSTILE)))
    assert_sound(reasons({"Age": 0.0}, {}, NAMES))
