"""How many rows one core shadows with everything on, beside what the candidate alone would answer there.

Each figure is from a shadow process of its own on one core, with the demo's models: frames as an edge sends
them are read, answered by the candidate, compared, counted by bin for ``/drift``, added up in every slice and
bin, explained (1 % and the cases) and written to SQLite. The clock stops when the last row is on the disk.
Takes about two and a half minutes, with ``--quick`` half a minute.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from load_tests import bundles
from load_tests.report import Finding, record
from load_tests.sections import Circumstances, Section
from load_tests.server import ROOT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from service.paths.distributions import Arrivals
    from service.settings import Environment, Settings

ROWS, QUICK_ROWS = 300_000, 60_000
REPETITIONS, QUICK_REPETITIONS = 3, 1
FRAME = 512
"""Rows that arrive together, about what an edge gathers in 20 ms."""
CPU = ("CPUExecutionProvider",)
AHEAD = 8
"""Frames that wait for the candidate at most; in earnest the edge sheds what is more."""
HEADER = (
    "stage",
    "rows per request",
    "rows/s",
    "of raw inference",
    "of comparing alone",
    "us of CPU per row",
)
LEAST = {1: 0.05, 100: 0.15}
"""Share of the raw inference, by rows per request, that everything together may not fall below."""


class Stage(NamedTuple):
    """How much the shadow does."""

    name: str
    drift: bool = False
    evidence: bool = False
    records: bool = False


ALONE = Stage("comparing alone")
DRIFT = Stage("with rows by bin", drift=True)
EVIDENCE = Stage("with evidence", evidence=True)
EVERYTHING = Stage("with everything", drift=True, evidence=True, records=True)
STAGES = (ALONE, DRIFT, EVIDENCE, EVERYTHING)


@dataclass(frozen=True, slots=True)
class Run:
    """One shadow's life."""

    stage: str
    per_request: int
    rows: int
    raw: float
    """Rows per second that the candidate answers, asked for nothing but that."""
    seconds: float
    """Until the last row was written."""
    cpu: float
    """CPU seconds of the process in that time."""
    compared: int
    stored: int
    """Rows that the store's sums are over."""
    counted: int
    """Rows of production that are in the store by bin."""
    lost: int
    """Rows whose paired answers, and cases, found no room."""

    @property
    def rate(self) -> float:
        """Rows per second."""
        return self.rows / self.seconds


def throughput(circumstances: Circumstances) -> Section:
    """The demo's candidate in the shadow, from bare comparisons to everything that is kept."""
    bundles.build(circumstances.home)
    repetitions = QUICK_REPETITIONS if circumstances.quick else REPETITIONS
    rows = QUICK_ROWS if circumstances.quick else ROWS
    runs = [
        alone_in_a_process(circumstances.home, stage, per_request, rows)
        for _ in range(repetitions)
        for per_request in LEAST
        for stage in STAGES
    ]
    section = Section("Rows per second through the shadow on one core", HEADER)
    section.how = (
        f"{bundles.CREDIT_CANDIDATE} beside {bundles.CREDIT}, {rows:,} rows in frames of {FRAME}, the median"
        f" of {repetitions}. Sums, cases and both models' answers to every request are in SQLite at the end."
    )
    section.findings = list(findings(runs))
    section.lines = list(lines(runs))
    section.measured = [record(run) for run in runs]
    return section


def findings(runs: Sequence[Run]) -> Iterator[Finding]:
    """What was promised."""
    for per_request, least in LEAST.items():
        found = [run for run in runs if (run.stage, run.per_request) == (EVIDENCE.name, per_request)]
        share = median(run.rate / run.raw for run in found)
        yield Finding(f"evidence, {_asked(per_request)}: rows/s of raw inference", share, "x", least)
    missing = sum(abs(run.rows - run.compared) for run in runs)
    for stage in STAGES:
        mine = [run for run in runs if run.stage == stage.name]
        missing += sum(abs(run.rows - run.stored) for run in mine if stage.evidence)
        missing += sum(abs(run.rows - run.counted) for run in mine if stage.drift)
    yield Finding("rows not compared, or not in the store", missing, "", 0, at_most=True)
    yield Finding("answers and cases without room", sum(run.lost for run in runs), "", 0, at_most=True)


def lines(runs: Sequence[Run]) -> Iterator[tuple[str, ...]]:
    """One for each stage and size of request."""
    for per_request in LEAST:
        mine = [run for run in runs if run.per_request == per_request]
        bare = median(run.rate for run in mine if run.stage == ALONE.name)
        for stage in STAGES:
            found = [run for run in mine if run.stage == stage.name]
            rate, raw = (median(getattr(run, name) for run in found) for name in ("rate", "raw"))
            cpu = median(run.cpu / run.rows for run in found) * 1e6
            yield (
                stage.name,
                str(per_request),
                f"{rate:,.0f}",
                f"{rate / raw:.2f}",
                f"{rate / bare:.2f}",
                f"{cpu:.1f}",
            )


def alone_in_a_process(home: Path, stage: Stage, per_request: int, rows: int) -> Run:
    """One run in a process of its own; raises ``subprocess.CalledProcessError`` where it fails."""
    env = {
        **os.environ,
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "true",
        "OMP_NUM_THREADS": "1",
    }
    asked = map(str, (STAGES.index(stage), per_request, rows))
    command = [sys.executable, "-m", "load_tests.shadow_throughput", *asked]
    found = subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, timeout=600)
    return Run(**json.loads(found.stdout))


def shadowed(stage: Stage, per_request: int, rows: int, folder: Path) -> Run:
    """One run in this process: the shadow as it is served, fed by hand."""
    from service.domain.evidence.books import AGREEMENT, Page
    from service.settings import Environment
    from service.wiring.shadow import ShadowBuilder
    from service.wiring.shared import open_ledger

    settings, environment = _settings(stage), Environment(home=folder, providers=CPU)
    process = ShadowBuilder(settings, environment).build()
    if not stage.records:
        process.receiver.recorder = None
    (shadow,) = process.receiver.running()
    lost: list[int] = []
    if process.keeper is not None:
        process.keeper.lost = lambda _tag, _what, count: lost.append(count)
    given, scores, raw = _material()
    sent = _frames(given, scores, per_request, rows)
    importlib.import_module("service.adapters.store.store")  # a third of a second, once in a shadow's life
    if process.prepare is not None:  # explanations come from the first row on
        process.prepare()
        process.prepare = None
    process.start()
    began, busy = time.perf_counter(), time.process_time()
    for place, frame in enumerate(sent):
        process.receiver.receive(*process.read(memoryview(frame), time.monotonic()))
        while place % AHEAD == AHEAD - 1 and shadow.waiting():
            time.sleep(0.001)
    while shadow.waiting():
        time.sleep(0.001)
    process.stop(patience=300.0)
    seconds, cpu = time.perf_counter() - began, time.process_time() - busy
    stored = 0
    if process.keeper is not None:
        (dossier,) = process.keeper.dossiers
        books, _ = process.keeper.store().sums(dossier.pairing.key)
        stored = int(books[Page(AGREEMENT, "all")][0])
    counted = 0 if process.receiver.arrivals is None else _counted(process.receiver.arrivals, environment)
    ledger = open_ledger(settings, environment)
    assert ledger is not None, "the shadow has counted in it"
    compared = ledger.totals(0)["compared"]
    return Run(
        stage.name, per_request, len(sent) * FRAME, raw, seconds, cpu, compared, stored, counted, sum(lost)
    )


def _counted(arrivals: Arrivals, environment: Environment) -> int:
    """Rows of production in the store by bin: any one input has each of them in one bin."""
    from service.adapters import bundles as opened
    from service.wiring.store import LazyStore

    assert arrivals.distributions is not None, "production is fit"
    slots, _ = LazyStore(environment, patience=10.0)().rows(arrivals.distributions.model)
    binning = opened.binning_of(opened.load(bundles.CREDIT, providers=CPU, threads=1).bundle)
    start = int(binning.starts[-2])
    return int(sum(counts[start : binning.size].sum() for counts in slots.values()))


def _settings(stage: Stage) -> Settings:
    from service.sections import DriftSettings, EvidenceSettings, FeedbackSettings, ShadowSettings
    from service.settings import Settings

    shadow = ShadowSettings(
        idle_priority=False,
        deadline_ms=60_000,  # rows are sent as fast as they are worked off, and none is to be left out
        explain_rate=0.01 if stage.evidence else 0.0,
    )
    return Settings(
        production=bundles.CREDIT,
        candidates=(bundles.CREDIT_CANDIDATE,),
        shadow=shadow,
        feedback=FeedbackSettings(queue_rows=10 * ROWS, queue_bytes=4 << 30),
        evidence=EvidenceSettings(enabled=stage.evidence),
        drift=DriftSettings(enabled=stage.drift),
    )


def _material() -> tuple[NDArray[np.floating[Any]], NDArray[np.float32], float]:
    """Rows, production's answers to them, and how many of them the candidate answers in a second."""
    import numpy as np

    from service.adapters import bundles as opened

    production, candidate = (
        opened.load(tag, providers=CPU, threads=1) for tag in (bundles.CREDIT, bundles.CREDIT_CANDIDATE)
    )
    schema = production.bundle.spec.schema
    sample = opened.sample_rows(production.bundle, 4 * FRAME)
    rows = np.resize(sample, (4 * FRAME, schema.width)).astype(schema.dtype)
    batch = rows[:FRAME]
    took = []
    for _ in range(200):
        start = time.perf_counter()
        candidate.model.predict(batch)
        took.append(time.perf_counter() - start)
    return rows, production.model.predict(rows), FRAME / median(took)


def _frames(
    rows: NDArray[np.floating[Any]], scores: NDArray[np.float32], per_request: int, count: int
) -> list[bytes]:
    """Datagrams of ``FRAME`` rows each, every request with a name of its own."""
    from service.adapters import frames
    from service.domain.observation import Mirrored

    sent, number = [], 0
    for first in range(0, count, FRAME):
        packed = []
        for start in range(0, FRAME, per_request):
            place = (first + start) % (len(rows) - per_request)
            part = slice(place, place + min(per_request, FRAME - start))
            packed.append(frames.pack(Mirrored(f"request-{number:012d}", 0, rows[part], scores[part])))
            number += 1
        sent.append(frames.encode(0, first, packed))
    return sent


def _asked(per_request: int) -> str:
    return "one row a request" if per_request == 1 else f"{per_request} rows a request"


def main(arguments: Sequence[str]) -> int:
    stage, per_request, rows = map(int, arguments)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(record(shadowed(STAGES[stage], per_request, rows, Path(folder)))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
