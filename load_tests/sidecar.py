"""``python -m load_tests.sidecar``: does a shadow in a container of its own cost a caller anything?

Edge and shadow are two containers of one pod on one core, with the weights and limits of the manifests;
requests come on a schedule that keeps the core 60 % busy without a shadow. Many short pairs of runs, with the
condition and without, in turns; a ratio is the median of the pairs' ratios. The first condition is no shadow
at all: what it shows is noise. With three cores or more all is measured again with a core for each container.
Takes about 8 minutes, with ``--quick`` about 3; cgroups need root, without them the result says so.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from load_tests import bundles, metrics, report
from load_tests.capacity import rate_at
from load_tests.containers import Limits
from load_tests.contestants import Question, check_last
from load_tests.generator import Tick, ask, open_loop
from load_tests.machine import DISTURBED_ABOVE, Contention, describe
from load_tests.pacing import Schedule
from load_tests.payloads import Native, check_answer, reference
from load_tests.report import Finding
from load_tests.sidecars import (
    CRAMPED,
    SHADOW,
    Fault,
    Sidecar,
    busy,
    crashing,
    frozen,
    greedy,
    nothing,
    running_sidecar,
)

LOAD = 0.6
"""Share of its core that the edge uses without a shadow."""
QUESTIONS = 64
SETTLE_SECONDS, WORK_SECONDS = 30.0, 60.0
LARGEST_RATIO = 1.10


@dataclass(frozen=True, slots=True)
class Condition:
    """What the shadow's container holds, may have and suffers."""

    name: str
    candidate: str | None = bundles.SIBLING
    fault: Fault = nothing
    limits: Limits = SHADOW
    started: bool = True
    """Whether the container is there at all."""
    works: bool = True
    """Whether rows must be compared before anything is measured."""
    idle_priority: bool = True
    promised: bool = True
    """Whether a ratio above the target counts as missed; the others show why a figure is as it is."""


NULL = Condition("no shadow, again", candidate=None, started=False, works=False)
CONDITIONS = (
    NULL,
    Condition("a good shadow"),
    Condition("30x slower candidate", bundles.SLOW),
    Condition("a busy loop beside the shadow", fault=busy),
    Condition("killed for its memory by the kernel", fault=greedy),
    Condition("killed for its memory by its keeper", limits=replace(SHADOW, memory=CRAMPED), works=False),
    Condition("crashing in a loop", fault=crashing),
    Condition("frozen, its socket full", fault=frozen),
    Condition("absent", started=False, works=False),
)
WHY = (
    Condition("slow, ordinary priority", bundles.SLOW, idle_priority=False, promised=False),
    Condition("slow, no CPU limit", bundles.SLOW, limits=replace(SHADOW, cpu_limit=None), promised=False),
    Condition(
        "slow, no CPU limit, ordinary priority",
        bundles.SLOW,
        limits=replace(SHADOW, cpu_limit=None),
        idle_priority=False,
        promised=False,
    ),
    Condition("slow, a tenth of a core", bundles.SLOW, limits=replace(SHADOW, cpu_limit=0.1), promised=False),
    Condition("slow, an idle group", bundles.SLOW, limits=replace(SHADOW, idle=True), promised=False),
)
"""The same load under other limits: what a manifest could ask for; the last only a node's owner can."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run."""

    p50: float
    """Milliseconds, as all latencies here."""
    p99: float
    worst: float
    answered: int
    failures: dict[str, int]
    foreign_share: float
    shadow_cpu: float = 0.0
    """Of a core; 0 without cgroups."""
    throttled: int = 0
    killed: int = 0


@dataclass(slots=True)
class Trial:
    """A condition and its pairs of runs (without a shadow, under it)."""

    condition: Condition
    where: str
    how: str = ""
    pairs: list[tuple[Outcome, Outcome]] = field(default_factory=list)
    failed: int = 0
    """Failed answers of all runs under it, also of those that were made again."""
    missing: int = 0
    """Rows that no outcome accounts for, once nothing moves any more."""
    coverage: float | None = None
    """Share of all its rows that were compared."""

    @property
    def name(self) -> str:
        return f"{self.condition.name}{self.where}"

    @property
    def ratios(self) -> list[float]:
        """Of the p99s, in ascending order; of undisturbed pairs where there are any."""
        quiet = [pair for pair in self.pairs if disturbance(pair) <= DISTURBED_ABOVE]
        return sorted(under.p99 / alone.p99 for alone, under in quiet or self.pairs)

    def findings(self) -> list[Finding]:
        target = LARGEST_RATIO if self.condition.promised and self.condition is not NULL else None
        return [
            Finding(f"{self.name}: p99 / p99 without", median(self.ratios), "x", target, at_most=True),
            Finding(f"{self.name}: failed answers", self.failed, "", 0, at_most=True),
            Finding(f"{self.name}: rows without an outcome", abs(self.missing), "", 0, at_most=True),
        ]

    def row(self) -> tuple[str, ...]:
        """Of the table."""
        alone, under = zip(*self.pairs, strict=True)
        return (
            self.name,
            f"{median(run.p50 for run in under):.2f}",
            f"{median(run.p99 for run in alone):.2f}",
            f"{median(run.p99 for run in under):.2f}",
            f"{median(self.ratios):.2f} ({self.ratios[0]:.2f}-{self.ratios[-1]:.2f})",
            f"{max(run.worst for run in under):.0f}",
            f"{median(run.shadow_cpu for run in under):.0%}",
            str(sum(run.throttled for run in under)),
            str(sum(run.killed for run in under)),
            "-" if self.coverage is None else f"{self.coverage:.0%}",
            f"{max(disturbance(pair) for pair in self.pairs):.0%}",
        )


HEADER = (
    "condition",
    "p50 ms",
    "p99 without",
    "p99 ms",
    "ratio (least-most)",
    "max ms",
    "shadow's core",
    "throttled",
    "killed",
    "compared",
    "others",
)


def disturbance(pair: tuple[Outcome, Outcome]) -> float:
    """The larger share of a core that others used."""
    return max(each.foreign_share for each in pair)


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
        }
        running = running_sidecar(config=config, cores=cores, limits=condition.limits, models=self.home)
        sidecar = stack.enter_context(running)
        if condition.started:
            sidecar.start_keeper()
        if condition.works:
            self._await_work(sidecar)
        sidecar.edge.await_idle(10.0)
        sidecar.suspend()
        return sidecar

    def _await_work(self, sidecar: Sidecar) -> None:
        end = time.monotonic() + WORK_SECONDS
        while time.monotonic() < end:
            for question in self.questions:
                ask(sidecar.edge.address, question.request)
            time.sleep(0.5)
            outcomes = metrics.read(sidecar.edge.address).outcomes.values()
            if any(found.get(metrics.COMPARED, 0) for found in outcomes):
                return
        raise RuntimeError("the shadow has compared nothing: see shadow.log")

    def run(self, sidecar: Sidecar, condition: Condition, schedule: Schedule, core: int) -> Outcome:
        """One run; the pod is suspended before it and after it."""
        codec, shadow = Native(bundles.load_data().classes[1]), sidecar.shadow
        requests = [question.request for question in self.questions]
        sidecar.resume()
        try:
            for question in self.questions:
                check_answer(codec, ask(sidecar.edge.address, question.request), question.accepted)
            action = condition.fault(sidecar)
            open_loop(sidecar.edge.address, requests, Schedule(schedule.rate, 0.5))
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
        summary = run.summary()
        times = summary.milliseconds
        return Outcome(
            p50=times.get("p50", float("inf")),
            p99=times.get("p99", float("inf")),
            worst=times.get("max", float("inf")),
            answered=summary.answered,
            failures=dict(summary.failures),
            foreign_share=foreign,
            shadow_cpu=used / run.seconds,
            throttled=int(throttled),
            killed=int(killed),
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m load_tests.sidecar", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 pairs of 1.5 s")
    parser.add_argument("--pairs", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=None, help="of one run")
    parser.add_argument("--why", action="store_true", help="also the slow candidate under other limits")
    parser.add_argument("--only", default="", metavar="TEXT", help="conditions whose name has this in it")
    parser.add_argument("--home", type=Path, default=bundles.HOME, help="where the bundles are kept")
    parser.add_argument("--results", type=Path, default=report.RESULTS)
    options = parser.parse_args(arguments)
    pairs = options.pairs or (2 if options.quick else 7)
    seconds = options.seconds or (1.5 if options.quick else 2.5)
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
    trials: list[Trial] = []
    schedule = Schedule(1.0, seconds)
    for where, cores in layouts.items():
        with ExitStack() as stack:
            alone = bench.start(stack, NULL, cores)
            rate = rate_at(LOAD, alone.edge, [each.request for each in bench.questions], min(seconds, 3.0))
            schedule = Schedule(rate, seconds)
            print(f"{rate:,.0f} req/s, {LOAD:.0%} of the edge's core", file=sys.stderr)
            for condition in conditions:
                trial = _try(bench, alone, Trial(condition, where), cores, schedule, pairs)
                trials.append(trial)
                print(" | ".join(trial.row()), file=sys.stderr)
    return _conclude(options, trials, schedule, pairs, len(usable))


def _try(
    bench: Bench, alone: Sidecar, trial: Trial, cores: tuple[int, int], schedule: Schedule, pairs: int
) -> Trial:
    """Pairs, the condition first in every second one; one more for each disturbed, up to half as many."""
    with ExitStack() as stack:
        sidecar = bench.start(stack, trial.condition, cores)
        trial.how = sidecar.shadow.how
        spare = pairs // 2
        while len(trial.pairs) < pairs + (pairs // 2 - spare):
            order = [(alone, NULL), (sidecar, trial.condition)]
            if len(trial.pairs) % 2:
                order.reverse()
            found = {id(pod): bench.run(pod, condition, schedule, cores[0]) for pod, condition in order}
            pair = found[id(alone)], found[id(sidecar)]
            trial.pairs.append(pair)
            trial.failed += sum(pair[1].failures.values())
            if spare and disturbance(pair) > DISTURBED_ABOVE:
                spare -= 1
        if trial.condition.candidate:
            sidecar.resume()
            sidecar.heal()
            counted = metrics.settled(sidecar.edge.address, SETTLE_SECONDS)
            (candidate,) = counted.outcomes
            trial.missing, trial.coverage = counted.missing(candidate), counted.coverage(candidate)
    return trial


def _questions(home: Path) -> list[Question]:
    """Held-out rows, one per request."""
    data = bundles.load_data()
    rows = data.held_out[:QUESTIONS]
    expected = reference(bundles.locate(home, bundles.PRODUCTION), rows.astype(np.float32))
    codec = Native(data.classes[1])
    return [Question(codec.request([row.tolist()]), (expected[i : i + 1],)) for i, row in enumerate(rows)]


def _conclude(
    options: argparse.Namespace, trials: Sequence[Trial], schedule: Schedule, pairs: int, cores: int
) -> int:
    findings = [finding for trial in trials for finding in trial.findings()]
    verdicts = report.findings_table(findings)
    figures = report.table(HEADER, [trial.row() for trial in trials])
    machine, how = describe(), ", ".join(sorted({trial.how for trial in trials}))
    document: dict[str, Any] = {
        "command": " ".join(["python -m load_tests.sidecar", *sys.argv[1:]]),
        "machine": machine.as_dict(),
        "plan": {"rate": round(schedule.rate), "seconds": schedule.seconds, "pairs": pairs, "limits_by": how},
        "findings": report.as_records(findings),
        "trials": {
            trial.name: {
                "limits": asdict(trial.condition.limits),
                "ratios": trial.ratios,
                "coverage": trial.coverage,
                "pairs": [
                    {"without": report.record(alone), "under": report.record(under)}
                    for alone, under in trial.pairs
                ],
            }
            for trial in trials
        },
    }
    weak = "" if how.startswith("cgroups") else " There is no quota and no weight: not what a node does."
    single = " A core for each container takes a third for the generator: left out." if cores < 3 else ""
    text = (
        f"# The shadow as a sidecar\n\n`{document['command']}` on {machine}.\n\nTwo containers on one core, "
        f"limits by {how}.{weak}{single} Requests of 1.0 core for the edge and {SHADOW.cpu_request:g} for "
        f"the shadow, which may have {SHADOW.cpu_limit:g}; open loop at {schedule.rate:,.0f} req/s, "
        f"{LOAD:.0%} of the edge's core without a shadow; {pairs} pairs of {schedule.seconds:g} s in turns; "
        f"latency from the scheduled time; medians.\n\n{verdicts}\n\n{figures}\n"
    )
    path = report.write("sidecar", document, text, options.results)
    print(f"\n{verdicts}\n\n{figures}\n\nwritten: {path.name} and its .json twin in {path.parent.name}/")
    return 0 if all(finding.verdict != "not met" for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
