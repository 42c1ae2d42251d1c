"""The families: counted as the client counts, summed over processes, kept over a rebirth."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Histogram

from service.adapters import prometheus
from service.adapters.ledger import Ledger, Side
from service.adapters.prometheus import SECONDS, EdgeMetrics, Page, ShadowMetrics, observe
from service.domain.comparison import Comparison
from service.domain.disagreement.gap import PROBABILITY_BUCKETS
from service.domain.disagreement.reasons import ReasonsComparison
from service.domain.observation import OUTCOMES
from service.domain.report import Samples
from tests.domain.models import spec

ROOT = Path(__file__).parents[2]
TAGS = ("m:one", "m:two")

# One process in a role: counts what its arguments say, flushes, and prints the merged page as JSON.
PROCESS = """
import json, sys
from service.adapters import prometheus
from tests.adapters.test_prometheus import comparison
from tests.domain.models import spec
role, rows = sys.argv[1], int(sys.argv[2])
prometheus.write_as(role)
registry = prometheus.new_registry()
if role == "shadow":
    metrics = prometheus.ShadowMetrics(registry, (0.0, 0.1, 1.0))
    metrics.compared("m:one", comparison(rows))
else:
    metrics = prometheus.EdgeMetrics(registry, "m", "prod", "0")
    tally = metrics.arm(spec(), "production")
    tally.labels[1] += rows
    tally.seconds.extend([0.001] * rows)
    metrics.responded("/predict", 200)
    metrics.share("m:one", rows / 100)
    metrics.flush()
found = prometheus.Page(registry, None).samples()
json.dump([[name, dict(labels), value] for (name, labels), value in found.items()], sys.stdout)
"""


def comparison(rows: int) -> Comparison:
    """Rows of which the first flips; gaps grow from nought by a hundredth."""
    return Comparison(
        rows=Counter({"all": rows, "renters": rows // 2}),
        flips={"all": Counter({("bad", "good"): 1}), "renters": Counter()},
        gaps=(np.arange(rows) / 100).astype(np.float32),
        seconds=0.00015,
    )


def reasons(rows: int, features: int = 3) -> ReasonsComparison:
    """Rows that are a quarter apart and share half their top features; feature n moved by n hundredths."""
    names = tuple(f"f{index}" for index in range(features))
    moved = np.tile(np.arange(features) / 100, (rows, 1))
    return ReasonsComparison(names, np.full(rows, 0.25), np.full(rows, 0.5), moved)


def value(samples: Samples, name: str, **labels: str) -> float | None:
    """One sample by its name after the prefix; None where it is absent."""
    named = {key.rstrip("_"): text for key, text in labels.items()}
    return samples.get((f"understudy_{name}", tuple(sorted(named.items()))))


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


@pytest.mark.parametrize("bounds", [SECONDS, PROBABILITY_BUCKETS, prometheus.CANDIDATE_SECONDS, (3.0,)])
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


def test_a_flush_moves_exactly_what_was_tallied(registry: CollectorRegistry) -> None:
    metrics, page = EdgeMetrics(registry, "m", "prod", "0"), Page(registry, None)
    production, canary = metrics.arm(spec(), "production"), metrics.arm(spec("new"), "canary")
    for rounds in (1, 2):
        production.labels[0] += 3
        production.labels[1] += 4
        production.seconds.extend([0.5, 0.0001])
        canary.labels[1] += 2
        canary.seconds.append(9.0)
        for _ in range(5):
            metrics.responded("/predict", 200)
        metrics.responded("other", 404)
        metrics.flush()
        metrics.flush()  # nothing new
        found = page.samples()
        named = {"model": "m", "version": "prod", "arm": "production"}
        assert value(found, "predictions_total", label="bad", **named) == 3 * rounds
        assert value(found, "predictions_total", label="good", **named) == 4 * rounds
        new = {"model": "m", "version": "new", "arm": "canary"}
        assert value(found, "predictions_total", label="good", **new) == 2 * rounds
        assert value(found, "predict_seconds_count", arm="production") == 2 * rounds
        assert value(found, "predict_seconds_sum", arm="production") == pytest.approx(0.5001 * rounds)
        assert value(found, "predict_seconds_bucket", arm="production", le="0.0001") == rounds
        assert value(found, "predict_seconds_bucket", arm="canary", le="5.0") == 0
        assert value(found, "requests_total", route="/predict", code="200") == 5 * rounds
        assert value(found, "requests_total", route="other", code="404") == rounds
    assert (production.labels, production.seconds, canary.labels) == ([0] * 4, [], [0] * 4)


def test_rows_without_a_label_are_counted_by_their_reason(registry: CollectorRegistry) -> None:
    metrics = EdgeMetrics(registry, "m", "prod", "0")
    tally = metrics.arm(spec(), "production")
    tally.labels[:] = 5, 0, 2, 3
    metrics.flush()
    found = Page(registry, None).samples()
    named = {"model": "m", "version": "prod", "arm": "production"}
    labels = ("bad", "abstained: ambiguous", "abstained: out_of_domain")
    assert [value(found, "predictions_total", label=label, **named) for label in labels] == [5, 2, 3]


def test_rows_out_of_domain_are_counted_among_those_that_were_judged(registry: CollectorRegistry) -> None:
    metrics, page = EdgeMetrics(registry, "m", "prod", "0"), Page(registry, None)
    for rounds in (1, 2):
        for arm in (metrics.arm(spec(), "production"), metrics.arm(spec(), "canary")):
            arm.domain[0] += 7
            arm.domain[1] += 2
        metrics.flush()
        metrics.flush()
        named = {"model": "m", "version": "prod"}
        assert value(page.samples(), "domain_rows_total", **named) == 18 * rounds
        assert value(page.samples(), "out_of_domain_total", **named) == 4 * rounds


def test_a_value_has_a_label_of_its_own(registry: CollectorRegistry) -> None:
    metrics = EdgeMetrics(registry, "m", "prod", "0")
    metrics.arm(spec(task="regression"), "production").labels[0] += 6
    metrics.flush()
    found = Page(registry, None).samples()
    named = {"model": "m", "version": "prod", "arm": "production"}
    assert value(found, "predictions_total", label="value", **named) == 6


def test_one_model_in_one_arm_has_one_tally(registry: CollectorRegistry) -> None:
    metrics = EdgeMetrics(registry, "m", "prod", "0")
    assert metrics.arm(spec(), "canary") is metrics.arm(spec(), "canary")
    assert metrics.arm(spec(), "canary") is not metrics.arm(spec(), "production")


def test_violations_of_a_whole_request_are_counted_at_once(registry: CollectorRegistry) -> None:
    metrics = EdgeMetrics(registry, "m", "prod", "1.2")
    for count in (1, 40):
        metrics.violated("age", "missing", count)
        metrics.flush()
        metrics.flush()
    found = Page(registry, None).samples()
    assert value(found, "input_violations_total", feature="age", kind="missing") == 41


def test_refusals_fallbacks_and_the_share_are_shown_at_once(registry: CollectorRegistry) -> None:
    metrics = EdgeMetrics(registry, "m", "prod", "1.2")
    metrics.violated("age", "range")
    metrics.flush()
    metrics.fell_back("m:new", "deadline")
    metrics.share("m:new", 0.25)
    found = Page(registry, None).samples()
    assert value(found, "input_violations_total", feature="age", kind="range") == 1
    assert value(found, "canary_fallbacks_total", candidate="m:new", reason="deadline") == 1
    assert value(found, "canary_share_ratio", candidate="m:new") == 0.25
    assert value(found, "build_info", version="1.2", model="m", model_version="prod") == 1


def test_a_comparison_is_counted_by_slice_flip_gap_and_seconds(registry: CollectorRegistry) -> None:
    metrics = ShadowMetrics(registry, PROBABILITY_BUCKETS)
    for _ in range(2):
        metrics.compared("m:new", comparison(12))
    found = Page(registry, None).samples()
    assert value(found, "shadow_compared_rows_total", candidate="m:new", slice="all") == 24
    assert value(found, "shadow_compared_rows_total", candidate="m:new", slice="renters") == 12
    flips = {"candidate": "m:new", "slice": "all", "from_": "bad", "to": "good"}
    assert value(found, "shadow_flips_total", **flips) == 2
    assert value(found, "shadow_gap_bucket", candidate="m:new", le="0.0") == 2
    assert value(found, "shadow_gap_bucket", candidate="m:new", le="+Inf") == 24
    assert value(found, "shadow_gap_sum", candidate="m:new") == pytest.approx(1.32)
    assert value(found, "shadow_seconds_bucket", candidate="m:new", le="0.0001") == 0
    assert value(found, "shadow_seconds_bucket", candidate="m:new", le="0.0002") == 24


def test_reasons_are_counted_by_distance_overlap_and_feature(registry: CollectorRegistry) -> None:
    metrics = ShadowMetrics(registry, PROBABILITY_BUCKETS)
    for rows in (3, 0, 5):
        metrics.explained("m:new", reasons(rows))
    metrics.unexplained("m:new", "busy", 4)
    found = Page(registry, None).samples()
    assert value(found, "shadow_explained_rows_total", candidate="m:new") == 8
    assert value(found, "shadow_unexplained_rows_total", candidate="m:new", reason="busy") == 4
    assert value(found, "shadow_explanation_distance_bucket", candidate="m:new", le="0.2") == 0
    assert value(found, "shadow_explanation_distance_bucket", candidate="m:new", le="0.3") == 8
    assert value(found, "shadow_explanation_distance_sum", candidate="m:new") == 2.0
    assert value(found, "shadow_explanation_overlaps_total", candidate="m:new") == 4.0
    much = [
        value(found, "shadow_influence_moved_total", candidate="m:new", feature=f"f{n}") for n in range(3)
    ]
    assert much == pytest.approx([0, 0.08, 0.16])


def test_a_hundred_features_have_series_of_their_own_and_the_rest_share_one(
    registry: CollectorRegistry,
) -> None:
    metrics = ShadowMetrics(registry, PROBABILITY_BUCKETS)
    metrics.explained("m:new", reasons(2, features=103))
    found = Page(registry, None).samples()
    shown = {
        dict(labels)["feature"]: moved
        for (name, labels), moved in found.items()
        if name == "understudy_shadow_influence_moved_total"
    }
    assert len(shown) == 101
    assert shown["f99"] == pytest.approx(2 * 0.99)
    assert shown["other"] == pytest.approx(2 * (1.00 + 1.01 + 1.02))


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


def in_process(role: str, rows: int, shared: Path) -> Samples:
    """What a fresh process in ``role`` leaves on the page."""
    command = [sys.executable, "-c", PROCESS, role, str(rows)]
    environment = {"PYTHONPATH": str(ROOT), "PROMETHEUS_MULTIPROC_DIR": str(shared)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return {(name, tuple(sorted(labels.items()))): found for name, labels, found in json.loads(done.stdout)}


def test_the_page_sums_over_processes_and_a_reborn_one_goes_on_counting(tmp_path: Path) -> None:
    in_process("edge0", 5, tmp_path)
    in_process("edge1", 7, tmp_path)
    in_process("shadow", 10, tmp_path)
    in_process("shadow", 1, tmp_path)
    found = in_process("edge0", 100, tmp_path)
    named = {"model": "m", "version": "prod", "arm": "production"}
    assert value(found, "predictions_total", label="good", **named) == 112
    assert value(found, "predict_seconds_count", arm="production") == 112
    assert value(found, "requests_total", route="/predict", code="200") == 3
    assert value(found, "canary_share_ratio", candidate="m:one") == 1.0  # the newest, not a sum
    assert value(found, "build_info", version="0", model="m", model_version="prod") == 1
    assert value(found, "shadow_compared_rows_total", candidate="m:one", slice="all") == 11
    assert value(found, "shadow_gap_bucket", candidate="m:one", le="0.0") == 2
    assert value(found, "shadow_gap_count", candidate="m:one") == 11
    assert not [labels for name, labels in found if name.startswith("understudy_") and "pid" in dict(labels)]
    assert len(list(tmp_path.glob("counter_*.db"))) == 3


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
    page = Page(registry, ledger).text()
    assert page.count(b"# TYPE understudy_") >= 16
    lint = subprocess.run(
        ["promtool", "check", "metrics"], input=page, capture_output=True, timeout=60, check=False
    )
    assert (lint.returncode, lint.stdout + lint.stderr) == (0, b"")
