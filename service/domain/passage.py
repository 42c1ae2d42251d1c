"""One request's passage through the edge, as logs and traces tell of it: ids, names, counts and times.

Nothing in here is a value that a caller sent, except the id that he chose for his request.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias

from service.domain.observation import Arm

StepName: TypeAlias = Literal["decode", "infer", "quantify", "explain", "encode"]

SERVERS_FAULT = 500
"""From this status on a request failed on our side, and is told of whether it was drawn or not."""
FALLBACKS: dict[str, str] = {
    "breaker_open": "the canary is paused",
    "deadline": "the canary was late",
    "error": "the canary failed",
}
"""Why production answered in the canary's place, in words."""

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_SAMPLED = 0x01


class Parent(NamedTuple):
    """The caller's span, from ``traceparent``."""

    trace_id: int
    """128 bits, not 0."""
    span_id: int
    """64 bits, not 0."""
    sampled: bool


class Step(NamedTuple):
    """Something that was done for a request."""

    name: StepName
    start: float
    """``time.monotonic()`` seconds."""
    end: float
    """The same."""
    arm: Arm | None = None
    model: str | None = None
    """Tag of the model that did it."""
    failure: str | None = None
    """Name of the exception that it ended with."""


class Passage(NamedTuple):
    """A request that was answered, or given up."""

    method: str
    """Of HTTP."""
    route: str
    """A template, never a raw path."""
    status: int
    start: float
    """``time.monotonic()`` seconds: the first that was known of it."""
    end: float
    """The same: the answer was handed to the socket."""
    request_id: str | None = None
    """None where it has none, as a page."""
    rows: int | None = None
    """None where they were not read."""
    arm: Arm | None = None
    """Who answered; None where nobody did."""
    model: str | None = None
    """Tag of who answered."""
    error: Exception | None = None
    """Why it was not answered."""
    logged: bool = False
    """Whether it was drawn for a line in the log."""
    parent: Parent | None = None
    """The caller's span; None where he named none, or wants no trace."""
    trace_id: int | None = None
    """128 bits, the caller's where he named a trace; None where it was neither drawn nor wanted for one."""
    steps: tuple[Step, ...] = ()
    """Known of requests that were drawn, in the order in which they ended."""


class Fallback(NamedTuple):
    """A request that production answered because the canary could not."""

    candidate: str
    reason: str
    """A key of ``FALLBACKS``."""
    request_id: str
    at: float
    """``time.monotonic()`` seconds."""
    error: Exception | None = None


def read_traceparent(header: bytes) -> Parent | None:
    """The caller's span, or None where the header is none of W3C's.

    Versions to come are read as far as this one goes, as the standard has it (W3C Trace Context, 2021,
    section 3.2.2); a header that is damaged counts as none.
    """
    found = _TRACEPARENT.fullmatch(header.strip())
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    parent = Parent(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & _SAMPLED))
    return parent if parent.trace_id and parent.span_id else None
