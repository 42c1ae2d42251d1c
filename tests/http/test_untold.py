"""Whatever callers send and however it fails, no value of theirs is in a log line or in a span."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from service.adapters.logs import JsonLines, TextLines
from service.adapters.request_log import RequestLog, log
from service.adapters.traces import Spans
from service.domain.breaker import Breaker
from service.domain.canary import Rollout
from service.domain.passage import Passage
from service.domain.schema import FeatureBatch, Scores
from service.errors import DeadlineError, InferenceError
from service.http.edge import Route
from service.http.telling import Drawing
from service.paths.canary import Canary, Split
from service.paths.predict import PredictPath
from service.sections import TraceSettings
from tests.http.edges import World
from tests.http.fakes import CREDIT, native_codec, scores_of, serving

Infer = Callable[[FeatureBatch], Scores]


class Told(SpanExporter):
    """An edge that tells all it can of every request, and keeps what it told."""

    def __init__(self) -> None:
        self.text = ""
        self.requests = RequestLog()
        self.spans = Spans(TraceSettings(endpoint="http://unused"), "1", lambda spans: None, self)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.text += "".join(span.to_json() for span in spans)
        return SpanExportResult.SUCCESS

    def passed(self, passage: Passage) -> None:
        self.requests.passed(passage)
        self.spans.passed(passage)

    def flush(self) -> str:
        """All that was told since the last call."""
        self.requests.flush()
        self.spans.flush()
        self.spans._processor.force_flush()
        self.requests = RequestLog()  # its limit per second begins anew: every line is searched
        found, self.text = self.text, ""
        return found


class Lines(logging.Handler):
    """Adds every line to what was told, in both forms."""

    def __init__(self, told: Told) -> None:
        super().__init__()
        self.told = told

    def emit(self, record: logging.LogRecord) -> None:
        self.told.text += JsonLines().format(record) + TextLines().format(record)


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    found = Told()
    logger, kept = logging.getLogger("understudy"), (log.propagate, logging.getLogger("understudy").handlers)
    logger.handlers = [Lines(found)]
    yield found
    found.spans.close()
    logger.handlers = kept[1]


def well(rows: FeatureBatch) -> Scores:
    return scores_of(CREDIT, rows)


def fail(rows: FeatureBatch) -> Scores:
    raise InferenceError(f"{CREDIT.tag} failed: index out of bounds, idx={rows[0, 0]} in {rows.tolist()}")


def stumble(rows: FeatureBatch) -> Scores:
    raise ValueError(f"cannot use {rows.tolist()}") from KeyError(str(rows[0, 0]))


def dawdle(rows: FeatureBatch) -> Scores:
    raise DeadlineError(f"{CREDIT.tag} was stopped at its deadline")


def world(told: Told, production: Infer, canary: Infer | None) -> World:
    def model(infer: Infer) -> Any:
        async def beside(rows: FeatureBatch, due: float) -> Scores:
            return infer(rows)

        return replace(serving(CREDIT), infer=lambda rows, due: infer(rows), infer_in_thread=beside)

    path = PredictPath(
        model(production), None, deadline=5, canary_deadline=1, fell_back=told.requests.fell_back
    )
    if canary is not None:
        path.split = Split(Rollout("m:new", 10_000, "s"), Canary(model(canary), lambda rows: rows, Breaker()))
    route = Route("/predict", predict=native_codec(CREDIT))
    drawing = Drawing(1.0, 1.0, seed=0)
    return World(path=path, routes={"/predict": route}, tell=told.passed, drawing=drawing)


letters = st.characters(min_codepoint=97, max_codepoint=122)
words = st.text(letters, min_size=6, max_size=12).map(lambda word: f"Q{word}Q")
floats = st.floats(1e6, 1e9).filter(lambda value: len(repr(value)) > 12)
integers = st.integers(10**12, 2**53)
values = st.one_of(words, floats, integers)
fitting = st.fixed_dictionaries(
    {
        "Age": integers,
        "Income per month": floats,
        "Wohnort ü 100%": st.just("Größe 5%"),
        "instances": floats,
        "Job": st.just("fixed"),
    }
)
anything = st.dictionaries(st.sampled_from(CREDIT.schema.names()), values)
bodies = st.fixed_dictionaries({"instances": st.lists(fitting | anything, min_size=1), "routing_key": words})


def forms(value: Any) -> Iterator[str]:
    """As it may be written."""
    yield str(value)
    if isinstance(value, int | float):
        yield str(float(value))
        yield f"{value:.6e}"[:8]


@pytest.mark.parametrize("production", [well, fail, stumble, dawdle])
@pytest.mark.parametrize("canary", [None, fail, stumble])
@given(body=bodies, broken=st.booleans())
def test_no_value_of_a_body_is_told(
    told: Told, production: Infer, canary: Infer | None, body: dict[str, Any], broken: bool
) -> None:
    text = json.dumps(body).encode()[: -1 if broken else None]
    response = world(told, production, canary).predict(text, x_request_id="order-17")
    found = told.flush()
    assert "order-17" in found
    assert str(response.status) in found
    assert "/predict" in found
    sent = [body["routing_key"], *(value for row in body["instances"] for value in row.values())]
    for value in sent:
        if value not in ("Größe 5%", "fixed"):
            assert not [form for form in forms(value) if form in found], found


def test_the_lines_that_are_searched_hold_what_was_told(told: Told) -> None:
    row = {"Age": 10**12, "Income per month": 1.5, "Wohnort ü 100%": None, "instances": 1.0, "Job": "free"}
    world(told, fail, None).predict(json.dumps({"instances": [row]}).encode())
    found = told.flush()
    assert "credit:gbm-1 failed: index out of bounds, idx=" in found
    assert '"name": "infer"' in found
