"""A load generator that needs only Python: non-blocking sockets, one poll loop, prepared bytes.

``closed_loop`` keeps every connection busy and finds the most a server can do; ``open_loop`` sends on a
schedule and finds what callers would feel at a given rate. Both run in the calling thread, which should have
a core of its own; an open loop keeps that core busy, because sleeping would cost up to a millisecond.
The benchmark states the generator's own ceiling, measured against ``peers/constant.py``.
"""

from __future__ import annotations

import contextlib
import gc
import select
import socket
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from load_tests.pacing import Schedule
from load_tests.stats import Summary, summarize
from load_tests.wire import Request, answer_length, is_last, status_of

_READ, _WRITE = select.POLLIN, select.POLLOUT  # epoll uses the same bits
_CHUNK = 1 << 18
_RECONNECT_PAUSE = 0.05
_PATIENCE = 5.0
"""Seconds after the last request in which answers still count."""


@dataclass(slots=True)
class Run:
    """What one run saw."""

    seconds: float = 0.0
    latencies: array[float] = field(default_factory=lambda: array("d"))
    """Seconds per right answer, in order of arrival."""
    failures: Counter[str] = field(default_factory=Counter)
    last: dict[int, bytes] = field(default_factory=dict)
    """The latest right answer (head and body) to each request, by the request's index."""

    def summary(self) -> Summary:
        return summarize(self.latencies, self.seconds, self.failures)


@dataclass(frozen=True, slots=True)
class Tick:
    """Something to do every so often inside a run, for example to sample memory; it holds the run up."""

    every: float
    """Seconds."""
    action: Callable[[], None]


class Channel:
    """One keep-alive connection with at most one request in flight."""

    __slots__ = ("address", "index", "pieces", "since", "sock", "unsent")

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.sock = socket.create_connection(address, timeout=5)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.pieces = b""
        self.unsent = memoryview(b"")
        self.index = -1
        self.since = 0.0

    def send(self, data: bytes, index: int, since: float) -> bool:
        """Starts a request; False when the socket's buffer is full and ``resume`` has to finish it."""
        self.index, self.since = index, since
        sent = self.sock.send(data)
        if sent == len(data):
            return True
        self.unsent = memoryview(data)[sent:]
        return False

    def resume(self) -> bool:
        """Sends what is left; True when all is sent."""
        self.unsent = self.unsent[self.sock.send(self.unsent) :]
        return not self.unsent

    def receive(self) -> bytes | None:
        """The whole answer, or None while it is incomplete; raises OSError or ValueError."""
        data = self.sock.recv(_CHUNK)
        if not data:
            raise ConnectionError("closed by the server")
        if self.pieces:
            data = self.pieces + data
        length = answer_length(data)
        if length is None or len(data) < length:
            self.pieces = data
            return None
        if len(data) > length:
            raise ValueError("more bytes than the answer's Content-Length")
        self.pieces = b""
        return data


def _poller() -> tuple[Any, float]:
    """The platform's poll object and its time units per second."""
    if hasattr(select, "epoll"):
        return select.epoll(), 1.0
    return select.poll(), 1e3


class _Load:
    """The connections of one run, their bookkeeping and the poll loop's single step."""

    def __init__(self, address: tuple[str, int], requests: Sequence[Request], connections: int) -> None:
        if not requests or connections < 1:
            raise ValueError("a run needs at least one request and one connection")
        self.run = Run()
        self.busy = 0
        self.idle: deque[Channel] = deque()
        self._address = address
        self._requests = requests
        self._lost: list[float] = []
        self._poll, self._units = _poller()
        self._channels: dict[int, Channel] = {}
        for _ in range(connections):
            self._connect()

    def start(self, number: int, since: float) -> None:
        """Sends request ``number`` (modulo the prepared ones) on an idle connection."""
        channel = self.idle.popleft()
        index = number % len(self._requests)
        self.busy += 1
        try:
            if not channel.send(self._requests[index].data, index, since):
                self._watch(channel, _READ | _WRITE)
        except OSError:
            self._lose(channel, "connection")

    def step(self, timeout: float) -> None:
        """Waits at most ``timeout`` seconds for answers and takes in those that came."""
        events = self._poll.poll(timeout * self._units)
        now = time.perf_counter()
        for descriptor, event in events:
            channel = self._channels[descriptor]
            try:
                if event & _WRITE and channel.unsent:
                    if channel.resume():
                        self._watch(channel, _READ)
                    continue
                answer = channel.receive()
                if answer is not None:
                    self._take(channel, answer, now)
            except BlockingIOError:
                continue
            except OSError:
                self._lose(channel, "connection")
            except ValueError as error:
                self._lose(channel, f"answer: {error}")
        if self._lost and now >= self._lost[0] + _RECONNECT_PAUSE:
            self._lost.pop(0)
            self._connect()

    def close(self) -> None:
        for channel in self._channels.values():
            if channel.index >= 0:
                self.run.failures["no answer"] += 1
            channel.sock.close()
        self._channels.clear()

    def _take(self, channel: Channel, answer: bytes, now: float) -> None:
        index = channel.index
        if channel.index < 0:
            raise ValueError("an answer to no request")
        status = status_of(answer)
        if status != 200:
            self.run.failures[f"status {status}"] += 1
        elif self._requests[index].expect not in answer:
            self.run.failures["wrong body"] += 1
        else:
            self.run.latencies.append(now - channel.since)
            self.run.last[index] = answer
        channel.index = -1
        self.busy -= 1
        if is_last(answer):
            self._drop(channel)
            self._connect()
        else:
            self.idle.append(channel)

    def _connect(self) -> None:
        try:
            channel = Channel(self._address)
        except OSError:
            self.run.failures["connect"] += 1
            self._lost.append(time.perf_counter())
            return
        self._channels[channel.sock.fileno()] = channel
        self._poll.register(channel.sock.fileno(), _READ)
        self.idle.append(channel)

    def _watch(self, channel: Channel, events: int) -> None:
        self._poll.modify(channel.sock.fileno(), events)

    def _drop(self, channel: Channel) -> None:
        self._poll.unregister(channel.sock.fileno())
        del self._channels[channel.sock.fileno()]
        channel.sock.close()

    def _lose(self, channel: Channel, kind: str) -> None:
        self._drop(channel)
        if channel.index >= 0:
            self.run.failures[kind] += 1
            self.busy -= 1
        else:
            self.idle.remove(channel)
        self._lost.append(time.perf_counter())


@contextlib.contextmanager
def _load(address: tuple[str, int], requests: Sequence[Request], connections: int) -> Iterator[_Load]:
    """A load whose run is timed, without garbage collections in between."""
    load = _Load(address, requests, connections)
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    try:
        yield load
    finally:
        gc.enable()
        load.run.seconds = time.perf_counter() - start
        load.close()


def closed_loop(
    address: tuple[str, int],
    requests: Sequence[Request],
    *,
    connections: int,
    seconds: float,
    tick: Tick | None = None,
    limit: int = 10_000_000,
    patience: float = _PATIENCE,
) -> Run:
    """Every connection sends its next request when the last one is answered.

    Ends after ``seconds`` or ``limit`` requests, then waits up to ``patience`` seconds for answers still due.
    """
    with _load(address, requests, connections) as load:
        start = time.perf_counter()
        end = start + seconds
        tock = start + tick.every if tick else float("inf")
        number = 0
        while (now := time.perf_counter()) < end and number < limit:
            while load.idle and number < limit:
                load.start(number, time.perf_counter())
                number += 1
            load.step(min(0.05, end - now))
            if tick and now >= tock:
                tick.action()
                tock = now + tick.every
        _drain(load, patience)
    return load.run


def open_loop(
    address: tuple[str, int],
    requests: Sequence[Request],
    schedule: Schedule,
    *,
    connections: int = 64,
    tick: Tick | None = None,
    patience: float = _PATIENCE,
) -> Run:
    """Sends on ``schedule``; a request that finds no idle connection waits, and its wait counts as latency.

    A backlog above 20 s of requests ends the run early; what was never sent fails as ``not sent``.
    """
    with _load(address, requests, connections) as load:
        start = time.perf_counter()
        tock = start + tick.every if tick else float("inf")
        number = 0
        while number < schedule.count:
            now = time.perf_counter()
            due = schedule.due_by(now - start)
            while number < due and load.idle:
                load.start(number, start + schedule.due(number))
                number += 1
            if due - number > 20 * schedule.rate or now - start > schedule.seconds + 20:
                break
            ahead = start + schedule.due(due) - now
            load.step(ahead - 0.0015 if ahead > 0.003 and number == due else 0.0)
            if tick and now >= tock:
                tick.action()
                tock = now + tick.every
        load.run.failures.update({"not sent": schedule.count - number} if number < schedule.count else {})
        _drain(load, patience)
    return load.run


def _drain(load: _Load, patience: float) -> None:
    end = time.perf_counter() + patience
    while load.busy and time.perf_counter() < end:
        load.step(0.01)


def ask(address: tuple[str, int], prepared: Request, timeout: float = 30.0) -> bytes:
    """One request on a connection of its own; the whole answer, whatever its status."""
    with socket.create_connection(address, timeout=timeout) as sock:
        sock.sendall(prepared.data)
        data = b""
        while (length := answer_length(data)) is None or len(data) < length:
            piece = sock.recv(_CHUNK)
            if not piece:
                raise ConnectionError("closed by the server in the middle of an answer")
            data += piece
    return data
