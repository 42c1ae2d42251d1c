"""E-values: that nobody gains by them on average, what they are, and that they refute what is false."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.special import betainc, betaln, gammaln
from scipy.stats import binom, multinomial

from service.domain.evidence.bets import (
    Difference,
    Evidence,
    Mean,
    Proportion,
    _log_gamma,
    log_needed,
)

SIMULATIONS = 1_000


def bound(share: float) -> float:
    """The largest share of the simulations that chance makes of a probability, but once in 740."""
    return share + 3 * math.sqrt(share * (1 - share) / SIMULATIONS)


def drawn(probabilities: list[float], looks: int, rows: int, seed: int) -> list[NDArray[np.float64]]:
    """Running totals [simulations, looks] of each kind of row, ``rows`` between one look and the next."""
    counts = np.random.default_rng(seed).multinomial(rows, probabilities, (SIMULATIONS, looks))
    return list(np.moveaxis(counts.cumsum(axis=1).astype(np.float64), 2, 0))


def ever(logs: NDArray[np.float64], alpha: float) -> float:
    """The share of the simulations in which a bet ever reaches what refutes."""
    return float((logs >= log_needed(alpha)).any(axis=1).mean())


@pytest.mark.parametrize("p", [0.0005, 0.02, 0.5, 0.97])
@pytest.mark.parametrize("rows", [1, 100])
def test_a_true_share_is_seldom_ever_refuted_though_it_is_looked_at_all_the_time(p: float, rows: int) -> None:
    looks = 1_000
    _, hits = drawn([1 - p, p], looks, rows, seed=3)
    seen = Proportion(hits, rows * np.arange(1.0, looks + 1))
    below, above = seen.below(p), seen.above(p)
    assert ever(below, 0.2) <= bound(0.1)
    assert ever(above, 0.2) <= bound(0.1)
    assert ever(np.maximum(below, above), 0.2) > 0.01, "a bet that never wins says nothing"


@pytest.mark.parametrize("gained", [0.0005, 0.01, 0.3])
@pytest.mark.parametrize("apart", [0.0, 0.01])
@pytest.mark.parametrize("rows", [1, 100])
def test_a_true_difference_is_seldom_ever_refuted(gained: float, apart: float, rows: int) -> None:
    looks = 200
    better, worse = gained + apart, gained
    _, plus, minus = drawn([1 - better - worse, better, worse], looks, rows, seed=4)
    seen = Difference(plus, minus, rows * np.arange(1.0, looks + 1))
    below, above = seen.below(apart), seen.above(apart)
    assert ever(below, 0.2) <= bound(0.1)
    assert ever(above, 0.2) <= bound(0.1)
    if rows * gained >= 0.3:
        assert ever(np.maximum(below, above), 0.2) > 0.01


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, size: rng.beta(0.05, 5.0, size),
        lambda rng, size: rng.beta(2.0, 2.0, size),
        lambda rng, size: np.where(rng.random(size) < 0.002, 1.0, 0.0),
        lambda rng, size: np.full(size, 0.25),
    ],
    ids=["mostly nothing", "in the middle", "rare ones", "constant"],
)
def test_a_true_mean_is_seldom_ever_refuted_whatever_the_shape(
    draw: Callable[[np.random.Generator, tuple[int, int]], NDArray[np.float64]],
) -> None:
    rng, looks = np.random.default_rng(5), 300
    x = draw(rng, (SIMULATIONS, looks))
    true = float(draw(np.random.default_rng(6), (10_000, 1_000)).mean())
    n = np.arange(1.0, looks + 1)
    totals = x.cumsum(axis=1)
    guesses = np.concatenate([np.zeros((SIMULATIONS, 1)), (totals / n)[:, :-1]], axis=1)
    seen = Mean(totals, np.square(x - guesses).cumsum(axis=1), n)
    assert ever(seen.below(true), 0.2) <= bound(0.1)
    assert ever(seen.above(true), 0.2) <= bound(0.1)


@pytest.mark.parametrize("n", [1, 7, 60, 400])
@pytest.mark.parametrize("p", [1e-4, 0.01, 0.05, 0.5, 0.9])
def test_nobody_gains_on_average_from_a_bet_on_a_share(n: int, p: float) -> None:
    hits = np.arange(n + 1.0)
    for logs in (Proportion(hits, float(n)).below(p), Proportion(hits, float(n)).above(p)):
        assert np.exp(binom.logpmf(hits, n, p) + logs).sum() <= 1 + 1e-9


@pytest.mark.parametrize("gained", [0.001, 0.02, 0.2])
@pytest.mark.parametrize("lost", [0.001, 0.05])
def test_a_bet_on_a_difference_is_a_martingale_whatever_the_share_of_discordant_rows(
    gained: float, lost: float
) -> None:
    n = 30
    cases = np.array([(a, b, n - a - b) for a in range(n + 1) for b in range(n + 1 - a)])
    odds = multinomial.pmf(cases, n, [gained, lost, 1 - gained - lost])
    seen = Difference(cases[:, 0].astype(float), cases[:, 1].astype(float), float(n))
    assert odds @ np.exp(seen.below(gained - lost)) == pytest.approx(1, abs=1e-9)
    assert odds @ np.exp(seen.above(gained - lost)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("values", [(0.0, 1.0, 0.3), (0.0, 0.2, 0.01), (0.4, 0.6, 0.5)])
@pytest.mark.parametrize("first", [0.0, 0.5, 1.0])
def test_nobody_gains_on_average_from_a_bet_on_a_mean_whatever_is_guessed_first(
    values: tuple[float, float, float], first: float
) -> None:
    low, high, share = values
    true, gain = low + share * (high - low), np.zeros(2)
    for path in itertools.product((low, high), repeat=10):
        odds = math.prod(share if x == high else 1 - share for x in path)
        totals = np.cumsum(path)
        guesses = np.array([first, *(totals / np.arange(1, 11))[:-1]])
        seen = Mean(float(totals[-1]), float(np.square(path - guesses).sum()), 10.0)
        gain += odds * np.exp([seen.below(true), seen.above(true)])
    assert (gain <= 1 + 1e-9).all()


@pytest.mark.parametrize("shares", [(0.0, 0.1), (0.02, 0.08), (0.3, 0.01)])
def test_a_share_that_drifts_is_held_against_a_fixed_limit_by_its_average(
    shares: tuple[float, float],
) -> None:
    law = np.ones(1)
    for share in np.repeat(shares, 100):
        law = np.convolve(law, [1 - share, share])
    hits, average = np.arange(201.0), float(np.mean(shares))
    seen = Proportion(hits, 200.0)
    assert law @ np.exp(seen.below(average)) <= 1
    assert law @ np.exp(seen.above(average)) <= 1


@pytest.mark.parametrize(("hits", "n"), [(0, 300), (3, 1_000), (60, 1_000), (500, 1_000), (10**6, 10**9)])
def test_the_bet_on_a_share_is_the_cut_off_beta_binomial_mixture_or_a_little_less(hits: int, n: int) -> None:
    a, b = hits + 0.5, n - hits + 1.0
    for z in (1, 2, 3, 4, 6, 10):
        reach = z * math.sqrt(max(hits, 1) * (1 - hits / n)) / n
        for m, below in ((hits / n + reach, True), (hits / n - reach, False)):
            if not 0 < m < 1:
                continue
            part = betainc(a, b, m) if below else 1 - betainc(a, b, m)
            prior = math.sqrt(m) if below else 1 - math.sqrt(m)
            rest = hits * math.log(m) + (n - hits) * math.log1p(-m)
            exact = betaln(a, b) + math.log(part / 2 / prior) - rest
            seen = Proportion(hits, n)
            found = float(seen.below(m) if below else seen.above(m))
            assert found <= exact + 1e-5
            if exact >= math.log(20):
                assert found >= exact - (0.02 if exact >= math.log(200) else 0.1)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 200), st.floats(-0.9, 0.9))
def test_the_bet_on_a_difference_is_what_a_gambler_gets_row_by_row(
    gained: int, lost: int, same: int, limit: float
) -> None:
    rows = np.random.default_rng(7).permutation([1.0] * gained + [-1.0] * lost + [0.0] * same)
    odds = np.arange(-10, 6.01, 1 / 3)
    stakes = 1 / (1 + np.exp(-odds))
    weights = np.sqrt(stakes * (1 - stakes))
    wealth = weights / weights.sum()
    for x in rows:
        wealth = wealth * (1 - stakes * (x - limit) / (1 - limit))
    found = float(Difference(gained, lost, gained + lost + same).below(limit))
    assert found == pytest.approx(math.log(wealth.sum()), abs=1e-8)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 10_000))
def test_at_zero_only_discordant_rows_count_as_in_mcnemars_test(gained: int, lost: int, same: int) -> None:
    for at in (0, 1):
        few, many = (
            (seen.below(0.0), seen.above(0.0))[at]
            for seen in (
                Difference(gained, lost, gained + lost),
                Difference(gained, lost, gained + lost + same),
            )
        )
        assert float(few) == pytest.approx(float(many), abs=1e-9)


def test_the_cost_of_a_stake_on_a_mean_is_fans_function() -> None:
    # one stake at a time cannot be seen from outside; the mixture over all of them can
    def one(odds: float) -> float:
        stake = 1 / (1 + math.exp(-odds))
        weight = math.sqrt(stake * (1 - stake))
        return weight * math.exp(stake * 8.0 - (-math.log1p(-stake) - stake) * 30.0)

    def prior(odds: float) -> float:
        return math.exp(odds / 2) / (1 + math.exp(odds))

    wanted = quad(one, -10, 6)[0] / quad(prior, -10, 6)[0]
    assert float(Mean(2.0, 30.0, 100.0).below(0.1)) == pytest.approx(math.log(wanted), abs=0.02)


@pytest.mark.parametrize(
    "seen",
    [Proportion(30.0, 1e3), Difference(30.0, 20.0, 1e3), Mean(30.0, 9.0, 1e3), Mean(-3.0, 9.0, 1e3, -1.0)],
)
def test_the_further_a_limit_is_from_the_mean_the_more_is_said_against_it(seen: Evidence) -> None:
    mean, (low, high) = seen.value, seen.range
    up = [float(seen.below(limit)) for limit in np.linspace(mean, high, 2_000)]
    down = [float(seen.above(limit)) for limit in np.linspace(mean, low, 2_000)]
    for logs in (up, down):
        said = [log for log in logs if log > 0]
        assert len(said) > 1_000
        assert (np.diff(said) >= 0).all()


@pytest.mark.parametrize("n", [0, 1, 1e9])
def test_what_cannot_be_refuted_is_not_and_nothing_is_not_a_number(n: float) -> None:
    extremes = [
        *(Proportion(hits, n) for hits in {0.0, n}),
        *(Difference(*split, n) for split in {(0.0, 0.0), (n, 0.0), (0.0, n)}),
        *(Mean(total, 0.0, n) for total in {0.0, n}),
    ]
    for seen in extremes:
        low, high = seen.range
        for limit in (low, 0.5, high):
            assert not math.isnan(seen.below(limit))
            assert not math.isnan(seen.above(limit))
        assert seen.below(low) <= 1e-6
        assert seen.above(high) <= 1e-6


def test_log_gamma_is_scipys() -> None:
    x = np.concatenate([np.arange(0.5, 200, 0.5), np.geomspace(100, 1e10, 200)])
    assert _log_gamma(x) == pytest.approx(gammaln(x), rel=1e-14, abs=1e-12)
