"""``python -m load_tests.footprint``: what does one replica take, and what does it give? For capacity plans.

Requests/s that one core answers, with the shadow on it and without; seconds to start, memory of each process
and series of ``/metrics`` for each bundle of the demo; what a million rows add to the store; connections that
a replica holds to PostgreSQL, where that is installed. Takes about 5 minutes, with ``--quick`` about 2.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from sqlalchemy import create_engine, text

from load_tests import bundles, metrics, postgres, report
from load_tests.contestants import CONNECTIONS
from load_tests.generator import closed_loop
from load_tests.machine import Contention, choose_cores, describe
from load_tests.payloads import Native
from load_tests.questions import credit_questions
from load_tests.report import Finding
from load_tests.server import Server, get, running_server
from load_tests.soak import Sample, Sampler
from load_tests.wire import Request

PAIRS = (
    (bundles.CREDIT, bundles.CREDIT_CANDIDATE),
    ("digits:mlp-1", "digits:mlp-2"),
    ("diabetes:gbr-1", None),
    ("cancer:xgb-1", "cancer:forest-1"),
)
"""Production and candidate of each of the demo's models."""
QUESTIONS = 64
SIZES = (1, 100)
"""Rows of a request."""
SETTLE_SECONDS = 60.0
CODEC = Native("good")


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
    """A replica that has started and answers nobody."""

    production: str
    candidate: str | None
    ready_after: float
    """Seconds, all cores allowed."""
    processes: dict[str, Sample]
    series: int
    """Of one scrape."""
    page: int
    """Bytes of one scrape."""

    @property
    def pss(self) -> float:
        """MiB, of all its processes."""
        return sum(each.pss for each in self.processes.values())


@dataclass(frozen=True, slots=True)
class Growth:
    """What rows leave in the store."""

    rows: int
    """Compared and recorded, in requests of one row."""
    bytes: int

    @property
    def per_million(self) -> float:
        """MiB for a million rows."""
        return self.bytes / max(self.rows, 1) * 1e6 / (1 << 20)


def series(page: str) -> int:
    """Samples on a page of Prometheus text: what one scrape of a replica stores."""
    return sum(1 for line in page.splitlines() if line and not line.startswith("#"))


def stored_bytes(folder: Path) -> int:
    """Of the store's files under ``folder``, logs that are not yet merged included."""
    return sum(each.stat().st_size for each in folder.rglob("store.db*"))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m load_tests.footprint", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter runs, one model at rest")
    parser.add_argument("--home", type=Path, default=bundles.HOME, help="where the bundles are kept")
    parser.add_argument("--results", type=Path, default=report.RESULTS)
    options = parser.parse_args(arguments)
    options.home = options.home.resolve()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers outlive nobody
    bundles.build_demo(options.home)
    free = os.sched_getaffinity(0)
    resting = []
    for production, candidate in PAIRS[: 1 if options.quick else None]:
        resting.append(_rest(options.home, production, candidate))
        print(f"{production}: {resting[-1].pss:.0f} MiB, {resting[-1].series} series", file=sys.stderr)
    cores = choose_cores()
    os.sched_setaffinity(0, {cores[1]})
    paces, growth = _load(options.home, cores, 1.0 if options.quick else 4.0, 2 if options.quick else 5)
    os.sched_setaffinity(0, free)
    return _conclude(options, resting, paces, growth, _connections(options.home))


def _config(production: str, candidate: str | None) -> dict[str, object]:
    return {"production": production, "candidates": [candidate] if candidate else []}


def _rest(home: Path, production: str, candidate: str | None) -> Resting:
    with running_server(config=_config(production, candidate), models=home) as server:
        server.await_idle()
        sampler = Sampler(server)
        sampler()
        _, page = get(server.address, "/metrics")
        processes = {role: found[0] for role, found in sampler.samples.items()}
        return Resting(production, candidate, server.ready_after, processes, series(page.decode()), len(page))


def _load(home: Path, cores: tuple[int, int], seconds: float, repetitions: int) -> tuple[list[Pace], Growth]:
    """Every pace, and what the requests of one row to the server with a shadow left in its store."""
    plans = [(_requests(home, rows), rows) for rows in SIZES]
    alone = {**_config(bundles.CREDIT, None), "feedback": {"enabled": False}, "drift": {"enabled": False}}
    with running_server(config=alone, models=home, cores={cores[0]}) as server:
        server.await_idle()
        paces = [_pace(server, *plan, False, cores, seconds, repetitions) for plan in plans]
    both = _config(bundles.CREDIT, bundles.CREDIT_CANDIDATE)
    with running_server(config=both, models=home, cores={cores[0]}) as server:
        server.await_idle()
        before, rows_before = stored_bytes(server.home), _compared(server)
        single, *others = plans
        paces.append(_pace(server, *single, True, cores, seconds, repetitions))
        compared = _compared(server) - rows_before
        growth = Growth(compared, stored_bytes(server.home) - before)
        paces += [_pace(server, *plan, True, cores, seconds, repetitions) for plan in others]
    return paces, growth


def _requests(home: Path, rows: int) -> list[Request]:
    return [question.request for question in credit_questions(home, CODEC, rows, QUESTIONS)]


def _compared(server: Server) -> int:
    """Rows compared so far, once nothing moves any more."""
    outcomes = metrics.settled(server.address, SETTLE_SECONDS).outcomes
    return sum(found.get(metrics.COMPARED, 0) for found in outcomes.values())


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


def _connections(home: Path) -> int | None:
    """Sessions that a replica holds in PostgreSQL after answers and a scrape; None where it is missing."""
    programs = postgres.installed()
    if programs is None:
        return None
    with tempfile.TemporaryDirectory(prefix="load-tests-") as folder:
        place = Path(folder) / "postgres"
        place.mkdir()
        with postgres.server(programs, place) as url:
            env = {"UNDERSTUDY_STORE_URL": url}
            config = _config(bundles.CREDIT, bundles.CREDIT_CANDIDATE)
            with running_server(config=config, models=home, env=env) as server:
                closed_loop(server.address, _requests(home, 1), connections=CONNECTIONS, seconds=1.0)
                get(server.address, "/shadow/report")
                _compared(server)
                engine = create_engine(url)
                with engine.connect() as connection:
                    count = connection.execute(text(_SESSIONS)).scalar_one()
                engine.dispose()
                return int(count)


_SESSIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
)


def _conclude(
    options: argparse.Namespace,
    resting: Sequence[Resting],
    paces: Sequence[Pace],
    growth: Growth,
    connections: int | None,
) -> int:
    findings = [
        Finding("failed answers", sum(pace.failed for pace in paces), "", 0, at_most=True),
        Finding("rows whose store was measured", growth.rows, "", 1),
        Finding("store (SQLite), per million compared and recorded rows", growth.per_million, "MiB"),
        *([] if connections is None else [Finding("connections to PostgreSQL", connections, "per replica")]),
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
    memory = report.table(
        ("production", "candidate", "ready s", "PSS MiB", "of which", "series", "page KiB"),
        [
            (
                each.production,
                each.candidate or "-",
                f"{each.ready_after:.1f}",
                f"{each.pss:.0f}",
                ", ".join(f"{role} {sample.pss:.0f}" for role, sample in each.processes.items()),
                each.series,
                f"{each.page / 1024:.0f}",
            )
            for each in resting
        ],
    )
    machine, verdicts = describe(), report.findings_table(findings)
    document = {
        "command": " ".join(["python -m load_tests.footprint", *sys.argv[1:]]),
        "machine": machine.as_dict(),
        "findings": report.as_records(findings),
        "paces": [report.record(pace) for pace in paces],
        "resting": [report.record(each) for each in resting],
        "growth": report.record(growth),
    }
    written = (
        f"# What a replica takes and gives\n\n`{document['command']}` on {machine}.\n\n{bundles.CREDIT}, "
        f"{CONNECTIONS} connections, one core for the whole replica; memory at rest, all cores; a page that "
        f"nobody has sent anything to.\n\n{verdicts}\n\n{speed}\n\n{memory}\n"
    )
    path = report.write("footprint", document, written, options.results)
    print(f"\n{verdicts}\n\n{speed}\n\n{memory}\n\nwritten: {path.name} and its .json twin")
    return 0 if all(finding.verdict != "not met" for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
