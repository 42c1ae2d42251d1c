"""Errands arrive whole, are refused when too many wait, and nobody waits for one beyond its deadline."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from service.adapters.errands import ErrandClient, ErrandServer, decode, encode
from service.domain.errand import Errand, Reply
from service.domain.explainers.document import Wish
from service.domain.explainers.game import Ask

Work = Callable[[Errand], Reply]


def errand(seconds: float = 10.0, rows: int = 1) -> Errand:
    wish = Wish(
        Ask("permutation", "margin", 1, 500, 3), top=2, neighbours=1, deadline=0.5, form="svg", against="m:2"
    )
    values = np.arange(3 * rows, dtype=np.float32).reshape(rows, 3)
    return Errand("m:1", values, wish, "an id", "canary", time.monotonic() + seconds)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., ErrandClient]]:
    servers: list[ErrandServer] = []

    def make(work: Work, queue: int = 4, threads: int = 1) -> ErrandClient:
        path = tmp_path / "explainer.sock"
        servers.append(ErrandServer(path, lambda errand, _: work(errand), queue=queue, threads=threads))
        servers[-1].start()
        return ErrandClient(path)

    yield make
    for server in servers:
        server.stop()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_errand_reads_as_it_was_written(dtype: type) -> None:
    sent = errand()
    sent = sent._replace(rows=np.array([[1.5, np.nan, -0.0]], dtype))
    read = decode(encode(sent))
    assert read.rows.dtype == dtype
    assert np.array_equal(read.rows, sent.rows, equal_nan=True)
    assert read._replace(rows=sent.rows) == sent


@pytest.mark.parametrize("message", [b"", b"\x00", b"\x93\x01\x02\x03"])
def test_what_is_no_errand_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode(message)


def test_a_large_errand_gets_its_large_reply(start: Callable[..., ErrandClient]) -> None:
    client = start(lambda found: Reply("done", [found.rows.tobytes()] * 3, method=found.wish.ask.method))
    sent = errand(rows=200_000)
    reply = asyncio.run(client.send(sent))
    assert reply.documents == [sent.rows.tobytes()] * 3
    assert reply.method == "permutation"


def test_more_than_may_wait_is_refused_at_once_and_the_others_are_answered(
    start: Callable[..., ErrandClient],
) -> None:
    go = threading.Event()

    def work(found: Errand) -> Reply:
        go.wait(10)
        return Reply("done", [])

    client = start(work, queue=2, threads=1)

    async def ask() -> list[str]:
        tasks = [asyncio.create_task(client.send(errand())) for _ in range(8)]
        done: set[asyncio.Task[Reply]] = set()
        while len(done) < 5:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=0.05)
        go.set()
        return sorted([(await task).status for task in tasks])

    assert asyncio.run(ask()) == ["busy"] * 5 + ["done"] * 3


def test_nobody_waits_longer_than_the_deadline_and_what_is_late_is_not_begun(
    start: Callable[..., ErrandClient],
) -> None:
    go, started, begun = threading.Event(), threading.Event(), []

    def work(found: Errand) -> Reply:
        begun.append(found.request_id)
        started.set()
        go.wait(10)
        return Reply("done", [])

    client = start(work, queue=4, threads=1)

    async def ask() -> list[str]:
        first = asyncio.create_task(client.send(errand()))
        await asyncio.to_thread(started.wait, 10)
        late = await client.send(errand(seconds=0.05))
        go.set()
        return [(await first).status, late.status, (await client.send(errand())).status]

    assert asyncio.run(ask()) == ["done", "late", "done"]
    assert len(begun) == 2


def test_an_explainer_that_is_not_there_is_busy_and_the_log_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = ErrandClient(tmp_path / "nobody.sock")
    for _ in range(3):
        reply = asyncio.run(client.send(errand()))
        assert reply.status == "busy"
        assert "not there" in reply.reason
    assert len(caplog.records) == 1


def test_an_explainer_that_dies_meanwhile_is_busy(tmp_path: Path) -> None:
    path = tmp_path / "explainer.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def hang_up() -> None:
            connection, _ = listening.accept()
            connection.recv(10)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        reply = asyncio.run(ErrandClient(path).send(errand()))
        thread.join()
    assert reply.status == "busy"


def test_garbage_on_the_socket_breaks_nothing(start: Callable[..., ErrandClient], tmp_path: Path) -> None:
    client = start(lambda found: Reply("done", []))
    for garbage in (b"", b"\x01", b"\xff\xff\xff\xff", b"\x03\x00\x00\x00abc"):
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(tmp_path / "explainer.sock"))
            caller.sendall(garbage)
    assert asyncio.run(client.send(errand())).status == "done"


def test_an_edge_that_hangs_up_takes_its_errand_back(tmp_path: Path) -> None:
    begun, done = threading.Event(), []

    def work(found: Errand, wanted: Callable[[], bool]) -> Reply:
        begun.set()
        while found.request_id == "in work" and wanted():
            time.sleep(0.001)
        done.append(found.request_id)
        return Reply("done", [])

    server = ErrandServer(tmp_path / "explainer.sock", work, queue=1, threads=1)
    server.start()
    client = ErrandClient(tmp_path / "explainer.sock")

    async def ask(name: str, seconds: float, unless: str) -> Reply:
        while True:
            reply = await client.send(errand(seconds)._replace(request_id=name))
            if reply.status != unless:
                return reply

    async def hang_up() -> None:
        first = asyncio.create_task(ask("in work", 60, unless="busy"))
        await asyncio.to_thread(begun.wait, 10)
        second = asyncio.create_task(ask("waiting", 60, unless="busy"))
        await ask("is it full?", 0.01, unless="late")
        second.cancel()
        await ask("is there room?", 0.01, unless="busy")
        first.cancel()
        await ask("last", 60, unless="busy")

    try:
        asyncio.run(hang_up())
    finally:
        server.stop()
    assert done == ["in work", "last"]


def test_a_path_longer_than_an_address_works(tmp_path: Path) -> None:
    path = tmp_path / ("d" * 90) / ("e" * 90) / "explainer.sock"
    server = ErrandServer(path, lambda errand, _: Reply("done", [b"there"]), queue=1, threads=1)
    server.start()
    try:
        assert asyncio.run(ErrandClient(path).send(errand())).documents == [b"there"]
    finally:
        server.stop()


def test_a_socket_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    server = ErrandServer(tmp_path / "file" / "s", lambda errand, _: Reply("done", []), queue=1, threads=1)
    with pytest.raises(OSError, match="file"):
        server.start()


def test_a_second_explainer_takes_over_the_socket(start: Callable[..., ErrandClient]) -> None:
    start(lambda found: Reply("done", [b"old"]))
    client = start(lambda found: Reply("done", [b"new"]))
    assert asyncio.run(client.send(errand())).documents == [b"new"]
