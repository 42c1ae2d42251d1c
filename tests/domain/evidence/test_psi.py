"""PSI: nought without a change whatever the sizes, chi-squared by chance, and sure of what has changed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from service.domain.evidence.psi import EXCESS, SURE, Shift, shift, wilson_hilferty

BINS = 10
TWENTY = np.full(20, 1 / 20)


def drawn(
    rng: np.random.Generator, rows: int, shares: NDArray[np.float64], times: int
) -> NDArray[np.float64]:
    """Counts of ``rows`` rows by bin, drawn ``times`` times."""
    return rng.multinomial(rows, shares, size=times).astype(np.float64)


def test_the_figures_are_those_of_the_formula() -> None:
    found = shift(np.array([9.5, 19.5, 69.5]), np.array([29.5, 29.5, 39.5]))
    shares = zip((0.1, 0.2, 0.7), (0.3, 0.3, 0.4), strict=True)
    psi = sum((p - q) * math.log(p / q) for p, q in shares)
    assert found.psi == pytest.approx(psi)
    assert found.excess == pytest.approx(psi - 2 * (2 / 98.5))
    assert found.z == pytest.approx(wilson_hilferty(psi * 98.5 / 2, 2))
    assert found.rows == 98


def test_the_order_of_the_samples_does_not_matter() -> None:
    one, other = np.array([3.0, 0, 50, 7]), np.array([100.0, 2, 3, 900])
    assert shift(one, other) == shift(other, one)


def test_equal_samples_are_not_apart() -> None:
    counts = np.array([40.0, 100, 7])
    found = shift(counts, counts)
    assert found.psi == 0
    assert found.excess < 0
    assert found.z < 0


@pytest.mark.parametrize(
    ("one", "other"), [([0, 0], [5, 5]), ([5, 5], [0, 0]), ([7, 0], [9, 0]), ([0, 0], [0, 0])]
)
def test_nothing_is_said_where_nothing_can_be_seen(one: list[float], other: list[float]) -> None:
    found = shift(np.array(one, dtype=float), np.array(other, dtype=float))
    assert (found.psi, found.excess, found.z) == (0, 0, 0)


def test_a_bin_that_neither_sample_has_changes_nothing() -> None:
    one, other = np.array([40.0, 60, 0]), np.array([30.0, 70, 0])
    assert shift(one, other) == shift(one[:2], other[:2])


@pytest.mark.parametrize(("n", "m"), [(100, 3_000), (500, 500), (5_000, 2_672)])
def test_without_a_change_the_excess_is_nought_on_average(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    pairs = zip(drawn(rng, n, TWENTY, 2_000), drawn(rng, m, TWENTY, 2_000), strict=True)
    found = [shift(one, other) for one, other in pairs]
    chance = 19 * (1 / n + 1 / m)
    assert abs(np.mean([each.excess for each in found])) < 0.1 * chance
    assert np.mean([each.psi for each in found]) == pytest.approx(chance, rel=0.1)


@pytest.mark.parametrize(("n", "m"), [(500, 3_000), (5_000, 5_000)])
def test_without_a_change_the_statistic_is_chi_squared(n: int, m: int) -> None:
    rng = np.random.default_rng(7)
    shares = np.array([0.02, 0.05, 0.08, *[0.85 / 7] * 7])
    pairs = zip(drawn(rng, n, shares, 4_000), drawn(rng, m, shares, 4_000), strict=True)
    found = np.array([shift(one, other).psi for one, other in pairs]) / (1 / n + 1 / m)
    for share in (0.5, 0.9, 0.99):
        beyond = np.mean(found > stats.chi2.ppf(share, len(shares) - 1))
        assert beyond == pytest.approx(1 - share, abs=4 * math.sqrt(share * (1 - share) / 4_000) + 0.01)


@pytest.mark.parametrize("freedom", [1, 2, 5, 9, 19, 49])
@pytest.mark.parametrize("z", [-1.0, 0.0, 1.0, 2.0, 3.0])
def test_z_is_the_normal_deviate_of_the_statistic(freedom: int, z: float) -> None:
    statistic = stats.chi2.isf(stats.norm.sf(z), freedom)
    assert wilson_hilferty(statistic, freedom) == pytest.approx(z, abs=0.1)


@pytest.mark.parametrize("freedom", [1, 2, 5, 9, 19, 49])
@pytest.mark.parametrize("z", [3.5, 4.0, 5.0, 6.0])
def test_a_large_z_is_rather_too_small(freedom: int, z: float) -> None:
    statistic = stats.chi2.isf(stats.norm.sf(z), freedom)
    assert z - 0.6 < wilson_hilferty(statistic, freedom) < z


def test_small_healthy_samples_do_not_look_changed() -> None:
    rng = np.random.default_rng(3)
    pairs = zip(drawn(rng, 100, TWENTY, 1_000), drawn(rng, 3_000, TWENTY, 1_000), strict=True)
    found = [shift(one, other) for one, other in pairs]
    assert np.mean([each.psi > EXCESS for each in found]) > 0.9
    assert not any(each.moved(50) for each in found)


def test_a_large_change_is_found_and_a_small_one_is_only_sure() -> None:
    rng = np.random.default_rng(4)
    edges = stats.norm.ppf(np.arange(1, BINS) / BINS)

    def counts(mean: float) -> NDArray[np.float64]:
        return np.bincount(edges.searchsorted(rng.normal(mean, 1, 5_000)), minlength=BINS).astype(float)

    large, small = shift(counts(0), counts(0.5)), shift(counts(0), counts(0.15))
    assert large.moved(500)
    assert small.z > SURE
    assert not small.moved(500)


def test_a_change_needs_rows() -> None:
    assert Shift(psi=1.0, excess=0.9, z=9.0, rows=499).moved(500) is False
    assert Shift(psi=1.0, excess=0.9, z=9.0, rows=500).moved(500) is True
