"""Jensen-Shannon, Kolmogorov-Smirnov and Wasserstein on bins: known values, and what chance does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from service.domain.drift.jensen_shannon import JensenShannon
from service.domain.drift.ks import KS
from service.domain.drift.ks_p import KSP, tail
from service.domain.drift.wasserstein import Wasserstein
from tests.domain.drift.samples import cut_by, ordered, sample_of, words


def test_samples_that_share_no_bin_are_one_bit_apart() -> None:
    far = words([10**9, 0, 0, 0], [0, 10**9, 0, 0])
    assert JensenShannon().value(far) == pytest.approx(1, abs=1e-6)
    half = words([10**9, 0, 0, 0], [10**9, 10**9, 0, 0])
    assert JensenShannon().value(half) == pytest.approx(1.5 - 0.75 * math.log2(3), abs=1e-6)


def test_a_row_that_is_moved_by_two_bins_is_two_bins_away() -> None:
    moved = ordered([0, 100, 0, 0, 0, 0], [0, 0, 0, 40, 0, 0])
    assert Wasserstein().value(moved) == pytest.approx(2)
    assert KS().value(moved) == 1
    some = ordered([0, 100, 0, 0, 0, 0], [0, 30, 0, 10, 0, 60])
    assert Wasserstein().value(some) == pytest.approx(0.5)
    assert KS().value(some) == pytest.approx(0.25)


def test_missing_values_are_left_out_of_both_sides() -> None:
    sample = ordered([0, 50, 50, 0, 0], [0, 25, 75, 0, 900])
    assert KS().value(sample) == pytest.approx(0.25)
    assert Wasserstein().value(sample) == pytest.approx(0.25)
    assert KSP().value(sample) == pytest.approx(stats.kstwobign.sf(0.25 * math.sqrt(50)))


def test_the_tail_is_kolmogorov_s() -> None:
    points = np.concatenate([np.linspace(0.001, 4, 4_000), [0.0, 1.0, np.nextafter(1.0, 0)]])
    found = np.array([tail(float(x)) for x in points])
    np.testing.assert_allclose(found, stats.kstwobign.sf(points), rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [50, 500, 5_000, 50_000])
def test_of_healthy_samples_a_share_p_at_most_is_below_p(n: int) -> None:
    rng = np.random.default_rng(n)
    found = [KSP().value(sample_of(cut_by(rng.normal(size=883)), rng.normal(size=n))) for _ in range(1_000)]
    for p in (0.3, 0.1, 0.01):
        assert np.mean([each is not None and each < p for each in found]) < p + 3 * math.sqrt(p / 1_000)


def test_with_many_bins_it_is_nearly_the_test_of_the_values_themselves() -> None:
    rng = np.random.default_rng(5)
    before, after = rng.normal(size=4_000), rng.normal(0.05, 1, 3_000)
    found = sample_of(cut_by(before, 18), after)
    exact = stats.ks_2samp(before, after, method="asymp")
    distance = KS().value(found)
    assert distance is not None
    assert 0.7 * exact.statistic < distance <= exact.statistic
    assert (KSP().value(found) or 0.0) > exact.pvalue


def test_a_change_that_matters_has_a_small_probability() -> None:
    rng = np.random.default_rng(6)
    found = sample_of(cut_by(rng.normal(size=2_700)), rng.normal(0.3, 1, 1_000))
    assert (KSP().value(found) or 1.0) < 1e-6
