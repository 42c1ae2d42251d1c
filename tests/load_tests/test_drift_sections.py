"""The sections on drift: alarms, delays, and what is told of histories."""

from __future__ import annotations

import hashlib
import math
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from load_tests import (
    bundles,
    drift,
    drift_costs,
    drift_delays,
    drift_false_alarms,
    drift_public,
    drift_together,
)
from load_tests.drift_delays import delay
from load_tests.drift_false_alarms import Case, interval
from load_tests.drift_pools import Change, changes, demo
from load_tests.drift_public import History, Wheel, fetched
from load_tests.drift_streams import DAY, HOUR
from load_tests.program import run
from load_tests.sections import Circumstances, Section
from service.domain.drift.alerting import ACCURACY
from service.domain.schema import Feature
from tests.domain.models import spec
from tests.load_tests.drift_data import binning, pool


@pytest.fixture
def circumstances(demo_home: Path, monkeypatch: pytest.MonkeyPatch) -> Circumstances:
    """Quick ones, at a store whose bundles are there already."""
    monkeypatch.setattr(bundles, "build", lambda home: None)
    return Circumstances(quick=True, home=demo_home, cores=(0, 0))


def test_the_interval_of_a_poisson_count_is_the_exact_one() -> None:
    assert interval(0, 1_000) == (0, pytest.approx(0.003689, abs=1e-6))
    assert interval(10, 1) == (pytest.approx(4.795, abs=1e-3), pytest.approx(18.390, abs=1e-3))


def test_few_rows_raise_the_usual_alarm_and_none_of_ours() -> None:
    random = np.random.default_rng(1)
    bins = binning(random)
    found = drift_false_alarms.measure(pool(bins, random), 50, 1, 3, 0)
    assert (found.ticket, found.page, found.unusual, found.slow) == (0, 0, 0, 0)
    assert found.psi_low >= found.psi > 0


def test_a_change_is_not_a_healthy_day() -> None:
    random = np.random.default_rng(2)
    bins = binning(random)
    found = drift_false_alarms.measure(pool(bins, random, shift=0.5), 500, 1, 1, 0)
    assert found.ticket + found.slow > 0


def test_more_alarms_than_one_in_a_hundred_days_are_a_promise_that_was_not_kept() -> None:
    good = Case(500, 1, 1_000, *[0] * 6)
    repeated = replace(good, times=10, ticket=500)
    many = [replace(good, ticket=20), replace(good, unusual=20), replace(good, slow=20)]
    verdicts = [each.verdict for each in drift_false_alarms.findings([good, *many, repeated])]
    assert verdicts == ["met", "not met", "not met", "not met"]


def test_a_delay_is_counted_from_the_change_on() -> None:
    quiet = np.zeros(2 * DAY, np.bool_)
    soon, late, before = quiet.copy(), quiet.copy(), quiet.copy()
    soon[DAY + HOUR - 1 :] = True
    late[DAY + 3 * HOUR - 1] = True
    before[DAY - 1 :] = True
    assert delay([soon, soon, late]) == drift_delays.Delay(1.0, 3.0, 0.0, 0.0)
    assert delay([soon, quiet, quiet, before]) == drift_delays.Delay(math.inf, math.inf, 2 / 3, 0.25)
    assert delay([before]).before == 1


def test_a_large_change_is_found_soon_and_a_small_one_is_not() -> None:
    random = np.random.default_rng(3)
    bins = binning(random)
    healthy = pool(bins, random)
    large, small = (Change("x", healthy, pool(bins, random, shift)) for shift in (0.7, 0.05))
    found = drift_delays.measure(large, 5_000, 3, 0)
    assert found.ticket.never == 0
    assert 0 < found.ticket.median <= found.ticket.ninety < 6
    assert found.psi.median < found.ticket.median
    assert drift_delays.measure(small, 5_000, 3, 0).ticket.never == 1


def test_what_is_planted_in_the_demo_is_there(demo_home: Path) -> None:
    usual = demo(demo_home)
    planted = changes(usual, np.random.default_rng(4))
    assert len({change.what for change in planted}) == len(planted) == 6
    for change in planted:
        gaps = np.abs(change.after.bins.mean(axis=0) - change.before.bins.mean(axis=0))
        moved = {
            variable.name
            for variable, own in zip(
                change.before.binning.variables, change.before.binning.split(gaps), strict=True
            )
            if own.max() > 0.005
        }
        assert f"feature:{change.what.split()[0].rstrip(':')}" in moved
        features = {name for name in moved if name.startswith("feature:")}
        assert len(features) == 1


def test_sections_show_what_they_measured(
    circumstances: Circumstances, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift_false_alarms, "QUICK", 1)
    monkeypatch.setattr(drift_delays, "QUICK", 1)
    for module in (drift_false_alarms, drift_delays):
        monkeypatch.setattr(module, "RATES", (500,))
    alarms, waits = drift.SECTIONS["false_alarms"](circumstances), drift.SECTIONS["delays"](circumstances)
    assert len(alarms.lines) == 2
    assert not alarms.missed
    assert len(waits.lines) == len(waits.measured) == 6
    assert [each.verdict for each in waits.findings] == ["met", ""]
    assert all(section.readable() for section in (alarms, waits))


def test_a_classifier_tells_shuffled_columns_and_not_healthy_rows(
    circumstances: Circumstances, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift_together, "QUICK", 1)
    monkeypatch.setattr(drift_together, "HOURS", 3)
    section = drift_together.together(circumstances)
    assert not section.missed
    healthy, shuffled = section.measured[:2]
    assert healthy["mean"] < ACCURACY < shuffled["mean"]
    assert shuffled["hours"] >= 1.5  # an hour of rows, then half an hour


def test_costs_are_those_of_what_is_named(
    circumstances: Circumstances, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift_costs, "QUICK", 1)
    monkeypatch.setattr(drift_costs, "DAYS", 2)
    section = drift_costs.costs(circumstances)
    found = {each["what"]: each["value"] for each in section.measured}
    assert all(cost >= 0 for cost in found.values())
    # 21 variables of 10 bins and three more, a label of four; rows and reference of three models, two told
    assert found["series on the page"] == 2 * 3 * (21 * 13 + 4) + 2
    assert found["store after a day"] > found["it grows on day 2"]


def history(shifted: float) -> History:
    """Two columns, of which the first moves halfway; the label follows both."""
    random = np.random.default_rng(5)
    rows = random.standard_normal((24_000, 2)).astype(np.float32)
    kinds = (rows.sum(axis=1) > 0).astype(np.intp)
    rows[12_000:, 0] += np.float32(shifted)
    features = (Feature("moved", "float"), Feature("still", "float"))
    years = 2000 + 10 * np.arange(len(rows)) / len(rows)
    return History("made up", spec("1", *features), rows, kinds, years, 4_000, 1_000, 1_000)


def test_in_a_history_the_column_that_moved_is_found_when_it_moved() -> None:
    cases, accuracy = drift_public.measure(history(0.8))
    found = {case.variable: case for case in cases}
    moved, still = found["feature:moved"], found["feature:still"]
    assert moved.changed == pytest.approx(2005, abs=0.5)
    assert moved.ticket is not None
    assert moved.changed < moved.ticket < 2008
    assert (still.changed, still.ticket, still.page, still.psi) == (None, None, None, None)
    assert accuracy["2002"] > 0.95 > accuracy["2009"]
    assert not any(each.verdict == "not met" for each in drift_public.findings("made up", cases))


def test_a_history_without_a_change_is_quiet_and_a_missed_one_is_told() -> None:
    cases, _ = drift_public.measure(history(0.0))
    assert not any(case.ticket or case.changed for case in cases)
    missed = [replace(case, changed=2005.0, most=0.3) for case in cases]
    assert [each.verdict for each in drift_public.findings("made up", missed)] == ["not met", "met"]


def test_a_package_that_is_there_is_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def pip(command: list[str], check: bool) -> None:
        asked.append(command)

    monkeypatch.setattr(subprocess, "run", pip)
    wheel = Wheel("any==1", "any.whl", hashlib.sha256(b"right").hexdigest())
    assert fetched(wheel, tmp_path) == tmp_path / "any.whl"
    (tmp_path / "any.whl").write_bytes(b"right")
    fetched(wheel, tmp_path)
    assert len(asked) == 1
    assert "--require-hashes" in asked[0]
    assert (tmp_path / "wanted.txt").read_text() == f"any==1 --hash=sha256:{wheel.sha256}\n"
    (tmp_path / "any.whl").write_bytes(b"wrong")
    fetched(wheel, tmp_path)
    assert len(asked) == 2


def test_what_downloads_runs_only_where_it_is_named(tmp_path: Path) -> None:
    made: list[str] = []

    def section(name: str) -> Section:
        made.append(name)
        return Section(name, ("what",))

    sections = {"usual": lambda _: section("usual"), "asked for": lambda _: section("asked for")}
    for extra in ([], ["--only", "asked for"]):
        arguments = ["--results", str(tmp_path), *extra]
        assert run("any", "", sections, (), arguments, on_request=("asked for",)) == 0
    assert made == ["usual", "asked for"]
    assert set(drift.ON_REQUEST) <= set(drift.SECTIONS)
