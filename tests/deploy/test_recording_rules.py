"""The measures of drift by Prometheus are those of the domain, on the same counts."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.prometheus import __main__ as program
from deploy.prometheus import drift, recording
from deploy.prometheus.files import text
from deploy.prometheus.windows import DRIFT
from load_tests.recorded import sample
from service.domain.drift.alerting import deviations
from service.domain.drift.measures import MEASURES
from tests.conftest import locate
from tests.deploy.distributions import AGES, Counted, variables
from tests.deploy.promtool import RULES, World, disagreements

STEPS_AN_HOUR = 6
STEPS = 155
RESTART = 147
"""In the last hour before ``AT``, so in every window."""
AT = "25h"


@pytest.fixture
def world() -> World:
    """A day and more, a scrape every ten minutes; rules are evaluated once an hour."""
    return World(interval="10m", evaluation="1h", at=AT)


def counter(rows: float, restarted: bool = False) -> str:
    """So many rows in each step; a process that is born again begins anew."""
    if not restarted:
        return f"0+{rows:g}x{STEPS}"
    return f"0+{rows:g}x{RESTART - 1} {rows:g}+{rows:g}x{STEPS - RESTART}"


def export(world: World, counted: Counted, restarted: str = "") -> None:
    """What the replicas of one variable show."""
    for replica, live in counted.live.items():
        about = {"instance": replica, "job": replica}
        for name in live:
            labels = {**counted.labels, "bin": name, **about}
            values = counter(live[name], restarted == replica)
            world.has("understudy_distribution_rows_total", labels, values)
        for name, rows in counted.reference.items():
            labels = {**counted.reference_labels, "bin": name, **about}
            world.has("understudy_reference_rows", labels, f"{rows:g}x{STEPS}")


def test_the_file_is_what_the_code_says() -> None:
    assert RULES.read_text() == text(recording.groups())


def test_every_file_that_the_program_writes_is_there() -> None:
    assert sorted(program.FILES) == ["alerts.yml", "recording.yml"]
    for name, groups in program.FILES.items():
        assert (RULES.parent / name).read_text() == text(groups()), f"run python -m deploy.prometheus: {name}"


def test_every_measure_is_recorded_over_every_window() -> None:
    recorded = {rule["record"] for group in recording.groups() for rule in group["rules"]}
    for window in DRIFT:
        measures = {f"understudy:drift_{measure.name}:{window}" for measure in MEASURES}
        assert measures <= recorded
    assert {rule.record for rule in drift.MEASURES} == {f"drift_{measure.name}:$w" for measure in MEASURES}


def test_no_name_is_recorded_twice() -> None:
    names = [rule["record"] for group in recording.groups() for rule in group["rules"]]
    assert len(set(names)) == len(names)


def test_a_rule_reads_only_what_was_recorded_before_it_in_its_own_group() -> None:
    """Groups are evaluated in any order, and at different times."""
    for group in recording.groups():
        before: set[str] = set()
        for rule in group["rules"]:
            assert set(re.findall(r"understudy:[\w:]+", rule["expr"])) <= before
            before.add(rule["record"])


def test_no_group_waits_so_long_that_its_series_seem_gone() -> None:
    minutes = {"30s": 0.5, "2m": 2, "4m": 4}
    assert all(minutes[group["interval"]] < 5 for group in recording.groups())


@pytest.mark.system("promtool")
def test_prometheus_takes_the_rules() -> None:
    checked = subprocess.run(
        [str(locate("promtool")), "check", "rules", RULES], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.system("promtool")
@pytest.mark.parametrize("window", DRIFT)
def test_every_measure_is_the_domains_of_the_sum_over_replicas(
    world: World, tmp_path: Path, window: str
) -> None:
    steps = STEPS_AN_HOUR * int(window.removesuffix("h"))
    values = 0
    for counted in variables():
        export(world, counted, restarted="b")
        live = {name: steps * rows for name, rows in counted.total().items()}
        world.expects(f"understudy:drift_rows:{window}", counted.labels, sum(live.values()))
        for measure in MEASURES:
            value = measure.value(sample(counted.reference, live))
            name = f"understudy:drift_{measure.name}:{window}"
            if value is None:
                matchers = ", ".join(f'{key}="{word}"' for key, word in counted.labels.items())
                world.expects_none(f"{name}{{{matchers}}}")
            else:
                values += 1
                world.expects(name, counted.labels, value, within=1e-9)
    assert values > 15 * len(MEASURES)
    assert disagreements(world, tmp_path) == ""


@pytest.mark.system("promtool")
def test_a_wrong_expectation_is_found(world: World, tmp_path: Path) -> None:
    counted = next(iter(variables()))
    export(world, counted)
    live = {name: STEPS_AN_HOUR * rows for name, rows in counted.total().items()}
    (psi,) = (measure for measure in MEASURES if measure.name == "psi")
    value = psi.value(sample(counted.reference, live))
    assert value
    world.expects("understudy:drift_psi:1h", counted.labels, value * (1 + 3e-6))
    assert "drift_psi" in disagreements(world, tmp_path)


@pytest.mark.system("promtool")
def test_rows_and_reference_rows_are_shown_by_bin(world: World, tmp_path: Path) -> None:
    counted = next(iter(variables()))
    export(world, counted, restarted="b")
    for name, rows in counted.total().items():
        labels = {**counted.labels, "bin": name}
        world.expects("understudy:distribution_rows:increase24h", labels, 24 * STEPS_AN_HOUR * rows)
        reference = {**counted.reference_labels, "bin": name}
        world.expects("understudy:reference_rows", reference, counted.reference[name])
    assert disagreements(world, tmp_path) == ""


@pytest.mark.system("promtool")
def test_nothing_is_recorded_where_there_are_no_rows_or_no_reference(world: World, tmp_path: Path) -> None:
    some = dict.fromkeys(AGES, 5.0)
    none = dict.fromkeys(AGES, 0.0)
    export(world, Counted("credit:gbm-1", "production", "feature:Quiet", some, {"a": none}))
    export(world, Counted("credit:gbm-1", "production", "feature:Unknown", {}, {"a": some}))
    export(world, Counted("credit:gbm-1", "production", "feature:Hollow", none, {"a": some}))
    export(world, Counted("credit:gbm-1", "production", "feature:Fine", some, {"a": some}))
    drifts = '__name__=~"understudy:drift_.+"'
    world.expects_none(f'{{{drifts}, variable="feature:Quiet"}}')
    world.expects_none(
        f'{{{drifts}, __name__!~"understudy:drift_rows:.+", variable=~"feature:(Unknown|Hollow)"}}'
    )
    world.expects("understudy:drift_psi:1h", fine(), 0.0)
    assert disagreements(world, tmp_path) == ""


def fine() -> dict[str, str]:
    return {"model": "credit", "version": "gbm-1", "role": "production", "variable": "feature:Fine"}


@pytest.mark.system("promtool")
def test_no_series_is_ever_not_a_number(world: World, tmp_path: Path) -> None:
    for counted in variables():
        export(world, counted)
    recorded = {rule["record"] for group in drift.groups() for rule in group["rules"]}
    for name in recorded:
        world.expects_none(f"{name} - {name} != 0")  # neither NaN nor Inf is nought without itself
    assert disagreements(world, tmp_path) == ""


@pytest.mark.system("promtool")
def test_replicas_of_two_builds_are_added_up_as_far_as_their_bins_agree(world: World, tmp_path: Path) -> None:
    """During a rolling update one replica cuts at 18, the other at 17; both know the other bins."""
    old = {"00 below 0": 5.0, "01 0 to 18": 40.0, "02 18 to 90": 50.0, "missing": 5.0}
    new = {"00 below 0": 4.0, "01 0 to 17": 36.0, "02 17 to 90": 54.0, "missing": 6.0}
    for replica, counts in (("a", old), ("b", new)):
        export(world, Counted("credit:gbm-1", "production", "feature:Fine", counts, {replica: counts}))
    reference = {**old, **new, "00 below 0": 5.0, "missing": 6.0}
    live = {name: STEPS_AN_HOUR * (old.get(name, 0.0) + new.get(name, 0.0)) for name in reference}
    for measure in MEASURES:
        value = measure.value(sample(reference, live))
        if measure.name not in ("ks", "ks_p", "wasserstein"):
            assert value is not None
            world.expects(f"understudy:drift_{measure.name}:1h", fine(), value)
    for name in ("ks", "ks_p", "wasserstein"):  # of the bins' places, in which both agree
        world.asks(f"0 * understudy:drift_{name}:1h", [(fine(), 0.0)])
    assert disagreements(world, tmp_path) == ""


@pytest.mark.system("promtool")
def test_a_bin_of_which_one_side_knows_nothing_has_no_row_there(world: World, tmp_path: Path) -> None:
    reference = {"00 below 0": 5.0, "01 0 to 18": 40.0, "02 above 18": 50.0, "missing": 5.0}
    live = {"01 0 to 18": 4.0, "02 above 18": 5.0, "missing": 0.0, "03 above 90": 2.0}
    export(world, Counted("credit:gbm-1", "production", "feature:Fine", reference, {"a": live}))
    rows = {name: STEPS_AN_HOUR * count for name, count in live.items()}
    for measure in MEASURES:
        value = measure.value(sample(reference, rows))
        assert value is not None
        world.expects(f"understudy:drift_{measure.name}:1h", fine(), value)
    assert disagreements(world, tmp_path) == ""


@pytest.mark.system("promtool")
@pytest.mark.parametrize(("right", "wrong"), [(50, 50), (80, 20), (0, 10), (10, 0)])
def test_the_two_sample_test_adds_up_over_replicas(
    world: World, tmp_path: Path, right: int, wrong: int
) -> None:
    model = {"model": "credit", "version": "gbm-1"}
    for replica, times in (("a", 1), ("b", 2)):
        for correct, rows in (("true", right), ("false", wrong)):
            if rows:
                series = {**model, "correct": correct, "instance": replica}
                world.has("understudy_two_sample_rows_total", series, counter(times * rows))
    told = 3 * STEPS_AN_HOUR * (right + wrong)
    accuracy = right / (right + wrong)
    world.expects("understudy:drift_two_sample_rows:1h", model, told)
    world.expects("understudy:drift_two_sample_accuracy:1h", model, accuracy)
    world.expects("understudy:drift_two_sample_z:1h", model, deviations(accuracy, told))
    assert disagreements(world, tmp_path) == ""


@pytest.mark.system("promtool")
def test_two_sample_counts_at_rest_record_nothing(world: World, tmp_path: Path) -> None:
    for correct in ("true", "false"):
        series = {"model": "credit", "version": "gbm-1", "correct": correct}
        world.has("understudy_two_sample_rows_total", series, counter(0))
    world.expects_none('{__name__=~"understudy:drift_two_sample_.+"}')
    assert disagreements(world, tmp_path) == ""


@pytest.mark.system("promtool")
def test_prometheus_takes_its_own_settings(tmp_path: Path) -> None:
    settings: dict[str, Any] = yaml.safe_load((RULES.parent / "prometheus.yml").read_text())
    for job in settings["scrape_configs"]:
        for files in job["file_sd_configs"]:
            assert all((RULES.parent / file).exists() for file in files["files"])
    assert all((RULES.parent / file).exists() for file in settings["rule_files"])
    checked = subprocess.run(
        [str(locate("promtool")), "check", "config", RULES.parent / "prometheus.yml"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr
