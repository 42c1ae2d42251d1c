"""``python -m load_tests.sidecar``: does a shadow in a container of its own cost a caller anything?

Edge and shadow are two containers of one pod on one core, with the weights and limits of the manifests;
requests come on a schedule that keeps the core 60 % busy without a shadow. Every condition has a pod, all but
one suspended; cycle after cycle each has its short run, in an order that is drawn. A ratio is that of the
p99s of all answers, with an interval from drawing cycles. Two pods have no shadow: their ratio is the noise,
and together they are what the others are compared with. With three cores or more all is measured again with
a core for each container. Takes about 12 minutes, with ``--quick`` about 3; cgroups need root, without them
the result says so.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from load_tests import bundles, metrics, report
from load_tests.capacity import rate_at
from load_tests.contestants import Question, check_last
from load_tests.generator import Tick, ask, open_loop
from load_tests.machine import DISTURBED_ABOVE, Contention, describe
from load_tests.pacing import Schedule
from load_tests.payloads import Native, check_answer, reference
from load_tests.report import Finding
from load_tests.sidecar_trials import ALONE, CONDITIONS, HEADER, NULL, WHY, Condition, Outcome, Trial
from load_tests.sidecars import SHADOW, Sidecar, running_sidecar

LARGEST_NOISE = 1.25
"""How far from 1 the interval of two pods without a shadow may reach; beyond, no ratio says anything."""
LOAD = 0.6
"""Share of its core that the edge uses without a shadow."""
QUESTIONS = 64
WARM_SECONDS = 0.25
SETTLE_SECONDS, WORK_SECONDS = 30.0, 60.0
SPARE = 0.25
"""So many more cycles at most, as a share, for those that others disturbed."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What all runs have in common."""

    questions: Sequence[Question]
    home: Path
    generator_core: int

    def start(self, stack: ExitStack, condition: Condition, cores: tuple[int, int]) -> Sidecar:
        """The pod of a condition, ready and suspended; whatever is to work has worked."""
        config = {
            "production": bundles.PRODUCTION,
            "candidates": [condition.candidate] if condition.candidate else [],
            "feedback": {"enabled": condition.candidate is not None},
            "shadow": {"idle_priority": condition.idle_priority},
            "explain": {"process": False},  # a dozen of them would fill the memory
        }
        running = running_sidecar(config=config, cores=cores, limits=condition.limits, models=self.home)
        sidecar = stack.enter_context(running)
        if condition.started:
            sidecar.start_keeper()
        if condition.works:
            self._await_work(sidecar)
        codec = Native(bundles.load_data().classes[1])
        for question in self.questions:
            check_answer(codec, ask(sidecar.edge.address, question.request), question.accepted)
        sidecar.edge.await_idle(10.0)
        sidecar.suspend()
        return sidecar

    def account(self, sidecar: Sidecar, trial: Trial) -> None:
        """What became of all rows of a condition, once its faults are over and nothing moves any more."""
        if trial.condition.candidate is None:
            return
        sidecar.resume()
        sidecar.heal()
        if trial.condition.works:  # what a dead shadow did not tell is found missing by the next one
            self._await_work(sidecar)
        counted = metrics.settled(sidecar.edge.address, SETTLE_SECONDS)
        (candidate,) = counted.outcomes
        trial.missing, trial.coverage = counted.missing(candidate), counted.coverage(candidate)
        sidecar.suspend()

    def _await_work(self, sidecar: Sidecar) -> None:
        """Returns once rows that are asked for now are compared."""
        end, before = time.monotonic() + WORK_SECONDS, _compared(sidecar)
        while time.monotonic() < end:
            for question in self.questions:
                ask(sidecar.edge.address, question.request)
            time.sleep(0.5)
            if _compared(sidecar) > before:
                return
        raise RuntimeError("the shadow has compared nothing: see shadow.log")

    def run(self, sidecar: Sidecar, condition: Condition, schedule: Schedule, core: int) -> Outcome:
        """One run; the pod is suspended before it and after it."""
        codec, shadow = Native(bundles.load_data().classes[1]), sidecar.shadow
        requests = [question.request for question in self.questions]
        sidecar.resume()
        try:
            action = condition.fault(sidecar)
            open_loop(sidecar.edge.address, requests, Schedule(schedule.rate, WARM_SECONDS))
            contention = Contention((core, self.generator_core), sidecar.cpu_seconds)
            before = (shadow.cpu_seconds() or 0.0, shadow.throttled(), shadow.killed())
            tick = Tick(0.25, action) if action else None
            run = open_loop(sidecar.edge.address, requests, schedule, tick=tick)
            after = (shadow.cpu_seconds() or 0.0, shadow.throttled(), shadow.killed())
            foreign = contention.share()
        finally:
            sidecar.stop_others()
            sidecar.suspend()
        check_last(codec, run, self.questions)
        used, throttled, killed = (late - early for late, early in zip(after, before, strict=True))
        return Outcome(
            latencies=np.array(run.latencies),
            failures=dict(run.failures),
            foreign_share=foreign,
            shadow_cpu=used / run.seconds,
            throttled=int(throttled),
            killed=int(killed),
        )


def _compared(sidecar: Sidecar) -> int:
    outcomes = metrics.read(sidecar.edge.address).outcomes.values()
    return sum(found.get(metrics.COMPARED, 0) for found in outcomes)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m load_tests.sidecar", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 cycles")
    parser.add_argument("--cycles", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one run")
    parser.add_argument("--why", action="store_true", help="also the slow candidate under other limits")
    parser.add_argument("--only", default="", metavar="TEXT", help="conditions whose name has this in it")
    parser.add_argument("--home", type=Path, default=bundles.HOME, help="where the bundles are kept")
    parser.add_argument("--results", type=Path, default=report.RESULTS)
    options = parser.parse_args(arguments)
    cycles = options.cycles or (3 if options.quick else 40)
    conditions = [each for each in (*CONDITIONS, *(WHY if options.why else ())) if options.only in each.name]
    if not conditions:
        parser.error("no condition has that in its name")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # pods outlive nobody
    usable = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {usable[-1]})
    options.home = options.home.resolve()
    bundles.build(options.home)
    bench = Bench(_questions(options.home), options.home, usable[-1])
    layouts = {"": (usable[0], usable[0])}
    if len(usable) > 2:
        layouts[", a core each"] = (usable[0], usable[1])
    measured: list[list[Trial]] = []
    schedule = Schedule(1.0, options.seconds)
    for where, cores in layouts.items():
        trials = [Trial(each, where) for each in (ALONE, NULL, *conditions)]
        schedule = _measure(bench, trials, cores, options.seconds, cycles)
        measured.append(trials)
    return _conclude(options, measured, schedule, len(usable))


def _measure(
    bench: Bench, trials: Sequence[Trial], cores: tuple[int, int], seconds: float, cycles: int
) -> Schedule:
    """Fills the trials, the first two of which have no shadow; at which pace."""
    with ExitStack() as stack:
        pods = []
        for trial in trials:
            pods.append(bench.start(stack, trial.condition, cores))
            trial.how = pods[-1].shadow.how
            print(f"ready: {trial.name}", file=sys.stderr)
        rate = rate_at(LOAD, pods[0].edge, [each.request for each in bench.questions], 2.0)
        schedule = Schedule(rate, seconds)
        print(f"{rate:,.0f} req/s, {LOAD:.0%} of the edge's core", file=sys.stderr)
        order, shuffle = list(range(len(trials))), random.Random(0)
        most, quiet = cycles + int(SPARE * cycles), 0
        while quiet < cycles and len(trials[0].runs) < most:
            shuffle.shuffle(order)
            for i in order:
                trials[i].runs.append(bench.run(pods[i], trials[i].condition, schedule, cores[0]))
            quiet += max(trial.runs[-1].foreign_share for trial in trials[:2]) <= DISTURBED_ABOVE
            last = ", ".join(f"{trial.runs[-1].p99:.2f}" for trial in trials)
            print(f"cycle {len(trials[0].runs)}: p99 {last} ms", file=sys.stderr)
        for pod, trial in zip(pods, trials, strict=True):
            bench.account(pod, trial)
    return schedule


def _questions(home: Path) -> list[Question]:
    """Held-out rows, one per request."""
    data = bundles.load_data()
    rows = data.held_out[:QUESTIONS]
    expected = reference(bundles.locate(home, bundles.PRODUCTION), rows.astype(np.float32))
    codec = Native(data.classes[1])
    return [Question(codec.request([row.tolist()]), (expected[i : i + 1],)) for i, row in enumerate(rows)]


def _conclude(
    options: argparse.Namespace, measured: Sequence[Sequence[Trial]], schedule: Schedule, cores: int
) -> int:
    findings: list[Finding] = []
    rows: list[tuple[str, ...]] = []
    trials: dict[str, dict[str, Any]] = {}
    for layout in measured:
        first, null, *others = layout
        for trial in (null, *others):
            without = [first] if trial is null else [first, null]
            ratio = trial.ratio(without)
            findings += trial.findings(ratio)
            if trial is null:
                noise = max(ratio.high, 1 / ratio.low)
                findings.append(Finding(f"{trial.name}: noise", noise, "x", LARGEST_NOISE, at_most=True))
            rows.append(trial.row(ratio, without))
            trials[trial.name] = {"ratio": asdict(ratio)}
        for trial in layout:
            trials.setdefault(trial.name, {}).update(
                limits=asdict(trial.condition.limits),
                coverage=trial.coverage,
                runs=[run.as_dict() for run in trial.runs],
            )
    every = [trial for layout in measured for trial in layout]
    verdicts, figures = report.findings_table(findings), report.table(HEADER, rows)
    machine, how, cycles = describe(), ", ".join(sorted({trial.how for trial in every})), len(every[0].runs)
    document: dict[str, Any] = {
        "command": " ".join(["python -m load_tests.sidecar", *sys.argv[1:]]),
        "machine": machine.as_dict(),
        "plan": {
            "rate": round(schedule.rate),
            "seconds": schedule.seconds,
            "cycles": cycles,
            "limits_by": how,
        },
        "findings": report.as_records(findings),
        "trials": trials,
    }
    weak = "" if how.startswith("cgroups") else " There is no quota and no weight: not what a node does."
    single = " A core for each container takes a third for the generator: left out." if cores < 3 else ""
    text = (
        f"# The shadow as a sidecar\n\n`{document['command']}` on {machine}.\n\nTwo containers on one core, "
        f"limits by {how}.{weak}{single} Requests of 1.0 core for the edge and {SHADOW.cpu_request:g} for "
        f"the shadow, which may have {SHADOW.cpu_limit:g}; open loop at {schedule.rate:,.0f} req/s, "
        f"{LOAD:.0%} of the edge's core without a shadow; {cycles} cycles of a run of {schedule.seconds:g} s "
        f"each; latency from the scheduled time; p99 of all answers, against both pods without a shadow.\n\n"
        f"{verdicts}\n\n{figures}\n"
    )
    path = report.write("sidecar", document, text, options.results)
    print(f"\n{verdicts}\n\n{figures}\n\nwritten: {path.name} and its .json twin in {path.parent.name}/")
    return 0 if all(finding.verdict != "not met" for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
