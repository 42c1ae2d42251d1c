"""``python -m load_tests.isolation``: does a shadow, however ill-behaved, cost a caller anything?

Edge and shadow share one core. Requests come on a fixed schedule that keeps the core 60 % busy without a
shadow. Each condition is measured right after the same load without a shadow, several times, and the ratio of
the two p99s is what the caller feels. After every run the service must have counted what became of each row.
Takes about 9 minutes, with ``--quick`` about 2.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime as ort

from load_tests import bundles, metrics, report
from load_tests.capacity import rate_at
from load_tests.contestants import Question, check_last
from load_tests.crashes import CrashLoop
from load_tests.generator import Run, Tick, ask, open_loop
from load_tests.machine import DISTURBED_ABOVE, Contention, choose_cores, describe
from load_tests.pacing import Schedule
from load_tests.payloads import Native, check_answer, reference
from load_tests.report import Finding
from load_tests.server import Server, running_server

LOAD = 0.6
"""Share of its core that the edge uses without a shadow."""
ALONE = "no shadow"
QUESTIONS = 64
SETTLE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Condition:
    """A candidate and what is done to its process; answers are recorded but where the service is alone."""

    name: str
    candidate: str | None
    crashing: bool = False


CONDITIONS = (
    Condition("answers recorded, no candidate", None),
    Condition("same-sized candidate", bundles.SIBLING),
    Condition("30x slower candidate", bundles.SLOW),
    Condition("hanging candidate", bundles.HANGING),
    Condition("shadow crashing in a loop", bundles.SIBLING, crashing=True),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run under one condition."""

    p50: float
    """Milliseconds, as all latencies here."""
    p99: float
    worst: float
    answered: int
    failures: dict[str, int]
    coverage: float | None
    """Share of rows compared; None without a shadow."""
    missing: int
    """Rows that no outcome accounts for."""
    foreign_share: float
    crashes: int = 0


@dataclass(slots=True)
class Trial:
    """A condition, its server (suspended between runs) and its pairs of runs."""

    condition: Condition
    server: Server
    pairs: list[tuple[Outcome, Outcome]] = field(default_factory=list)
    """(without a shadow, under this condition), back to back."""
    failed: int = 0
    """Failed answers of all runs under this condition, also of those that were made again."""

    def repeat(
        self, alone: Server, questions: Sequence[Question], schedule: Schedule, cores: tuple[int, int]
    ) -> tuple[Outcome, Outcome]:
        """Adds a pair; one that others disturbed is made again, and the quieter one kept."""
        made: list[tuple[Outcome, Outcome]] = []
        while len(made) < 2 and (not made or _disturbance(made[0]) > DISTURBED_ABOVE):
            before = _run(Condition(ALONE, None), alone, questions, schedule, cores)
            under = _run(self.condition, self.server, questions, schedule, cores)
            self.failed += sum(under.failures.values())
            made.append((before, under))
        self.pairs.append(min(made, key=_disturbance))
        return self.pairs[-1]

    def ratio(self, value: Callable[[Outcome], float]) -> float:
        return median(value(under) / value(alone) for alone, under in self.pairs)

    def findings(self) -> list[Finding]:
        name, runs = self.condition.name, [under for _, under in self.pairs]
        missing = sum(abs(run.missing) for run in runs)
        return [
            Finding(f"{name}: p99 / p99 without", self.ratio(lambda run: run.p99), "x", 1.10, at_most=True),
            Finding(f"{name}: p50 / p50 without", self.ratio(lambda run: run.p50), "x"),
            Finding(f"{name}: failed answers", self.failed, "", 0, at_most=True),
            Finding(f"{name}: rows without an outcome", missing, "", 0, at_most=True),
            *(
                [Finding(f"{name}: rows compared", median(run.coverage or 0.0 for run in runs), "share")]
                if self.condition.candidate
                else []
            ),
        ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m load_tests.isolation", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 repetitions of 4 s")
    parser.add_argument("--repetitions", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=None)
    parser.add_argument("--home", type=Path, default=bundles.HOME, help="where the bundles are kept")
    parser.add_argument("--results", type=Path, default=report.RESULTS)
    parser.add_argument(
        "--contained", action="store_true", help="each server in a CPU cgroup, as in a container; needs root"
    )
    options = parser.parse_args(arguments)
    repetitions = options.repetitions or (2 if options.quick else 3)
    seconds = options.seconds or (4.0 if options.quick else 15.0)
    cores = server_core, own_core = choose_cores()
    os.sched_setaffinity(0, {own_core})
    options.home = options.home.resolve()
    bundles.build(options.home)
    slowness = _slowness(options.home)
    questions = _questions(options.home)
    with ExitStack() as stack:
        alone, trials = _start(stack, options.home, server_core, options.contained)
        requests = [question.request for question in questions]
        rate = rate_at(LOAD, alone, requests, min(seconds, 5.0))
        print(f"{rate:,.0f} req/s, {LOAD:.0%} of the edge's core", file=sys.stderr)
        schedule = Schedule(rate, seconds)
        for number in range(repetitions):
            for trial in trials:
                before, under = trial.repeat(alone, questions, schedule, cores)
                print(
                    f"{number + 1}/{repetitions} {trial.condition.name}: p99 {before.p99:.2f} -> "
                    f"{under.p99:.2f} ms, compared {under.coverage or 0:.1%}, missing {under.missing}, "
                    f"others {before.foreign_share:.0%} and {under.foreign_share:.0%}",
                    file=sys.stderr,
                )
    return _conclude(options, trials, schedule, slowness)


def _start(stack: ExitStack, home: Path, core: int, contained: bool) -> tuple[Server, list[Trial]]:
    def start(candidate: str | None, records: bool = True) -> Server:
        config = {
            "production": bundles.PRODUCTION,
            "candidates": [candidate] if candidate else [],
            "feedback": {"enabled": records},
        }
        running = running_server(config=config, models=home, cores={core}, contained=contained)
        server = stack.enter_context(running)
        server.await_idle()
        server.suspend()
        return server

    alone = start(None, records=False)
    return alone, [Trial(condition, start(condition.candidate)) for condition in CONDITIONS]


def _questions(home: Path) -> list[Question]:
    """Held-out rows, one per request, all with the mark that the hanging model waits for."""
    data = bundles.load_data()
    rows = data.held_out[:QUESTIONS].copy()
    rows[:, -1] = bundles.MARK
    expected = reference(bundles.locate(home, bundles.PRODUCTION), rows.astype(np.float32))
    codec = Native(data.classes[1])
    return [
        Question(codec.request([row.tolist()]), (expected[index : index + 1],))
        for index, row in enumerate(rows)
    ]


def _disturbance(pair: tuple[Outcome, Outcome]) -> float:
    return max(each.foreign_share for each in pair)


def _run(
    condition: Condition,
    server: Server,
    questions: Sequence[Question],
    schedule: Schedule,
    cores: tuple[int, int],
) -> Outcome:
    codec = Native(bundles.load_data().classes[1])
    requests = [question.request for question in questions]
    server.resume()
    try:
        for question in questions:
            check_answer(codec, ask(server.address, question.request), question.accepted)
        crash = CrashLoop(server.pid) if condition.crashing else None
        open_loop(server.address, requests, Schedule(schedule.rate, 1.0))
        before = metrics.settled(server.address, SETTLE_SECONDS) if condition.candidate else None
        contention = Contention(cores, lambda: server.cpu_seconds() + (crash.lost_cpu if crash else 0.0))
        run = open_loop(server.address, requests, schedule, tick=Tick(0.25, crash) if crash else None)
        foreign = contention.share()
        after = metrics.settled(server.address, SETTLE_SECONDS) if condition.candidate else None
    finally:
        server.suspend()
    check_last(codec, run, questions)
    coverage, missing = None, 0
    if before and after and condition.candidate:
        (candidate,) = after.outcomes
        coverage, missing = after.since(before).coverage(candidate), after.missing(candidate)
    crashes = crash.crashes if crash else 0
    return _outcome(run, coverage, missing, foreign, crashes)


def _outcome(run: Run, coverage: float | None, missing: int, foreign: float, crashes: int) -> Outcome:
    summary = run.summary()
    times = summary.milliseconds
    return Outcome(
        p50=times.get("p50", float("inf")),
        p99=times.get("p99", float("inf")),
        worst=times.get("max", float("inf")),
        answered=summary.answered,
        failures=dict(summary.failures),
        coverage=coverage,
        missing=missing,
        foreign_share=foreign,
        crashes=crashes,
    )


def _slowness(home: Path) -> float:
    """How many times longer the slow candidate takes than production for 100 rows (median of runs)."""
    batch = np.resize(bundles.load_data().held_out, (100, bundles.FEATURES)).astype(np.float32)
    return _seconds(home, bundles.SLOW, batch) / _seconds(home, bundles.PRODUCTION, batch)


def _seconds(home: Path, tag: str, batch: Any) -> float:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    path = bundles.locate(home, tag) / "model.onnx"
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed, times = {session.get_inputs()[0].name: batch}, []
    for _ in range(60):
        start = time.perf_counter()
        session.run(["probabilities"], feed)
        times.append(time.perf_counter() - start)
    return median(times)


def _conclude(
    options: argparse.Namespace, trials: Sequence[Trial], schedule: Schedule, slowness: float
) -> int:
    findings = [finding for trial in trials for finding in trial.findings()]
    findings.append(Finding("the slow candidate / production, 100 rows", slowness, "x"))
    alone = [before for trial in trials for before, _ in trial.pairs]
    rows = [
        _row(ALONE, alone),
        *(_row(trial.condition.name, [run for _, run in trial.pairs]) for trial in trials),
    ]
    header = ("condition", "p50 ms", "p99 ms", "max ms", "answered", "failed", "compared", "crashes")
    figures, verdicts = report.table(header, rows), report.findings_table(findings)
    machine = describe()
    document = {
        "command": " ".join(["python -m load_tests.isolation", *sys.argv[1:]]),
        "machine": machine.as_dict(),
        "plan": {
            "rate": round(schedule.rate),
            "seconds": schedule.seconds,
            "repetitions": len(trials[0].pairs),
        },
        "findings": report.as_records(findings),
        "trials": {
            trial.condition.name: [
                {"without": report.record(before), "under": report.record(under)}
                for before, under in trial.pairs
            ]
            for trial in trials
        },
    }
    where = "on one core and in one CPU cgroup" if options.contained else "on one core"
    text = (
        f"# Isolation of the shadow\n\n`{document['command']}` on {machine}.\n\n"
        f"Edge and shadow {where}, open loop at {schedule.rate:,.0f} req/s, {LOAD:.0%} of the edge's core "
        f"without a shadow; {len(trials[0].pairs)} repetitions of {schedule.seconds:g} s, each next to one "
        f"without a shadow; latency from the scheduled time; medians.\n\n{verdicts}\n\n{figures}\n"
    )
    path = report.write("isolation", document, text, options.results)
    print(f"\n{verdicts}\n\n{figures}\n\nwritten: {path.name} and its .json twin in {path.parent.name}/")
    return 0 if all(finding.verdict != "not met" for finding in findings) else 1


def _row(name: str, runs: Sequence[Outcome]) -> tuple[str, ...]:
    coverage = [run.coverage for run in runs if run.coverage is not None]
    return (
        name,
        f"{median(run.p50 for run in runs):.2f}",
        f"{median(run.p99 for run in runs):.2f}",
        f"{max(run.worst for run in runs):.1f}",
        f"{sum(run.answered for run in runs):,}",
        str(sum(sum(run.failures.values()) for run in runs)),
        f"{median(coverage):.1%}" if coverage else "-",
        str(sum(run.crashes for run in runs)),
    )


if __name__ == "__main__":
    sys.exit(main())
