"""Percentiles and ratios that the benchmark's claims rest on."""

from __future__ import annotations

import random

import pytest

from load_tests.stats import paired_ratio, percentile, summarize


def test_a_percentile_is_an_observed_value_that_enough_values_do_not_exceed() -> None:
    draw = random.Random(1)
    for size in (1, 2, 7, 100, 999, 1000, 1001):
        ordered = sorted(draw.random() for _ in range(size))
        for percent in (0.1, 50, 90, 99, 99.9, 100):
            found = percentile(ordered, percent)
            at_most = sum(value <= found for value in ordered)
            below = sum(value < found for value in ordered)
            assert found in ordered
            assert at_most * 100 >= percent * size - 1e-6
            assert below * 100 < percent * size  # the smallest such value


@pytest.mark.parametrize(("percent", "expected"), [(50, 500), (90, 900), (99, 990), (99.9, 999), (100, 1000)])
def test_percentiles_of_one_to_a_thousand_are_themselves(percent: float, expected: int) -> None:
    assert percentile(range(1, 1001), percent) == expected


def test_refuses_a_percentile_of_nothing_and_one_outside_its_range() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)
    for percent in (0, -1, 100.1):
        with pytest.raises(ValueError, match=r"\(0, 100\]"):
            percentile([1.0], percent)


def test_a_summary_counts_only_right_answers_in_its_rate_and_keeps_every_failure() -> None:
    summary = summarize([0.002, 0.001, 0.004], 2.0, {"status 503": 4, "connection": 1})
    assert summary.per_second == 1.5
    assert summary.failed == 5
    assert summary.milliseconds == pytest.approx({"p50": 2, "p90": 4, "p99": 4, "p99.9": 4, "max": 4})


def test_a_run_without_answers_has_no_latencies_rather_than_zeros() -> None:
    assert summarize([], 1.0, {"connection": 3}).milliseconds == {}


def test_drift_that_hits_both_of_a_pair_cancels() -> None:
    theirs = [1000.0, 500.0, 2000.0, 100.0, 700.0]
    assert paired_ratio([1.25 * rate for rate in theirs], theirs) == pytest.approx(1.25)


def test_refuses_values_that_are_not_pairs() -> None:
    with pytest.raises(ValueError, match="pairs"):
        paired_ratio([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="pairs"):
        paired_ratio([], [])
