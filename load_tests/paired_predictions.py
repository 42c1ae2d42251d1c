"""The same predictions asked plainly and with something beside them, in turns, on the demo's service.

Ratios are taken within a pair of runs, and pairs that others disturbed count only where there are no others.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, TypeAlias

from load_tests import bundles, contestants
from load_tests.contestants import Contestant, Measurement, Question
from load_tests.machine import DISTURBED_ABOVE
from load_tests.payloads import Codec
from load_tests.questions import credit_questions
from load_tests.sections import Circumstances
from load_tests.server import Server, running_server
from load_tests.stats import paired_ratio

Entrant: TypeAlias = tuple[Contestant, list[Question]]
SHARE = 0.3
"""Load of an open loop: this part of what the dearer requests reach at most."""
BATCH = 1000
WITHOUT = "/predict"
"""The form that every other is compared with."""


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
    dear: str
    """The form that is compared with ``WITHOUT``."""
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
        """p50 of the dearer form by p50 without."""
        return paired_ratio(*([_p50(run[form]) for run in self.quiet] for form in (self.dear, WITHOUT)))

    def speed(self) -> float:
        """Requests per second of the dearer form by those without."""
        rates = ([run[form].summary.per_second for run in self.quiet] for form in (self.dear, WITHOUT))
        return paired_ratio(*rates)

    @property
    def failed(self) -> int:
        """Answers that were not right."""
        return sum(each.summary.failed for run in self.runs for each in run.values())

    def as_dict(self) -> dict[str, Any]:
        runs = [{form: each.as_dict() for form, each in run.items()} for run in self.runs]
        return {"case": self.name, "runs": runs}

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


def measured(
    codecs: Mapping[str, Codec],
    shapes: Sequence[tuple[int, Load, tuple[str, ...]]],
    circumstances: Circumstances,
) -> tuple[list[Case], float]:
    """Runs of every shape, and the rate of the open loops.

    Args:
        codecs: by form; the second is the dearer one that all are compared by.
        shapes: rows of a request, how they are sent, and in which forms; the first decides the open rate.
        circumstances: where and how thoroughly.
    """
    plan = QUICK if circumstances.quick else FULL
    dear = list(codecs)[1]
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
        known: dict[tuple[int, str], Entrant] = {}
        for rows, _, forms in shapes:
            for form in forms:
                if (rows, form) not in known:
                    known[rows, form] = _entrant(server, circumstances, codecs[form], form, rows)
        cases = [
            Case(rows, load, {form: known[rows, form] for form in forms}, dear)
            for rows, load, forms in shapes
        ]
        rate = SHARE * _fastest(cases[0].entrants[dear], plan, circumstances)
        for _ in range(plan.repetitions):
            for case in cases:
                case.runs.append(_repeat(case, rate, plan, circumstances))
                print(" ".join(next(iter(case.lines()))), file=sys.stderr)
    return cases, rate


def told(rate: float, quick: bool) -> str:
    """How it was measured."""
    plan = QUICK if quick else FULL
    return (
        f"The demo's service on one core, the generator on another; {plan.repetitions} alternating "
        f"repetitions of {plan.seconds:g} s, medians. An open loop runs at {rate:,.0f} req/s, {SHARE:.0%} "
        "of what the dearer requests of one row reach at most. CPU is that of all processes, the shadow's "
        "included, which takes what is left."
    )


def _entrant(server: Server, circumstances: Circumstances, codec: Codec, form: str, rows: int) -> Entrant:
    count = 2 if rows == BATCH else 16
    return Contestant(form, server, codec), credit_questions(circumstances.home, codec, rows, count)


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
