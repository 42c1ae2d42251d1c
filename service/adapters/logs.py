"""What this service's processes write of themselves: a line of JSON each, or a line for people.

No line holds a value of a row: of exceptions it has the type, the place, and only the text that
``service.errors.text_for_logs`` lets pass.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from datetime import UTC, datetime
from functools import cache
from queue import Queue
from types import TracebackType
from typing import Any

import orjson

from service.errors import ExplanationError, InferenceError, text_for_logs
from service.sections import LogSettings

FIELDS = "fields"
"""The attribute of a record that holds more about it, by name."""
MOST_FRAMES = 20
"""Of a stack so many are told, the innermost."""
MOST_CAUSES = 5
MOST_BEHIND = 10_000
"""Lines that may wait for whoever reads them."""
LAST_SECONDS = 1.0
"""How long the end of a process waits for lines to be read."""
OTHERS = (None, "bentoml", "circus", "uvicorn.error")
"""Loggers that are not ours and write into the same stream; None is the root of all."""


def log_to_stderr(settings: LogSettings, *, behind: bool = False) -> None:
    """Writes what this process logs to standard error, others' lines in the same form as ours.

    Called once BentoML has configured its own loggers, which it does before it loads a service.

    Args:
        settings: form and level.
        behind: whether nobody may wait until a line is written.
    """
    handler = _behind() if behind else logging.StreamHandler()
    handler.setFormatter(JsonLines() if settings.format == "json" else TextLines())
    handler.setLevel(settings.level.upper())
    logger = logging.getLogger("understudy")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(settings.level.upper())
    for name in OTHERS:
        other = logging.getLogger(name)
        other.handlers = [handler]
        other.propagate = False
    access = logging.getLogger("uvicorn.access")  # uvicorn builds a line per request unless nobody listens
    access.handlers = []
    access.propagate = False
    if settings.format == "json":  # else what Python itself writes would be the only lines that are none
        logging.captureWarnings(True)
        sys.excepthook = _uncaught
        threading.excepthook = _uncaught_in_thread


class Behind(logging.Handler):
    """Writes lines to standard error from a thread, for processes that must not wait for those who read them.

    A reader that stalls fills a pipe with 64 KB; from then on whoever writes to it stands still. Lines that
    find ``MOST_BEHIND`` others waiting are left out, and their number is told once there is room.

    Args:
        descriptor: what is written to; written to directly, since Python's own stream has a lock that a
            stalled write holds until the process ends.
    """

    def __init__(self, descriptor: int = 2) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._waiting: Queue[bytes] = Queue(MOST_BEHIND)
        self._left_out = 0
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Has the line written."""
        try:
            if self._left_out and not self._waiting.full():
                count, self._left_out = self._left_out, 0
                self._add(_left_out(record, count))
            if self._waiting.full():
                self._left_out += 1
            else:
                self._add(record)
        except Exception:  # as any handler: a line that cannot be written ends nothing
            self.handleError(record)

    def flush(self) -> None:
        """Waits until all is written, ``LAST_SECONDS`` at most; Python calls it when the process ends."""
        due = time.monotonic() + LAST_SECONDS
        while self._waiting.unfinished_tasks and time.monotonic() < due:
            time.sleep(0.005)

    def _add(self, record: logging.LogRecord) -> None:
        self._waiting.put_nowait(f"{self.format(record)}\n".encode(errors="backslashreplace"))

    def _write(self) -> None:
        while True:
            line = self._waiting.get()
            while line:  # once, as a rule: lines of siblings do not come in between
                try:
                    line = line[os.write(self._descriptor, line) :]
                except BlockingIOError:  # somebody who shares the stream made it so
                    time.sleep(0.01)
                except OSError:  # nobody reads any more
                    break
            self._waiting.task_done()


@cache
def _behind() -> Behind:
    """The only one of this process, which lines so keep their order."""
    return Behind()


class JsonLines(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, logger, message, pid, and more where known."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
            "pid": record.process,
            **getattr(record, FIELDS, {}),
        }
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line["exception"] = described(error)
        try:
            return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        except TypeError:  # half of a surrogate pair, say
            return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """The same for people: time, level, logger, message, then what else is known as ``name=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and an indented one for each frame of an exception."""
        named = getattr(record, FIELDS, {})
        fields = "".join(f" {name}={_plain(value)}" for name, value in named.items() if value is not None)
        line = f"{_time(record)} [{record.levelname}] [{record.name}] {_message(record)}{fields}"
        error: dict[str, Any] | None = None
        if record.exc_info and record.exc_info[1] is not None:
            error = described(record.exc_info[1])
        while error is not None:
            told = "" if error["text"] is None else f": {error['text']}"
            line += "".join(f"\n    {part}" for part in (f"{error['type']}{told}", *error["stack"]))
            error = error.get("cause")
        return line


def described(error: BaseException, depth: int = MOST_CAUSES) -> dict[str, Any]:
    """An exception for a log: its type, its text where that may be told, where it was raised, and why."""
    text = text_for_logs(error)
    found: dict[str, Any] = {
        "type": type(error).__name__,
        "text": None if text == type(error).__name__ else text,
        "stack": _stack(error.__traceback__),
    }
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and depth:
        found["cause"] = described(cause, depth - 1)
    return found


def _stack(traceback: TracebackType | None) -> list[str]:
    """Where an exception passed, outermost first; the code itself would be read from disk."""
    places = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        places.append(f"{code.co_filename}:{traceback.tb_lineno} in {code.co_name}")
        traceback = traceback.tb_next
    return places[-MOST_FRAMES:]


def _plain(value: Any) -> str:
    """As it is, or quoted where a caller's id could pass for a field of ours."""
    text = str(value)
    return json.dumps(text) if " " in text or "=" in text or '"' in text else text


def _left_out(record: logging.LogRecord, count: int) -> logging.LogRecord:
    """Says, beside ``record``, that ``count`` lines before it are not there."""
    return logging.makeLogRecord(
        {
            "name": "understudy",
            "levelno": logging.ERROR,
            "levelname": "ERROR",
            "msg": f"{count} lines were left out: those before them were not read",
            "created": record.created,
            FIELDS: {"left_out": count},
        }
    )


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    """The message; models and methods that fail may name what they failed on, see ``text_for_logs``."""
    if record.name == "asyncio":  # goes on with the task and whatever it failed of
        return record.getMessage().partition("\n")[0]
    if not isinstance(record.args, tuple) or not record.args:
        return record.getMessage()
    careful = tuple(
        text_for_logs(each) if isinstance(each, InferenceError | ExplanationError) else each
        for each in record.args
    )
    return str(record.msg) % careful


def _uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    logging.getLogger("understudy").critical("uncaught", exc_info=(kind, error, traceback))


def _uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None:
        where = arguments.thread.name if arguments.thread is not None else "a thread"
        logging.getLogger("understudy").critical("%s ended", where, exc_info=arguments.exc_value)
