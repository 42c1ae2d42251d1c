"""What the settings say of logs and traces is what an edge does."""

from __future__ import annotations

import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry

from service.adapters.edge_metrics import EdgeMetrics
from service.domain.passage import Fallback, Passage
from service.sections import LogSettings, TraceSettings
from service.settings import Settings
from service.wiring.telling import Telling, drawing, telling

ENDPOINT = "http://127.0.0.1:9/v1/traces"


def made(**sections: object) -> tuple[Telling, CollectorRegistry]:
    registry = CollectorRegistry()
    settings = Settings.model_validate({"production": "m:one", **sections})
    return telling(settings, EdgeMetrics(registry, "m", "one", "1")), registry


def test_by_default_no_request_is_drawn() -> None:
    found, registry = made()
    assert (found.drawing, found.traces) == (None, None)
    assert registry.get_sample_value("understudy_spans_dropped_total") == 0


@pytest.mark.parametrize(("line_rate", "draws"), [(0.0, False), (0.5, True)])
def test_requests_are_drawn_where_there_is_a_rate(line_rate: float, draws: bool) -> None:
    assert (drawing(LogSettings(request_rate=line_rate), TraceSettings()) is not None) == draws


def test_without_an_endpoint_the_trace_s_rate_draws_nothing() -> None:
    found = drawing(LogSettings(request_rate=0.0), TraceSettings(sample_rate=1.0))
    assert found is None


def test_with_an_endpoint_callers_may_ask_for_traces_whatever_the_rate() -> None:
    found = drawing(LogSettings(), TraceSettings(endpoint=ENDPOINT, sample_rate=0.0))
    assert found is not None
    wanted = found.prediction({b"traceparent": b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01"})
    assert wanted is not None
    assert wanted.trace_id == int("1" * 32, 16)
    assert found.prediction({}) is None


def test_the_sdk_is_not_imported_where_there_are_no_traces() -> None:
    program = (
        "import sys, service.wiring.telling;"
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_fallback_is_counted_and_told() -> None:
    found, registry = made()
    found.fell_back(Fallback("m:two", "deadline", "a", 0.0))
    labels = {"candidate": "m:two", "reason": "deadline"}
    assert registry.get_sample_value("understudy_canary_fallbacks_total", labels) == 1
    assert len(found.lines._waiting) == 1
    found.flush()
    assert found.lines._waiting == []


def test_what_is_left_when_the_edge_ends_is_handed_on() -> None:
    found, registry = made(trace={"endpoint": ENDPOINT})
    found.passed(Passage("POST", "/predict", 200, 0.0, 1.0, logged=True, trace_id=5))
    found.close()
    assert found.lines._waiting == []
    assert registry.get_sample_value("understudy_spans_dropped_total") == 1
