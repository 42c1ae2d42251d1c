"""A share is drawn at random, and at the rate that was asked for."""

from __future__ import annotations

import random

import pytest

from service.domain.draw import Draw

COUNT = 20_000


def hits(rate: float, seed: int = 0) -> list[int]:
    draw = Draw(rate, random.Random(seed))
    return [index for index in range(COUNT) if draw()]


def test_nothing_is_drawn_at_rate_0_and_everything_at_rate_1() -> None:
    assert hits(0.0) == []
    assert hits(1.0) == list(range(COUNT))


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.3, 0.99])
def test_the_share_is_within_four_standard_deviations_of_the_rate(rate: float) -> None:
    deviation = (COUNT * rate * (1 - rate)) ** 0.5
    assert abs(len(hits(rate)) - COUNT * rate) < 4 * deviation


def test_the_least_rate_there_is_draws_nothing() -> None:
    assert hits(5e-324) == []


def test_a_hit_says_nothing_about_the_next_one() -> None:
    found = set(hits(0.3))
    both = sum(index + 1 in found for index in found) / len(found)
    assert both == pytest.approx(0.3, abs=0.03)


def test_the_first_is_drawn_as_often_as_any_other() -> None:
    generator = random.Random(5)
    first = sum(Draw(0.25, generator)() for _ in range(4_000)) / 4_000
    assert first == pytest.approx(0.25, abs=0.03)
