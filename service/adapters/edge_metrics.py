"""Prometheus families of the edge: answers, requests, refusals, explanations and the canary's share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.adapters.prometheus import SECONDS, observe
from service.domain.abstention import REASONS, reason_of
from service.domain.observation import Arm
from service.domain.schema import ModelSpec

EXPLAIN_SECONDS = (1e-5, 2e-5, 5e-5, *SECONDS, 10.0, 20.0)
FAILURES = (500, 503, 504)
"""Codes that every route has a count of as soon as it is asked, so that the first failure is seen."""
VALUE_LABEL = "value"
"""The ``label`` of a regression model's predictions."""


class EdgeMetrics:
    """What one edge worker counts."""

    def __init__(self, registry: CollectorRegistry, model: str, model_version: str, version: str) -> None:
        self._predictions = Counter(
            "understudy_predictions_total",
            "Rows answered, by the label that was told; value is a regression's, abstained no label at all.",
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
            "understudy_requests_total",
            "Requests answered, by the template of their path and the HTTP status.",
            ["route", "code"],
            registry=registry,
        )
        self._violations = Counter(
            "understudy_input_violations_total",
            "Values that do not fit the feature, or are unlike what training saw of it, by what is wrong.",
            ["feature", "kind"],
            registry=registry,
        )
        self._fallbacks = Counter(
            "understudy_canary_fallbacks_total",
            "Requests that production answered because the canary could not, by the reason.",
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
        self._spans_dropped = Counter(
            "understudy_spans_dropped_total",
            "Spans of traces that the collector did not take, or that found no room while it was slow.",
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
        self._routes: set[str] = set()
        """Those that were asked already."""
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

    def spans_dropped(self, spans: int) -> None:
        """Counts spans that nobody got."""
        self._spans_dropped.inc(spans)

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
        for route in {route for route, _ in self._codes} - self._routes:
            self._routes.add(route)
            for code in FAILURES:  # from nought: Prometheus cannot tell how far a new series has come
                self._requests.labels(route, str(code))
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
