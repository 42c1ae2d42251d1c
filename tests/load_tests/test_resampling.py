"""A ratio of percentiles says how sure it is, whatever disturbs the machine from time to time."""

from __future__ import annotations

import numpy as np
import pytest

from load_tests.resampling import DRAWS, Latencies, pooled_ratio

CYCLES, ANSWERS = 30, 1_000


def cycles(seed: int, slower: float = 1.0, disturbed: float = 0.0) -> tuple[list[Latencies], list[Latencies]]:
    """Runs in turns; what disturbs a cycle makes both of its runs slower by the same factor."""
    draw = np.random.default_rng(seed)
    noise = 1 + disturbed * draw.exponential(size=CYCLES)
    ours = [each * slower * draw.exponential(size=ANSWERS) for each in noise]
    theirs = [each * draw.exponential(size=ANSWERS) for each in noise]
    return ours, theirs


def test_the_value_is_that_of_all_answers_together() -> None:
    ours, theirs = [np.arange(1.0, 101.0), np.arange(101.0, 201.0)], [np.arange(1.0, 101.0)] * 2
    assert pooled_ratio(ours, theirs).value == pytest.approx(198 / 99)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    held = [pooled_ratio(*cycles(seed, 1.2)) for seed in range(40)]
    share = np.mean([each.low <= 1.2 <= each.high for each in held])
    assert share >= 0.75  # 0.9 less three standard errors of 40 draws


def test_what_disturbs_both_sides_widens_the_interval_less_than_the_noise_itself() -> None:
    quiet, loud = pooled_ratio(*cycles(1)), pooled_ratio(*cycles(1, disturbed=1.0))
    assert loud.low < 1.0 < loud.high
    assert (loud.high - loud.low) < 8 * (quiet.high - quiet.low)


def test_more_cycles_make_it_surer() -> None:
    ours, theirs = cycles(2)
    few, many = pooled_ratio(ours[:5], theirs[:5]), pooled_ratio(ours, theirs)
    assert many.high - many.low < few.high - few.low


def test_runs_without_a_partner_are_refused() -> None:
    ours, theirs = cycles(3)
    with pytest.raises(ValueError, match="found 30 and 29"):
        pooled_ratio(ours, theirs[:-1])
    assert DRAWS >= 100
