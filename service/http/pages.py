"""Everything that is answered with GET and is no prediction."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import orjson

from service.http.edge import Page, Reply
from service.http.problem import Problem, overloaded

PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"
TEXT = b"text/plain; charset=utf-8"
SCRAPE_FRESH = 0.2
"""Seconds by which a scrape may be older than its request.

Each worker keeps its own text, so of two scrapes that are closer together, the later may show less.
"""


def json_page(make: Callable[[], Any]) -> Page:
    """A page of JSON, made in a thread, as it may read files of other processes, and one at a time: several
    at once would take the interpreter from answers for as many times as long.
    """
    return written(lambda: orjson.dumps(make()))


def written(make: Callable[[], bytes]) -> Page:
    """The same of JSON that is written already."""
    turn = asyncio.Lock()

    async def page() -> Reply:
        async with turn:
            return Reply(await asyncio.to_thread(make))

    return page


def maybe(make: Callable[[], bytes | None], why_not: str) -> Page:
    """A page of JSON that is written already, or 404 with the reason where there is none."""

    async def page() -> Reply:
        body = await asyncio.to_thread(make)
        if body is None:
            raise Problem(404, why_not)
        return Reply(body)

    return page


def fixed(document: Any) -> Page:
    """A page of JSON that never changes."""
    body = orjson.dumps(document)

    async def page() -> Reply:
        return Reply(body)

    return page


def metrics(text: Callable[[], bytes], clock: Callable[[], float] = time.monotonic) -> Page:
    """The page that Prometheus scrapes, made one at a time and for all who asked meanwhile.

    Whoever asks gets a text that was begun at most ``SCRAPE_FRESH`` seconds before, so however many scrape,
    they cost answers no more than one that never stops.
    """
    turn = asyncio.Lock()
    kept: tuple[float, bytes] | None = None

    async def page() -> Reply:
        nonlocal kept
        asked = clock()
        async with turn:
            if kept is None or kept[0] < asked - SCRAPE_FRESH:
                kept = clock(), await asyncio.to_thread(text)
            return Reply(kept[1], PROMETHEUS)

    return page


def text(body: bytes) -> Page:
    """A page of plain text that never changes."""

    async def page() -> Reply:
        return Reply(body, TEXT)

    return page


def unless(unfit: str | None, page: Page) -> Page:
    """``page`` where predictions are answered, else 503 with the reason."""

    async def refusal() -> Reply:
        raise overloaded(f"not ready: {unfit}", retry_after=30)

    return page if unfit is None else refusal
