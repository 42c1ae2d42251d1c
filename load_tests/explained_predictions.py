"""What an explanation adds to a prediction, as a caller of ``/predict`` sees it.

The demo's service (production ``credit:gbm-1``, its shadow and its Explainer) on one core. Runs with and
without ``"explain": true`` take turns, and ratios are taken within a pair. The target is held against an
open loop at 30 % load, because that is closest to what a caller feels: a closed loop's median is mostly the
wait for the other connections.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TypeAlias

from load_tests import bundles, contestants
from load_tests.contestants import Contestant, Measurement, Question
from load_tests.machine import DISTURBED_ABOVE
from load_tests.payloads import Codec, Explained, Native
from load_tests.questions import credit_questions
from load_tests.report import Finding
from load_tests.sections import Circumstances, Section
from load_tests.server import Server, running_server
from load_tests.stats import paired_ratio

POSITIVE = "good"
WITHOUT, WITH, ALONE = "/predict", "/predict, explained", "/explain"
CODECS: dict[str, Codec] = {
    WITHOUT: Native(POSITIVE),
    WITH: Explained(POSITIVE),
    ALONE: Explained(POSITIVE, "/explain"),
}
Entrant: TypeAlias = tuple[Contestant, list[Question]]
SHARE = 0.3
"""Load of the open loop: this part of what explained requests reach at most."""
RATIO = 1.5
BATCH = 1000


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often."""

    repetitions: int
    seconds: float
    warm_up: float


FULL, QUICK = Plan(5, 3.0, 0.5), Plan(3, 1.0, 0.2)


@dataclass(frozen=True, slots=True)
class Load:
    """How requests are sent: one after another on each connection, or at a fixed rate."""

    name: str
    connections: int = contestants.CONNECTIONS
    open: bool = False


OPEN = Load(f"open loop, {SHARE:.0%}", open=True)
SINGLE, EIGHT = Load("1 connection", 1), Load(f"{contestants.CONNECTIONS} connections")


@dataclass(slots=True)
class Case:
    """Requests of so many rows under one load, in every form."""

    rows: int
    load: Load
    entrants: Mapping[str, Entrant]
    """By form."""
    runs: list[dict[str, Measurement]] = field(default_factory=list)
    """Each form's run, back to back."""

    @property
    def name(self) -> str:
        return f"{self.rows:,} {'row' if self.rows == 1 else 'rows'}, {self.load.name}"

    @property
    def quiet(self) -> list[dict[str, Measurement]]:
        """The runs that others did not disturb; all where there are none."""
        return [run for run in self.runs if _disturbance(run) <= DISTURBED_ABOVE] or self.runs

    def ratio(self) -> float:
        """p50 with an explanation by p50 without."""
        with_it, without = ([_p50(run[form]) for run in self.quiet] for form in (WITH, WITHOUT))
        return paired_ratio(with_it, without)

    def rows_per_second(self, form: str) -> float:
        return self.rows * median(run[form].summary.per_second for run in self.quiet)

    def lines(self) -> Iterator[tuple[str, ...]]:
        for form in self.entrants:
            runs = [run[form] for run in self.quiet]
            rate = median(run.summary.per_second for run in runs)
            yield (
                self.name,
                form,
                f"{rate:,.0f}",
                f"{self.rows_per_second(form):,.0f}",
                f"{median(map(_p50, runs)):.3f}",
                f"{median(run.summary.milliseconds.get('p99', float('inf')) for run in runs):.3f}",
                f"{median(run.cpu_microseconds for run in runs):,.0f}",
                f"{max(run.foreign_share for run in runs):.0%}",
            )


HEADER = ("requests", "form", "req/s", "rows/s", "p50 ms", "p99 ms", "CPU us/req", "others")


def predictions(circumstances: Circumstances) -> Section:
    """``/predict`` with and without an explanation, and a thousand rows explained in one request."""
    plan = QUICK if circumstances.quick else FULL
    bundles.build(circumstances.home)
    config = {"production": bundles.CREDIT, "candidates": [bundles.CREDIT_CANDIDATE]}
    with running_server(
        config=config,
        models=circumstances.home,
        cores={circumstances.cores[0]},
        contained=circumstances.contained,
    ) as server:
        server.await_idle()
        server.suspend()
        cases = _cases(server, circumstances.home)
        rate = SHARE * _fastest(cases[0].entrants[WITH], plan, circumstances)
        for _ in range(plan.repetitions):
            for case in cases:
                case.runs.append(_repeat(case, rate, plan, circumstances))
                print(" ".join(next(iter(case.lines()))), file=sys.stderr)
    section = Section("/predict with and without an explanation", HEADER)
    section.how = (
        f"The demo's service on one core, the generator on another; {plan.repetitions} alternating "
        f"repetitions of {plan.seconds:g} s, medians. The open loop runs at {rate:,.0f} req/s, {SHARE:.0%} "
        "of what explained requests of one row reach at most; the target is judged by its median. CPU is "
        "that of all processes, the shadow's included, which takes what is left."
    )
    section.findings = list(findings(cases))
    section.lines = [line for case in cases for line in case.lines()]
    section.measured = [
        {
            "case": case.name,
            "runs": [{form: each.as_dict() for form, each in run.items()} for run in case.runs],
        }
        for case in cases
    ]
    return section


def findings(cases: Sequence[Case]) -> Iterator[Finding]:
    """What was promised about explained predictions."""
    for case in cases:
        target = RATIO if case.load.open else None
        yield Finding(f"{case.name}: p50 explained / plain", case.ratio(), "x", target, at_most=True)
        if case.rows == BATCH:
            for form in (WITH, ALONE):
                name = f"{BATCH:,} rows in one request, {form}"
                yield Finding(name, case.rows_per_second(form), "rows/s")
    failed = sum(each.summary.failed for case in cases for run in case.runs for each in run.values())
    yield Finding("failed answers", failed, "", 0, at_most=True)


def _cases(server: Server, home: Path) -> list[Case]:
    def entrants(rows: int, *forms: str) -> dict[str, Entrant]:
        count = 2 if rows == BATCH else 16
        return {
            form: (
                Contestant(form, server, CODECS[form]),
                credit_questions(home, CODECS[form], rows, count),
            )
            for form in forms
        }

    single = entrants(1, WITHOUT, WITH)
    return [
        *(Case(1, load, single) for load in (OPEN, SINGLE, EIGHT)),
        *(Case(rows, EIGHT, entrants(rows, WITHOUT, WITH)) for rows in (10, 100)),
        Case(BATCH, SINGLE, entrants(BATCH, WITHOUT, WITH, ALONE)),
    ]


def _fastest(entrant: Entrant, plan: Plan, circumstances: Circumstances) -> float:
    """Requests per second, at most."""
    found = contestants.measure(*entrant, plan.seconds, plan.warm_up, circumstances.cores)
    return found.summary.per_second


def _repeat(case: Case, rate: float, plan: Plan, circumstances: Circumstances) -> dict[str, Measurement]:
    """One run of each form; made again where others disturbed it, and the quieter one kept."""
    made: list[dict[str, Measurement]] = []
    while len(made) < 2 and (not made or _disturbance(made[0]) > DISTURBED_ABOVE):
        made.append(
            {
                form: contestants.measure(
                    *entrant,
                    plan.seconds,
                    plan.warm_up,
                    circumstances.cores,
                    connections=case.load.connections,
                    rate=rate if case.load.open else None,
                )
                for form, entrant in case.entrants.items()
            }
        )
    return min(made, key=_disturbance)


def _disturbance(run: dict[str, Measurement]) -> float:
    return max(each.foreign_share for each in run.values())


def _p50(run: Measurement) -> float:
    return run.summary.milliseconds.get("p50", float("inf"))
