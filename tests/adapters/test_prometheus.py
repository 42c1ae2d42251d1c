"""The families: counted as the client counts, summed over processes, kept over a rebirth."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Histogram

from service.adapters import prometheus
from service.adapters.edge_metrics import EdgeMetrics
from service.adapters.ledger import Ledger, Side
from service.adapters.prometheus import SECONDS, Page, observe
from service.adapters.shadow_metrics import CANDIDATE_SECONDS, EvidenceMetrics, ShadowMetrics, VerdictMetrics
from service.domain.disagreement.gap import PROBABILITY_BUCKETS
from service.domain.observation import COUNT_OUTCOMES, OUTCOMES
from service.domain.report import Samples
from tests.adapters.counted import comparison, reasons, value
from tests.domain.models import spec

ROOT = Path(__file__).parents[2]
TAGS = ("m:one", "m:two")

# One process in a role: counts what its arguments say, flushes, and prints the merged page as JSON.
PROCESS = """
import json, pathlib, sys
from service.adapters import prometheus
from service.adapters.edge_metrics import EdgeMetrics
from service.adapters.shadow_metrics import ShadowMetrics, VerdictMetrics
from tests.adapters.counted import comparison
from tests.domain.models import spec
role, rows = sys.argv[1], int(sys.argv[2])
prometheus.write_as(role)
registry = prometheus.new_registry()
if role == "shadow":
    metrics = ShadowMetrics(registry, (0.0, 0.1, 1.0))
    metrics.compared("m:one", comparison(rows))
    VerdictMetrics(registry).said("m:one", "hold" if rows < 5 else "promote")
else:
    metrics = EdgeMetrics(registry, "m", "prod", "0")
    tally = metrics.arm(spec(), "production")
    tally.labels[1] += rows
    tally.seconds.extend([0.001] * rows)
    metrics.responded("/predict", 200)
    metrics.share("m:one", rows / 100)
    metrics.flush()
found = prometheus.Page(registry, None, directories=map(pathlib.Path, sys.argv[3:])).samples()
json.dump([[name, dict(labels), value] for (name, labels), value in found.items()], sys.stdout)
"""


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    return prometheus.new_registry()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.bin", TAGS)


def drawn(kind: str, bounds: tuple[float, ...]) -> NDArray[Any]:
    rng = np.random.default_rng(8)
    if kind == "bounds":
        return np.array([*bounds, *bounds, 0.0, bounds[-1] * 2])
    if kind == "beside the bounds":
        return np.array([np.nextafter(bound, side) for bound in bounds for side in (-np.inf, np.inf)])
    if kind == "nothing":
        return np.array([])
    return rng.exponential(bounds[-1] / 4, 1_000).astype(np.float32 if kind == "float32" else np.float64)


@pytest.mark.parametrize("bounds", [SECONDS, PROBABILITY_BUCKETS, CANDIDATE_SECONDS, (3.0,)])
@pytest.mark.parametrize("kind", ["bounds", "beside the bounds", "nothing", "float32", "float64"])
def test_many_samples_at_once_count_as_one_by_one(bounds: tuple[float, ...], kind: str) -> None:
    samples = drawn(kind, bounds)
    registry = CollectorRegistry()
    together = Histogram("together", "At once.", buckets=bounds, registry=registry)
    single = Histogram("single", "One by one.", buckets=bounds, registry=registry)
    observe(together, bounds, samples)
    for sample in samples:
        single.observe(float(sample))
    mine, theirs = (
        {(sample.name.removeprefix(name), sample.labels.get("le")): sample.value for sample in family.samples}
        for name, family in zip(("together", "single"), registry.collect(), strict=True)
    )
    for key in theirs.keys() - {("_created", None), ("_sum", None)}:
        assert mine[key] == theirs[key], key
    assert mine["_sum", None] == pytest.approx(theirs["_sum", None])
    assert mine["_count", None] == len(samples)


def test_large_float32_samples_have_a_finite_sum() -> None:
    registry = CollectorRegistry()
    histogram = Histogram("large", "Values at the end of float32.", buckets=(1.0,), registry=registry)
    observe(histogram, (1.0,), np.full(3, np.finfo(np.float32).max))
    assert registry.get_sample_value("large_sum") == 3 * float(np.finfo(np.float32).max)


def test_the_ledger_is_shown_with_noughts(registry: CollectorRegistry, ledger: Ledger) -> None:
    page = Page(registry, ledger)
    ledger.count(Side.EDGE, 3, 1, "queue_full", 7)
    ledger.count(Side.SHADOW, 4, 1, "queue_full", 1)
    found = page.samples()
    shown = {
        (tag, outcome): value(found, "shadow_rows_total", candidate=tag, outcome=outcome)
        for tag in TAGS
        for outcome in OUTCOMES
    }
    assert shown == {(tag, outcome): 0 for tag in TAGS for outcome in OUTCOMES} | {("m:two", "queue_full"): 8}


def test_a_paused_candidate_is_shown(registry: CollectorRegistry, ledger: Ledger) -> None:
    page = Page(registry, ledger)
    for is_open in (True, False):
        ledger.set_breaker_open(1, is_open)
        found = page.samples()
        assert [value(found, "breaker_open", candidate=tag) for tag in TAGS] == [0, is_open]


def test_what_became_of_rows_by_bin_is_shown_with_noughts(
    registry: CollectorRegistry, tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path / "drift.bin", TAGS, distributions=True)
    ledger.count(Side.SHADOW, 4, 2, "counted", 9)
    found = Page(registry, ledger).samples()
    shown = {
        outcome: value(found, "distribution_outcomes_total", outcome=outcome) for outcome in COUNT_OUTCOMES
    }
    assert shown == dict.fromkeys(COUNT_OUTCOMES, 0) | {"counted": 9}


def test_a_file_of_further_families_is_shown_as_it_is_once_it_is_there(
    registry: CollectorRegistry, ledger: Ledger, tmp_path: Path
) -> None:
    beside = tmp_path / "more.prom"
    page = Page(registry, ledger, beside)
    without = page.text()
    assert without == Page(prometheus.new_registry(), ledger).text()
    beside.write_bytes(b"# TYPE more counter\nmore 1\n")
    assert page.text() == without + beside.read_bytes()
    beside.unlink()
    assert page.text() == without
    beside.mkdir()  # what cannot be read takes nothing else away
    assert page.text() == without


def in_process(role: str, rows: int, shared: Path, *others: Path) -> Samples:
    """What a fresh process in ``role`` leaves on the page, which shows other directories, too."""
    command = [sys.executable, "-c", PROCESS, role, str(rows), *map(str, (shared, *others))]
    environment = {"PYTHONPATH": str(ROOT), "PROMETHEUS_MULTIPROC_DIR": str(shared)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return {(name, tuple(sorted(labels.items()))): found for name, labels, found in json.loads(done.stdout)}


def test_the_page_sums_over_processes_and_a_reborn_one_goes_on_counting(tmp_path: Path) -> None:
    in_process("edge0", 5, tmp_path)
    in_process("edge1", 7, tmp_path)
    grown = in_process("shadow", 10, tmp_path)
    in_process("shadow", 1, tmp_path)
    found = in_process("edge0", 100, tmp_path)
    named = {"model": "m", "version": "prod", "arm": "production"}
    assert value(found, "predictions_total", label="good", **named) == 112
    assert value(found, "predict_seconds_count", arm="production") == 112
    assert value(found, "requests_total", route="/predict", code="200") == 3
    assert value(found, "canary_share_ratio", candidate="m:one") == 1.0  # the newest, not a sum
    assert value(found, "build_info", version="0", model="m", model_version="prod") == 1
    assert value(found, "shadow_compared_rows_total", candidate="m:one", slice="all") == 11
    verdicts = [
        [value(page, "verdict", candidate="m:one", state=state) for state in ("promote", "hold", "rollback")]
        for page in (grown, found)
    ]
    assert verdicts == [[1, 0, 0], [0, 1, 0]]  # the reborn shadow's own, not both
    assert value(found, "shadow_gap_bucket", candidate="m:one", le="0.0") == 2
    assert value(found, "shadow_gap_count", candidate="m:one") == 11
    assert not [labels for name, labels in found if name.startswith("understudy_") and "pid" in dict(labels)]
    assert len(list(tmp_path.glob("counter_*.db"))) == 3


def test_a_shadow_that_counts_elsewhere_is_on_the_same_page_and_outlives_the_edges_directory(
    tmp_path: Path,
) -> None:
    edges, shadows = tmp_path / "edges", tmp_path / "shadows"
    edges.mkdir()
    shadows.mkdir()
    in_process("shadow", 10, shadows)
    found = in_process("edge0", 5, edges, shadows)
    for path in edges.iterdir():  # as BentoML does where the edge starts again
        path.unlink()
    again = in_process("edge0", 3, edges, shadows)
    named = {"model": "m", "version": "prod", "arm": "production", "label": "good"}
    assert [value(each, "predictions_total", **named) for each in (found, again)] == [5, 3]
    compared = {"candidate": "m:one", "slice": "all"}
    assert [value(each, "shadow_compared_rows_total", **compared) for each in (found, again)] == [10, 10]


@pytest.mark.system("promtool")
def test_the_page_passes_promtool(registry: CollectorRegistry, ledger: Ledger) -> None:
    edge, shadow = EdgeMetrics(registry, "m", "prod", "0"), ShadowMetrics(registry, PROBABILITY_BUCKETS)
    tally = edge.arm(spec(), "production")
    tally.labels[0] += 1
    tally.seconds.append(0.01)
    edge.responded("/predict", 200)
    edge.violated("age", "range")
    edge.fell_back("m:one", "error")
    edge.share("m:one", 0.1)
    edge.flush()
    shadow.compared("m:one", comparison(9))
    shadow.explained("m:one", reasons(9))
    shadow.unexplained("m:one", "deadline", 1)
    VerdictMetrics(registry).said("m:one", "hold")
    EvidenceMetrics(registry).lost("m:one", "cases", 1)
    page = Page(registry, ledger).text()
    assert page.count(b"# TYPE understudy_") >= 18
    lint = subprocess.run(
        ["promtool", "check", "metrics"], input=page, capture_output=True, timeout=60, check=False
    )
    assert (lint.returncode, lint.stdout + lint.stderr) == (0, b"")
