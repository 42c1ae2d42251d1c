"""A sidecar's faults befall its container alone, and its findings fail where a caller would feel them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import psutil
import pytest

from load_tests import contestants, sidecars
from load_tests.containers import Limits, pod
from load_tests.machine import choose_cores
from load_tests.sidecar import CONDITIONS, NULL, WHY, Condition, Outcome, Trial
from load_tests.sidecars import Sidecar, busy, frozen, greedy

MIB = 1 << 20
ALONE = Outcome(p50=0.1, p99=2.0, worst=5.0, answered=1000, failures={}, foreign_share=0.0)
GOOD = Condition("a good shadow")


def trial(*p99s: float, condition: Condition = GOOD) -> Trial:
    pairs = [(ALONE, replace(ALONE, p99=p99)) for p99 in p99s]
    return Trial(condition, "", "cgroups v1", pairs, coverage=0.9)


def verdicts(made: Trial) -> list[str]:
    return [finding.verdict for finding in made.findings()]


def until(holds: Callable[[], bool], promise: str) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, promise
        time.sleep(0.02)


def test_a_caller_may_feel_a_tenth_of_its_p99_and_no_answer_may_fail() -> None:
    assert verdicts(trial(2.1, 2.1, 9.0)) == ["met", "met", "met"]
    assert verdicts(trial(2.1, 2.3, 2.3)) == ["not met", "met", "met"]
    failed, lost, doubled = trial(2.0), trial(2.0), trial(2.0)
    failed.failed, lost.missing, doubled.missing = 1, 1, -1
    assert verdicts(failed) == ["met", "not met", "met"]
    assert verdicts(lost) == verdicts(doubled) == ["met", "met", "not met"]


def test_noise_and_what_only_explains_a_figure_have_no_target() -> None:
    assert verdicts(trial(9.0, condition=NULL))[0] == ""
    assert all(verdicts(trial(9.0, condition=each))[0] == "" for each in WHY)


def test_a_disturbed_pair_counts_only_where_there_is_no_other() -> None:
    made = trial(2.0, 9.0, 9.0)
    made.pairs[1:] = [(alone, replace(under, foreign_share=0.5)) for alone, under in made.pairs[1:]]
    assert made.ratios == [1.0]
    made.pairs.pop(0)
    assert made.ratios == [4.5, 4.5]


def test_the_table_shows_the_spread_of_the_ratios() -> None:
    assert trial(2.0, 3.0, 4.0).row()[4] == "1.50 (1.00-2.00)"


def test_conditions_have_names_of_their_own() -> None:
    names = [each.name for each in (*CONDITIONS, *WHY)]
    assert len(set(names)) == len(names)


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
