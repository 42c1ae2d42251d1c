"""Pages that are answered with GET."""

from __future__ import annotations

import asyncio
import threading
import time

from service.http.pages import json_page


def test_many_who_ask_for_a_page_at_once_have_one_made_at_a_time() -> None:
    making, most = 0, 0
    guard = threading.Lock()

    def make() -> dict[str, int]:
        nonlocal making, most
        with guard:
            making += 1
            most = max(most, making)
        time.sleep(0.005)
        with guard:
            making -= 1
        return {"rows": 1}

    async def ask() -> list[bytes]:
        page = json_page(make)
        return [reply.body for reply in await asyncio.gather(*(page() for _ in range(8)))]

    assert asyncio.run(ask()) == [b'{"rows":1}'] * 8
    assert most == 1
