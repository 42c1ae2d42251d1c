"""The journey of one explanation: at once where the method is quick, else by the Explainer process.

The row is answered first, on the predict path and by whichever arm it belongs to; what is explained is that
answer. An explanation costs only the request that asks for it: methods that take longer than inference does
run in a process of low priority, behind a bounded queue and a deadline.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from service.domain.errand import Errand, Reply
from service.domain.explainers.document import Wish
from service.domain.explainers.game import Unsuitable
from service.errors import BusyError, ExplanationError, LateError, TooMuchError
from service.paths.question import Answer, Explained, Question, Sheet
from service.paths.steps import step


class Remote(Protocol):
    """The Explainer process."""

    async def send(self, errand: Errand) -> Reply:
        """What became of the errand."""


class ExplainPath:
    """Explains answers.

    Args:
        remote: the Explainer process, or None where it is switched off.
        deadline: seconds for an explanation whose caller names no other.
        max_rows: rows of one request that the Explainer takes.
        explained: told (method, seconds) of each request that was explained.
    """

    def __init__(
        self,
        remote: Remote | None,
        *,
        deadline: float,
        max_rows: int,
        explained: Callable[[str, float], None],
    ) -> None:
        self._remote = remote
        self._deadline = deadline
        self._max_rows = max_rows
        self._explained = explained

    def here(self, question: Question, answer: Answer, wish: Wish) -> Answer | None:
        """The answer with its explanations at once, or None where that takes longer.

        Raises:
            Unsuitable: the method cannot explain what was asked.
        """
        if len(question.rows) > answer.model.explain_rows:
            return None
        with step(question.steps, "explain", answer.arm, answer.model.spec.tag):
            found = _quickly(question, answer, wish, slice(None))
        return None if found is None else self._with(answer, found)

    async def explain(self, question: Question, answer: Answer, wish: Wish) -> Answer:
        """The answer with its explanations, or with the page that was asked for.

        Raises:
            Unsuitable: no method can explain what was asked.
            TooMuchError: so many rows are not explained by a slow method.
            BusyError: the Explainer has too much to do, or is not there.
            LateError: it took too long.
            ExplanationError: it failed.
        """
        with step(question.steps, "explain", answer.arm, answer.model.spec.tag):
            return await self._explain(question, answer, wish)

    async def _explain(self, question: Question, answer: Answer, wish: Wish) -> Answer:
        due = question.start + (wish.deadline or self._deadline)
        quick = await _in_turns(question, answer, wish, due)
        if quick is not None:
            return self._with(answer, quick)
        if self._remote is None:
            raise Unsuitable("the Explainer process is switched off; only exact methods answer, as JSON")
        rows = len(question.rows)
        if rows > self._max_rows:
            raise TooMuchError(f"instances: {rows} rows, at most {self._max_rows} are explained in this way")
        reply = await self._remote.send(
            Errand(
                model=answer.model.spec.tag,
                rows=question.rows,
                wish=wish,
                request_id=answer.request_id,
                arm=answer.arm,
                due=due,
            )
        )
        _raise_for(reply)
        self._explained(reply.method, reply.seconds)
        if wish.form == "json" and wish.against is None:
            return answer._replace(explanations=reply.documents)
        return answer._replace(sheet=Sheet(reply.documents[0], reply.content_type.encode()))

    def _with(self, answer: Answer, found: Explained) -> Answer:
        self._explained(found.method, found.seconds)
        return answer._replace(explanations=found.documents)


def _quickly(question: Question, answer: Answer, wish: Wish, part: slice) -> Explained | None:
    """Explanations of some rows by a quick method, or None where that is not what is asked for."""
    explain = answer.model.explain
    if explain is None or wish.form != "json" or wish.against is not None or wish.neighbours:
        return None
    return explain(question.rows[part], answer.scores[part], wish)


async def _in_turns(question: Question, answer: Answer, wish: Wish, due: float) -> Explained | None:
    """The same for all rows, a few at a time, so that other requests are answered in between.

    In a thread they would wait longer: for Python's lock, 5 ms at every turn of the event loop.

    Raises:
        LateError: time ran out.
    """
    documents: list[bytes] = []
    method, seconds = "", 0.0
    step = max(1, answer.model.explain_rows)
    for start in range(0, len(question.rows), step):
        if start and time.monotonic() > due:
            raise LateError(f"{start} of {len(question.rows)} rows were explained before the deadline")
        found = _quickly(question, answer, wish, slice(start, start + step))
        if found is None:
            return None
        documents += found.documents
        method, seconds = found.method, seconds + found.seconds
        await asyncio.sleep(0)
    return Explained(method, seconds, documents)


def _raise_for(reply: Reply) -> None:
    if reply.status == "unsuitable":
        raise Unsuitable(reply.reason)
    if reply.status == "busy":
        raise BusyError(reply.reason)
    if reply.status == "late":
        raise LateError(reply.reason)
    if reply.status == "failed":
        raise ExplanationError(reply.reason)
