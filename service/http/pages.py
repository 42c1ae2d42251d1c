"""Everything that is answered with GET and is no prediction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson

from service.http.edge import Page, Reply
from service.http.problem import Problem, overloaded

PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"
TEXT = b"text/plain; charset=utf-8"


def json_page(make: Callable[[], Any]) -> Page:
    """A page of JSON, made in a thread, as it may read files of other processes, and one at a time: several
    at once would take the interpreter from answers for as many times as long.
    """
    turn = asyncio.Lock()

    def made() -> bytes:
        return orjson.dumps(make())

    async def page() -> Reply:
        async with turn:
            return Reply(await asyncio.to_thread(made))

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


def metrics(text: Callable[[], bytes]) -> Page:
    """The page that Prometheus scrapes."""

    async def page() -> Reply:
        return Reply(await asyncio.to_thread(text), PROMETHEUS)

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
