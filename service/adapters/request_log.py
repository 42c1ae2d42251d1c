"""The lines about single requests: collected while they are answered, written between them.

Every request that fails with 5xx, and every one that the canary could not answer, gets a line, up to
``MOST_A_SECOND`` of each status and of the latter; how many were left out is said once a second. The others
get one where they were drawn.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from service.adapters.logs import FIELDS
from service.domain.passage import FALLBACKS, SERVERS_FAULT, Fallback, Passage

log = logging.getLogger("understudy.requests")

MOST_A_SECOND = 10
MOST_WAITING = 10_000
"""Lines that may wait to be written."""


class Limit:
    """Lets ``MOST_A_SECOND`` pass in each second, and counts the others.

    Args:
        what: is limited, for the line that says how many were left out.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._second = 0
        self._passed = 0
        self._left_out = 0
        self._told: int | None = None

    def passes(self, now: float) -> bool:
        """Whether one at ``now``, in seconds of any clock, passes."""
        if int(now) != self._second:
            self._second, self._passed = int(now), 0
        if self._passed >= MOST_A_SECOND:
            self._left_out += 1
            return False
        self._passed += 1
        return True

    def left_out(self, now: float) -> int:
        """How many were left out since this was last told, which is once in each second."""
        if not self._left_out or int(now) == self._told:
            return 0
        found, self._left_out, self._told = self._left_out, 0, int(now)
        return found


class RequestLog:
    """Collects what is told of requests, and writes it.

    Args:
        clock: gives ``time.monotonic()`` seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: list[Passage | Fallback] = []
        self._failures: dict[int, Limit] = {}  # by status: a flood of refusals must not hide a bug
        self._fallbacks = Limit("canary fallbacks")
        self._crowded_out = 0

    def passed(self, passage: Passage) -> None:
        """Takes a request that failed or was drawn; for the hot path."""
        if passage.status >= SERVERS_FAULT:
            limit = self._failures.get(passage.status)
            if limit is None:
                limit = self._failures[passage.status] = Limit(f"requests answered {passage.status}")
            if limit.passes(passage.end):
                self._wait(passage)
        elif passage.logged:
            self._wait(passage)

    def fell_back(self, fallback: Fallback) -> None:
        """Takes a request that the canary could not answer; for the hot path."""
        if self._fallbacks.passes(fallback.at):
            self._wait(fallback)

    def flush(self) -> None:
        """Writes what was taken since the last call."""
        now = self._clock()
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            epoch = time.time() - now
            for each in waiting:
                log.handle(_of_fallback(each, epoch) if isinstance(each, Fallback) else _of(each, epoch))
        for limit in (*self._failures.values(), self._fallbacks):
            count = limit.left_out(now)
            if count:
                left_out = {FIELDS: {"left_out": count}}
                log.error("%d more %s have no line here", count, limit.what, extra=left_out)
        if self._crowded_out:
            count, self._crowded_out = self._crowded_out, 0
            log.error("%d lines found no room", count, extra={FIELDS: {"left_out": count}})

    def _wait(self, each: Passage | Fallback) -> None:
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(each)
        else:
            self._crowded_out += 1


def _of(passage: Passage, epoch: float) -> logging.LogRecord:
    failed = passage.status >= SERVERS_FAULT
    fields = {
        "request_id": passage.request_id,
        "route": passage.route,
        "status": passage.status,
        "seconds": round(passage.end - passage.start, 6),
        "rows": passage.rows,
        "arm": passage.arm,
        "model": passage.model,
        "trace_id": None if passage.trace_id is None else f"{passage.trace_id:032x}",
    }
    message = f"{passage.method} {passage.route} answered {passage.status}"
    level = logging.ERROR if failed else logging.INFO
    return _record(level, message, fields, epoch + passage.end, passage.error if failed else None)


def _of_fallback(fallback: Fallback, epoch: float) -> logging.LogRecord:
    fields = {
        "request_id": fallback.request_id,
        "candidate": fallback.candidate,
        "reason": fallback.reason,
    }
    message = f"production answered for {fallback.candidate}: {FALLBACKS[fallback.reason]}"
    return _record(logging.WARNING, message, fields, epoch + fallback.at, fallback.error)


def _record(
    level: int, message: str, fields: dict[str, Any], created: float, error: Exception | None
) -> logging.LogRecord:
    """A record of something that was some time ago."""
    return logging.makeLogRecord(
        {
            "name": log.name,
            "levelno": level,
            "levelname": logging.getLevelName(level),
            "msg": message,
            "created": created,
            FIELDS: {name: value for name, value in fields.items() if value is not None},
            "exc_info": None if error is None else (type(error), error, error.__traceback__),
        }
    )
