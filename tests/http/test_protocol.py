"""The way around ASGI answers, byte for byte but the date, what uvicorn's own protocol answers."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn
import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http import protocol
from service.http.app import EdgeApp
from service.http.protocol import EdgeProtocol
from tests.http.edges import TOKEN, World

Answer = tuple[int, tuple[tuple[str, str], ...], bytes]
Script = list[bytes]
"""What a caller writes, one TCP segment each."""


def request(
    body: bytes = b"plain",
    path: str = "/predict",
    method: str = "POST",
    extra: str = "",
    version: str = "1.1",
) -> bytes:
    head = f"{method} {path} HTTP/{version}\r\nHost: x\r\nX-Request-Id: mine\r\n{extra}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


PLAIN = request()
CHUNKED = (
    b"POST /predict HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\npla\r\n2\r\nin\r\n0\r\n\r\n"
)
MODELS = request(b"", "/models", "GET")
GOODBYE = request(b"", "/models", "GET", extra="Connection: close\r\n")
"""Ends every script: what is answered before the server closes is all there is."""
SCRIPTS: dict[str, Script] = {
    "one request": [PLAIN],
    "one after another": [PLAIN, request(b"other"), PLAIN],
    "three in one segment": [PLAIN * 3],
    "a page between predictions": [PLAIN + MODELS + PLAIN],
    "a page first": [MODELS + PLAIN + MODELS],
    "the head alone, then the body": [PLAIN[:-5], PLAIN[-5:]],
    "a body in two segments": [PLAIN[:-2], PLAIN[-2:]],
    "byte by byte": [bytes([byte]) for byte in PLAIN],
    "one and a half, then the rest": [PLAIN + PLAIN[:60], PLAIN[60:] + PLAIN],
    "chunked": [CHUNKED],
    "chunked, cut anywhere": [CHUNKED[:90], CHUNKED[90:103], CHUNKED[103:] + PLAIN],
    "no body": [request(b"")],
    "a misfit": [request(b"misfit") + PLAIN],
    "a bug": [request(b"bug"), PLAIN],
    "a bug in encoding": [request(b"unwritable") + PLAIN],
    "a model that fails": [request(b"failing") + PLAIN],
    "a model that is late": [request(b"late!"[:4]) + PLAIN],
    "a batch for the thread": [request(b"batch"), PLAIN],
    "too large": [request(b"x" * 1_001), PLAIN],
    "too large and chunked": [CHUNKED.replace(b"3\r\npla\r\n", b"3e9\r\n" + b"x" * 1_001 + b"\r\n") + PLAIN],
    "another type": [request(extra="Content-Type: text/xml\r\n") + PLAIN],
    "compressed": [request(extra="Content-Encoding: gzip\r\n") + PLAIN],
    "another method": [request(method="PUT") + request(b"", method="GET") + PLAIN],
    "nowhere": [request(path="/nowhere") + PLAIN],
    "a query": [request(path="/predict?a=1") + PLAIN],
    "an escaped path": [request(path="/pre%64ict") + PLAIN],
    "closing": [request(extra="Connection: close\r\n")],
    "the old version": [request(version="1.0")],
    "the old version, kept alive": [request(version="1.0", extra="Connection: keep-alive\r\n")],
    "expecting a go-ahead": [request(extra="Expect: 100-continue\r\n")[:-5], b"plain"],
    "not HTTP": [b"how do you do\r\n\r\n"],
    "an arm without a token": [request(extra="X-Model-Arm: production\r\n") + PLAIN],
    "an arm with a token": [
        request(extra=f"X-Model-Arm: production\r\nAuthorization: bearer {TOKEN}\r\n") + PLAIN
    ],
}


@dataclass(frozen=True)
class Outcome:
    """What a script led to."""

    answers: list[Answer]
    responded: list[tuple[str, int]]
    labels: list[int]
    mirrored: int


class Conversation:
    """One server on a free port, spoken to byte by byte, a connection for each script."""

    def __init__(self, kind: type[HttpToolsProtocol], canary: bool = False) -> None:
        self.world = World()
        if canary:
            self.world.start_canary()
        self.kind = kind

    def hold(self, *scripts: Script, keep_alive: int = 5, goodbye: bool = True) -> list[Outcome]:
        """What each script led to; ``goodbye`` asks the server to close after the last answer."""

        async def all_of_them() -> list[Outcome]:
            async with self._server(keep_alive) as address:
                return [await self._hold([*script, *[GOODBYE] * goodbye], address) for script in scripts]

        return asyncio.run(all_of_them())

    async def _hold(self, script: Script, address: tuple[str, int]) -> Outcome:
        labels, mirrored = list(self.world.tally.labels), self.world.log.count("mirrored")
        self.world.responded.clear()
        reader, writer = await asyncio.open_connection(*address)
        for segment in script:
            writer.write(segment)
            await writer.drain()
            await asyncio.sleep(0.002)  # so that segments arrive as they are cut
        answers = await read(reader)
        writer.close()
        grown = [after - before for after, before in zip(self.world.tally.labels, labels, strict=True)]
        return Outcome(
            answers, list(self.world.responded), grown, self.world.log.count("mirrored") - mirrored
        )

    @asynccontextmanager
    async def _server(self, keep_alive: int) -> AsyncIterator[tuple[str, int]]:
        protocol.install(self.world.app)
        self.world.app._begin()  # as after BentoML's start
        config = uvicorn.Config(
            self.world.app, http=self.kind, lifespan="off", log_config=None, timeout_keep_alive=keep_alive
        )
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            serving = asyncio.create_task(server.serve([listening]))
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.005)
            yield listening.getsockname()
            server.should_exit = True
            await serving


async def read(reader: asyncio.StreamReader) -> list[Answer]:
    """Every answer until the server closes."""
    answers: list[Answer] = []
    try:
        while True:
            async with asyncio.timeout(5):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            names = [line.partition(": ") for line in head[1:-2]]
            headers = {name.lower(): value for name, _, value in names}
            body = await reader.readexactly(int(headers.pop("content-length", "0")))
            headers.pop("date", None)
            answers.append((int(head[0].split(" ")[1]), tuple(sorted(headers.items())), body))
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return answers


@pytest.fixture(scope="module", autouse=True)
def _own_table() -> Iterator[None]:
    """Leaves uvicorn's table and the installed application as they were."""
    table, apps = dict(uvicorn.config.HTTP_PROTOCOLS), list(protocol._apps)
    yield
    uvicorn.config.HTTP_PROTOCOLS.update(table)
    protocol._apps[:] = apps


@pytest.fixture(scope="module", params=[False, True], ids=["no canary", "canary"])
def outcomes(request: pytest.FixtureRequest) -> dict[str, tuple[Outcome, Outcome]]:
    """What each script leads to with uvicorn's protocol, and with ours."""
    slow = Conversation(HttpToolsProtocol, request.param).hold(*SCRIPTS.values())
    quick = Conversation(EdgeProtocol, request.param).hold(*SCRIPTS.values())
    return dict(zip(SCRIPTS, zip(slow, quick, strict=True), strict=True))


@pytest.mark.parametrize("name", SCRIPTS)
def test_answers_and_counts_are_those_of_uvicorns_own_protocol(
    outcomes: dict[str, tuple[Outcome, Outcome]], name: str
) -> None:
    expected, found = outcomes[name]
    assert expected.answers
    assert found == expected


def test_requests_cut_anywhere_are_answered_the_same() -> None:
    stream = PLAIN + request(b"misfit") + MODELS + CHUNKED + request(b"other") + PLAIN
    (expected,) = Conversation(HttpToolsProtocol).hold([stream])
    assert len(expected.answers) == 7
    draw = random.Random(4)
    scripts = []
    for _ in range(30):
        cuts = sorted(draw.sample(range(1, len(stream)), draw.randrange(1, 9)))
        scripts.append([stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)])
    for script, found in zip(scripts, Conversation(EdgeProtocol).hold(*scripts), strict=True):
        assert found == expected, script


def test_a_whole_prediction_never_reaches_asgi() -> None:
    calls: list[str] = []

    class Watched(EdgeApp):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            calls.append(scope["path"])
            await super().__call__(scope, receive, send)

    talk = Conversation(EdgeProtocol)
    talk.world.app = Watched(talk.world.inner, lambda: talk.world.edge)
    (outcome,) = talk.hold([PLAIN * 3 + MODELS])
    assert [answer[0] for answer in outcome.answers] == [200] * 5
    assert calls == ["/models", "/models"]
    assert outcome.mirrored == 3


def test_a_request_in_front_of_nonsense_is_answered() -> None:
    (outcome,) = Conversation(EdgeProtocol).hold([PLAIN + b"nonsense\r\n\r\n"])
    assert [answer[0] for answer in outcome.answers] == [200, 400]


def test_a_head_that_never_ends_is_cut_off_and_its_connection_closed() -> None:
    endless = b"POST /predict HTTP/1.1\r\n" + (b"X-Filler: " + b"x" * 8_000 + b"\r\n") * 12
    (outcome,) = Conversation(EdgeProtocol).hold([endless], goodbye=False)
    assert [answer[0] for answer in outcome.answers] == [431]


@pytest.mark.parametrize("begun", [[], [b"POST /predict HTTP/1.1\r\nHost: x\r\n"]], ids=["silent", "begun"])
def test_a_head_that_is_not_sent_in_time_ends_the_connection(
    begun: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.1)
    (outcome,) = Conversation(EdgeProtocol).hold(begun, goodbye=False)
    assert outcome.answers == []


def test_an_idle_connection_is_closed_like_any_other() -> None:
    (outcome,) = Conversation(EdgeProtocol).hold([PLAIN], keep_alive=1, goodbye=False)
    assert [answer[0] for answer in outcome.answers] == [200]


def test_uvicorn_chooses_the_protocol_where_it_is_left_the_choice() -> None:
    protocol.install(World().app)
    chosen = uvicorn.config.HTTP_PROTOCOLS[str(uvicorn.Config("unused:app").http)]
    assert uvicorn.importer.import_from_string(chosen) is EdgeProtocol
