"""A real Prometheus: scrapes jitter, counters begin anew, windows are never quite full."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.prometheus import recording
from load_tests.prometheus import Prometheus, installed, prometheus, shortened
from load_tests.recorded import differences
from load_tests.rule_values import MOST_APART, measure
from service.domain.drift.measures import MEASURES
from tests.deploy.distributions import variables
from tests.deploy.exporter import Replica, serving

pytestmark = [pytest.mark.system("prometheus"), pytest.mark.process]

SHORT = {"5m": "5s", "30m": "5s", "1h": "6s", "6h": "10s", "24h": "15s"}
WINDOWS = ("1h", "6h", "24h")
EVALUATED = 6
"""Times that every window has to be before we look."""


@pytest.fixture(scope="module")
def watched() -> Iterator[Prometheus]:
    """It has watched three replicas of two services for some seconds; one of them was born again."""
    counted = list(variables())
    replicas = [
        Replica("a", counted, seed=1),
        Replica("b", counted, seed=2, restart=5),
        Replica("c", counted, seed=3),
    ]
    program = installed()
    assert program is not None
    rules = shortened(recording.groups(), SHORT, "2s")
    with serving(replicas) as targets, prometheus(program, targets, rules) as found:
        _await_evaluations(found)
        yield found


def _await_evaluations(found: Prometheus) -> None:
    asked = "min(count_over_time(understudy:drift_psi:{}[10m]))"
    end, times = time.monotonic() + 60, [0.0]
    while time.monotonic() < end:
        times = [min(found.instant(asked.format(window)).values(), default=0.0) for window in WINDOWS]
        if min(times) >= EVALUATED:
            return
        time.sleep(0.5)
    pytest.fail(f"after a minute the windows were evaluated {times} times")


def test_no_rule_fails(watched: Prometheus) -> None:
    rules = [rule for group in watched.groups() for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}
    assert not [rule["lastError"] for rule in rules if "lastError" in rule]


@pytest.mark.parametrize("window", WINDOWS)
def test_every_value_is_the_measures_of_the_rows_recorded_at_that_instant(
    watched: Prometheus, window: str
) -> None:
    found = differences(watched, window, seconds=600)
    assert [each.measure for each in found] == [measure.name for measure in MEASURES]
    for each in found:
        assert each.values > 50, each
        assert each.largest <= MOST_APART, each


def test_rows_of_all_replicas_are_counted_and_reference_rows_once(watched: Prometheus) -> None:
    rows = watched.instant("max by (model) (understudy:drift_rows:24h)")
    assert {dict(labels)["model"] for labels in rows} == {"credit", "odd"}
    counted = next(iter(variables()))
    shown = watched.instant(
        'understudy:reference_rows{model="credit",version="gbm-1",variable="feature:Age"}'
    )
    assert {dict(labels)["bin"]: value for labels, value in shown.items()} == counted.reference


@pytest.mark.timeout(240)
def test_the_same_holds_of_two_real_replicas_under_traffic(demo_home: Path) -> None:
    found = measure(demo_home, seconds=12)
    assert found.failing == 0
    for window, measures in found.differences.items():
        for each in measures:
            assert each.values > 50, (window, each)
            assert each.largest <= MOST_APART, (window, each)
    for scrape in found.scrapes:
        assert 0 < scrape.distributions < scrape.series
