"""Spans arrive as OTLP has them, in the caller's trace, and are dropped and counted where none are taken."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator, Sequence
from threading import Event

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from load_tests.server import free_port
from service.adapters.traces import BATCH, EXPORTER_LOG, Spans
from service.domain.passage import Parent, Passage, Step
from service.errors import InferenceError
from service.sections import TraceSettings
from tests.adapters.collector import Collector, attributes, collecting, eventually

TRACE, SPAN = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7


class Lost:
    """Counts dropped spans."""

    def __init__(self) -> None:
        self.spans = 0

    def __call__(self, spans: int) -> None:
        self.spans += spans


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The exporter's logger as it was."""
    log = logging.getLogger(EXPORTER_LOG)
    level, filters = log.level, list(log.filters)
    yield
    log.setLevel(level)
    log.filters[:] = filters


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


def spans_to(url: str, lost: Lost | None = None, queue: int = 2048) -> Spans:
    return Spans(TraceSettings(endpoint=url, queue=queue), "1.2.3", lost or Lost())


def passage(**changes: object) -> Passage:
    now = time.monotonic()
    steps = (
        Step("decode", now - 0.004, now - 0.003),
        Step("infer", now - 0.003, now - 0.002, "canary", "credit:gbm-2", "DeadlineError"),
        Step("infer", now - 0.002, now - 0.001, "production", "credit:gbm-1"),
        Step("encode", now - 0.001, now),
    )
    found = Passage(
        "POST",
        "/predict",
        200,
        now - 0.005,
        now,
        "order-17",
        3,
        "production",
        "credit:gbm-1",
        trace_id=random.Random(0).getrandbits(128),
        steps=steps,
    )
    return found._replace(**changes)


def sent(spans: Spans, collector: Collector, *passages: Passage) -> list[Span]:
    for each in passages:
        spans.passed(each)
    spans.close()
    return collector.await_spans(sum(1 + len(each.steps) for each in passages))


def test_a_request_is_a_span_with_a_child_for_each_step(collector: Collector) -> None:
    before = time.time_ns()
    *children, root = sent(spans_to(collector.url), collector, passage())
    assert (root.name, root.kind, root.parent_span_id) == ("predict", Span.SPAN_KIND_SERVER, b"")
    assert [child.name for child in children] == ["decode", "infer", "infer", "encode"]
    assert {child.parent_span_id for child in children} == {root.span_id}
    assert {child.trace_id for child in children} == {root.trace_id}
    assert abs(root.end_time_unix_nano - before) < 60e9
    assert root.end_time_unix_nano - root.start_time_unix_nano == pytest.approx(5e6, rel=0.01)
    assert all(
        root.start_time_unix_nano <= child.start_time_unix_nano <= child.end_time_unix_nano
        for child in children
    )


def test_a_span_says_who_answered_what(collector: Collector) -> None:
    *children, root = sent(spans_to(collector.url), collector, passage())
    assert attributes(root.attributes) == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.response.status_code": 200,
        "understudy.request_id": "order-17",
        "understudy.rows": 3,
        "understudy.arm": "production",
        "understudy.model.name": "credit",
        "understudy.model.version": "gbm-1",
    }
    assert attributes(children[1].attributes) == {
        "understudy.arm": "canary",
        "understudy.model.name": "credit",
        "understudy.model.version": "gbm-2",
        "error.type": "DeadlineError",
    }
    assert [child.status.code == Status.STATUS_CODE_ERROR for child in children] == [
        False,
        True,
        False,
        False,
    ]
    assert collector.resource()["service.name"] == "understudy"
    assert collector.resource()["service.version"] == "1.2.3"


def test_the_trace_has_the_id_that_the_log_has(collector: Collector) -> None:
    found = [passage(trace_id=number, steps=()) for number in (1, 2, 1 << 127)]
    spans = sent(spans_to(collector.url), collector, *found)
    assert [int.from_bytes(span.trace_id) for span in spans] == [1, 2, 1 << 127]
    assert len({span.span_id for span in spans}) == 3


def test_a_span_belongs_to_the_caller_s(collector: Collector) -> None:
    parent = Parent(TRACE, SPAN, True)
    *_, root = sent(spans_to(collector.url), collector, passage(trace_id=TRACE, parent=parent))
    assert int.from_bytes(root.trace_id) == TRACE
    assert int.from_bytes(root.parent_span_id) == SPAN


def test_a_failure_is_told_by_its_type_alone(collector: Collector) -> None:
    failed = passage(status=500, arm=None, model=None, error=InferenceError("a secret"))
    *_, root = sent(spans_to(collector.url), collector, failed)
    assert root.status.code == Status.STATUS_CODE_ERROR
    assert attributes(root.attributes)["error.type"] == "InferenceError"
    assert b"secret" not in collector.requests[0].SerializeToString()


def test_a_refusal_is_the_caller_s_error_and_not_the_span_s(collector: Collector) -> None:
    *_, root = sent(spans_to(collector.url), collector, passage(status=422, error=ValueError("a secret")))
    assert root.status.code == Status.STATUS_CODE_UNSET
    assert b"secret" not in collector.requests[0].SerializeToString()


def test_a_request_without_a_trace_is_no_span(collector: Collector) -> None:
    spans = spans_to(collector.url)
    spans.passed(passage(trace_id=None))
    assert len(sent(spans, collector, passage())) == 5


def test_the_operator_s_own_names_go_before_ours(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=loans,deployment.environment=test")
    sent(spans_to(collector.url), collector, passage())
    found = collector.resource()
    assert (found["service.name"], found["deployment.environment"]) == ("loans", "test")


def test_every_span_is_sent_or_counted_as_dropped(collector: Collector) -> None:
    lost, collector.status = Lost(), 400
    spans = spans_to(collector.url, lost)
    for _ in range(40):
        spans.passed(passage())
    spans.flush()
    assert eventually(lambda: collector.asked >= 200 // BATCH)
    collector.status = 200
    for _ in range(20):
        spans.passed(passage())
    spans.close()
    assert lost.spans >= 200 // BATCH * BATCH
    assert len(collector.spans()) + lost.spans == 60 * 5


def test_a_collector_that_is_away_costs_bounded_memory_and_no_time(caplog: pytest.LogCaptureFixture) -> None:
    lost = Lost()
    spans = spans_to(f"http://127.0.0.1:{free_port()}/v1/traces", lost, queue=100)
    for _ in range(1_000):
        spans.passed(passage())
        spans.flush()
    assert lost.spans >= 5_000 - 100
    spans.close()
    assert eventually(lambda: _all_lost(spans, lost, 5_000))
    assert len([entry for entry in caplog.records if entry.name == EXPORTER_LOG]) <= 1


def _all_lost(spans: Spans, lost: Lost, count: int) -> bool:
    spans.flush()
    return lost.spans == count


class Slow(SpanExporter):
    """Takes nothing until it is told to."""

    def __init__(self) -> None:
        self.go = Event()
        self.taken = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.go.wait()
        self.taken += len(spans)
        return SpanExportResult.SUCCESS


def test_no_more_than_the_queue_wait_for_a_slow_collector() -> None:
    slow, lost = Slow(), Lost()
    spans = Spans(TraceSettings(endpoint="http://unused", queue=50), "1", lost, slow)
    for _ in range(100):
        spans.passed(passage())
        spans.flush()
    assert lost.spans == 500 - 50
    slow.go.set()
    spans.close()
    assert slow.taken == 50
    assert lost.spans == 450


class Broken(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise RuntimeError("it is broken")


def test_an_exporter_that_raises_has_dropped_what_it_was_given() -> None:
    lost = Lost()
    spans = Spans(TraceSettings(endpoint="http://unused"), "1", lost, Broken())
    spans.passed(passage())
    spans.close()
    assert lost.spans == 5
