"""A sidecar's faults befall its container alone, and its findings fail where a caller would feel them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import psutil
import pytest
import yaml

from load_tests import contestants, sidecars
from load_tests.containers import Limits, pod
from load_tests.machine import choose_cores
from load_tests.server import ROOT
from load_tests.sidecar_trials import ALONE, CONDITIONS, NULL, WHY, Condition, Outcome, Trial, quiet_cycles
from load_tests.sidecars import Sidecar, busy, crashing, frozen, greedy

MIB = 1 << 20
GOOD = Condition("a good shadow")
MANIFEST = ROOT / "deploy" / "kubernetes" / "base" / "deployment.yaml"


def outcome(milliseconds: float, foreign: float = 0.0) -> Outcome:
    return Outcome(np.full(200, milliseconds / 1e3), {}, foreign)


def trial(*p99s: float, condition: Condition = GOOD) -> Trial:
    return Trial(condition, "", "cgroups v1", [outcome(each) for each in p99s], coverage=0.9)


def verdicts(made: Trial) -> list[str]:
    return [finding.verdict for finding in made.findings(made.ratio([without(made)]))]


def without(made: Trial) -> Trial:
    """The same cycles without a shadow."""
    return trial(*[2.0] * len(made.runs), condition=ALONE)


def until(holds: Callable[[], bool], promise: str) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, promise
        time.sleep(0.02)


def test_a_caller_may_feel_a_tenth_of_its_p99_and_no_answer_may_fail() -> None:
    assert verdicts(trial(2.1, 2.1, 2.2)) == ["met", "met", "met"]
    assert verdicts(trial(2.1, 2.3, 2.3)) == ["not met", "met", "met"]
    failed, lost, doubled = trial(2.0), trial(2.0), trial(2.0)
    failed.runs[0] = replace(failed.runs[0], failures={"status 503": 1})
    lost.missing, doubled.missing = 1, -1
    assert verdicts(failed) == ["met", "not met", "met"]
    assert verdicts(lost) == verdicts(doubled) == ["met", "met", "not met"]


def test_a_fault_that_is_felt_in_few_runs_is_not_overlooked() -> None:
    made = trial(*[2.0] * 9, 9.0)
    assert made.ratio([without(made)]).value == pytest.approx(4.5)
    assert made.row(made.ratio([without(made)]), [without(made)])[4] == "1.00"


def test_noise_and_what_only_explains_a_figure_have_no_target() -> None:
    assert verdicts(trial(9.0, condition=NULL))[0] == ""
    assert all(verdicts(trial(9.0, condition=each))[0] == "" for each in WHY)


def test_a_disturbed_cycle_counts_only_where_there_is_no_other() -> None:
    made = trial(2.0, 9.0, 9.0)
    made.runs[1:] = [replace(each, foreign_share=0.5) for each in made.runs[1:]]
    assert quiet_cycles([made, without(made)]) == [0]
    assert made.ratio([without(made)]).value == pytest.approx(1.0)
    made.runs.pop(0)
    assert made.ratio([without(made)]).value == pytest.approx(4.5)


def test_a_ratio_is_held_against_all_pods_without_a_shadow() -> None:
    made, slow = trial(4.0, 4.0), trial(4.0, 4.0, condition=NULL)
    assert made.ratio([without(made)]).value == pytest.approx(2.0)
    assert made.ratio([without(made), slow]).value == pytest.approx(1.0)


def test_conditions_have_names_of_their_own() -> None:
    names = [each.name for each in (ALONE, NULL, *CONDITIONS, *WHY)]
    assert len(set(names)) == len(names)


def test_containers_have_the_limits_of_the_manifests() -> None:
    """In cores and MiB; a figure for others would say nothing about a pod."""
    containers = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))["spec"]["template"]["spec"][
        "containers"
    ]
    asked = {each["name"]: each["resources"] for each in containers}
    assert cores(asked["edge"]["requests"]["cpu"]) == sidecars.EDGE.cpu_request
    assert "cpu" not in asked["edge"]["limits"]
    assert cores(asked["shadow"]["requests"]["cpu"]) == sidecars.SHADOW.cpu_request
    assert cores(asked["shadow"]["limits"]["cpu"]) == sidecars.SHADOW.cpu_limit
    assert asked["shadow"]["limits"]["memory"] == f"{(sidecars.SHADOW.memory or 0) >> 30}Gi"


def cores(quantity: str) -> float:
    return float(quantity.removesuffix("m")) / (1000 if quantity.endswith("m") else 1)


@pytest.fixture
def sidecar(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sidecar]:
    """Beside a server that answers a constant, with a keeper that keeps nothing."""
    monkeypatch.setattr(sidecars, "_KEEPER", [sys.executable, "-c", "import time; time.sleep(600)"])
    core, _ = choose_cores()
    limits = {"edge": Limits(1.0), "shadow": Limits(0.05, 0.5, 64 * MIB, 64)}
    with pod(limits) as containers, contestants.constant(core) as edge:
        made = Sidecar(edge, containers, core)
        try:
            yield made
        finally:
            made.kill_container()


@pytest.mark.process
def test_a_frozen_container_runs_again_when_thawed(sidecar: Sidecar) -> None:
    sidecar.start_keeper()
    frozen(sidecar)
    assert sidecar.keeper is not None
    keeper = psutil.Process(sidecar.keeper.pid)
    until(lambda: keeper.status() == psutil.STATUS_STOPPED, "never frozen")
    assert psutil.Process(sidecar.edge.pid).status() != psutil.STATUS_STOPPED
    sidecar.thaw()
    until(lambda: keeper.status() != psutil.STATUS_STOPPED, "never thawed")


@pytest.mark.process
def test_a_busy_loop_ends_and_the_keeper_stays(sidecar: Sidecar) -> None:
    sidecar.start_keeper()
    busy(sidecar)
    (loop,) = sidecar.others
    before = sidecar.cpu_seconds()
    until(lambda: sidecar.cpu_seconds() > before + 0.1, "it does nothing")
    sidecar.heal()
    assert loop.returncode is not None
    assert sidecar.keeper is not None
    assert sidecar.keeper.poll() is None


@pytest.mark.process
def test_a_container_that_is_killed_for_its_memory_comes_again_until_it_is_healed(sidecar: Sidecar) -> None:
    if not sidecar.shadow.groups:
        pytest.skip("no cgroup can be made here: that takes root and a hierarchy that may be written")
    sidecar.start_keeper()
    greedy(sidecar)
    until(lambda: sidecar.shadow.killed() >= 2, "it was not killed again")
    sidecar.heal()
    killed = sidecar.shadow.killed()
    assert sidecar.keeper is not None
    with pytest.raises(subprocess.TimeoutExpired):
        sidecar.keeper.wait(4)
    assert sidecar.shadow.killed() == killed


@pytest.mark.process
def test_a_shadow_that_crashes_is_killed_at_once_and_then_in_runs_to_come(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = "import subprocess, time\nwhile 1: subprocess.run(['sleep', '600']); time.sleep(0.01)"
    monkeypatch.setattr(sidecars, "_KEEPER", [sys.executable, "-c", keeper])
    sidecar.start_keeper()
    children: list[int] = []

    def shadow() -> bool:
        assert sidecar.keeper is not None
        found = [each.pid for each in psutil.Process(sidecar.keeper.pid).children()]
        fresh = [pid for pid in found if pid not in children]
        children.extend(fresh)
        return bool(fresh)

    deaths = []
    for run in range(7):
        if not children or not psutil.pid_exists(children[-1]):
            until(shadow, "no shadow came")
        act = crashing(sidecar)
        act()
        act()  # another tick of the same run
        before = children[-1]
        if sidecar.crashes is not None and sidecar.crashes.idle:
            until(lambda pid=before: not alive(pid), "it was not killed")  # type: ignore[misc]
            deaths.append(run)
            until(shadow, "no other came")
    assert deaths == [0, 2, 6]


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.process
def test_a_keeper_that_pauses_for_long_makes_way_for_one_that_starts_a_shadow(sidecar: Sidecar) -> None:
    sidecar.start_keeper()
    first = sidecar.keeper
    crashing(sidecar)
    assert first is not None
    assert first.returncode is not None
    assert sidecar.keeper is not None
    assert sidecar.keeper.poll() is None
