"""Errands over a Unix socket: one connection each, a length and MessagePack in both directions.

The edge waits on its event loop; the Explainer works errands off in its own threads, refuses what would
wait too long, and forgets what nobody waits for any more: an edge that hangs up takes its errand back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np

from service.adapters import sockets
from service.domain.errand import Errand, Reply
from service.domain.explainers.document import Wish
from service.domain.observation import Arm

log = logging.getLogger("understudy.explainer")

LARGEST = 256 << 20
"""Bytes of one message; more is no message of ours."""
GRACE_SECONDS = 0.1
"""How long after its deadline a reply is waited for: explanations end with it, replies then travel."""
WARN_SECONDS = 10.0
"""An edge says at most this often that the Explainer is not there; every caller is told."""
_LENGTH = struct.Struct("<I")


Work: TypeAlias = Callable[[Errand, Callable[[], bool]], Reply]
"""Does an errand for as long as the second argument says that somebody waits for it."""


class _Wire(NamedTuple):
    """An errand as it travels: its rows as bytes."""

    model: str
    shape: tuple[int, int]
    dtype: str
    values: bytes
    wish: Wish
    request_id: str
    arm: Arm
    due: float


_encoder = msgspec.msgpack.Encoder()
_errands = msgspec.msgpack.Decoder(_Wire)
_replies = msgspec.msgpack.Decoder(Reply)


class ErrandClient:
    """The edge's way to the Explainer.

    Args:
        path: the Explainer's socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._silent_until = 0.0

    async def send(self, errand: Errand) -> Reply:
        """The Explainer's reply; ``late`` where it does not come in time, ``busy`` where nobody listens."""
        try:
            async with asyncio.timeout(max(0.0, errand.due - time.monotonic()) + GRACE_SECONDS):
                return await self._send(errand)
        except TimeoutError:
            return Reply("late", [], reason="the explanation was not ready before the deadline")
        except (OSError, EOFError, ValueError) as error:  # ValueError: of msgspec too
            if time.monotonic() >= self._silent_until:
                self._silent_until = time.monotonic() + WARN_SECONDS
                log.warning("the explainer does not answer: %r", error)
            return Reply("busy", [], reason="the explainer is not there; it is started again")

    async def _send(self, errand: Errand) -> Reply:
        with sockets.short(self._path) as address:
            reader, writer = await asyncio.open_unix_connection(address, limit=LARGEST)
        try:
            writer.write(_framed(encode(errand)))
            await writer.drain()
            return _replies.decode(await _read(reader))
        finally:
            writer.close()


class ErrandServer:
    """The Explainer's end of the socket, on an event loop in a thread of its own.

    Args:
        path: where to listen.
        work: in a worker thread; must not raise.
        queue: errands that may wait for a worker; more are answered ``busy``.
        threads: errands in work at once.
    """

    def __init__(self, path: Path, work: Work, *, queue: int, threads: int) -> None:
        self._path = path
        self._work = work
        self._room = queue + threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="explain")
        self._present = 0
        self._running: tuple[asyncio.AbstractEventLoop, threading.Thread] | None = None
        self._stopping = threading.Event()

    def start(self) -> None:
        """Listens from now on; raises ``OSError`` where it cannot."""
        listening, loop = sockets.listener(self._path), asyncio.new_event_loop()
        thread = threading.Thread(target=self._run, args=(listening, loop), name="errands", daemon=True)
        thread.start()
        self._running = loop, thread

    def stop(self) -> None:
        """Hangs up, and lets go of what is in work."""
        self._stopping.set()
        if self._running is not None:
            loop, thread = self._running
            loop.call_soon_threadsafe(loop.stop)
            thread.join(5)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, listening: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        serving = asyncio.start_unix_server(self._serve, sock=listening, limit=LARGEST)
        server = loop.run_until_complete(serving)
        loop.run_forever()
        server.close()
        for task in (tasks := asyncio.all_tasks(loop)):
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            errand = decode(await _read(reader))
            reply = await self._while_wanted(reader, errand)
            if reply is not None:
                writer.write(_framed(_encoder.encode(reply)))
                await writer.drain()
        except (OSError, EOFError, ValueError) as error:  # ValueError: of msgspec too
            log.warning("an errand broke off: %r", error)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _while_wanted(self, reader: asyncio.StreamReader, errand: Errand) -> Reply | None:
        """The reply, or None where the edge hangs up before."""
        unwanted = threading.Event()
        answer = asyncio.create_task(self._answer(errand, unwanted))
        hung_up = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait((answer, hung_up), return_when=asyncio.FIRST_COMPLETED)
            return answer.result() if answer.done() else None
        finally:
            unwanted.set()
            answer.cancel()
            hung_up.cancel()
            await asyncio.gather(answer, hung_up, return_exceptions=True)

    async def _answer(self, errand: Errand, unwanted: threading.Event) -> Reply:
        if self._present >= self._room:
            return Reply("busy", [], reason=f"{self._present} explanations are already in work")
        self._present += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, self._in_time, errand, unwanted)
        finally:
            self._present -= 1

    def _in_time(self, errand: Errand, unwanted: threading.Event) -> Reply:
        if time.monotonic() >= errand.due:
            return Reply("late", [], reason="the explanation was not begun before the deadline")
        return self._work(errand, lambda: not (unwanted.is_set() or self._stopping.is_set()))


def encode(errand: Errand) -> bytes:
    """The errand as MessagePack."""
    rows = errand.rows
    parts: dict[str, Any] = errand._asdict()
    del parts["rows"]
    wire = _Wire(shape=rows.shape, dtype=rows.dtype.str, values=rows.tobytes(), **parts)
    return _encoder.encode(wire)


def decode(message: bytes) -> Errand:
    """What ``encode`` wrote.

    Raises:
        ValueError: it is not an errand.
    """
    wire = _errands.decode(message)
    dtype = np.dtype(wire.dtype)
    if dtype.kind != "f":
        raise ValueError(f"rows are {dtype}")
    parts = wire._asdict()
    rows = np.frombuffer(parts.pop("values"), dtype).reshape(parts.pop("shape"))
    del parts["dtype"]
    return Errand(rows=rows, **parts)


def _framed(message: bytes) -> bytes:
    return _LENGTH.pack(len(message)) + message


async def _read(reader: asyncio.StreamReader) -> bytes:
    (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if size > LARGEST:
        raise ValueError(f"a message of {size} bytes")
    return await reader.readexactly(size)
