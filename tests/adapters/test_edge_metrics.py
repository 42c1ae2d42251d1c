"""What the edge counts: moved to Prometheus at a flush, no more and no less."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from service.adapters import prometheus
from service.adapters.edge_metrics import EdgeMetrics
from service.adapters.prometheus import Page
from tests.adapters.counted import value
from tests.domain.models import spec


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    return prometheus.new_registry()


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


def test_the_first_failure_of_a_route_is_an_increase(registry: CollectorRegistry) -> None:
    metrics, page = EdgeMetrics(registry, "m", "prod", "0"), Page(registry, None)
    metrics.responded("/predict", 200)
    metrics.flush()
    assert value(page.samples(), "requests_total", route="/predict", code="503") == 0
    metrics.responded("/predict", 503)
    metrics.flush()
    assert value(page.samples(), "requests_total", route="/predict", code="503") == 1


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
