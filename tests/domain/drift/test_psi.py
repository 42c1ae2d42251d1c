"""PSI and its two companions: what chance does is taken off, and how sure a change is, is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from service.domain.binning import words as cut_words
from service.domain.drift.alerting import moved
from service.domain.drift.measure import Sample
from service.domain.drift.psi import Psi
from service.domain.drift.psi_excess import PsiExcess
from service.domain.drift.psi_z import PsiZ
from tests.domain.drift.samples import cut_by, healthy, ordered, sample_of, words

TWENTY = np.full(20, 1 / 20)
UNEVEN = np.array([0.02, 0.05, 0.08, *[0.85 / 7] * 7])


def test_the_figures_are_those_of_the_formula() -> None:
    sample = words([9.5, 19.5, 69.5, 0], [29.5, 29.5, 39.5, 0])
    shares = zip((0.1, 0.2, 0.7), (0.3, 0.3, 0.4), strict=True)
    psi = sum((p - q) * math.log(p / q) for p, q in shares)
    assert Psi().value(sample) == pytest.approx(psi)
    assert PsiExcess().value(sample) == pytest.approx(psi - 2 * (2 / 98.5))
    root = (psi * 98.5 / 2 / 2) ** (1 / 3)
    assert PsiZ().value(sample) == pytest.approx((root - (1 - 1 / 9)) / math.sqrt(1 / 9))


def test_nothing_is_said_where_there_is_but_one_bin() -> None:
    sample = ordered([0, 7, 0, 0], [0, 9, 0, 0])
    assert [each.value(sample) for each in (Psi(), PsiExcess(), PsiZ())] == [0, 0, 0]


@pytest.mark.parametrize(("n", "m"), [(50, 3_000), (100, 3_000), (500, 500), (5_000, 2_672), (50_000, 900)])
def test_without_a_change_the_excess_is_nought_on_average(n: int, m: int) -> None:
    """Smoothing bins of but a few rows takes a tenth or two; five standard errors are allowed beside it."""
    rng = np.random.default_rng(n)
    found = healthy(rng, m, n, TWENTY, 2_000)
    chance = 19 * (1 / n + 1 / m)
    error = chance * math.sqrt(2 / 19 / 2_000)
    rare = 0.25 if n < 100 else 0.1 if n < 500 else 0.0
    assert abs(np.mean([PsiExcess().value(each) for each in found])) < rare * chance + 5 * error
    assert np.mean([Psi().value(each) for each in found]) == pytest.approx(chance, rel=rare + 0.05)


@pytest.mark.parametrize(("n", "m"), [(500, 3_000), (5_000, 5_000), (50_000, 900)])
def test_without_a_change_the_statistic_is_chi_squared(n: int, m: int) -> None:
    rng = np.random.default_rng(7)
    psis = np.array([Psi().value(each) for each in healthy(rng, m, n, UNEVEN, 4_000)])
    found = psis / (1 / n + 1 / m)
    for share in (0.5, 0.9, 0.99):
        beyond = np.mean(found > stats.chi2.ppf(share, len(UNEVEN) - 1))
        assert beyond == pytest.approx(1 - share, abs=4 * math.sqrt(share * (1 - share) / 4_000) + 0.01)


@pytest.mark.parametrize("n", [50, 500, 5_000, 50_000])
def test_healthy_traffic_seldom_has_a_large_z_whatever_its_size(n: int) -> None:
    """In bins that were fixed beforehand, 2.3% above 2 and 0.13% above 3 as of any z, and 4 errors more."""
    rng = np.random.default_rng(n)
    found = np.array([PsiZ().value(each) for each in healthy(rng, 2_700, n, UNEVEN, 4_000)])
    for z in (2.0, 3.0):
        usual = float(stats.norm.sf(z))
        assert np.mean(found > z) < usual + 4 * math.sqrt(usual / 4_000)
    assert found.max() < 4.5


@pytest.mark.parametrize("n", [50, 500, 5_000, 50_000])
def test_bins_that_the_reference_rows_cut_themselves_hardly_raise_z(n: int) -> None:
    """Few rows say where the ends are, so that some healthy rows lie beyond, as no reference row does."""
    rng = np.random.default_rng(n + 1)
    found = np.array([PsiZ().value(sample_of(cut_by(rng.random(883)), rng.random(n))) for _ in range(1_000)])
    assert np.mean(found > 2) < 0.06
    assert np.mean(found > 3) < 0.01
    assert np.mean(found > 4) < 0.003


@pytest.mark.parametrize("n", [500, 50_000])
def test_a_thousand_reference_rows_show_enough_of_a_long_tailed_vocabulary(n: int) -> None:
    """Rare words are in no reference row, so that every healthy row that has one is ``unseen``."""
    rng = np.random.default_rng(n + 2)
    tail = np.arange(1, 48) ** -1.2
    zs, changes, some_unseen = [], 0, 0
    for _ in range(300):
        counts, rows = (rng.multinomial(size, tail / tail.sum()) for size in (1_000, n))
        cut = cut_words("x", counts.tolist(), 0, [f"w{place}" for place in range(47)])
        live = np.bincount(cut.codes(np.arange(47.0)), rows, len(cut.variable.names))
        found = Sample.of(cut.variable, live)
        zs.append(PsiZ().value(found))
        changes += moved(found)
        some_unseen += bool(live[-1])
    assert some_unseen > 30
    assert np.mean(np.array(zs) > 3) < 0.02
    assert changes == 0


def test_psi_alone_calls_small_healthy_samples_changed() -> None:
    rng = np.random.default_rng(3)
    found = healthy(rng, 3_000, 100, TWENTY, 1_000)
    assert np.mean([Psi().value(each) > 0.1 for each in found]) > 0.9
    assert not any(PsiZ().value(each) > 4 for each in found)


def test_a_small_shift_is_sure_in_many_rows_and_psi_alone_never_sees_it() -> None:
    rng = np.random.default_rng(4)
    cut = cut_by(rng.normal(size=20_000))
    found = [sample_of(cut, rng.normal(0.1, 1, 10_000)) for _ in range(300)]
    assert np.mean([PsiZ().value(each) > 4 for each in found]) > 0.9
    assert not any(Psi().value(each) > 0.2 for each in found)
