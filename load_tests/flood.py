"""Callers who want more than they can get, driven from inside the load generator's loop."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

from load_tests.generator import Channel
from load_tests.wire import Request, body_of, header_of, status_of

PAUSE = 1.0
"""Seconds until a refused caller comes again who is not told when."""


class Flood:
    """Keeps ``connections`` connections busy; each call looks after all of them without waiting.

    A caller asks again as soon as it is answered; one that is refused with 503 or 429 comes again when
    ``Retry-After`` says. A call costs some 50 us with 32 connections.

    Args:
        address: of the server.
        make: the n-th request.
        connections: callers.

    Raises:
        OSError: the server does not take a connection.
    """

    def __init__(self, address: tuple[str, int], make: Callable[[int], Request], connections: int) -> None:
        self.answered = 0
        self.refused = 0
        self.late = 0
        """Requests that were answered 504: not done by their deadline."""
        self.broken: Counter[str] = Counter()
        """Requests by what else became of them."""
        self._make = make
        self._address = address
        self._sent = 0
        self._busy: list[Channel] = []
        self._idle = [(0.0, Channel(address)) for _ in range(connections)]
        """When each may ask again, and its connection."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in (*self._busy, *(channel for _, channel in self._idle)):
            channel.sock.close()

    def __call__(self) -> None:
        busy, self._busy = self._busy, []
        for channel in busy:
            self._look_after(channel)
        now = time.monotonic()
        waiting, self._idle = self._idle, []
        for due, channel in waiting:
            if due > now:
                self._idle.append((due, channel))
            else:
                self._send(channel)

    def forget(self) -> None:
        """Counts from now on."""
        self.answered = self.refused = self.late = 0
        self.broken.clear()

    def _send(self, channel: Channel) -> None:
        request = self._make(self._sent)
        self._sent += 1
        try:
            if not channel.send(request.data, 0, 0.0):
                raise ConnectionError(
                    "the socket's buffer is full"
                )  # of a request that is a few hundred bytes
        except OSError as error:
            self._lose(channel, error)
        else:
            self._busy.append(channel)

    def _look_after(self, channel: Channel) -> None:
        try:
            answer = channel.receive()
        except BlockingIOError:
            self._busy.append(channel)
            return
        except (OSError, ValueError) as error:
            self._lose(channel, error)
            return
        if answer is None:
            self._busy.append(channel)
            return
        status, pause = status_of(answer), 0.0
        if status == 200:
            self.answered += 1
        elif status in (429, 503):
            self.refused += 1
            pause = float(header_of(answer, "Retry-After") or PAUSE)
        elif status == 504:
            self.late += 1
        else:
            self.broken[f"status {status}: {body_of(answer)[:200]!r}"] += 1
            pause = PAUSE
        self._idle.append((time.monotonic() + pause, channel))

    def _lose(self, channel: Channel, error: Exception) -> None:
        self.broken[repr(error)] += 1
        channel.sock.close()
        self._idle.append((time.monotonic() + PAUSE, Channel(self._address)))
