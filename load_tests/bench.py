"""``python -m load_tests.bench``: the service beside a bare app, plain BentoML, MLServer and ONNX Runtime.

Every contestant has the same core, model, rows and connections; all but the measured one are suspended.
Repetitions alternate between the contestants and ratios are taken within a repetition, so that drift of the
machine cancels. Takes about 9 minutes, with ``--quick`` about 2.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from load_tests import bundles, contestants, report
from load_tests.contestants import Contestant, Measurement, Question
from load_tests.generator import closed_loop
from load_tests.machine import DISTURBED_ABOVE, choose_cores, describe
from load_tests.payloads import BentoArray, Codec, Native, V2Binary, V2Json, reference
from load_tests.questions import batches, credit_questions
from load_tests.report import Finding
from load_tests.server import ROOT, running_server
from load_tests.stats import paired_ratio

QUESTIONS = 16
RAW = "ONNX Runtime loop"
SERVICE, CANARY, BARE, BENTOML, MLSERVER = (
    "service",
    "service, 10% canary",
    "bare app",
    "plain BentoML",
    "MLServer",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often."""

    repetitions: int
    seconds: float
    warm_up: float


FULL, QUICK = Plan(5, 4.0, 1.0), Plan(3, 1.2, 0.4)


@dataclass(frozen=True, slots=True)
class Goal:
    """``ours`` answers at least ``target`` times as many requests per second as ``theirs``."""

    ours: str
    theirs: str
    target: float
    floor: float | None = None


@dataclass(frozen=True, slots=True)
class _Rate:
    """Requests per second of one run, and how far others disturbed it."""

    value: float
    foreign_share: float


@dataclass(slots=True)
class Scenario:
    """One kind of request put to several contestants."""

    name: str
    rows: int
    entrants: list[tuple[Contestant, list[Question]]]
    goals: list[Goal]
    raw: Path | None = None
    """A bundle whose ONNX Runtime loop takes part, in batches of ``rows``."""
    measured: dict[str, list[Measurement]] = field(default_factory=dict)
    raw_rates: list[float] = field(default_factory=list)

    def repeat(self, plan: Plan, cores: tuple[int, int]) -> None:
        """Measures every entrant; a run that others disturbed is made again and the quieter one kept."""
        for contestant, questions in self.entrants:
            found = contestants.measure(contestant, questions, plan.seconds, plan.warm_up, cores)
            if found.foreign_share > DISTURBED_ABOVE:
                again = contestants.measure(contestant, questions, plan.seconds, plan.warm_up, cores)
                found = min(found, again, key=lambda each: each.foreign_share)
            self.measured.setdefault(contestant.name, []).append(found)
            _say(f"  {self.name}: {contestant.name} {found}")
        if self.raw is not None:
            rate = contestants.raw_rows_per_second(self.raw, self.rows, plan.seconds, cores[0])
            self.raw_rates.append(rate / self.rows)
            _say(f"  {self.name}: {RAW} {rate:,.0f} rows/s")

    def findings(self) -> list[Finding]:
        found = []
        for goal in self.goals:
            pairs = list(zip(self._rates(goal.ours), self._rates(goal.theirs), strict=False))
            if not pairs:
                continue
            quiet = [pair for pair in pairs if max(rate.foreign_share for rate in pair) <= DISTURBED_ABOVE]
            ours, theirs = zip(*[(a.value, b.value) for a, b in quiet or pairs], strict=True)
            what = f"{self.name}: {goal.ours} / {goal.theirs}" + ("" if quiet else " (disturbed by others)")
            found.append(Finding(what, paired_ratio(ours, theirs), "x", goal.target, floor=goal.floor))
        failed = sum(each.summary.failed for runs in self.measured.values() for each in runs)
        return [*found, Finding(f"{self.name}: failed answers", failed, "", 0, at_most=True)]

    def figures(self) -> list[tuple[str, ...]]:
        """Rows of the table of medians."""
        rows = [self._figures(name, runs) for name, runs in self.measured.items()]
        if self.raw_rates:
            rate = median(self.raw_rates)
            rows.append((self.name, RAW, f"{rate:,.0f}", f"{rate * self.rows:,.0f}", "-", "-", "-", "-"))
        return rows

    def as_dict(self) -> dict[str, Any]:
        runs = {name: [each.as_dict() for each in found] for name, found in self.measured.items()}
        return {"name": self.name, "rows": self.rows, "runs": runs, "raw_requests_per_second": self.raw_rates}

    def _figures(self, name: str, runs: Sequence[Measurement]) -> tuple[str, ...]:
        def middle(value: Callable[[Measurement], float]) -> float:
            return median(map(value, runs))

        rate = middle(lambda run: run.summary.per_second)
        return (
            self.name,
            name,
            f"{rate:,.0f}",
            f"{rate * self.rows:,.0f}",
            f"{middle(lambda run: run.summary.milliseconds.get('p50', 0)):.2f}",
            f"{middle(lambda run: run.summary.milliseconds.get('p99', 0)):.2f}",
            f"{middle(lambda run: run.cpu_microseconds):.0f}",
            f"{middle(lambda run: run.foreign_share):.0%}",
        )

    def _rates(self, name: str) -> list[_Rate]:
        if name == RAW:
            return [_Rate(rate, 0.0) for rate in self.raw_rates]
        return [_Rate(run.summary.per_second, run.foreign_share) for run in self.measured.get(name, [])]


HEADER = ("scenario", "contestant", "req/s", "rows/s", "p50 ms", "p99 ms", "CPU µs/req", "others")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m load_tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about 2 minutes, and less certain")
    parser.add_argument("--only", default="", help="scenarios whose name contains this")
    parser.add_argument("--peers-python", type=Path, default=ROOT / ".venv-peers" / "bin" / "python")
    parser.add_argument("--home", type=Path, default=bundles.HOME, help="where the bundles are kept")
    parser.add_argument("--results", type=Path, default=report.RESULTS)
    options = parser.parse_args(arguments)
    plan = QUICK if options.quick else FULL
    server_core, own_core = choose_cores()
    os.sched_setaffinity(0, {own_core})
    options.home = options.home.resolve()
    bundles.build(options.home)
    with ExitStack() as stack:
        ceiling = _ceiling(server_core)
        every = _scenarios(stack, options.home, options.peers_python, server_core)
        scenarios = [scenario for scenario in every if options.only in scenario.name]
        for number in range(plan.repetitions):
            _say(f"repetition {number + 1} of {plan.repetitions}")
            for scenario in scenarios:
                scenario.repeat(plan, (server_core, own_core))
    return _conclude(options, plan, scenarios, ceiling)


def _scenarios(stack: ExitStack, home: Path, peers_python: Path, core: int) -> list[Scenario]:
    """Starts every contestant, each suspended, and puts the questions together."""

    def enter(name: str, codec: Codec, context: Any) -> Contestant:
        _say(f"starting {name}")
        server = stack.enter_context(context)
        server.await_idle()
        server.suspend()
        return Contestant(name, server, codec)

    def service(name: str, codec: Codec, production: str, candidate: str, share: int) -> Contestant:
        config = {
            "production": production,
            "candidates": [candidate],
            "rollout": {"candidate": candidate, "share_basis_points": share},
        }
        return enter(name, codec, running_server(config=config, models=home, cores={core}))

    data = bundles.load_data()
    bundle = bundles.locate(home, bundles.PRODUCTION)
    native = Native(data.classes[1])
    ours = service(SERVICE, native, bundles.PRODUCTION, bundles.SIBLING, 0)
    canary = service(CANARY, native, bundles.PRODUCTION, bundles.SIBLING, 1000)
    peers = [
        enter(BARE, native, contestants.bare(bundle, core)),
        enter(BENTOML, BentoArray(), contestants.bentoml_default(bundle, core)),
    ]
    if peers_python.exists():
        peers.append(enter(MLSERVER, V2Json("bench"), contestants.mlserver(bundle, core, peers_python)))
    else:
        _say(f"{MLSERVER} is left out: there is no {peers_python} (see load_tests/README.md)")
    credit = Native("good")
    our_credit = service(SERVICE, credit, bundles.CREDIT, bundles.CREDIT_CANDIDATE, 0)
    bare_credit = enter(BARE, credit, contestants.bare(bundles.locate(home, bundles.CREDIT), core))

    single, hundred = _Batches(home, 1), _Batches(home, 100)
    against_bare = Goal(SERVICE, BARE, 1.0, 0.8)
    binary = Contestant(SERVICE, ours.server, _binary_codec(bundle))
    return [
        Scenario(
            "1 row, JSON",
            1,
            [(each, single.boosting(each)) for each in (ours, *peers, canary)],
            [
                against_bare,
                Goal(CANARY, BARE, 1.0, 0.8),
                Goal(SERVICE, BENTOML, 8),
                Goal(SERVICE, MLSERVER, 3),
            ],
        ),
        Scenario(
            "100 rows, JSON", 100, [(each, hundred.boosting(each)) for each in (ours, *peers)], [against_bare]
        ),
        Scenario(
            "1,000 rows, v2 binary",
            1000,
            [(binary, _Batches(home, 1000).boosting(binary))],
            [Goal(SERVICE, RAW, 0.8)],
            raw=bundle,
        ),
        Scenario(
            "credit, 1 row, JSON",
            1,
            [(each, single.credit(each)) for each in (our_credit, bare_credit)],
            [against_bare],
        ),
        Scenario(
            "credit, 100 rows, JSON",
            100,
            [(each, hundred.credit(each)) for each in (our_credit, bare_credit)],
            [against_bare],
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Batches:
    """Sixteen different batches of held-out rows, as questions to a contestant."""

    home: Path
    rows: int

    def boosting(self, contestant: Contestant) -> list[Question]:
        held_out = bundles.load_data().held_out
        models = [bundles.locate(self.home, tag) for tag in (bundles.PRODUCTION, bundles.SIBLING)]
        if contestant.name != CANARY:
            models = models[:1]
        return [
            Question(
                contestant.codec.request(batch.tolist()),
                tuple(reference(model, batch.astype(np.float32)) for model in models),
            )
            for batch in batches(held_out, self.rows, QUESTIONS)
        ]

    def credit(self, contestant: Contestant) -> list[Question]:
        return credit_questions(self.home, contestant.codec, self.rows, QUESTIONS)


def _binary_codec(bundle: Path) -> V2Binary:
    from models.manifest import read_manifest

    manifest = read_manifest(bundle / "manifest.yaml")
    return V2Binary("bench", str(manifest.input.name), manifest.output.name)


def _ceiling(core: int) -> float:
    """Requests per second that the generator drives against a server that does nothing."""
    body = Native("good").request([[12.345] * bundles.FEATURES])
    with contestants.constant(core) as server:
        closed_loop(server.address, [body], connections=8, seconds=0.5)
        return closed_loop(server.address, [body], connections=8, seconds=1.5).summary().per_second


def _conclude(options: argparse.Namespace, plan: Plan, scenarios: Sequence[Scenario], ceiling: float) -> int:
    findings = [finding for scenario in scenarios for finding in scenario.findings()]
    figures = report.table(HEADER, [row for scenario in scenarios for row in scenario.figures()])
    ratios = report.findings_table(findings)
    machine = describe()
    peers = _peer_versions(options.peers_python)
    document: Mapping[str, Any] = {
        "command": "python -m load_tests.bench" + (" --quick" if options.quick else ""),
        "machine": machine.as_dict() | {"peers": peers},
        "plan": {
            "repetitions": plan.repetitions,
            "seconds": plan.seconds,
            "connections": contestants.CONNECTIONS,
        },
        "generator_ceiling_per_second": round(ceiling),
        "findings": report.as_records(findings),
        "scenarios": [scenario.as_dict() for scenario in scenarios],
    }
    header = (
        f"# Side-by-side benchmark\n\n`{document['command']}` on {machine}.\n\nServers on one core, the "
        f"generator (ceiling {ceiling:,.0f} req/s) on another; {contestants.CONNECTIONS} connections, "
        f"{plan.repetitions} alternating repetitions of {plan.seconds:g} s, medians; ratios are medians of "
        "the ratios within those repetitions that others did not disturb.\n"
    )
    packages = ", ".join(f"{name} {number}" for name, number in {**machine.packages, **peers}.items())
    path = report.write("bench", document, f"{header}\n{ratios}\n\n{figures}\n\n{packages}", options.results)
    print(f"\n{ratios}\n\n{figures}\n\nwritten: {path.name} and its .json twin in {path.parent.name}/")
    return 0 if all(finding.verdict != "not met" for finding in findings) else 1


def _peer_versions(python: Path) -> dict[str, str]:
    """Of MLServer's environment."""
    if not python.exists():
        return {}
    return contestants.versions_in(python, ("mlserver", "onnxruntime"))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
