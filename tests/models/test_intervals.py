"""Intervals cover what they say: exactly where that can be counted, else within a binomial band."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from models.demo.measures import auc
from models.intervals import (
    FEWEST,
    Interval,
    auc_of,
    bootstrap,
    mcnemar,
    mean_of,
    paired_difference,
    share,
)


def test_a_share_is_bounded_by_its_exact_interval() -> None:
    assert share(0, 10, 0.95) == pytest.approx((0.0, 0.0, 1 - 0.025**0.1))
    low, high = share(81, 263, 0.95)[1:]  # the example of Newcombe 1998, table I, method 5
    assert (round(float(low or 0), 4), round(float(high or 0), 4)) == (0.2527, 0.3676)


def test_mcnemars_test_is_the_binomial_one_of_the_discordant_rows() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(6, 0) == pytest.approx(2 * 0.5**6)
    assert mcnemar(1, 9) == mcnemar(9, 1) == pytest.approx(2 * 11 / 2**10)


@pytest.mark.parametrize(("rows", "gains", "losses"), [(30, 0.1, 0.1), (40, 0.02, 0.1), (25, 0.3, 0.2)])
def test_the_paired_difference_is_covered_as_often_as_its_confidence_says(
    rows: int, gains: float, losses: float
) -> None:
    covered = 0.0
    for won, lost in itertools.product(range(rows + 1), repeat=2):
        if won + lost <= rows:
            found = paired_difference(won, lost, rows, 0.95)
            assert found.low is not None
            assert found.high is not None
            if found.low <= gains - losses <= found.high:
                rest = rows - won - lost
                covered += stats.multinomial.pmf([won, lost, rest], rows, [gains, losses, 1 - gains - losses])
    assert 0.93 <= covered <= 0.98  # counted over all outcomes, not drawn


def test_the_paired_difference_is_where_a_score_test_turns() -> None:
    won, lost, rows, confidence = 12, 5, 60, 0.9
    low, high = paired_difference(won, lost, rows, confidence)[1:]
    assert low is not None
    assert high is not None
    for bound in (low, high):
        shares = np.linspace(max(0, -bound), (1 - bound) / 2, 400_001)[
            1:-1
        ]  # production's, all that is possible
        likelihood = (
            won * np.log(shares + bound)
            + lost * np.log(shares)
            + (rows - won - lost) * np.log(1 - bound - 2 * shares)
        )
        likeliest = shares[likelihood.argmax()]
        error = math.sqrt((2 * likeliest + bound - bound**2) / rows)
        score = ((won - lost) / rows - bound) / error
        assert abs(score) == pytest.approx(stats.norm.ppf(0.95), abs=1e-3)


def test_without_a_discordant_row_the_difference_still_has_a_width() -> None:
    value, low, high = paired_difference(0, 0, 50, 0.95)
    assert value == 0
    assert low is not None
    assert high is not None
    assert -low == pytest.approx(high) == pytest.approx(1.96**2 / (50 + 1.96**2), abs=1e-4)


@pytest.mark.parametrize(("won", "lost"), [(10, 0), (0, 10)])
def test_the_difference_ends_at_one(won: int, lost: int) -> None:
    value, low, high = paired_difference(won, lost, 10, 0.95)
    assert abs(value) == 1
    assert low is not None
    assert high is not None
    assert -1 <= low < high <= 1
    assert max(abs(low), abs(high)) == pytest.approx(1)


def test_the_bootstrap_covers_a_paired_mean() -> None:
    rng = np.random.default_rng(5)
    runs, rows, covered = 300, 80, 0
    for seed in range(runs):
        common = rng.exponential(1.0, rows)
        first, second = common + rng.normal(0, 0.1, rows), common + 0.05 + rng.normal(0, 0.1, rows)
        found = bootstrap({"loss": (mean_of(first), mean_of(second))}, rows, 0.9, seed)["loss"]
        assert found[2].value == pytest.approx(second.mean() - first.mean())
        assert found[2].low is not None
        assert found[2].high is not None
        assert found[0].low is not None
        assert found[0].high is not None
        assert found[2].high - found[2].low < 0.5 * (found[0].high - found[0].low)  # what is shared cancels
        covered += found[2].low <= 0.05 <= found[2].high
    band = stats.binom.interval(0.999, runs, 0.9)
    assert band[0] - 0.02 * runs <= covered <= band[1]  # percentile intervals are a little short at 80 rows


def test_the_area_under_the_curve_counts_ties_half_and_drawn_rows_as_often_as_they_were_drawn() -> None:
    rng = np.random.default_rng(2)
    scores, positive = rng.integers(0, 6, 70).astype(np.float32), rng.random(70) < 0.4
    statistic = auc_of(scores, positive)
    weights = rng.integers(0, 4, (5, 70)).astype(np.float64)
    for row, found in zip(weights, statistic(weights), strict=True):
        drawn = np.repeat(np.arange(70), row.astype(int))
        assert found == pytest.approx(auc(scores[drawn], positive[drawn]))
    assert np.isnan(statistic((~positive)[None].astype(np.float64)))


def test_the_same_seed_gives_the_same_bounds_and_another_one_others() -> None:
    values = np.random.default_rng(1).normal(size=50)
    pairs = {"mean": (mean_of(values), mean_of(values + 1))}
    assert bootstrap(pairs, 50, 0.95, 3) == bootstrap(pairs, 50, 0.95, 3)
    assert bootstrap(pairs, 50, 0.95, 3) != bootstrap(pairs, 50, 0.95, 4)


def test_too_few_rows_have_a_value_and_no_bounds() -> None:
    values = np.arange(FEWEST - 1.0)
    found = bootstrap({"mean": (mean_of(values), mean_of(values))}, len(values), 0.95, 0)["mean"]
    assert found == (
        Interval(values.mean(), None, None),
        Interval(values.mean(), None, None),
        (0.0, None, None),
    )
    assert [each.sign for each in found] == [0, 0, 0]


def test_rows_of_one_class_have_no_area_under_the_curve() -> None:
    statistic = auc_of(np.arange(30.0), np.zeros(30, dtype=bool))
    assert all(
        math.isnan(each.value) for each in bootstrap({"auc": (statistic, statistic)}, 30, 0.95, 0)["auc"]
    )
