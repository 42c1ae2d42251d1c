"""A shortcut for whole requests: from the bytes of one TCP read to the bytes of one write.

uvicorn turns every request into a dictionary, a task, an event and four messages, which costs more than
validating, inferring and encoding do. Where a prediction's whole request is there and production can
answer it at once, none of that is needed. Everything else (a body that is still on its way, a canary,
a refusal, another route) goes through the ASGI application as ever, which stays complete without this.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any, cast

import uvicorn.config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.http.app import BEGUN, Done, EdgeApp
from service.http.edge import Route

log = logging.getLogger("understudy.http")

LARGEST_HEAD = 64 << 10
"""Bytes of a request's first line and headers."""
TOO_LARGE_HEAD = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)
HEAD_SECONDS = 10.0
"""A head that is begun is complete after this, or its connection is closed; so is a silent new one."""

FIRST_WORDS_SECONDS = 1.0
"""A connection that has said nothing yet gets this long when the server closes."""

_apps: list[EdgeApp] = []


def install(app: EdgeApp) -> None:
    """Lets uvicorn speak ``EdgeProtocol`` for ``app`` where it would choose a protocol by itself.

    BentoML starts uvicorn and passes no protocol on; uvicorn looks its own choice up in this table.
    """
    _apps[:] = [app]
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:EdgeProtocol"


def installed() -> EdgeApp:
    """The application that ``install`` was called with."""
    return _apps[-1]


class EdgeProtocol(HttpToolsProtocol):
    """uvicorn's protocol on httptools, with a way around ASGI for requests that need none of it."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._edge = installed()
        self._route: Route | None = None
        self._body: list[bytes] = []
        self._in_head = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._last: tuple[bytes, bytes] | None = None
        """The answer (head without its end, body) that may be a stopping process's last one here."""
        self._ending: RequestResponseCycle | None = None
        """The request with whose answer the connection ends because the process stops."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn does
        """Begins a connection, which has to say something soon."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends it."""
        self._forget_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feeds the parser; a body that goes on in the next read is left to ASGI."""
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._route is not None:
            self._hand_on()
        elif self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > LARGEST_HEAD:
                self.transport.write(TOO_LARGE_HEAD)
                self.transport.close()
            else:
                self._await_head()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = True
        super().on_message_begin()

    def end_with_answer(self) -> None:
        """Ends the connection together with the answer to the latest of its requests, if that is in work."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and cycle.keep_alive and not cycle.response_started:
            cycle.keep_alive = False
            self._ending = cycle

    def shutdown(self) -> None:
        """The server closes: ends with the last answer, also to a request that may be on its way."""
        if self._busy():
            self.end_with_answer()
        elif self._in_head or self._last is not None or _unread(self.transport):
            return  # answered soon, or given up by the timer of its head
        elif self._head_timer is not None:  # it has said nothing yet
            self._head_timer.cancel()
            self._head_timer = self.loop.call_later(FIRST_WORDS_SECONDS, self.transport.close)
        else:
            super().shutdown()

    def on_headers_complete(self) -> None:
        """Holds a prediction back until its body is complete."""
        self._in_head = False
        if self._head_timer is not None:
            self._forget_head()
        if self.root_path or self.flow.write_paused or self._busy() or self.expect_100_continue:
            return self._begin_cycle()
        route = self._edge.predicting(self.url.decode("latin-1"))
        if route is None or self.parser.get_method() != b"POST":
            return self._begin_cycle()
        if self.parser.get_http_version() != "1.1" or not self.parser.should_keep_alive():
            return self._begin_cycle()  # such an answer ends with the connection
        self._route = route
        return None

    def on_body(self, body: bytes) -> None:
        """Collects a held request's body."""
        if self._route is None:
            super().on_body(body)
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Answers a held request."""
        if self._route is None:
            super().on_message_complete()
            return
        result = self._edge.answer_here(self._route, self.headers, b"".join(self._body))
        if not isinstance(result, Done):
            cast("dict[str, Any]", self.scope)[BEGUN] = result
            self._hand_on()
            super().on_message_complete()
            return
        self._route = None
        self._body = []
        self._write(result)
        self._edge.sent(result)

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        self._head_bytes = 0

    def _busy(self) -> bool:
        """Whether an earlier request of this connection is still being answered."""
        cycle: RequestResponseCycle | None = self.cycle  # None before the first
        return cycle is not None and not cycle.response_complete

    def _begin_cycle(self) -> None:
        """Gives the request whose head is complete to the ASGI application."""
        super().on_headers_complete()
        if self._edge.stopping:
            if self._ending is not None and not self._ending.response_started:
                self._ending.keep_alive = True  # this request is behind it and would be lost
            self.end_with_answer()

    def _hand_on(self) -> None:
        """Gives the held request to the ASGI application, with as much of its body as is there."""
        body = b"".join(self._body)
        self._route = None
        self._body = []
        self._begin_cycle()
        if body:
            super().on_body(body)

    def _write(self, done: Done) -> None:
        encoded = done.encoded
        lines = [b"HTTP/1.1 200 OK\r\n"]
        for name, value in (*self.server_state.default_headers, *encoded.headers):
            lines += (name, b": ", value, b"\r\n")
        length = len(encoded.body)
        lines.append(b"content-type: %b\r\ncontent-length: %d\r\n" % (encoded.content_type, length))
        if self._edge.stopping:
            self._write_last(b"".join(lines), encoded.body)
            return
        lines += (b"\r\n", encoded.body)
        self.transport.write(b"".join(lines))
        self._sent()

    def _sent(self) -> None:
        self.server_state.total_requests += 1
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _write_last(self, head: bytes, body: bytes) -> None:
        """Answers once it is known whether this read holds another request: the last answer says goodbye."""
        if self._last is None:
            self.loop.call_soon(self._part)  # before any task that this read starts
        else:
            self.transport.write(b"%b\r\n%b" % self._last)
        self._last = head, body
        self._sent()

    def _part(self) -> None:
        if self._last is None or self.transport.is_closing():
            return
        (head, body), self._last = self._last, None
        if self._in_head or self._busy():
            self.transport.write(b"%b\r\n%b" % (head, body))
        else:
            self.transport.write(b"%bconnection: close\r\n\r\n%b" % (head, body))
            self.transport.close()


def _unread(transport: asyncio.Transport) -> bool:
    """Whether bytes have arrived that the loop has not read yet."""
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is None:
        return False
    try:
        with socket.fromfd(connection.fileno(), connection.family, connection.type) as same:
            return bool(same.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:  # nothing there, or the connection is gone
        return False
