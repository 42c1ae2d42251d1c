"""A server that stops answers whatever it was asked, and ends every connection with an answer."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
import uvicorn

from service.http import pages, protocol
from service.http.edge import Route
from service.http.protocol import EdgeProtocol
from service.http.stopping import LAST_SECONDS, stop_gently
from service.wiring import stopping as wiring
from tests.http.edges import World
from tests.http.test_protocol import MODELS, PLAIN, read, request

LONG = 60.0
"""Seconds of a drain that a test ends itself."""
READY = request(b"", "/readyz", "GET")


class Stopping:
    """A server in this process, and what is sent to it."""

    def __init__(self, server: uvicorn.Server, world: World, address: tuple[str, int]) -> None:
        self.server = server
        self.world = world
        self.address = address

    async def signal(self, number: signal.Signals) -> None:
        """Sends this process a signal and lets the loop see it."""
        os.kill(os.getpid(), number)
        await asyncio.sleep(0.01)

    async def answers(self, *segments: bytes) -> list[tuple[int, str | None]]:
        """Status and ``connection`` header of every answer on a new connection, until the server closes."""
        reader, writer = await asyncio.open_connection(*self.address)
        return await say(reader, writer, *segments)


async def say(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *segments: bytes
) -> list[tuple[int, str | None]]:
    for segment in segments:
        writer.write(segment)
        await writer.drain()
        await asyncio.sleep(0.005)  # so that segments arrive as they are cut
    found = await asyncio.wait_for(read(reader), 5)
    writer.close()
    return [(status, dict(headers).get("connection")) for status, headers, _ in found]


@pytest.fixture
def _survives() -> Iterator[None]:
    """uvicorn passes the signal on to whoever had it first once it has stopped."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@asynccontextmanager
async def serving(seconds: float) -> AsyncIterator[Stopping]:
    world = World()
    world.edge.routes["/readyz"] = Route("/readyz", {"GET": pages.text(b"ok\n")})
    protocol.install(world.app)
    world.app._begin()  # as after BentoML's start
    server = uvicorn.Server(uvicorn.Config(world.app, http=EdgeProtocol, lifespan="off", log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        task = asyncio.create_task(server.serve([listening]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.005)
        stop_gently(world.app, seconds)
        yield Stopping(server, world, listening.getsockname())
        server.should_exit = True
        await asyncio.wait_for(task, 15)


def while_stopping(
    act: Callable[[Stopping], Awaitable[None]], seconds: float = LONG, first: bool = True
) -> None:
    """Runs ``act`` at a server that has been told to stop, or, where not ``first``, will be."""

    async def run() -> None:
        async with serving(seconds) as found:
            if first:
                await found.signal(signal.SIGTERM)
            await act(found)

    asyncio.run(run())


CLOSE = (200, "close")
PIPELINED = {
    "one": ([PLAIN], [CLOSE]),
    "three in one segment": ([PLAIN * 3], [(200, None), (200, None), CLOSE]),
    "a page behind a prediction": ([PLAIN + MODELS], [(200, None), CLOSE]),
    "a prediction behind a page": ([MODELS + PLAIN], [(200, None), CLOSE]),
    "three pages": ([MODELS * 3], [(200, None), (200, None), CLOSE]),
    "one and a half, then the rest": ([PLAIN + PLAIN[:60], PLAIN[60:]], [(200, None), CLOSE]),
    "a body in two segments": ([PLAIN[:-2], PLAIN[-2:]], [CLOSE]),
    "the old version": ([request(version="1.0")], [CLOSE]),
    "a batch for the thread": ([request(b"batch") + PLAIN], [(200, None), CLOSE]),
    "a refusal": ([request(b"misfit")], [(422, "close")]),
}


@pytest.mark.usefixtures("_survives")
@pytest.mark.parametrize("case", PIPELINED)
def test_every_request_of_a_connection_is_answered_and_only_the_last_answer_ends_it(case: str) -> None:
    segments, expected = PIPELINED[case]

    async def act(server: Stopping) -> None:
        assert await server.answers(*segments) == expected

    while_stopping(act)


@pytest.mark.usefixtures("_survives")
def test_a_connection_that_was_open_before_ends_with_its_next_answer() -> None:
    async def act(server: Stopping) -> None:
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(PLAIN)
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"connection" not in head
        await reader.readexactly(len(b"production"))
        await server.signal(signal.SIGTERM)
        assert await say(reader, writer, PLAIN) == [CLOSE]

    while_stopping(act, first=False)


@pytest.mark.usefixtures("_survives")
def test_a_request_that_was_in_work_is_answered_and_its_connection_ends() -> None:
    async def act(server: Stopping) -> None:
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(PLAIN[:-2])
        await asyncio.sleep(0.01)
        await server.signal(signal.SIGTERM)
        assert await say(reader, writer, PLAIN[-2:]) == [CLOSE]

    while_stopping(act, first=False)


@pytest.mark.usefixtures("_survives")
def test_readiness_goes_at_once_and_nobody_is_told_of_a_failure() -> None:
    async def act(server: Stopping) -> None:
        assert await server.answers(READY) == [(503, "close")]
        assert not server.world.told

    while_stopping(act)


@pytest.mark.usefixtures("_survives")
def test_a_second_sigterm_changes_nothing_and_sigint_ends_the_drain() -> None:
    async def act(server: Stopping) -> None:
        await server.signal(signal.SIGTERM)
        assert await server.answers(PLAIN) == [CLOSE]
        assert not server.server.should_exit
        await server.signal(signal.SIGINT)
        assert server.server.should_exit

    while_stopping(act)


@pytest.mark.usefixtures("_survives")
def test_without_a_drain_sigterm_stops_at_once() -> None:
    async def act(server: Stopping) -> None:
        assert server.server.should_exit

    while_stopping(act, seconds=0.0)


@pytest.mark.usefixtures("_survives")
def test_requests_are_answered_that_arrive_while_the_server_closes() -> None:
    """On a connection that was silent so far, half of one, and one that lies unread in the kernel."""

    async def act(server: Stopping) -> None:
        pairs = [await asyncio.open_connection(*server.address) for _ in range(3)]
        pairs[1][1].write(PLAIN[:30])
        pairs[2][1].write(PLAIN)
        await pairs[2][0].readuntil(b"production")
        await server.signal(signal.SIGTERM)
        peer = pairs[2][1].get_extra_info("socket")
        with socket.fromfd(peer.fileno(), peer.family, peer.type) as raw:
            raw.send(PLAIN)  # past the loop, which closes before it reads this
        closing = asyncio.create_task(server.server.shutdown())
        server.server.should_exit = True
        await asyncio.sleep(0)
        rests = (PLAIN, PLAIN[30:], b"")
        for pair, rest in zip(pairs, rests, strict=True):
            assert await say(*pair, rest) == [CLOSE]
        await closing

    while_stopping(act, first=False)


@pytest.mark.usefixtures("_survives")
def test_an_idle_connection_does_not_hold_the_end_up() -> None:
    async def act(server: Stopping) -> None:
        reader, writer = await asyncio.open_connection(*server.address)
        silent, other = await asyncio.open_connection(*server.address)
        writer.write(PLAIN)
        await reader.readuntil(b"production")
        await server.signal(signal.SIGINT)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        assert await asyncio.wait_for(silent.read(), 5) == b""
        writer.close()
        other.close()

    while_stopping(act, first=False)


@pytest.mark.usefixtures("_survives")
def test_requests_in_work_have_a_limited_time_even_where_uvicorn_was_told_none() -> None:
    async def act(server: Stopping) -> None:
        assert server.server.config.timeout_graceful_shutdown == LAST_SECONDS == wiring.LAST_SECONDS

    while_stopping(act)


def test_without_uvicorn_nobodys_signals_are_taken() -> None:
    before = signal.getsignal(signal.SIGTERM)
    stop_gently(World().app, 1.0)
    assert signal.getsignal(signal.SIGTERM) is before
