"""What an edge does with an adaptation: nothing before the first label, and never anything undefined."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.uncertainty.adaptation import (
    GRID,
    NOUGHT,
    POOL,
    Adaptation,
    adaptation_of,
    thresholds,
)
from service.domain.uncertainty.adaptive import Pace, adaptation, start
from tests.domain.uncertainty.plain_region import calibrated

LEVELS = (0.6, 0.3, 0.05, 0.05, 0.01, NOUGHT)
LEARNT = Adaptation(np.linspace(1, 5, 600), LEVELS, 600, 3.5)
DOCUMENT = LEARNT.to_document()
PROMISED = tuple(1 - confidence for confidence in GRID)


@pytest.mark.parametrize("confidence", [0.5, 0.83, 0.9, 0.999])
@pytest.mark.parametrize("classes", [0, 2])
def test_before_the_first_label_the_answer_is_the_static_one(confidence: float, classes: int) -> None:
    region = replace(calibrated(), classes=classes, offsets=(0.1, 0.2) if classes else ())
    found = adaptation(start(Pace()), Pace(), region, confidence)
    assert found.region(region) is region
    assert found.thresholds(region, confidence).tolist() == region.thresholds(confidence).tolist()


@given(st.floats(0.5, 0.999))
def test_levels_that_were_not_moved_are_the_promised_ones_between_the_grid_too(confidence: float) -> None:
    level = Adaptation(np.empty(0), PROMISED, 1).level(confidence)
    assert level == pytest.approx(1 - confidence, abs=1e-12)


@pytest.mark.parametrize(("confidence", "level"), list(zip(GRID, LEVELS, strict=True)))
def test_on_the_grid_a_level_is_its_own(confidence: float, level: float) -> None:
    assert LEARNT.level(confidence) == pytest.approx(level, rel=1e-6)


@given(st.floats(0.5, 0.999), st.floats(0.5, 0.999))
def test_a_surer_region_holds_a_less_sure_one(one: float, other: float) -> None:
    less, more = sorted((one, other))
    region = calibrated()
    assert LEARNT.thresholds(region, less) <= LEARNT.thresholds(region, more)


def test_scores_in_force_are_the_adaptations_and_serve_all_classes_alike() -> None:
    region = replace(calibrated(), classes=2, offsets=(0.1, 0.2))
    found = LEARNT.thresholds(region, 0.9)
    assert found.tolist() == [LEARNT.scores[math.ceil(601 * 0.95) - 1]] * 2
    assert found.tolist() == thresholds(LEARNT, LEARNT.region(region), 0.9).tolist()


def test_at_level_nought_everything_is_possible_however_many_scores_there_are() -> None:
    huge = calibrated(300_000)
    found = Adaptation(np.empty(0), (NOUGHT,) * len(GRID), 9).thresholds(huge, 0.5)
    assert found.tolist() == [math.inf]


def test_an_adaptation_comes_back_from_its_document() -> None:
    again = adaptation_of(json.loads(json.dumps(DOCUMENT, allow_nan=False)))
    assert again.to_document() == DOCUMENT
    assert again.level(0.93) == LEARNT.level(0.93)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ({"scores": [math.nan]}, "all of them numbers"),
        ({"scores": [1.0] * (POOL + 1)}, "at most 2000 scores"),
        ({"scores": [[1.0]]}, "at most 2000 scores"),
        ({"levels": [0.1]}, "has 6 levels"),
        ({"levels": [0.5, 0.2, math.nan, 0.05, 0.01, 0.001]}, "has 6 levels"),
        ({"levels": [1.0, 0.2, 0.1, 0.05, 0.01, 0.001]}, "below 1"),
        ({"levels": [0.5, 0.2, 0.1, 0.05, 0.01, 0.0]}, "from 1e-09"),
        ({"levels": [0.5, 0.2, 0.3, 0.05, 0.01, 0.001]}, "never rise"),
        ({"levels": None}, "no adaptation"),
    ],
)
def test_a_damaged_adaptation_is_refused_with_the_reason(damage: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        adaptation_of(DOCUMENT | damage)


def test_an_adaptation_with_a_part_missing_is_refused() -> None:
    for name in DOCUMENT:
        with pytest.raises(ValueError, match=name):
            adaptation_of({key: value for key, value in DOCUMENT.items() if key != name})
