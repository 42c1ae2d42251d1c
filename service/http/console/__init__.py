"""``/console``: what the evidence says, as one page that asks nothing of anybody.

Each module answers one question about a candidate with a ``Part``, or about the traffic as a whole; ``page``
puts them in order, and the templates lay them out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from service.http.console.layout import CONTENT_SECURITY_POLICY
from service.http.console.page import console_page
from service.http.edge import Page, Reply

__all__ = ["CONTENT_SECURITY_POLICY", "HEADERS", "console", "console_page"]

FRESH = 1.0
"""Seconds for which a page is shown again: evidence changes no faster."""
HTML = b"text/html; charset=utf-8"
HEADERS = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)

Documents = Callable[[], Mapping[str, Any]]


def console(
    report: Documents,
    models: Documents,
    rollout: Documents,
    drift: Documents,
    clock: Callable[[], float] = time.monotonic,
) -> Page:
    """The page, made in a thread, by one at a time and at most once in ``FRESH`` seconds.

    Making it takes some 10 ms for each candidate, of a processor that answers need too.
    """
    turn = asyncio.Lock()
    kept: tuple[float, bytes] | None = None

    def make() -> bytes:
        return console_page(report(), models(), rollout(), drift(), datetime.now(UTC))

    async def page() -> Reply:
        nonlocal kept
        async with turn:
            if kept is None or clock() - kept[0] >= FRESH:
                kept = clock(), await asyncio.to_thread(make)
            return Reply(kept[1], HTML, headers=HEADERS)

    return page
