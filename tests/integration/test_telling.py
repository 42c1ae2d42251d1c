"""What a real server writes of itself and of its requests, and which spans a collector gets from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from load_tests.server import Server, running_server
from tests.adapters.collector import Collector, attributes, collecting
from tests.integration.conftest import await_shadow, eventually

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
INCOME = 98765.4321
KEY = "customer-0815"
SOON = {"shadow": {"idle_priority": False}}
"""On a machine that has other work, a shadow that takes idle time alone may not start for minutes."""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture(scope="module")
def server(demo_home: Path, collector: Collector) -> Iterator[Server]:
    """All edge processes log and trace what they are asked to."""
    config = {
        "production": "credit:gbm-1",
        "candidates": ["credit:gbm-2"],
        "log": {"format": "json", "request_rate": 1.0},
        "trace": {"endpoint": collector.url, "sample_rate": 0.0},
        **SOON,
    }
    with running_server(config=config, models=demo_home) as started:
        await_shadow(started)
        yield started


def lines(server: Server) -> list[dict[str, Any]]:
    """All that was written so far; each line is JSON."""
    return [json.loads(line) for line in server.log.read_text(encoding="utf-8").splitlines()]


def line_of(server: Server, request_id: str) -> dict[str, Any]:
    """The line of one request, which comes a moment after the answer."""
    found = eventually(lambda: [line for line in lines(server) if line.get("request_id") == request_id])
    assert len(found) == 1
    return found[0]


def predict(server: Server, instance: dict[str, Any], request_id: str, **headers: str) -> httpx.Response:
    document = {"instances": [{**instance, "Income": INCOME}], "request_id": request_id, "routing_key": KEY}
    return httpx.post(f"{server.url}/predict", json=document, headers=headers)


def test_every_line_of_every_process_is_json(server: Server) -> None:
    processes = {pid for pids in server.tree().values() for pid in pids}
    wanted = {"understudy.bundles", "bentoml.serve"}
    assert eventually(lambda: len({line["pid"] for line in lines(server)} & processes) >= 4)
    found = lines(server)
    assert {line["logger"] for line in found} >= wanted
    assert all(line["time"].endswith("Z") and line["message"] for line in found)


def test_a_request_s_line_says_who_answered_it_and_nothing_of_what_it_held(
    server: Server, instances: list[dict[str, Any]]
) -> None:
    assert predict(server, instances[0], "order-1").status_code == 200
    line = line_of(server, "order-1")
    known = {name: line[name] for name in ("level", "logger", "route", "status", "rows", "arm", "model")}
    assert known == {
        "level": "info",
        "logger": "understudy.requests",
        "route": "/predict",
        "status": 200,
        "rows": 1,
        "arm": "production",
        "model": "credit:gbm-1",
    }
    assert 0 < line["seconds"] < 5
    text = server.log.read_text(encoding="utf-8")
    assert str(INCOME) not in text
    assert KEY not in text


def test_a_failure_of_ours_is_an_error_with_its_id_and_its_exception(
    server: Server, instances: list[dict[str, Any]]
) -> None:
    wish = {"method": "permutation", "deadline_ms": 1}
    document = {"instances": [instances[0]], "request_id": "order-2", "explain": wish}
    status = httpx.post(f"{server.url}/explain", json=document, timeout=30).status_code
    assert status in (503, 504)
    line = line_of(server, "order-2")
    assert (line["level"], line["status"], line["route"]) == ("error", status, "/explain")
    assert line["exception"]["type"] in ("LateError", "BusyError")
    assert line["exception"]["stack"]


def test_a_caller_s_trace_goes_on_in_ours(
    server: Server, collector: Collector, instances: list[dict[str, Any]]
) -> None:
    predict(server, instances[0], "unsampled", traceparent=f"00-{TRACE}-{SPAN}-00")
    predict(server, instances[0], "undrawn")
    answer = predict(server, instances[0], "sampled", traceparent=f"00-{TRACE}-{SPAN}-01")
    assert not {"traceparent", "traceresponse"} & set(answer.headers)
    spans = collector.await_spans(4)
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    roots = [span for span in spans if span.name == "predict"]
    assert [attributes(root.attributes)["understudy.request_id"] for root in roots] == ["sampled"]
    assert roots[0].parent_span_id.hex() == SPAN
    children = [span.name for span in spans if span.parent_span_id == roots[0].span_id]
    assert children == ["decode", "infer", "encode"]
    assert line_of(server, "sampled")["trace_id"] == TRACE
    assert "trace_id" not in line_of(server, "undrawn")
    assert "understudy_spans_dropped_total 0.0" in httpx.get(f"{server.url}/metrics").text


def test_the_level_holds_in_every_process(demo_home: Path, instances: list[dict[str, Any]]) -> None:
    config = {
        "production": "credit:gbm-1",
        "candidates": ["credit:none"],  # a shadow that complains
        "log": {"format": "json", "level": "error", "request_rate": 1.0},
        "explain": {"process": False},
        **SOON,
    }
    with running_server(config=config, models=demo_home) as quiet:
        await_shadow(quiet)
        assert predict(quiet, instances[0], "order-3").status_code == 200
        assert eventually(lambda: lines(quiet))
        assert {line["level"] for line in lines(quiet)} == {"error"}
        assert any("credit:none" in line["message"] for line in lines(quiet))
