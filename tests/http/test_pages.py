"""Pages that are answered with GET."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from service.http.edge import Page, Reply
from service.http.pages import SCRAPE_FRESH, json_page, metrics, written


@dataclass
class Maker:
    """Makes a page slowly, and notes how many it was asked for at a time."""

    made: int = 0
    most: int = 0
    _making: int = 0
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self) -> bytes:
        with self._guard:
            self.made += 1
            self._making += 1
            self.most = max(self.most, self._making)
            number = self.made
        time.sleep(0.005)
        with self._guard:
            self._making -= 1
        return b"%d" % number


def asked_by_many(page: Page, callers: int = 8) -> list[Reply]:
    async def ask() -> list[Reply]:
        return list(await asyncio.gather(*(page() for _ in range(callers))))

    return asyncio.run(ask())


@pytest.mark.parametrize(
    "page", [lambda maker: json_page(lambda: int(maker())), written], ids=["json", "written"]
)
def test_many_who_ask_for_a_page_at_once_have_one_made_at_a_time(page: Callable[[Maker], Page]) -> None:
    maker = Maker()
    bodies = [reply.body for reply in asked_by_many(page(maker))]
    assert sorted(bodies) == [b"%d" % number for number in range(1, 9)]
    assert maker.most == 1


def test_many_who_scrape_at_once_share_one_text() -> None:
    maker = Maker()
    replies = asked_by_many(metrics(maker))
    assert {reply.body for reply in replies} == {b"1"}
    assert {reply.content_type for reply in replies} == {b"text/plain; version=0.0.4; charset=utf-8"}
    assert (maker.made, maker.most) == (1, 1)


def test_a_scrape_is_hardly_older_than_its_request() -> None:
    now, begun = [100.0], []

    def text() -> bytes:
        begun.append(now[0])
        return str(now[0]).encode()

    page = metrics(text, lambda: now[0])

    async def look() -> list[float]:
        ages = []
        for step in (0.0, 0.5, 0.75, 1.5, 0.9, 3.0) * 5:
            now[0] += step * SCRAPE_FRESH
            ages.append(now[0] - float((await page()).body))
        return ages

    ages = asyncio.run(look())
    assert max(ages) <= SCRAPE_FRESH * 1.001
    assert max(ages) >= SCRAPE_FRESH / 2
    assert len(begun) < 30


def test_a_scrape_that_waited_for_a_slow_text_is_not_given_one_from_before_it_asked() -> None:
    """The text that it waited for was begun long before, so another one is made."""
    now, begun = [100.0], []
    first, release = threading.Event(), threading.Event()

    def text() -> bytes:
        begun.append(now[0])
        first.set()
        assert release.wait(10)
        return str(begun[-1]).encode()

    page = metrics(text, lambda: now[0])

    async def look() -> list[bytes]:
        early = asyncio.create_task(page())
        await asyncio.to_thread(first.wait, 10)
        now[0] += SCRAPE_FRESH * 5
        late = asyncio.create_task(page())
        await asyncio.sleep(0)
        release.set()
        return [(await early).body, (await late).body]

    early, late = asyncio.run(look())
    assert early == b"100.0"
    assert float(late) == pytest.approx(100.0 + SCRAPE_FRESH * 5)


def test_a_text_that_could_not_be_made_is_made_again_for_the_next_one() -> None:
    tries = []

    def text() -> bytes:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("a file went away")
        return b"whole"

    page = metrics(text, lambda: 0.0)
    with pytest.raises(OSError, match="went away"):
        asyncio.run(page())
    assert asyncio.run(page()).body == b"whole"
