"""Requests as OpenTelemetry spans, sent by OTLP over HTTP.

A request that was drawn becomes a span ``predict`` of the kind server, with a child for each of its steps.
Spans are made between requests and sent from a thread of the SDK's. A collector that is slow or away costs
memory up to ``trace.queue`` spans; further ones are dropped, and counted.
This module is imported where spans are sent and nowhere else: the SDK takes 25 MB and 0.1 s.

Names of attributes are those of the semantic conventions for HTTP servers (1.23 and later), and begin with
``understudy.`` where these have none. No attribute holds a value of a row.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from service.domain.passage import SERVERS_FAULT, Parent, Passage, Step
from service.sections import TraceSettings

BATCH = 64
"""Spans of one message. Writing one holds Python's lock for some 2 ms, for which requests wait."""
SEND_SECONDS = 1.0
"""How long a span waits for others to go with."""
TIMEOUT_SECONDS = 5.0
"""How long the collector may take for a message."""
CLOSE_SECONDS = 1.0
"""How long the end of the process waits for what is left."""
COMPLAINT_SECONDS = 60.0
EXPORTER_LOG = "opentelemetry.exporter.otlp.proto.http.trace_exporter"

Attributes = dict[str, str | int]


class Spans:
    """Makes spans of requests, and has them sent.

    Args:
        settings: with an endpoint.
        version: of the service.
        dropped: told how many spans were dropped.
        exporter: in place of OTLP's.
    """

    def __init__(
        self,
        settings: TraceSettings,
        version: str,
        dropped: Callable[[int], None],
        exporter: SpanExporter | None = None,
    ) -> None:
        self._room = settings.queue
        self._dropped = dropped
        self._waiting: list[Passage] = []
        self._made = self._lost = self._told = 0
        self._exporter = _Counted(exporter or _otlp(settings))
        self._processor = BatchSpanProcessor(
            self._exporter,
            max_queue_size=settings.queue,
            schedule_delay_millis=SEND_SECONDS * 1000,
            max_export_batch_size=min(BATCH, settings.queue),
        )
        self._ids = _Ids()
        ours = Resource({"service.name": "understudy", "service.version": version})
        provider = TracerProvider(
            sampler=ALWAYS_ON,  # it was drawn before it came here
            resource=ours.merge(OTELResourceDetector().detect()),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("understudy", version)

    def passed(self, passage: Passage) -> None:
        """Takes a request, if it is to be traced; for the hot path."""
        if passage.trace_id is None:
            return
        spans = 1 + len(passage.steps)
        if self._made - self._exporter.done + spans > self._room:
            self._lost += spans
        else:
            self._made += spans
            self._waiting.append(passage)

    def flush(self) -> None:
        """Makes spans of what was taken since the last call, and counts those that were dropped."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            epoch = time.time_ns() - time.monotonic_ns()
            for passage in waiting:
                self._make(passage, epoch)
        lost = self._lost + self._exporter.failed
        if lost > self._told:
            self._dropped(lost - self._told)
            self._told = lost

    def close(self) -> None:
        """Sends what is left, for ``CLOSE_SECONDS`` at most."""
        self.flush()
        thread = threading.Thread(target=self._processor.shutdown, name="last-spans", daemon=True)
        thread.start()
        thread.join(CLOSE_SECONDS)
        self._exporter.shutdown()  # ends the wait for another try
        thread.join(CLOSE_SECONDS)
        self.flush()

    def _make(self, passage: Passage, epoch: int) -> None:
        assert passage.trace_id is not None
        self._ids.trace_id = passage.trace_id
        root = self._tracer.start_span(
            "predict",
            context=_context(passage.parent),
            kind=SpanKind.SERVER,
            attributes=_attributes(passage),
            start_time=epoch + _nanoseconds(passage.start),
        )
        inside = set_span_in_context(root)
        for step in passage.steps:
            child = self._tracer.start_span(
                step.name,
                context=inside,
                attributes=_attributes_of_step(step),
                start_time=epoch + _nanoseconds(step.start),
            )
            if step.failure is not None:
                child.set_status(StatusCode.ERROR)
            child.end(epoch + _nanoseconds(step.end))
        if passage.status >= SERVERS_FAULT:
            root.set_status(StatusCode.ERROR)
        root.end(epoch + _nanoseconds(passage.end))


def _attributes(passage: Passage) -> Attributes:
    found: dict[str, str | int | None] = {
        "http.request.method": passage.method,
        "http.route": passage.route,
        "http.response.status_code": passage.status,
        "understudy.request_id": passage.request_id,
        "understudy.rows": passage.rows,
        "understudy.arm": passage.arm,
        **_model(passage.model),
    }
    if passage.status >= SERVERS_FAULT:
        found["error.type"] = str(passage.status) if passage.error is None else type(passage.error).__name__
    return _known(found)


def _attributes_of_step(step: Step) -> Attributes:
    return _known({"understudy.arm": step.arm, "error.type": step.failure, **_model(step.model)})


def _model(tag: str | None) -> Attributes:
    if tag is None:
        return {}
    name, _, version = tag.partition(":")
    return {"understudy.model.name": name, "understudy.model.version": version}


def _known(attributes: dict[str, str | int | None]) -> Attributes:
    return {name: value for name, value in attributes.items() if value is not None}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)


def _context(parent: Parent | None) -> Context:
    """Where a request's span belongs: to the caller's, or to nobody's."""
    if parent is None:
        return Context()
    flags = TraceFlags(TraceFlags.SAMPLED)
    remote = SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(remote), Context())


def _otlp(settings: TraceSettings) -> SpanExporter:
    """OTLP's; headers, compression and certificates are read from OpenTelemetry's own variables."""
    log = logging.getLogger(EXPORTER_LOG)
    log.setLevel(logging.ERROR)
    log.addFilter(_Seldom())
    return OTLPSpanExporter(endpoint=settings.endpoint, timeout=TIMEOUT_SECONDS)


class _Ids(RandomIdGenerator):
    """Gives the trace the id that was drawn with it, which the log has as well."""

    trace_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id


class _Counted(SpanExporter):
    """Counts what another exporter is through with, and what it failed on; called by one thread."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self.done = 0
        self.failed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._inner.export(spans)
        finally:
            if result is not SpanExportResult.SUCCESS:
                self.failed += len(spans)
            self.done += len(spans)
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()


class _Seldom(logging.Filter):
    """One complaint now and then is enough; what is lost is counted."""

    def __init__(self) -> None:
        super().__init__()
        self._silent_until = 0.0

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - all of its logger's are alike
        now = time.monotonic()
        if now < self._silent_until:
            return False
        self._silent_until = now + COMPLAINT_SECONDS
        return True
