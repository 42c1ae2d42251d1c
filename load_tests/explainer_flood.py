"""What callers of ``/predict`` feel while others flood the Explainer.

Edge and Explainer share one core. Predictions come on a fixed schedule that keeps the core 60 % busy by
themselves; each run under the flood stands next to the same run without it, on the same server. The flood
asks ``/explain`` for ``permutation``, which runs in the Explainer, on more connections than it takes in, so
its queue is always full and the surplus is refused. What the edge spends on the flood's own requests comes
on top of the 60 %.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from statistics import median

import psutil

from load_tests import bundles, report
from load_tests.capacity import rate_at
from load_tests.contestants import Question, check_last
from load_tests.flood import Flood
from load_tests.generator import Tick, ask, open_loop
from load_tests.machine import DISTURBED_ABOVE, Contention
from load_tests.pacing import Schedule
from load_tests.payloads import Native, check_answer
from load_tests.questions import credit_questions, explain_by
from load_tests.report import Finding
from load_tests.sections import Circumstances, Section
from load_tests.server import Server, running_server

LOAD = 0.6
"""Share of the core that predictions alone keep busy."""
CONNECTIONS = 32
"""Of the flood; the Explainer takes 16 requests in."""
LIMIT = 1.10
QUESTIONS = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often."""

    repetitions: int
    seconds: float


FULL, QUICK = Plan(5, 10.0), Plan(3, 3.0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Predictions of one run, and what became of the flood."""

    p50: float
    """Milliseconds, as all latencies here."""
    p99: float
    worst: float
    answered: int
    failed: int
    foreign_share: float
    explained: float = 0.0
    """Explanations per second."""
    refused: float = 0.0
    """Requests of the flood per second that were sent away with 503, because the queue was full."""
    late: float = 0.0
    """The same with 504, because their deadline passed."""
    broken: dict[str, int] = field(default_factory=dict)
    """Any other end to how many requests of the flood came to it."""
    explainer_share: float = 0.0
    """Of the core."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The same load without and with the flood, back to back."""

    without: Outcome
    under: Outcome

    @property
    def disturbance(self) -> float:
        return max(self.without.foreign_share, self.under.foreign_share)


HEADER = (
    "repetition",
    "",
    "p50 ms",
    "p99 ms",
    "max ms",
    "answered",
    "explained/s",
    "503/s",
    "504/s",
    "Explainer's core",
    "others",
)


def flood(circumstances: Circumstances) -> Section:
    """Predictions beside a flooded Explainer."""
    plan = QUICK if circumstances.quick else FULL
    bundles.build(circumstances.home)
    questions = credit_questions(circumstances.home, CODEC, 1, QUESTIONS)
    pairs = []
    with running_server(
        config={"production": bundles.CREDIT, "candidates": []},
        models=circumstances.home,
        cores={circumstances.cores[0]},
        contained=circumstances.contained,
    ) as server:
        server.await_idle()
        server.suspend()
        rate = rate_at(LOAD, server, [each.request for each in questions], plan.seconds / 2)
        server.resume()
        schedule = Schedule(rate, plan.seconds)
        for number in range(plan.repetitions):
            pairs.append(_pair(server, questions, schedule, circumstances.cores))
            print(" ".join(_line(number + 1, "under the flood", pairs[-1].under)), file=sys.stderr)
    section = Section("Predictions while the Explainer is flooded", HEADER)
    section.how = (
        f"Edge and Explainer on one core{' in one CPU cgroup' if circumstances.contained else ''}, open loop "
        f"at {rate:,.0f} predictions/s, {LOAD:.0%} of the core, {plan.repetitions} pairs of "
        f"{plan.seconds:g} s; the flood is {CONNECTIONS} connections that each ask for `permutation` again "
        "as soon as they are answered, or may come again."
    )
    section.findings = findings(pairs)
    section.lines = [
        _line(number, name, outcome)
        for number, pair in enumerate(pairs, 1)
        for name, outcome in (("alone", pair.without), ("under the flood", pair.under))
    ]
    section.measured = [report.record(pair) for pair in pairs]
    return section


def findings(pairs: Sequence[Pair]) -> list[Finding]:
    """What was promised about the flood; ratios of the pairs that others left alone, where there are any."""
    quiet = [pair for pair in pairs if pair.disturbance <= DISTURBED_ABOVE] or pairs

    def ratio(value: Callable[[Outcome], float]) -> float:
        return median(value(pair.under) / value(pair.without) for pair in quiet)

    failed = sum(pair.without.failed + pair.under.failed for pair in pairs)
    broken = sum(sum(pair.under.broken.values()) for pair in pairs)
    return [
        Finding("p99 of predictions under the flood / without", ratio(_p99), "x", LIMIT, at_most=True),
        Finding("p50 of predictions under the flood / without", ratio(lambda each: each.p50), "x"),
        Finding("failed predictions", failed, "", 0, at_most=True),
        Finding("explanations meanwhile", median(pair.under.explained for pair in pairs), "/s", 0.1),
        Finding("requests of the flood that ended in another way", broken, "", 0, at_most=True),
    ]


CODEC = Native("good")


def _pair(server: Server, questions: Sequence[Question], schedule: Schedule, cores: tuple[int, int]) -> Pair:
    """Made again where others disturbed it; then the quieter one counts."""
    made: list[Pair] = []
    while len(made) < 2 and (not made or made[0].disturbance > DISTURBED_ABOVE):
        without = _run(server, questions, schedule, cores, flooded=False)
        made.append(Pair(without, _run(server, questions, schedule, cores, flooded=True)))
    return min(made, key=lambda pair: pair.disturbance)


def _run(
    server: Server,
    questions: Sequence[Question],
    schedule: Schedule,
    cores: tuple[int, int],
    *,
    flooded: bool,
) -> Outcome:
    for question in questions:
        check_answer(CODEC, ask(server.address, question.request), question.accepted)
    requests = [question.request for question in questions]
    with (
        Flood(server.address, explain_by("permutation"), CONNECTIONS) if flooded else nullcontext() as others
    ):
        tick = Tick(0.005, others) if others else None
        open_loop(server.address, requests, Schedule(schedule.rate, 1.0), tick=tick)  # its queue fills
        if others:
            others.forget()
        used, contention = _explainer_seconds(server), Contention(cores, server.cpu_seconds)
        run = open_loop(server.address, requests, schedule, tick=tick)
        foreign, used = contention.share(), _explainer_seconds(server) - used
    server.await_idle(10.0)  # what is left in its queue
    check_last(CODEC, run, questions)
    summary = run.summary()
    times = summary.milliseconds
    return Outcome(
        p50=times.get("p50", float("inf")),
        p99=times.get("p99", float("inf")),
        worst=times.get("max", float("inf")),
        answered=summary.answered,
        failed=summary.failed,
        foreign_share=foreign,
        explained=others.answered / run.seconds if others else 0.0,
        refused=others.refused / run.seconds if others else 0.0,
        late=others.late / run.seconds if others else 0.0,
        broken=dict(others.broken) if others else {},
        explainer_share=used / run.seconds,
    )


def _explainer_seconds(server: Server) -> float:
    """CPU of the Explainer so far."""
    times = [psutil.Process(pid).cpu_times() for pid in server.tree()["explainer"]]
    return sum(each.user + each.system for each in times)


def _p99(outcome: Outcome) -> float:
    return outcome.p99


def _line(number: int, name: str, outcome: Outcome) -> tuple[str, ...]:
    return (
        str(number),
        name,
        f"{outcome.p50:.3f}",
        f"{outcome.p99:.2f}",
        f"{outcome.worst:.1f}",
        f"{outcome.answered:,}",
        f"{outcome.explained:.1f}",
        f"{outcome.refused:.1f}",
        f"{outcome.late:.1f}",
        f"{outcome.explainer_share:.0%}",
        f"{outcome.foreign_share:.0%}",
    )
