"""Streams and the rules on them: what is computed for many windows is what the service says of each."""

from __future__ import annotations

import numpy as np
import pytest

from load_tests.drift_streams import (
    DAY,
    HOUR,
    LASTING,
    Seen,
    lasting,
    reference_shares,
    said,
    started,
    windows,
)
from service.domain.drift.alerting import SLOW_EXCESS, moved, state
from service.domain.drift.measure import Sample
from service.domain.drift.missing_share import MissingShare
from service.domain.drift.psi import Psi
from service.domain.drift.psi_excess import PsiExcess
from service.domain.drift.psi_z import PsiZ
from service.domain.drift.unseen_share import UnseenShare
from tests.load_tests.drift_data import binning, pool


def test_measures_of_many_windows_are_the_services_own() -> None:
    random = np.random.default_rng(1)
    bins = binning(random)
    live = random.poisson(3, (40, bins.size)).astype(np.float64)
    live[0] = 0
    live[1, bins.starts[1] :] = 0
    seen = Seen.of(bins, live)
    for slot, parts in enumerate(live):
        for place, (variable, own) in enumerate(zip(bins.variables, bins.split(parts), strict=True)):
            if not own.sum():
                assert seen.rows[slot, place] == seen.excess[slot, place] == seen.z[slot, place] == 0
                continue
            sample = Sample.of(variable, own)
            found = [
                getattr(seen, name)[slot, place] for name in ("psi", "excess", "z", "missing", "strange")
            ]
            measures = (Psi(), PsiExcess(), PsiZ(), MissingShare(), UnseenShare())
            assert found == pytest.approx([each.value(sample) for each in measures], abs=1e-9)
            assert seen.unit[slot, place] == pytest.approx(sample.unit)


@pytest.mark.parametrize(("shift", "told"), [(0.0, "quiet"), (0.4, "ticket"), (0.7, "page")])
def test_a_rule_fires_where_the_service_says_so(shift: float, told: str) -> None:
    random = np.random.default_rng(2)
    bins = binning(random)
    live = pool(bins, random, shift).stream(5_000, 8 * HOUR, random)
    hour, six = (live[-slots:].sum(axis=0) for slots in (HOUR, 6 * HOUR))
    x = [each.name for each in bins.variables].index("feature:x")
    samples = (Sample.of(bins.variables[x], bins.split(each)[x]) for each in (hour, six))
    assert state(*samples) == told
    found = said(bins, live)
    assert found.ticket[-1, x] == (told != "quiet")
    assert found.page[-1, x] == (told == "page")


def test_missing_and_unseen_values_have_a_rule_of_their_own() -> None:
    random = np.random.default_rng(3)
    bins = binning(random)
    names = [each.name for each in bins.variables]
    for planted, variable in (({"missing": 0.1}, "feature:x"), ({"new": 0.04}, "feature:word")):
        live = pool(bins, random, **planted).stream(5_000, 8 * HOUR, random)
        assert said(bins, live).unusual[-1].tolist() == [name == variable for name in names]
    assert not said(bins, pool(bins, random).stream(5_000, 8 * HOUR, random)).unusual.any()


def test_a_day_of_few_rows_is_enough_for_the_rule_over_a_day() -> None:
    random = np.random.default_rng(4)
    bins = binning(random)
    stream = pool(bins, random, 0.5).stream(50, 2 * DAY, random)
    found = said(bins, stream)
    assert not found.ticket.any()
    live = bins.split(stream[-DAY:].sum(axis=0))
    due = [moved(Sample.of(*each), SLOW_EXCESS) for each in zip(bins.variables, live, strict=True)]
    assert found.slow[-1].tolist() == due
    assert any(due)


def test_windows_are_the_rows_of_the_last_slots() -> None:
    live = np.arange(20.0).reshape(10, 2)
    found = windows(live, 3)
    for slot in range(10):
        assert found[slot].tolist() == live[max(0, slot - 2) : slot + 1].sum(axis=0).tolist()


def test_a_rule_must_hold_for_a_while_and_an_alert_counts_once() -> None:
    due = np.zeros((20, 1), np.bool_)
    due[2 : 2 + LASTING] = True  # one slot too short
    due[8:14] = True
    due[16:] = True
    firing = lasting(due)
    assert np.flatnonzero(firing).tolist() == [11, 12, 13, 19]
    assert started(firing) == 2
    assert np.flatnonzero(lasting(due, LASTING + 2)).tolist() == [13]


def test_every_row_is_in_one_bin_of_each_variable() -> None:
    random = np.random.default_rng(5)
    bins = binning(random)
    rows = pool(bins, random)
    live = rows.stream(1_200, 200, random)
    by_variable = [each.sum(axis=0) for each in bins.split(live.T)]
    assert all((each == by_variable[0]).all() for each in by_variable)
    assert by_variable[0].mean() == pytest.approx(100, abs=5 * np.sqrt(100 / 200))
    assert by_variable[0].var() == pytest.approx(100, rel=0.5)
    again = rows.stream(1_200, 200, random, times=10)
    assert (again % 10 == 0).all()
    assert again.sum() == pytest.approx(live.sum(), rel=0.1)


def test_reference_shares_are_those_of_the_bins() -> None:
    bins = binning(np.random.default_rng(6))
    x = [each.name for each in bins.variables].index("feature:x")
    shares = reference_shares(bins)
    assert shares["missing"][x] == pytest.approx(0.05, abs=0.02)
    assert not shares["strange"].any()
