"""Measuring and placing: scales, ticks and text without a font."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.pictures.layout import INKS, Scale, fitted, scale_over, text_width, ticks, wrapped


def brightness(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 6))
def test_ticks_are_round_evenly_spaced_and_within_the_scale(low: float, span: float, most: int) -> None:
    scale = Scale(low, low + span, 0, 100)
    found = ticks(scale, most)
    slack = 1e-9 * (abs(low) + span)
    assert len(found) <= most + 1
    assert all(low - slack <= tick <= low + span + slack for tick in found)
    if len(found) > 1:
        step = found[1] - found[0]
        digits = step / 10 ** math.floor(math.log10(step) + 1e-6)
        assert min(abs(digits - round_one) for round_one in (1, 2, 5)) < 1e-3
        assert all(math.isclose(after - before, step, rel_tol=1e-3) for before, after in pairwise(found))


@pytest.mark.parametrize("numbers", [[0.0], [3.0, 3.0], [-1e-9, 1e-9], [1e9, 1e9 + 0.01]])
def test_a_scale_has_room_on_both_sides_of_every_number(numbers: list[float]) -> None:
    scale = scale_over(numbers, 100, 500)
    assert all(100 < scale(number) < 500 for number in numbers)
    assert scale(scale.low) == 100
    assert scale(scale.high) == 500


@pytest.mark.parametrize("text", ["Income = 129", "W" * 60, "名前" * 30, "", "a"])
@pytest.mark.parametrize("room", [20.0, 90.0, 400.0])
def test_fitted_text_is_no_wider_than_its_room(text: str, room: float) -> None:
    found = fitted(text, 13, room)
    assert text_width(found, 13) <= room + 0.1
    assert found == text if text_width(text, 13) <= room else found.endswith("…")


def test_wrapped_text_loses_no_word_where_there_are_lines_enough() -> None:
    text = "a rule that is told in quite a few words must be broken into lines"
    lines = wrapped(text, 13, 120)
    assert " ".join(lines) == text
    assert len(lines) > 2
    assert all(text_width(line, 13) <= 120 for line in lines)


def test_wrapped_text_shows_that_it_was_cut() -> None:
    lines = wrapped("word " * 100, 13, 120, most=3)
    assert len(lines) == 3
    assert lines[-1].endswith("…")


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ink", ["text", "muted", "warning", "raise", "lower"])
def test_every_ink_stands_out_from_its_paper(ink: str, theme: int) -> None:
    own, paper = (brightness(INKS[name][theme]) for name in (ink, "paper"))  # type: ignore[index]  # parametrized
    contrast = (max(own, paper) + 0.05) / (min(own, paper) + 0.05)
    assert contrast >= (4.5 if ink in ("text", "muted", "warning") else 3)
