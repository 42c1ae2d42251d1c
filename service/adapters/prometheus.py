"""Prometheus families of the contract, right across worker processes and restarts of the shadow.

The hot path counts into plain lists and dictionaries (about 0.3 µs a request); ``flush`` moves the sums
to Prometheus' shared files. Each process writes files named after its role, not its pid, so a
process that is born again goes on counting where its predecessor stopped.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from service.adapters.ledger import Ledger
from service.domain.abstention import REASONS, reason_of
from service.domain.comparison import Comparison
from service.domain.disagreement.reasons import DISTANCE_BUCKETS, ReasonsComparison
from service.domain.observation import Arm
from service.domain.report import Samples
from service.domain.schema import ModelSpec

SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Upper bounds of every latency histogram, in seconds."""
CANDIDATE_SECONDS = (1e-6, 1e-5, 2e-5, 5e-5, *SECONDS)
NAMED_FEATURES = 100
"""Features of a candidate with series of their own; the rest share ``OTHER_FEATURES``."""
OTHER_FEATURES = "other"
EXPLAIN_SECONDS = (1e-5, 2e-5, 5e-5, *SECONDS, 10.0, 20.0)
VALUE_LABEL = "value"
"""The ``label`` of a regression model's predictions."""


def write_as(role: str) -> None:
    """Names this process's shared files; before any family is made. ``role`` has no underscore."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        values.ValueClass = values.MultiProcessValue(lambda: role)  # type: ignore[no-untyped-call]  # not annotated


def new_registry() -> CollectorRegistry:
    """Where one process keeps its families."""
    return CollectorRegistry()


class EdgeMetrics:
    """What one edge worker counts."""

    def __init__(self, registry: CollectorRegistry, model: str, model_version: str, version: str) -> None:
        self._predictions = Counter(
            "understudy_predictions_total",
            "Rows answered.",
            ["model", "version", "arm", "label"],
            registry=registry,
        )
        self._predict_seconds = Histogram(
            "understudy_predict_seconds",
            "Seconds from the request's last byte to the answer's hand-over to the socket.",
            ["arm"],
            buckets=SECONDS,
            registry=registry,
        )
        self._requests = Counter(
            "understudy_requests_total", "Requests answered.", ["route", "code"], registry=registry
        )
        self._violations = Counter(
            "understudy_input_violations_total",
            "Values that do not fit the feature, or are unlike what training saw of it.",
            ["feature", "kind"],
            registry=registry,
        )
        self._fallbacks = Counter(
            "understudy_canary_fallbacks_total",
            "Requests that production answered because the canary could not.",
            ["candidate", "reason"],
            registry=registry,
        )
        self._explain_seconds = Histogram(
            "understudy_explain_seconds",
            "Seconds spent on explaining the rows of one request.",
            ["method"],
            buckets=EXPLAIN_SECONDS,
            registry=registry,
        )
        self._out_of_domain = Counter(
            "understudy_out_of_domain_total",
            "Rows that the training data had nothing like.",
            ["model", "version"],
            registry=registry,
        )
        self._domain_rows = Counter(
            "understudy_domain_rows_total",
            "Rows of which it was judged whether the training data had any like them.",
            ["model", "version"],
            registry=registry,
        )
        self._share = Gauge(
            "understudy_canary_share_ratio",
            "Share of the routing keys that the candidate answers, 0 to 1.",
            ["candidate"],
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        build = Gauge(
            "understudy_build_info",
            "Always 1; the labels say what runs.",
            ["version", "model", "model_version"],
            registry=registry,
            multiprocess_mode="max",
        )
        build.labels(version, model, model_version).set(1)
        self._arms: dict[tuple[str, Arm], ArmTally] = {}
        self._codes: dict[tuple[str, int], int] = {}
        self._violated: dict[tuple[str, str], int] = {}
        self._explained: dict[str, list[float]] = {}

    def arm(self, spec: ModelSpec, arm: Arm) -> ArmTally:
        """Where the answers of one model in one arm are tallied."""
        return self._arms.setdefault(
            (spec.tag, arm), ArmTally(spec, arm, [0] * (spec.outputs + len(REASONS)), [], [0, 0])
        )

    def responded(self, route: str, code: int) -> None:
        """Counts one response; ``route`` is a template, never a raw path."""
        key = (route, code)
        self._codes[key] = self._codes.get(key, 0) + 1

    def violated(self, feature: str, kind: str, count: int = 1) -> None:
        """Counts values that were refused or warned of; ``feature`` is a name of the schema."""
        key = (feature, kind)
        self._violated[key] = self._violated.get(key, 0) + count

    def fell_back(self, candidate: str, reason: str) -> None:
        """Counts one request that the canary could not answer."""
        self._fallbacks.labels(candidate, reason).inc()

    def explained(self, method: str, seconds: float) -> None:
        """Notes one request that was explained by ``method``, a name of the registry."""
        self._explained.setdefault(method, []).append(seconds)

    def share(self, candidate: str, share: float) -> None:
        """Publishes a candidate's canary share, 0 to 1."""
        self._share.labels(candidate).set(share)

    def flush(self) -> None:
        """Moves what was tallied since the last call to the shared files."""
        for tally in list(self._arms.values()):  # a canary that loads beside us may add its own
            for index, rows in enumerate(tally.labels):
                if rows:
                    label = _label(tally.spec, index)
                    child = self._predictions.labels(tally.spec.name, tally.spec.version, tally.arm, label)
                    child.inc(rows)
                    tally.labels[index] = 0
            if any(tally.domain):
                model = tally.spec.name, tally.spec.version
                self._domain_rows.labels(*model).inc(sum(tally.domain))
                self._out_of_domain.labels(*model).inc(tally.domain[1])
                tally.domain[:] = 0, 0
            if tally.seconds:
                observe(self._predict_seconds.labels(tally.arm), SECONDS, np.array(tally.seconds))
                tally.seconds.clear()
        for method, seconds in list(self._explained.items()):  # a thread may add to them
            count = len(seconds)
            observe(self._explain_seconds.labels(method), EXPLAIN_SECONDS, np.array(seconds[:count]))
            del seconds[:count]
        for (route, code), responses in self._codes.items():
            self._requests.labels(route, str(code)).inc(responses)
        self._codes.clear()
        for (feature, kind), count in self._violated.items():
            self._violations.labels(feature, kind).inc(count)
        self._violated.clear()


@dataclass(frozen=True, slots=True)
class ArmTally:
    """What one model answered in one arm since the last flush; the hot path writes into the lists."""

    spec: ModelSpec
    arm: Arm
    labels: list[int]
    """Rows by class index, one entry for regression; then by reason to name no class."""
    seconds: list[float]
    """Latency of each answer."""
    domain: list[int]
    """Rows in domain and rows out of it, of those that were judged."""


def _label(spec: ModelSpec, index: int) -> str:
    reason = reason_of(spec, index)
    if reason is not None:
        return f"abstained: {reason}"
    return spec.classes[index] if spec.classes else VALUE_LABEL


class ShadowMetrics:
    """What the shadow counts of one candidate.

    Args:
        gap_bounds: upper bounds of the gap histogram, in the unit of the scores.
    """

    def __init__(self, registry: CollectorRegistry, gap_bounds: Sequence[float]) -> None:
        self._bounds = tuple(gap_bounds)
        self._rows = Counter(
            "understudy_shadow_compared_rows_total",
            "Rows compared; every row is in slice all, and in each slice of the manifest that it fits.",
            ["candidate", "slice"],
            registry=registry,
        )
        self._flips = Counter(
            "understudy_shadow_flips_total",
            "Compared rows that the candidate labels differently.",
            ["candidate", "slice", "from", "to"],
            registry=registry,
        )
        self._gap = Histogram(
            "understudy_shadow_gap",
            "Absolute difference of the two scores of a row; probabilities, or the regression's unit.",
            ["candidate"],
            buckets=self._bounds,
            registry=registry,
        )
        self._seconds = Histogram(
            "understudy_shadow_seconds",
            "CPU seconds of a candidate's inference per row.",
            ["candidate"],
            buckets=CANDIDATE_SECONDS,
            registry=registry,
        )
        self._distance = Histogram(
            "understudy_shadow_explanation_distance",
            "How far the reasons of the two models for a row differ: 0 the same, 1 nothing in common.",
            ["candidate"],
            buckets=DISTANCE_BUCKETS,
            registry=registry,
        )
        self._explained = Counter(
            "understudy_shadow_explained_rows_total",
            "Compared rows that were explained under both models.",
            ["candidate"],
            registry=registry,
        )
        self._unexplained = Counter(
            "understudy_shadow_unexplained_rows_total",
            "Compared rows that were to be explained and were not, by the reason.",
            ["candidate", "reason"],
            registry=registry,
        )
        self._overlaps = Counter(
            "understudy_shadow_explanation_overlaps_total",
            "Sum over the explained rows of the share of top features that both models name.",
            ["candidate"],
            registry=registry,
        )
        self._moved = Counter(
            "understudy_shadow_influence_moved_total",
            "Sum over the explained rows of how far a feature's share of the influence moved.",
            ["candidate", "feature"],
            registry=registry,
        )

    def compared(self, candidate: str, comparison: Comparison) -> None:
        """Counts one comparison."""
        for name, rows in comparison.rows.items():
            self._rows.labels(candidate, name).inc(rows)
        for name, flips in comparison.flips.items():
            for (before, after), rows in flips.items():
                self._flips.labels(candidate, name, before, after).inc(rows)
        observe(self._gap.labels(candidate), self._bounds, comparison.gaps)
        rows = len(comparison.gaps)
        observe(self._seconds.labels(candidate), CANDIDATE_SECONDS, np.full(rows, comparison.seconds))

    def explained(self, candidate: str, reasons: ReasonsComparison) -> None:
        """Counts the reasons of some rows."""
        self._explained.labels(candidate).inc(len(reasons))
        observe(self._distance.labels(candidate), DISTANCE_BUCKETS, reasons.distances)
        self._overlaps.labels(candidate).inc(float(reasons.overlaps.sum()))
        moved = reasons.moved.sum(axis=0).tolist()
        for feature, much in zip(reasons.features[:NAMED_FEATURES], moved, strict=False):
            self._moved.labels(candidate, feature).inc(much)
        if len(moved) > NAMED_FEATURES:
            self._moved.labels(candidate, OTHER_FEATURES).inc(sum(moved[NAMED_FEATURES:]))

    def unexplained(self, candidate: str, reason: str, rows: int) -> None:
        """Counts sampled rows that were not explained."""
        self._unexplained.labels(candidate, reason).inc(rows)


def observe(histogram: Histogram, bounds: Sequence[float], samples: NDArray[np.floating]) -> None:
    """Adds many samples at once; a loop over ``Histogram.observe`` would cost 2 µs for each.

    It writes the client's own per-bucket values, for which there is no public batch call; a test
    holds the result against ``Histogram.observe``.
    """
    counts = np.bincount(np.searchsorted(bounds, samples), minlength=len(bounds) + 1)
    for index in np.flatnonzero(counts):
        histogram._buckets[index].inc(int(counts[index]))  # noqa: SLF001 - see the docstring
    histogram._sum.inc(float(samples.sum(dtype=np.float64)))  # noqa: SLF001 - see the docstring


class LedgerCollector(Collector):
    """What became of every row beside the edge, straight from the ledger, its only home."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def collect(self) -> Iterable[Metric]:
        """One sample per candidate and outcome, and per outcome of a record; zeros included."""
        family = CounterMetricFamily(
            "understudy_shadow_rows_total",
            "Rows that were to be mirrored, by what became of them.",
            labels=["candidate", "outcome"],
        )
        for index, candidate in enumerate(self._ledger.candidates):
            for outcome, rows in self._ledger.totals(index).items():
                family.add_metric([candidate, outcome], rows)
        yield family
        if self._ledger.records is not None:
            records = CounterMetricFamily(
                "understudy_records_total",
                "Rows whose answer was to be recorded, by what became of them.",
                labels=["outcome"],
            )
            for outcome, rows in self._ledger.totals(self._ledger.records).items():
                records.add_metric([outcome], rows)
            yield records


class Page:
    """The merged view over all processes of this server."""

    def __init__(self, own: CollectorRegistry, ledger: Ledger | None) -> None:
        merged = own
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            merged = CollectorRegistry()
            MultiProcessCollector(merged)  # type: ignore[no-untyped-call]  # not annotated
        if ledger is not None:
            merged.register(LedgerCollector(ledger))
        self._registry = merged

    def text(self) -> bytes:
        """The page in Prometheus' text format."""
        return generate_latest(self._registry)

    def samples(self) -> Samples:
        """Every sample: (name, labels in alphabetical order of their names) to value."""
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self._registry.collect()
            for sample in family.samples
        }
