"""Wilson and Hilferty's deviate, and the chi-square of two samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from service.domain.drift.chi_square_z import ChiSquareZ, chi_square
from service.domain.drift.chi_squared import deviate
from tests.domain.drift.samples import healthy, words

FREEDOMS = [1, 2, 5, 9, 19, 49]


@pytest.mark.parametrize("freedom", FREEDOMS)
@pytest.mark.parametrize("z", [-1.0, 0.0, 1.0, 2.0, 3.0])
def test_it_is_the_normal_deviate_of_the_statistic(freedom: int, z: float) -> None:
    statistic = stats.chi2.isf(stats.norm.sf(z), freedom)
    assert deviate(statistic, freedom) == pytest.approx(z, abs=0.1)


@pytest.mark.parametrize("freedom", FREEDOMS)
@pytest.mark.parametrize("z", [3.5, 4.0, 5.0, 6.0])
def test_a_large_deviate_is_rather_too_small(freedom: int, z: float) -> None:
    statistic = stats.chi2.isf(stats.norm.sf(z), freedom)
    assert z - 0.6 < deviate(statistic, freedom) < z


def test_without_freedom_nothing_is_out_of_the_ordinary() -> None:
    assert deviate(0.0, 0) == 0.0


def test_the_statistic_of_four_cells_is_the_one_that_is_worked_out_by_hand() -> None:
    sample = words([30, 10, 0, 0], [10, 30, 0, 0])
    assert chi_square(sample) == pytest.approx(80 * (30 * 30 - 10 * 10) ** 2 / 40**4)
    assert ChiSquareZ().value(sample) == pytest.approx(deviate(20.0, 1))


@pytest.mark.parametrize(("n", "m"), [(500, 2_700), (50_000, 900)])
def test_without_a_change_it_is_seldom_large(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    shares = np.full(12, 1 / 12)
    found = np.array([ChiSquareZ().value(each) for each in healthy(rng, m, n, shares, 4_000)])
    for z in (0.0, 2.0, 3.0):
        usual = float(stats.norm.sf(z))
        assert np.mean(found > z) == pytest.approx(usual, abs=4 * math.sqrt(usual / 4_000) + 0.01 * usual)
