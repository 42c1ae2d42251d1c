"""How a process that answers requests stops without losing one.

At SIGTERM it says at ``/readyz`` that it is stopping, and ends every connection together with its next answer
(``Connection: close``), but goes on to take connections and to answer for ``seconds``: that long a load
balancer may take to notice. Only then does uvicorn stop as it always does: it listens no more, answers what
is in work, and ends.

The time bounds itself: ``seconds``, then ``LAST_SECONDS`` at most for what is in work.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from types import FrameType

import uvicorn

from service.http.app import EdgeApp
from service.http.protocol import EdgeProtocol

log = logging.getLogger("understudy.http")

LAST_SECONDS = 10
"""For what is in work when nobody listens any more, unless uvicorn was told another time."""


def stop_gently(app: EdgeApp, seconds: float) -> None:
    """Has this process's SIGTERM begin a drain; SIGINT, which a person sends, stops at once as ever.

    To be called in the main thread's running loop, once uvicorn has taken the signals: at the start of the
    application. Without uvicorn, as under a test client, nothing changes.
    """
    found = signal.getsignal(signal.SIGTERM)
    server = getattr(found, "__self__", None)
    if isinstance(server, uvicorn.Server):
        Drain(app, server, seconds).listen()


class Drain:
    """One process's way from its first SIGTERM to its end."""

    def __init__(self, app: EdgeApp, server: uvicorn.Server, seconds: float) -> None:
        self._app = app
        self._server = server
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        if server.config.timeout_graceful_shutdown is None:
            server.config.timeout_graceful_shutdown = LAST_SECONDS

    def listen(self) -> None:
        """Takes the signals from uvicorn, which gives them back to whoever had them first."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._heard)

    def begin(self) -> None:
        """Tells everybody; a second time changes nothing."""
        if self._app.stopping:
            return
        self._app.stopping = True
        for connection in list(self._server.server_state.connections):
            if isinstance(connection, EdgeProtocol):
                connection.end_with_answer()
        log.info("stopping: answering for another %g s", self._seconds)
        self._loop.call_later(self._seconds, self.end)

    def end(self) -> None:
        """Leaves the rest to uvicorn; SIGTERM for SIGINT too, after which Python would print a traceback."""
        self._app.stopping = True
        if not self._server.should_exit:
            self._server.handle_exit(signal.SIGTERM, None)

    def _heard(self, number: int, _: FrameType | None) -> None:
        drains = number == signal.SIGTERM and self._seconds > 0
        self._loop.call_soon_threadsafe(self.begin if drains else self.end)
