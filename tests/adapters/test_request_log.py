"""Each failure has a line, up to a limit; what is beyond it is counted, not lost sight of."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from service.adapters.logs import JsonLines
from service.adapters.request_log import MOST_A_SECOND, MOST_WAITING, RequestLog, log
from service.domain.passage import Fallback, Passage
from service.errors import InferenceError
from service.http.problem import overloaded


class Lines(logging.Handler):
    """Keeps what is written, as JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self.found: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(json.loads(self.format(record)))


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, kept = Lines(), (log.handlers, log.propagate)
    log.handlers, log.propagate = [handler], False
    yield handler
    log.handlers, log.propagate = kept


def failed(at: float = 0.0, **changes: Any) -> Passage:
    return Passage("POST", "/predict", 500, at, at, "a", 3, error=InferenceError("m:v failed"))._replace(
        **changes
    )


def answered(**changes: Any) -> Passage:
    found = Passage("POST", "/predict", 200, 1.0, 1.25, "a", 3, "canary", "m:v", logged=True)
    return found._replace(**changes)


def test_a_drawn_request_has_a_line_with_all_that_is_known(lines: Lines) -> None:
    requests = RequestLog(lambda: 2.0)
    requests.passed(answered(trace_id=255))
    assert lines.found == []  # nothing is written while requests are answered
    requests.flush()
    (line,) = lines.found
    known = {key: line[key] for key in line if key not in ("time", "pid")}
    assert known == {
        "level": "info",
        "logger": "understudy.requests",
        "message": "POST /predict answered 200",
        "request_id": "a",
        "route": "/predict",
        "status": 200,
        "seconds": 0.25,
        "rows": 3,
        "arm": "canary",
        "model": "m:v",
        "trace_id": f"{255:032x}",
    }


def test_a_line_has_the_time_of_its_request_and_not_of_its_writing(lines: Lines) -> None:
    now = 1_000.0
    requests = RequestLog(lambda: now)
    requests.passed(answered(end=now - 3600))
    requests.passed(answered(end=now))
    requests.flush()
    earlier, later = (line["time"] for line in lines.found)
    assert earlier < later


def test_a_failure_has_a_line_with_its_exception_drawn_or_not(lines: Lines) -> None:
    requests = RequestLog(lambda: 1.0)
    requests.passed(failed())
    requests.passed(failed(logged=True))
    requests.flush()
    assert [(line["level"], line["exception"]["type"]) for line in lines.found] == [
        ("error", "InferenceError")
    ] * 2


def test_a_request_that_is_traced_only_has_no_line(lines: Lines) -> None:
    requests = RequestLog(lambda: 1.0)
    requests.passed(answered(logged=False, trace_id=1))
    requests.flush()
    assert lines.found == []


def test_a_refusal_is_no_failure(lines: Lines) -> None:
    requests = RequestLog(lambda: 1.0)
    requests.passed(answered(status=422, error=ValueError("a secret")))
    requests.flush()
    (line,) = lines.found
    assert (line["level"], line["status"]) == ("info", 422)
    assert "exception" not in line


def test_a_flood_of_failures_is_cut_and_counted(lines: Lines) -> None:
    now = 100.0
    requests = RequestLog(lambda: now)
    for turn in range(100):  # two seconds of a flood that never pauses
        now = 100.0 + turn / 50
        for _ in range(10):
            requests.passed(failed(now))
        requests.flush()
    now = 102.0
    requests.flush()
    told = [line["left_out"] for line in lines.found if "left_out" in line]
    assert len(lines.found) - len(told) == 2 * MOST_A_SECOND
    assert sum(told) == 1_000 - 2 * MOST_A_SECOND
    assert len(told) == 3


def test_failures_and_fallbacks_do_not_crowd_each_other_out(lines: Lines) -> None:
    requests = RequestLog(lambda: 1.0)
    for _ in range(100):
        requests.passed(failed(1.0))
    requests.fell_back(Fallback("m:new", "deadline", "b", 1.0))
    requests.flush()
    last = next(line for line in lines.found if "candidate" in line)
    assert (last["level"], last["candidate"], last["reason"], last["request_id"]) == (
        "warning",
        "m:new",
        "deadline",
        "b",
    )
    assert last["message"] == "production answered for m:new: the canary was late"


def test_a_flood_of_refusals_does_not_hide_a_bug(lines: Lines) -> None:
    requests = RequestLog(lambda: 1.0)
    for _ in range(100):
        requests.passed(failed(1.0, status=503, error=overloaded("too many requests are in work")))
    requests.passed(failed(1.0, error=KeyError()))
    requests.flush()
    told = [line["exception"] for line in lines.found if "exception" in line]
    assert [each["type"] for each in told] == ["Overloaded"] * MOST_A_SECOND + ["KeyError"]
    assert told[0]["text"] == "too many requests are in work"
    assert [line["left_out"] for line in lines.found if "left_out" in line] == [100 - MOST_A_SECOND]


def test_a_fallback_says_what_the_canary_failed_of(lines: Lines) -> None:
    requests = RequestLog(lambda: 1.0)
    requests.fell_back(Fallback("m:new", "error", "b", 1.0, ZeroDivisionError("a secret")))
    requests.flush()
    assert lines.found[0]["exception"]["type"] == "ZeroDivisionError"
    assert "secret" not in str(lines.found)


def test_what_waits_is_bounded(lines: Lines) -> None:
    requests = RequestLog(lambda: 1.0)
    for _ in range(MOST_WAITING + 7):
        requests.passed(answered())
    requests.flush()
    assert len(lines.found) == MOST_WAITING + 1
    assert lines.found[-1]["left_out"] == 7


@pytest.mark.parametrize("level", [logging.INFO, logging.ERROR, logging.CRITICAL])
def test_the_level_decides_about_lines_of_requests_too(lines: Lines, level: int) -> None:
    lines.setLevel(level)
    requests = RequestLog(lambda: 1.0)
    requests.passed(answered())
    requests.passed(failed())
    requests.flush()
    assert len(lines.found) == {logging.INFO: 2, logging.ERROR: 1, logging.CRITICAL: 0}[level]
