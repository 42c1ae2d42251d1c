"""Errands over a Unix socket: one connection each, a length and MessagePack in both directions.

The edge waits on its event loop; the Explainer works errands off in its own threads, refuses what would
wait too long, and forgets what nobody waits for any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from service.domain.errand import Errand, Reply
from service.domain.explainers.document import Wish
from service.domain.observation import Arm

log = logging.getLogger("understudy.explainer")

LARGEST = 256 << 20
"""Bytes of one message; more is no message of ours."""
_LENGTH = struct.Struct("<I")


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
        self._path = str(path)

    async def send(self, errand: Errand) -> Reply:
        """The Explainer's reply; ``late`` where it does not come in time, ``busy`` where nobody listens."""
        try:
            async with asyncio.timeout(max(0.0, errand.due - time.monotonic())):
                return await self._send(errand)
        except TimeoutError:
            return Reply("late", [], reason="the explanation was not ready before the deadline")
        except (OSError, EOFError, msgspec.DecodeError) as error:
            log.warning("the explainer does not answer: %r", error)
            return Reply("busy", [], reason="the explainer is not there; it is started again")

    async def _send(self, errand: Errand) -> Reply:
        reader, writer = await asyncio.open_unix_connection(self._path, limit=LARGEST)
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
        work: does one errand, in a worker thread; must not raise.
        queue: errands that may wait for a worker; more are answered ``busy``.
        threads: errands in work at once.
    """

    def __init__(self, path: Path, work: Callable[[Errand], Reply], *, queue: int, threads: int) -> None:
        self._path = path
        self._work = work
        self._room = queue + threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="explain")
        self._present = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="errands", daemon=True)
        self._listening = threading.Event()
        self._server: asyncio.Server | None = None

    def start(self) -> None:
        """Listens from now on."""
        self._thread.start()
        self._listening.wait(10)

    def stop(self) -> None:
        """Hangs up."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._loop.run_forever()
        assert self._server is not None, "it listens"
        self._server.close()
        for task in (tasks := asyncio.all_tasks(self._loop)):
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _listen(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(self._path), limit=LARGEST)
        self._path.chmod(0o600)
        self._listening.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            reply = await self._answer(decode(await _read(reader)))
            writer.write(_framed(_encoder.encode(reply)))
            await writer.drain()
        except (OSError, EOFError, msgspec.DecodeError, ValueError) as error:
            log.warning("an errand broke off: %r", error)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, errand: Errand) -> Reply:
        if self._present >= self._room:
            return Reply("busy", [], reason=f"{self._present} explanations are already in work")
        self._present += 1
        try:
            return await self._loop.run_in_executor(self._pool, self._in_time, errand)
        finally:
            self._present -= 1

    def _in_time(self, errand: Errand) -> Reply:
        if time.monotonic() >= errand.due:
            return Reply("late", [], reason="the explanation was not begun before the deadline")
        return self._work(errand)


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
