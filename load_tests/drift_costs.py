"""What watching for drift costs: counting rows by bin, the closer look, the pages, the store.

Everything is measured in this process, which is pinned to one core. Takes some 10 seconds.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np

from load_tests import bundles
from load_tests.drift_pools import Demo, demo
from load_tests.drift_streams import DAY, Floats
from load_tests.report import Finding, record
from load_tests.sections import Circumstances, Section
from models.bundle import open_bundle
from service.adapters.distribution_page import Counted, DistributionPage
from service.adapters.store.database import Database
from service.adapters.store.store import Store
from service.domain.binning import Binning, labels, numbers
from service.domain.drift.document import Watched, drift_document
from service.domain.drift.slots import SLOT_SECONDS, TOLD_CELLS, ModelKey, Role, SlotBatch, windows
from service.domain.drift.two_sample import TwoSample
from service.domain.variables import DOMAIN, answer_columns, variable_columns
from service.paths.distributions import BATCH_ROWS

FEATURES, BINS, REFERENCE_ROWS = 20, 10, 1_000
"""Of the model whose pages are measured, which has two candidates."""
ROLES: tuple[Role, ...] = ("production", "candidate", "candidate")
REPEATS, QUICK = 30, 10
DAYS = 3
"""In the store; the first one fills it."""
START = 1_000_000_200.0
"""Seconds since 1970."""
HEADER = ("what", "cost", "")


@dataclass(frozen=True, slots=True)
class Cost:
    what: str
    value: float
    unit: str


def costs(circumstances: Circumstances) -> Section:
    """Every cost."""
    bundles.build(circumstances.home)
    usual = demo(circumstances.home)
    repeats = QUICK if circumstances.quick else REPEATS
    found = [*_rows(usual, circumstances.home, repeats), *_pages(repeats), *_store()]
    section = Section("What watching for drift costs", HEADER)
    section.how = (
        f"Rows are those of {bundles.CREDIT}, {len(usual.binning.variables)} variables with "
        f"{usual.binning.size} bins. Pages, document and store are of a model of {FEATURES} features with "
        "two candidates; the store is SQLite. Processor time of this process on one core, medians."
    )
    by_name = {each.what: each.value for each in found}
    section.findings = [
        Finding("two-sample test, 100 rows", by_name["two-sample test, 100 rows"], "ms", 2.0, at_most=True),
    ]
    section.lines = [(each.what, f"{each.value:,.3g}", each.unit) for each in found]
    section.measured = [record(each) for each in found]
    return section


def spent(work: Callable[[], object], repeats: int) -> float:
    """Milliseconds of processor time, the median."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return 1_000 * median(taken)


def _rows(usual: Demo, home: Path, repeats: int) -> list[Cost]:
    random = np.random.default_rng(20261123)
    rows = usual.rows[random.integers(len(usual.rows), size=BATCH_ROWS)]
    bundle = open_bundle(bundles.locate(home, bundles.CREDIT))
    _, scores, _ = bundle.calibration()
    scores = scores[random.integers(len(scores), size=BATCH_ROWS)]
    test = TwoSample.of(usual.spec, bundle.background(), 0)
    batch = rows[:100]

    def counted() -> None:
        usual.binning.counts(
            {**dict(variable_columns(usual.spec, rows)), **dict(answer_columns(usual.spec, scores))}
        )

    def percentiles() -> None:
        usual.columns(batch)[DOMAIN]

    return [
        Cost("rows by bin, 1,000 rows", spent(counted, repeats) * 1_000 / BATCH_ROWS, "ms"),
        Cost("two-sample test, 100 rows", spent(lambda: test.look(batch), repeats), "ms"),
        Cost("scores and domain, 100 rows", spent(percentiles, repeats), "ms"),
    ]


def _pages(repeats: int) -> list[Cost]:
    models, binning = _models()
    counts = [_slot(binning, place) for place in range(len(models))]
    page = DistributionPage([Counted(each, binning.variables, each.role == "production") for each in models])
    text = page.text(counts)
    series = sum(not line.startswith(b"#") for line in text.splitlines())
    slots = {int(START // SLOT_SECONDS) - back: counts[0] for back in range(DAY)}

    def document() -> None:
        drift_document(
            [
                Watched(
                    each.tag,
                    each.role,
                    binning.variables,
                    START - 2 * 86_400,
                    windows(slots, START - 2 * 86_400, START, len(counts[0])),
                    each.role == "production",
                )
                for each in models
            ],
            START,
        )

    return [
        Cost("series on the page", series, "series"),
        Cost("bytes of them", len(text) / 1e3, "kB"),
        Cost("the page's part, once a second", spent(lambda: page.text(counts), repeats), "ms"),
        Cost("GET /drift made, every ten seconds", spent(document, repeats), "ms"),
    ]


def _store() -> list[Cost]:
    """Slots of some days; what a day adds once the first is over, and what a batch costs."""
    models, binning = _models()
    clock = [START]
    sizes, taken = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        store = Store(Database(f"sqlite:///{path}", patience=10, durable=False), now=lambda: clock[0])
        for number in range(1, DAYS * DAY + 1):
            clock[0] = START + number * SLOT_SECONDS
            for each in models:
                batch = SlotBatch(
                    "0" * 32, number, each, {int(clock[0] // SLOT_SECONDS): _slot(binning, number)}
                )
                start = time.process_time()
                store.add_rows(batch)
                taken.append(time.process_time() - start)
            if number % DAY == 0:
                sizes.append(sum(file.stat().st_size for file in Path(folder).iterdir()) / 1e6)
        store.close()
    return [
        Cost("store after a day", sizes[0], "MB"),
        *(
            Cost(f"it grows on day {day}", size - before, "MB")
            for day, (before, size) in enumerate(pairwise(sizes), 2)
        ),
        Cost("a model's batch into the store", 1_000 * median(taken), "ms"),
    ]


def _models() -> tuple[Sequence[ModelKey], Binning]:
    edges = [float(place) for place in range(1, BINS)]
    share = [REFERENCE_ROWS // BINS] * BINS
    names = ["score", *(f"feature:number {place}" for place in range(FEATURES))]
    cuts = [numbers(name, share, 0, edges, 0.0, float(BINS)) for name in names]
    binning = Binning.of([*cuts, labels(("bad", "good"), (REFERENCE_ROWS // 3, REFERENCE_ROWS // 2))])
    models = [ModelKey(f"m:{place}", role, str(place) * 32) for place, role in enumerate(ROLES)]
    return models, binning


def _slot(binning: Binning, seed: int) -> Floats:
    rows = np.random.default_rng([20261123, seed]).poisson(40, binning.size + TOLD_CELLS)
    return rows.astype(np.float64)
