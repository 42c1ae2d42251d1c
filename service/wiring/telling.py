"""What one edge tells of single requests, and to whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from service import __version__
from service.adapters.edge_metrics import EdgeMetrics
from service.adapters.request_log import RequestLog
from service.domain.passage import Fallback, Passage
from service.http.telling import Drawing
from service.sections import LogSettings, TraceSettings
from service.settings import Settings


class Traces(Protocol):
    """Has spans of requests sent."""

    def passed(self, passage: Passage) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Telling:
    """Counts, lines and spans of single requests."""

    metrics: EdgeMetrics
    lines: RequestLog
    traces: Traces | None
    drawing: Drawing | None
    """None where no request is drawn."""

    def passed(self, passage: Passage) -> None:
        """Takes what is told of a request; on the hot path."""
        self.lines.passed(passage)
        if self.traces is not None:
            self.traces.passed(passage)

    def fell_back(self, fallback: Fallback) -> None:
        """Takes a request that the canary could not answer; on the hot path."""
        self.metrics.fell_back(fallback.candidate, fallback.reason)
        self.lines.fell_back(fallback)

    def flush(self) -> None:
        """Hands on what was taken since the last call."""
        self.lines.flush()
        if self.traces is not None:
            self.traces.flush()

    def close(self) -> None:
        """Hands on what is left; takes a moment where the collector is away."""
        self.lines.flush()
        if self.traces is not None:
            self.traces.close()


def telling(settings: Settings, metrics: EdgeMetrics) -> Telling:
    """As configured; spans that nobody got are counted in ``metrics``."""
    traces = _traces(settings.trace, metrics.spans_dropped)
    return Telling(metrics, RequestLog(), traces, drawing(settings.log, settings.trace))


def drawing(log: LogSettings, trace: TraceSettings) -> Drawing | None:
    """What draws requests; None where none is drawn, not even by callers."""
    if trace.endpoint is not None:
        return Drawing(log.request_rate, trace.sample_rate)
    return Drawing(log.request_rate, None) if log.request_rate else None


def _traces(settings: TraceSettings, dropped: Callable[[int], None]) -> Traces | None:
    if settings.endpoint is None:
        return None
    from service.adapters.traces import Spans  # 25 MB

    return Spans(settings, __version__, dropped)
