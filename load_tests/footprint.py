"""``python -m load_tests.footprint``: what does one replica take, and what does it give? For capacity plans.

Requests/s that one core answers, with the shadow on it and without; seconds to start and memory of each
process for each model of the demo, and for more candidates and workers; series of ``/metrics``; what a
million answers and labels add to the store, on SQLite and, where it is installed, PostgreSQL, and connections
to that.
Takes about 6 minutes, with ``--quick`` about 3.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from load_tests import bundles, metrics, postgres, report
from load_tests.contestants import CONNECTIONS
from load_tests.generator import closed_loop
from load_tests.growth import SETTLE_SECONDS, Growth, Store, growth
from load_tests.machine import Contention, choose_cores, describe
from load_tests.payloads import Native
from load_tests.questions import credit_questions
from load_tests.report import Finding
from load_tests.server import Server, get, running_server
from load_tests.soak import Sample, Sampler
from load_tests.wire import Request

QUESTIONS = 64
SIZES = (1, 100)
"""Rows of a request."""
RECORD_RATE = 1_000.0
"""Requests/s at which a store is filled: a tenth of what a core answers, so nothing is dropped."""
CODEC = Native("good")


@dataclass(frozen=True, slots=True)
class Layout:
    """What a replica is made of."""

    production: str
    candidates: tuple[str, ...] = ()
    workers: int = 1

    def config(self) -> dict[str, Any]:
        """A settings file's content."""
        return {
            "production": self.production,
            "candidates": list(self.candidates),
            "server": {"workers": self.workers},
        }


THIRD = "credit:linear-1"
USUAL = Layout(bundles.CREDIT, (bundles.CREDIT_CANDIDATE,))
LAYOUTS = (
    Layout(bundles.CREDIT),
    USUAL,
    Layout(bundles.CREDIT, (bundles.CREDIT_CANDIDATE, THIRD)),
    Layout(bundles.CREDIT, (bundles.CREDIT_CANDIDATE,), workers=2),
    Layout("digits:mlp-1", ("digits:mlp-2",)),
    Layout("diabetes:gbr-1"),
    Layout("cancer:xgb-1", ("cancer:forest-1",)),
)
QUICK = 4
"""How many of them a quick run starts."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What one core answered, 8 connections each asking as soon as it is answered."""

    rows: int
    """Of a request."""
    shadow: bool
    """Whether a shadow with a candidate ran on the same core, with answers recorded."""
    requests: float
    """A second; median of the runs."""
    p99: float
    """Milliseconds."""
    foreign_share: float
    failed: int


@dataclass(frozen=True, slots=True)
class Resting:
    """A replica that has started and prepared its explanations."""

    layout: Layout
    ready_after: float
    """Seconds, all cores allowed."""
    processes: dict[str, Sample]
    series: int
    """Of one scrape, before anybody has asked anything."""
    series_used: int | None
    """The same once answers of every label were given and compared; None where none was asked for."""
    page: int
    """Bytes of the last scrape."""

    @property
    def pss(self) -> float:
        """MiB, of all its processes."""
        return sum(each.pss for each in self.processes.values())

    def row(self) -> tuple[str, ...]:
        """Of the table."""
        layout = self.layout
        return (
            layout.production,
            ", ".join(layout.candidates) or "-",
            str(layout.workers),
            f"{self.ready_after:.1f}",
            f"{self.pss:.0f}",
            ", ".join(f"{role} {each.pss:.0f} ({each.rss:.0f})" for role, each in self.processes.items()),
            str(self.series),
            "-" if self.series_used is None else str(self.series_used),
            f"{self.page / 1024:.0f}",
        )


RESTING = ("production", "candidates", "workers", "ready s", "PSS MiB", "of which PSS (RSS)", "series",
           "under load", "page KiB")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sessions:
    """Connections that a replica holds to PostgreSQL after answers, labels and reports."""

    workers: int
    held: int


def series(page: str) -> int:
    """Samples on a page of Prometheus text: what one scrape of a replica stores."""
    return sum(1 for line in page.splitlines() if line and not line.startswith("#"))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m load_tests.footprint", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter runs, only the credit model at rest")
    parser.add_argument("--home", type=Path, default=bundles.HOME, help="where the bundles are kept")
    parser.add_argument("--results", type=Path, default=report.RESULTS)
    options = parser.parse_args(arguments)
    options.home = options.home.resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers outlive nobody
    bundles.build_demo(options.home)
    seconds, repetitions = (1.0, 2) if options.quick else (4.0, 5)
    resting = []
    for layout in LAYOUTS[: QUICK if options.quick else None]:
        resting.append(_rest(options.home, layout))
        print(" | ".join(resting[-1].row()), file=sys.stderr)
    grown, sessions = _stores(options.home, 5.0 if options.quick else 30.0)
    print(grown, sessions, file=sys.stderr)
    cores = choose_cores()
    os.sched_setaffinity(0, {cores[1]})
    paces = _paces(options.home, cores, seconds, repetitions)
    return _conclude(options, resting, paces, grown, sessions)


def _rest(home: Path, layout: Layout) -> Resting:
    with running_server(config=layout.config(), models=home) as server:
        server.await_idle()
        sampler = Sampler(server)
        sampler()
        processes = {role: found[0] for role, found in sampler.samples.items()}
        page = _page(server)
        before, used = series(page), None
        if layout.production == bundles.CREDIT:
            closed_loop(server.address, _requests(home, 1), connections=CONNECTIONS, seconds=1.0)
            metrics.settled(server.address, SETTLE_SECONDS)
            page = _page(server)
            used = series(page)
        return Resting(layout, server.ready_after, processes, before, used, len(page.encode()))


def _page(server: Server) -> str:
    return get(server.address, "/metrics", timeout=30)[1].decode()


def _stores(home: Path, seconds: float) -> tuple[list[Growth], list[Sessions]]:
    """What each kind of store takes, and the connections to PostgreSQL where that is installed."""
    from models.demo.credit import held_out

    instances = [instance for instance, _ in held_out()]
    with running_server(config=USUAL.config(), models=home) as server:
        url = f"sqlite:///{server.home / 'understudy' / 'store.db'}"
        grown = [growth(server, url, instances, RECORD_RATE, seconds)]
    sessions = []
    programs = postgres.installed()
    for workers in (1, 2) if programs else ():
        assert programs is not None
        with _replica_on_postgres(programs, home, workers) as (server, url):
            found = growth(server, url, instances, RECORD_RATE, seconds if workers == 1 else 1.0)
            if workers == 1:
                grown.append(found)
            sessions.append(Sessions(workers, _sessions(server, url)))
    return grown, sessions


@contextmanager
def _replica_on_postgres(programs: Path, home: Path, workers: int) -> Iterator[tuple[Server, str]]:
    with tempfile.TemporaryDirectory(prefix="load-tests-") as folder:
        place = Path(folder) / "postgres"
        place.mkdir()
        layout = Layout(USUAL.production, USUAL.candidates, workers)
        with (
            postgres.server(programs, place) as url,
            running_server(config=layout.config(), models=home, env={"UNDERSTUDY_STORE_URL": url}) as server,
        ):
            yield server, url


def _sessions(server: Server, url: str) -> int:
    """After each worker has had reason enough to connect."""
    for path in ("/shadow/report", "/drift", "/console") * 8:
        get(server.address, path)
    store = Store(url)
    try:
        return store.sessions()
    finally:
        store.close()


def _paces(home: Path, cores: tuple[int, int], seconds: float, repetitions: int) -> list[Pace]:
    alone = {**Layout(bundles.CREDIT).config(), "feedback": {"enabled": False}, "drift": {"enabled": False}}
    found = []
    for shadow, config in ((False, alone), (True, USUAL.config())):
        with running_server(config=config, models=home, cores={cores[0]}) as server:
            server.await_idle()
            found += [
                _pace(server, _requests(home, rows), rows, shadow, cores, seconds, repetitions)
                for rows in SIZES
            ]
    return found


def _requests(home: Path, rows: int) -> list[Request]:
    return [question.request for question in credit_questions(home, CODEC, rows, QUESTIONS)]


def _pace(
    server: Server,
    requests: Sequence[Request],
    rows: int,
    shadow: bool,
    cores: tuple[int, int],
    seconds: float,
    repetitions: int,
) -> Pace:
    closed_loop(server.address, requests, connections=CONNECTIONS, seconds=min(1.0, seconds))
    made, foreign = [], []
    for _ in range(repetitions):
        contention = Contention(cores, server.cpu_seconds)
        made.append(closed_loop(server.address, requests, connections=CONNECTIONS, seconds=seconds).summary())
        foreign.append(contention.share())
    return Pace(
        rows,
        shadow,
        median(run.per_second for run in made),
        median(run.milliseconds["p99"] for run in made),
        median(foreign),
        sum(run.failed for run in made),
    )


def _conclude(
    options: argparse.Namespace,
    resting: Sequence[Resting],
    paces: Sequence[Pace],
    grown: Sequence[Growth],
    sessions: Sequence[Sessions],
) -> int:
    findings = [Finding("failed answers", sum(pace.failed for pace in paces), "", 0, at_most=True)]
    for each in grown:
        findings += [
            Finding(f"{each.store}: a million recorded and compared rows", each.per_million_records, "MiB"),
            Finding(f"{each.store}: a million labels", each.per_million_labels, "MiB"),
        ]
    findings += [
        Finding(f"connections to PostgreSQL, {each.workers} workers", each.held, "per replica")
        for each in sessions
    ]
    speed = report.table(
        ("rows a request", "shadow", "requests/s", "rows/s", "p99 ms", "others"),
        [
            (
                pace.rows,
                "yes" if pace.shadow else "no",
                f"{pace.requests:,.0f}",
                f"{pace.requests * pace.rows:,.0f}",
                f"{pace.p99:.2f}",
                f"{pace.foreign_share:.0%}",
            )
            for pace in paces
        ],
    )
    memory = report.table(RESTING, [each.row() for each in resting])
    machine, verdicts = describe(), report.findings_table(findings)
    document = {
        "command": " ".join(["python -m load_tests.footprint", *sys.argv[1:]]),
        "machine": machine.as_dict(),
        "findings": report.as_records(findings),
        "paces": [report.record(pace) for pace in paces],
        "resting": [report.record(each) for each in resting],
        "grown": [report.record(each) for each in grown],
        "sessions": [report.record(each) for each in sessions],
    }
    written = (
        f"# What a replica takes and gives\n\n`{document['command']}` on {machine}.\n\nThe store: requests "
        f"of one row, tables and indexes without logs of what is not merged yet.\n\n{verdicts}\n\n"
        f"Speed: {bundles.CREDIT}, {CONNECTIONS} connections, one core for the whole replica.\n\n{speed}\n\n"
        f"Memory at rest and start-up: all cores.\n\n{memory}\n"
    )
    path = report.write("footprint", document, written, options.results)
    print(f"\n{verdicts}\n\n{speed}\n\n{memory}\n\nwritten: {path.name} and its .json twin")
    return 0 if all(finding.verdict != "not met" for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
