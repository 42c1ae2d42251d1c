"""Bounds: that they are where refutation begins, how wide they are, and that they are functions of sums."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import gammaln
from scipy.stats import beta

from service.domain.evidence.bets import Bounds, Difference, Evidence, Mean, Proportion, log_needed
from service.domain.evidence.sequential import bounds, difference, mean, proportion

ALPHA = 0.05


def width(found: Bounds) -> float:
    return found.high - found.low


@pytest.mark.parametrize(
    "seen",
    [
        Proportion(0.0, 50.0),
        Proportion(7.0, 2_000.0),
        Proportion(990.0, 1_000.0),
        Difference(0.0, 0.0, 400.0),
        Difference(40.0, 10.0, 900.0),
        Mean(12.0, 1.5, 1_000.0),
        Mean(-40.0, 60.0, 1_000.0, -1.0, 1.0),
        Mean(500.0, 200.0, 1_000.0, 0.0, 5.0),
    ],
)
def test_a_bound_is_next_to_the_first_limit_of_a_fine_grid_that_is_refuted(seen: Evidence) -> None:
    found, needed = bounds(seen, ALPHA), log_needed(ALPHA)
    for end, bound, weigh in zip(seen.range, found, (seen.above, seen.below), strict=True):
        grid = np.linspace(seen.value, end, 20_001)
        refuted = [limit for limit in grid if weigh(limit) >= needed]
        first = refuted[0] if refuted else end
        step = abs(end - seen.value) / 20_000
        assert abs(bound - seen.value) >= abs(first - seen.value) - step, "it errs towards the outside"
        assert bound == pytest.approx(first, abs=2 * step + 2e-3 * abs(first - seen.value))


@pytest.mark.parametrize(("hits", "n"), [(0, 200), (3, 500), (50, 1_000), (400, 1_000), (10**6, 10**9)])
def test_one_look_at_a_fixed_number_of_rows_would_be_narrower_but_not_by_much(hits: int, n: int) -> None:
    found = proportion(hits, n, ALPHA)
    low = beta.ppf(ALPHA / 2, hits, n - hits + 1) if hits else 0.0
    high = beta.isf(ALPHA / 2, hits + 1, n - hits)
    assert found.low <= low
    assert found.high >= high
    assert width(found) < 2.6 * (high - low)


@pytest.mark.parametrize("p", [0.002, 0.3])
def test_bounds_close_in_like_the_root_of_log_n_over_n(p: float) -> None:
    sizes = 10.0 ** np.arange(6, 10)
    for found in (
        [width(proportion(p * n, n, ALPHA)) for n in sizes],
        [width(difference(p / 2 * n, p / 2 * n, n, ALPHA)) for n in sizes],
        [width(mean(p * n, p * (1 - p) * n, n, ALPHA)) for n in sizes],
    ):
        pace = np.array(found) * np.sqrt(sizes / np.log(sizes))
        assert (np.abs(pace / pace[0] - 1) < 0.15).all()


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 500)), min_size=1, max_size=6)
)
def test_the_bounds_of_summed_replicas_are_those_of_one_that_saw_everything(
    parts: list[tuple[int, int, int]],
) -> None:
    rows = [1.0] * sum(a for a, _, _ in parts) + [-1.0] * sum(b for _, b, _ in parts)
    n = float(len(rows) + sum(c for _, _, c in parts))
    gained, lost, same = np.sum(np.array(parts, float), axis=0)
    assert difference(gained, lost, gained + lost + same, ALPHA) == difference(
        float(rows.count(1.0)), float(rows.count(-1.0)), n, ALPHA
    )


def test_replicas_that_guess_on_their_own_add_up() -> None:
    rng = np.random.default_rng(1)
    x = rng.beta(1, 9, 3_000)
    parts = np.split(x, [500, 700])
    deviation = 0.0
    for part in parts:
        before = np.concatenate([[0.0], np.cumsum(part)[:-1] / np.arange(1, len(part))])
        deviation += float(np.square(part - before).sum())
    found = mean(float(x.sum()), deviation, len(x), ALPHA)
    assert found.low < 0.1 < found.high
    ideal = mean(float(x.sum()), float(np.square(x - x.mean()).sum()), len(x), ALPHA)
    assert width(found) == pytest.approx(width(ideal), rel=0.01)


@pytest.mark.parametrize("rows", [0, 0.0])
def test_without_rows_everything_is_possible(rows: float) -> None:
    assert proportion(0, rows, ALPHA) == (0, 1)
    assert difference(0, 0, rows, ALPHA) == (-1, 1)
    assert mean(0, 0, rows, ALPHA, -2, 3) == (-2, 3)


@pytest.mark.parametrize("n", [1, 2, 100, 10**9])
def test_extremes_have_bounds_on_the_one_side_that_is_left(n: int) -> None:
    spare = 2 * (math.log(2 / ALPHA) + 0.5 * math.log(n) + 2) / n
    for found, at in (
        (proportion(0, n, ALPHA), 0),
        (proportion(n, n, ALPHA), 1),
        (mean(0, 0, n, ALPHA), 0),
        (mean(n, 0, n, ALPHA), 1),
        (difference(n, 0, n, ALPHA), 1),
        (difference(0, n, n, ALPHA), -1),
    ):
        assert at in found
        assert width(found) <= 2 * spare
        assert found.low <= at <= found.high


def test_no_spread_at_all_needs_no_more_rows_than_rare_events() -> None:
    found = mean(250.0, 0.0, 1_000.0, ALPHA)
    assert found.low < 0.25 < found.high
    assert width(found) < 0.012


@given(
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(1, 10**9),
    st.floats(1e-6, 0.5),
)
def test_bounds_are_ordered_hold_the_value_and_stay_in_range(
    first: float, second: float, n: int, alpha: float
) -> None:
    hits = math.floor(first * n)
    others = math.floor(second * (n - hits))
    for seen in (
        Proportion(hits, n),
        Difference(hits, others, n),
        Mean(first * n, second * n, n),
    ):
        found, (low, high) = bounds(seen, alpha), seen.range
        assert low <= found.low <= seen.value <= found.high <= high or found.low == found.high


CASES = [
    (0, 0, 2_000),
    (6, 5, 1_000),
    (30, 20, 1_000),
    (20, 60, 3_000),
    (300, 250, 20_000),
    (2_500, 2_600, 20_000),
]


@pytest.mark.parametrize(("gained", "lost", "rows"), CASES)
def test_the_difference_is_narrower_than_by_other_ways_from_the_same_totals(
    gained: int, lost: int, rows: int
) -> None:
    found = width(difference(gained, lost, rows, ALPHA))
    assert found < width(projected(gained, lost, rows))
    assert found < width(by_parts(gained, lost, rows))
    apart = gained - lost
    bernstein = mean(apart, gained + lost - apart**2 / rows, rows, ALPHA, -1, 1)
    assert found < width(bernstein)


def projected(gained: int, lost: int, rows: int) -> Bounds:
    """A Dirichlet-multinomial mixture with weights of a half, projected on the difference of two shares."""
    counts = np.array([gained, lost, rows - gained - lost], float)
    mixture = gammaln(1.5) - 3 * gammaln(0.5) + gammaln(counts + 0.5).sum() - gammaln(rows + 1.5)

    def refutes(apart: float) -> bool:
        def unlikely(lost_share: float) -> float:
            shares = np.array([lost_share + apart, lost_share, 1 - 2 * lost_share - apart])
            return -float(counts @ np.log(np.maximum(shares, 1e-300)))

        limits = max(0.0, -apart), (1 - apart) / 2
        return mixture + minimize_scalar(unlikely, bounds=limits, method="bounded").fun >= math.log(1 / ALPHA)

    value = (gained - lost) / rows
    return Bounds(_search(refutes, value, -1.0), _search(refutes, value, 1.0))


def by_parts(gained: int, lost: int, rows: int) -> Bounds:
    """The share of discordant rows, and of these the candidate's, each at half the level."""
    share = proportion(gained + lost, rows, ALPHA / 2)
    won = proportion(gained, gained + lost, ALPHA / 2)
    ends = [rate * (2 * part - 1) for rate in share for part in won]
    return Bounds(min(ends), max(ends))


def _search(refutes: object, inside: float, outside: float) -> float:
    assert callable(refutes)
    for _ in range(40):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if refutes(middle) else (middle, outside)
    return outside
