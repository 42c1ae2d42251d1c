"""Which requests are told of beyond being counted, and what is told of them.

Each one that fails with 5xx gets a line in the log. Of the others a share is drawn before they are decoded,
for a line, a trace or both: those alone carry ``Steps`` through the service. The rest pay a test and two
subtractions where a share is drawn at all, and a test where none is.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from service.domain.draw import Draw
from service.domain.passage import Passage, read_traceparent
from service.http.codec import Codec, Encoded, Head, Headers
from service.paths.question import Answer, Question
from service.paths.steps import Steps, step

Tell: TypeAlias = Callable[[Passage], None]
"""Takes what is told of a request; never blocks, never raises."""


class Seen(NamedTuple):
    """What is known of a request, however far it came."""

    start: float
    """``time.monotonic()`` seconds."""
    steps: Steps | None = None
    """Of one that was drawn."""
    question: Question | None = None
    """Of one that was decoded."""


class Drawing:
    """Draws requests.

    Args:
        log_rate: share that gets a line in the log, 0 to 1.
        trace_rate: share that gets a trace, of the predictions that name no caller's span; None for none at
            all, whatever callers want.
        seed: of the draws; None for others in each process.
    """

    def __init__(self, log_rate: float, trace_rate: float | None, seed: int | None = None) -> None:
        self._generator = random.Random(seed)
        self._lines = Draw(log_rate, self._generator)
        self._traces = None if trace_rate is None else Draw(trace_rate, self._generator)

    def prediction(self, headers: Headers) -> Steps | None:
        """What collects the steps of a prediction that is drawn, or None."""
        logged, traced, parent = self._lines(), False, None
        if self._traces is not None:
            given = headers.get(b"traceparent")
            parent = None if given is None else read_traceparent(given)
            traced = self._traces() if parent is None else parent.sampled
        if not traced:
            return Steps(logged=True, trace_id=None) if logged else None
        trace_id = 1 + self._generator.getrandbits(127) if parent is None else parent.trace_id
        return Steps(logged=logged, trace_id=trace_id, parent=parent)

    def other(self) -> Steps | None:
        """The same for a request that is no prediction, which never gets a trace."""
        return Steps(logged=True, trace_id=None) if self._lines() else None


class TimedCodec:
    """A codec whose work on one request is timed."""

    def __init__(self, codec: Codec, steps: Steps) -> None:
        self._codec = codec
        self._steps = steps

    def decode(self, body: bytes, head: Head) -> Question:
        """The question, which carries the steps from now on."""
        with step(self._steps, "decode"):
            return self._codec.decode(body, head)._replace(steps=self._steps)

    def encode(self, answer: Answer, question: Question) -> Encoded:
        """The response."""
        with step(self._steps, "encode"):
            return self._codec.encode(answer, question)


def timed(codec: Codec, steps: Steps | None) -> Codec:
    """The codec for one request, timed where that was drawn."""
    return codec if steps is None else TimedCodec(codec, steps)


def passage(
    method: str,
    route: str,
    status: int,
    seen: Seen,
    end: float,
    answer: Answer | None = None,
    error: Exception | None = None,
    request_id: str | None = None,
) -> Passage:
    """What is told of one request.

    Args:
        method: of HTTP.
        route: a template.
        status: that the caller was told.
        seen: what is known of the request.
        end: ``time.monotonic()`` seconds.
        answer: that the caller got.
        error: why he got none.
        request_id: of a request that was not decoded.
    """
    steps, question = seen.steps, seen.question
    found = Passage(
        method,
        route,
        status,
        seen.start if steps is None else steps.start,
        end,
        request_id=request_id if question is None else question.request_id,
        rows=None if question is None else len(question.rows),
        arm=None if answer is None else answer.arm,
        model=None if answer is None else answer.model.spec.tag,
        error=error,
    )
    if steps is None:
        return found
    return found._replace(
        logged=steps.logged, trace_id=steps.trace_id, parent=steps.parent, steps=tuple(steps.done)
    )
