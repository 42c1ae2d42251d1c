"""The journey of a label: wait for the others, be filed with them, be acknowledged.

Labels that come while the store is busy are filed together, in one transaction. They never wait for longer
than the deadline, and never more than a few at once, so that a store that hangs takes nothing from
predictions.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias

from service.domain.labels import Filed, Given, LabelConflict, LabelCount, Labels
from service.errors import StoreError

FeedbackOutcome: TypeAlias = Literal[
    "matched", "unmatched", "repeated", "conflict", "miscounted", "store_error"
]
"""What becomes of one request's labels: filed, with or without its answer known; nothing new in them;
contradicting earlier ones; not as many as the request had rows; not filed, to be sent again."""

File: TypeAlias = Callable[[Sequence[Given]], Awaitable[Sequence[Filed | LabelConflict | LabelCount]]]
"""Files labels of some requests durably, beside the event loop; raises ``StoreError``."""

MOST_WAITING = 64
"""Requests that may wait for the store at once in one worker."""
MOST_LABELS = 200_000
"""Labels of theirs, all together, unless there is only one."""


class _Waiting(NamedTuple):
    given: Given
    done: asyncio.Future[Filed]


class FeedbackPath:
    """Takes labels of answered requests.

    Args:
        file: the store's; one call at a time.
        deadline: seconds until a caller is told to come again.
        told: counts what became of each request's labels.
    """

    def __init__(
        self,
        file: File,
        *,
        deadline: float,
        told: Callable[[FeedbackOutcome], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._file = file
        self._deadline = deadline
        self._told = told
        self._now = now
        self._waiting: deque[_Waiting] = deque()
        self._filing: tuple[_Waiting, ...] = ()
        self._writer: asyncio.Task[None] | None = None

    async def take(self, request_id: str, labels: Labels) -> Filed:
        """Files the labels of one request; they are on the disk when this returns.

        Raises:
            LabelConflict: one contradicts what was said before.
            LabelCount: there are not as many as the request had rows.
            StoreError: they could not be filed in time; the same may be sent again.
        """
        try:
            filed = await self._filed(Given(request_id, labels, self._now()))
        except LabelConflict:
            self._told("conflict")
            raise
        except LabelCount:
            self._told("miscounted")
            raise
        except StoreError:
            self._told("store_error")
            raise
        self._told("repeated" if not filed.fresh else "matched" if filed.matched else "unmatched")
        return filed

    async def _filed(self, given: Given) -> Filed:
        ahead = [one for one in (*self._filing, *self._waiting) if not one.done.done()]
        labels = sum(len(one.given.labels) for one in ahead) + len(given.labels)
        if len(ahead) >= MOST_WAITING or (ahead and labels > MOST_LABELS):
            raise StoreError("too many labels wait for the store")
        waiting = _Waiting(given, asyncio.get_running_loop().create_future())
        if len(self._waiting) >= MOST_WAITING:  # most have given up, and a store that hangs lets nobody go
            self._waiting = deque(one for one in self._waiting if not one.done.done())
        self._waiting.append(waiting)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._drain(), name="feedback")
        try:
            async with asyncio.timeout(self._deadline):
                return await waiting.done
        except TimeoutError as error:
            raise StoreError(f"the store did not answer within {self._deadline:g} s") from error

    async def _drain(self) -> None:
        """Files whatever waits, until nothing does."""
        while self._waiting:
            self._filing = tuple(one for one in self._waiting if not one.done.done())
            self._waiting.clear()
            if not self._filing:
                return
            outcomes: Sequence[Filed | Exception]
            try:
                outcomes = await self._file([one.given for one in self._filing])
            except Exception as error:  # whatever it is, each of them is told
                outcomes = [error] * len(self._filing)
            for one, outcome in zip(self._filing, outcomes, strict=True):
                if one.done.done():
                    continue  # its caller has given up
                if isinstance(outcome, Filed):
                    one.done.set_result(outcome)
                else:
                    one.done.set_exception(outcome)
            self._filing = ()
