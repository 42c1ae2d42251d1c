"""``python -m load_tests.replicas``: how many replicas can write their evidence to one PostgreSQL?

Every shadow adds to the same sums, each second and for each candidate, so replicas wait for each other there.
Writers add what a replica of the demo adds in a second, each as soon as its last batch is in. A replica has
one batch a second and candidate: batches/s are also the replicas that are kept up with for one candidate. The
writers run beside the server and take CPU from it; a server of its own does more.
Takes about a minute, and needs PostgreSQL's programs.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from uuid import uuid4

import numpy as np

from load_tests import bundles, postgres, report
from load_tests.generator import closed_loop
from load_tests.machine import describe
from load_tests.payloads import Native
from load_tests.questions import credit_questions
from load_tests.report import Finding
from load_tests.server import running_server
from load_tests.stats import percentile
from service.adapters.store.database import Database
from service.adapters.store.store import Store
from service.domain.evidence.books import AGREEMENT, BINS, OUTCOMES, Books
from service.domain.evidence.paired import Answers, Batch, Pairing

WRITERS = (1, 8, 32, 64)
ROWS = (0, 100)
"""Compared rows whose answers come with a batch: what a replica answers and records in a second."""
PATIENCE = 30.0
_together: Barrier
"""Of this process's writers and all others, once each has its connection."""
CLASSES = ("bad", "good")


@dataclass(frozen=True, slots=True)
class Pace:
    """What all writers together did."""

    writers: int
    rows: int
    """Of each batch, kept until their labels come."""
    batches: float
    """A second."""
    median: float
    """Milliseconds of a batch."""
    p99: float
    """The same."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m load_tests.replicas", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter runs")
    parser.add_argument("--home", type=Path, default=bundles.HOME, help="where the bundles are kept")
    parser.add_argument("--results", type=Path, default=report.RESULTS)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers outlive nobody
    programs = postgres.installed()
    if programs is None:
        print("PostgreSQL is not installed: apt-get install postgresql", file=sys.stderr)
        return 2
    bundles.build_demo(options.home)
    pairing, books = seen_in_a_second(options.home.resolve())
    paces = []
    for rows in ROWS:
        for writers in WRITERS:
            paces.append(pace(programs, pairing, books, writers, rows, 2.0 if options.quick else 6.0))
            print(paces[-1], file=sys.stderr)
    return _conclude(options.results, books, paces)


def seen_in_a_second(home: Path) -> tuple[Pairing, Books]:
    """The sums that the demo's shadow has once it has seen traffic: all their pages change each second."""
    config = {"production": bundles.CREDIT, "candidates": [bundles.CREDIT_CANDIDATE]}
    questions = [each.request for each in credit_questions(home, Native("good"), 1, 64)]
    with running_server(config=config, models=home) as server:
        server.await_idle()  # else the shadow is not there yet
        closed_loop(server.address, questions, connections=1, seconds=0.5)
        store = Store(Database(f"sqlite:///{server.home / 'understudy' / 'store.db'}", patience=PATIENCE))
        try:
            return _whole(store)
        finally:
            store.close()


def _whole(store: Store) -> tuple[Pairing, Books]:
    """What the store has of the only candidate, once rows were compared."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for key in store.keys(bundles.CREDIT):
            found = store.sums(key)[0]
            if {AGREEMENT, BINS, OUTCOMES} <= {page.book for page in found}:
                return Pairing(key, "binary", CLASSES, ()), found
        time.sleep(0.2)
    raise RuntimeError("the shadow's evidence did not come into the store")


def pace(programs: Path, pairing: Pairing, books: Books, writers: int, rows: int, seconds: float) -> Pace:
    """All writers at once on an empty store, as threads of a few processes.

    Raises:
        RuntimeError: the sums in the store are not those that were written.
    """
    processes, spawn = min(writers, 2 * (os.cpu_count() or 1)), get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="load-tests-") as folder:
        place = Path(folder) / "postgres"
        place.mkdir()
        together = spawn.Barrier(writers)
        with (
            postgres.server(programs, place) as url,
            ProcessPoolExecutor(processes, spawn, _meet, (together,)) as pool,
        ):
            opened = Store(Database(url, patience=PATIENCE))
            opened.keys("nobody")  # makes the tables, once
            shares = [len(part) for part in np.array_split(np.arange(writers), processes)]
            calls = [pool.submit(_write, url, pairing, books, share, rows, seconds) for share in shares]
            batches = [batch for call in calls for batch in call.result()]
            _check(opened, pairing, books, len(batches))
            opened.close()
    whole = max(end for _, end in batches) - min(begin for begin, _ in batches)
    taken = sorted(1e3 * (end - begin) for begin, end in batches)
    return Pace(writers, rows, len(batches) / whole, percentile(taken, 50), percentile(taken, 99))


def _meet(together: Barrier) -> None:
    global _together  # noqa: PLW0603 - a barrier reaches a process only as it starts
    _together = together


def _write(
    url: str, pairing: Pairing, books: Books, writers: int, rows: int, seconds: float
) -> list[tuple[float, float]]:
    """When each batch of one process's writers was begun, and when it was in."""
    with ThreadPoolExecutor(writers) as threads:
        calls = [threads.submit(_write_one, url, pairing, books, rows, seconds) for _ in range(writers)]
        return [batch for call in calls for batch in call.result()]


def _write_one(
    url: str, pairing: Pairing, books: Books, rows: int, seconds: float
) -> list[tuple[float, float]]:
    store, writer = Store(Database(url, patience=PATIENCE)), uuid4().hex
    scores, batches = np.full((1, len(CLASSES)), 0.5, np.float32), list[tuple[float, float]]()
    try:
        store.keys("nobody")  # connects
        _together.wait(PATIENCE)
        end = time.monotonic() + seconds
        while (begin := time.monotonic()) < end:
            now = time.time()
            answers = tuple(Answers(uuid4().hex, 0, 1, now, scores, scores) for _ in range(rows))
            hour = {int(now // 3_600): books}
            store.add(Batch(writer, len(batches) + 1, pairing, hour, (), answers))
            batches.append((begin, time.monotonic()))
        return batches
    finally:
        store.close()


def _check(store: Store, pairing: Pairing, books: Books, batches: int) -> None:
    sums = store.sums(pairing.key)[0]
    wrong = [page for page, one in books.items() if not np.allclose(sums[page], batches * one)]
    if wrong:
        raise RuntimeError(f"the sums are not those of {batches} batches: {wrong}")


def _conclude(results: Path, books: Books, paces: Sequence[Pace]) -> int:
    most = {rows: max(each.batches for each in paces if each.rows == rows) for rows in ROWS}
    findings = [
        Finding(f"replicas kept up with, {rows} rows/s each, one candidate", most[rows], "") for rows in ROWS
    ]
    findings.append(Finding("pages of sums in a batch", len(books), ""))
    machine, verdicts = describe(), report.findings_table(findings)
    lines = [
        (each.rows, each.writers, f"{each.batches:,.0f}", f"{each.median:.1f}", f"{each.p99:.1f}")
        for each in paces
    ]
    written = report.table(("rows a batch", "writers", "batches/s", "median ms", "p99 ms"), lines)
    command = " ".join(["python -m load_tests.replicas", *sys.argv[1:]])
    document = {
        "command": command,
        "machine": machine.as_dict(),
        "findings": report.as_records(findings),
        "paces": [report.record(each) for each in paces],
    }
    text = f"# Evidence of many replicas\n\n`{command}` on {machine}.\n\n{verdicts}\n\n{written}\n"
    path = report.write("replicas", document, text, results)
    print(f"\n{verdicts}\n\n{written}\n\nwritten: {path.name} and its .json twin")
    return 0


if __name__ == "__main__":
    sys.exit(main())
