"""What processes write: one line each, in the form that was asked for, and never a value of a row."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.adapters import logs
from service.adapters.logs import FIELDS, Behind, JsonLines, TextLines, log_to_stderr
from service.errors import ExplanationError, InferenceError, StoreError
from service.sections import LogSettings

LONG = 20.0
"""Seconds; what takes so long is stuck."""
LOGGERS = ("understudy", "uvicorn.access", *logs.OTHERS)


@pytest.fixture
def restored() -> Iterator[None]:
    """Loggers as they were."""
    loggers = {name: logging.getLogger(name) for name in LOGGERS}
    kept = {name: (each.handlers, each.propagate, each.level) for name, each in loggers.items()}
    hooks = sys.excepthook, threading.excepthook
    yield
    logging.captureWarnings(False)
    sys.excepthook, threading.excepthook = hooks
    for name, (handlers, propagate, level) in kept.items():
        loggers[name].handlers, loggers[name].propagate = handlers, propagate
        loggers[name].setLevel(level)


def record(message: str = "hello", *arguments: Any, **more: Any) -> logging.LogRecord:
    made = logging.makeLogRecord(
        {"name": "understudy.test", "levelno": 30, "levelname": "WARNING", "msg": message, "args": arguments}
    )
    made.__dict__.update(more)
    return made


def raised(error: Exception, cause: Exception | None = None) -> Any:
    try:
        raise error from cause
    except Exception as caught:
        return type(caught), caught, caught.__traceback__


def of(made: logging.LogRecord) -> dict[str, Any]:
    line = JsonLines().format(made)
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_line_of_json_says_when_where_and_what() -> None:
    created = datetime(2026, 5, 4, 3, 2, 1, 999_000, UTC).timestamp()
    line = of(
        record("%s has %d rows", "m:new", 3, created=created, **{FIELDS: {"request_id": "a", "rows": 3}})
    )
    assert line == {
        "time": "2026-05-04T03:02:01.999Z",
        "level": "warning",
        "logger": "understudy.test",
        "message": "m:new has 3 rows",
        "pid": line["pid"],
        "request_id": "a",
        "rows": 3,
    }


def test_a_line_for_people_has_the_same() -> None:
    line = TextLines().format(record("done", created=0.0, **{FIELDS: {"request_id": "a", "arm": None}}))
    assert line == "1970-01-01T00:00:00.000Z [WARNING] [understudy.test] done request_id=a"


@given(
    st.text(), st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.floats() | st.text())
)
def test_whatever_is_logged_is_one_line_of_json(message: str, fields: dict[str, Any]) -> None:
    line = of(record(message.replace("%", "%%"), **{FIELDS: fields}))
    assert set(line) >= {"time", "level", "logger", "message", *fields}


def test_half_of_a_surrogate_pair_and_a_huge_number_are_one_line_too() -> None:
    line = of(record("\ud800", **{FIELDS: {"count": 1 << 80}}))
    assert (line["message"], int(line["count"])) == ("\ud800", 1 << 80)


def test_a_caller_s_id_cannot_pass_for_another_field() -> None:
    line = TextLines().format(
        record("done", created=0.0, **{FIELDS: {"request_id": "a status=200", "arm": 1}})
    )
    assert line.endswith('done request_id="a status=200" arm=1')


@pytest.mark.parametrize(
    "error",
    [ImportError("libcuda.so.1: cannot open"), AttributeError("'list' has no 'x'"), MemoryError("8 GiB")],
)
def test_an_error_about_code_keeps_its_text(error: Exception) -> None:
    assert of(record(exc_info=raised(error)))["exception"]["text"] == str(error)


def test_an_exception_is_told_with_its_type_its_place_and_its_cause() -> None:
    error = raised(StoreError("the disk is full"), OSError(28, "No space left on device"))
    told = of(record(exc_info=error))["exception"]
    assert (told["type"], told["text"]) == ("StoreError", "the disk is full")
    assert any("test_logs.py" in place and place.endswith("in raised") for place in told["stack"])
    assert (told["cause"]["type"], told["cause"]["text"]) == ("OSError", "[Errno 28] No space left on device")
    people = TextLines().format(record(exc_info=error))
    assert "StoreError: the disk is full" in people
    assert "test_logs.py" in people


def test_an_endless_chain_of_causes_ends() -> None:
    error = ValueError()
    for _ in range(100):
        following = ValueError()
        following.__cause__ = error
        error = following
    line = of(record(exc_info=(ValueError, error, None)))
    assert str(line).count("ValueError") == logs.MOST_CAUSES + 1


values = st.floats(allow_nan=False, allow_infinity=False).filter(lambda value: len(repr(value)) > 4)
words = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=5).map(
    lambda word: f"Q{word}Q"
)


@pytest.mark.parametrize("formatter", [JsonLines(), TextLines()])
@pytest.mark.parametrize("kind", [ValueError, KeyError, RuntimeError, TypeError])
@given(value=values.map(repr) | words)
def test_no_value_is_in_the_line_of_an_error_that_nobody_expected(
    formatter: logging.Formatter, kind: type[Exception], value: str
) -> None:
    error = raised(kind(f"cannot use {value}"), kind(value))
    line = formatter.format(record("it failed", created=0.0, process=1, exc_info=error))
    assert value not in line
    assert "cannot use" not in line
    assert kind.__name__ in line


@pytest.mark.parametrize("kind", [InferenceError, ExplanationError])
@given(value=values.map(repr) | words.map(repr))
def test_no_value_is_in_what_a_model_says_of_its_failure(kind: type[Exception], value: str) -> None:
    error = kind(f"m:v-1 can't: index out of bounds, idx={value} of (3,{value}): {value}")
    for line in (
        JsonLines().format(record("%s failed: %s", "m:v-1", error, created=0.0, process=1)),
        JsonLines().format(record(created=0.0, process=1, exc_info=raised(error))),
        TextLines().format(record("%s failed: %s", "m:v-1", error, created=0.0, exc_info=raised(error))),
    ):
        assert value.strip("'\"-") not in line
        assert "m:v-1 can't: index out of bounds, idx=" in line


def test_no_value_is_in_what_asyncio_says_of_a_task_that_nobody_awaited() -> None:
    error = ValueError("a secret")
    made = record(
        f"Task exception was never retrieved\nfuture: {error!r}", name="asyncio", exc_info=raised(error)
    )
    for line in (JsonLines().format(made), TextLines().format(made)):
        assert "Task exception was never retrieved" in line
        assert "ValueError" in line
        assert "secret" not in line


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_the_level_is_that_of_the_settings_for_others_too(
    level: Any, restored: None, capsys: pytest.CaptureFixture[str]
) -> None:
    log_to_stderr(LogSettings(format="json", level=level))
    for name in ("understudy.test", "bentoml", "other"):
        for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger(name).log(number, "hello")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    levels = ["debug", "info", "warning", "error"]
    ours = [line["level"] for line in lines if line["logger"] == "understudy.test"]
    assert ours == levels[levels.index(level) :]
    others = [line["level"] for line in lines if line["logger"] != "understudy.test"]
    assert others
    assert set(others) <= set(ours)


def test_what_nobody_caught_is_a_line_like_any_other(
    restored: None, capsys: pytest.CaptureFixture[str]
) -> None:
    log_to_stderr(LogSettings(format="json"))
    sys.excepthook(*raised(RuntimeError("a secret")))
    thread = threading.Thread(target=lambda: 1 / 0, name="worker")  # a bug, on purpose
    threading.excepthook = logs._uncaught_in_thread  # pytest has put its own there
    thread.start()
    thread.join()
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["level"], first["exception"]["type"], first["exception"]["text"]) == (
        "critical",
        "RuntimeError",
        None,
    )
    assert (second["message"], second["exception"]["type"]) == ("worker ended", "ZeroDivisionError")


def test_lines_of_requests_are_not_uvicorn_s(restored: None, capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr(LogSettings())
    assert not logging.getLogger("uvicorn.access").hasHandlers()


def test_a_reader_that_stalls_holds_nobody_up_and_what_is_left_out_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "MOST_BEHIND", 100)
    reader, writer = os.pipe()
    behind = Behind(writer)
    behind.setFormatter(JsonLines())
    start = time.monotonic()
    for number in range(500):
        behind.handle(record("x" * 4000, **{FIELDS: {"number": number}}))  # a pipe takes 16 of them
    assert time.monotonic() - start < LONG
    with os.fdopen(reader, encoding="utf-8") as stream:
        read = [json.loads(stream.readline()) for _ in range(100)]
        behind.handle(record("read again"))
        while read[-1]["message"] != "read again":
            read.append(json.loads(stream.readline()))
    numbers = [line["number"] for line in read if "number" in line]
    assert numbers == sorted(numbers)
    left_out = sum(line.get("left_out", 0) for line in read)
    assert left_out > 300
    assert len(numbers) + left_out == 500


def test_the_last_lines_of_a_process_are_written_and_its_end_is_not_held_up() -> None:
    program = (
        "import logging; from service.adapters.logs import log_to_stderr;"
        "from service.sections import LogSettings;"
        "log_to_stderr(LogSettings(format='json'), behind=True);"
        "[logging.getLogger('understudy').error('x' * 1000) for _ in range({count})]"
    )
    read = subprocess.run(
        [sys.executable, "-c", program.format(count=300)], capture_output=True, text=True, check=True
    )
    assert [len(json.loads(line)["message"]) for line in read.stderr.splitlines()] == [1000] * 300
    unread = subprocess.Popen([sys.executable, "-c", program.format(count=300)], stderr=subprocess.PIPE)
    assert unread.wait(LONG) == 0
    assert unread.stderr is not None
    unread.stderr.close()
