"""A shortcut for whole requests: from the bytes of one TCP read to the bytes of one write.

uvicorn turns every request into a dictionary, a task, an event and four messages, which costs more than
validating, inferring and encoding do. Where a prediction's whole request is there and production can
answer it at once, none of that is needed. Everything else (a body that is still on its way, a canary,
a refusal, another route) goes through the ASGI application as ever, which stays complete without this.
"""

from __future__ import annotations

import asyncio
import logging
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

_apps: list[EdgeApp] = []


def install(app: EdgeApp) -> None:
    """Lets uvicorn speak ``EdgeProtocol`` for ``app`` where it would choose a protocol by itself.

    BentoML starts uvicorn and passes no protocol on; uvicorn looks its own choice up in this table.
    """
    _apps[:] = [app]
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:EdgeProtocol"


class EdgeProtocol(HttpToolsProtocol):
    """uvicorn's protocol on httptools, with a way around ASGI for requests that need none of it."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._edge = _apps[-1]
        self._route: Route | None = None
        self._body: list[bytes] = []
        self._in_head = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

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

    def on_headers_complete(self) -> None:
        """Holds a prediction back until its body is complete."""
        self._in_head = False
        if self._head_timer is not None:
            self._forget_head()
        if self.root_path or self.flow.write_paused or self._busy() or self.expect_100_continue:
            return super().on_headers_complete()
        route = self._edge.predicting(self.url.decode("latin-1"))
        if route is None or self.parser.get_method() != b"POST":
            return super().on_headers_complete()
        if self.parser.get_http_version() != "1.1" or not self.parser.should_keep_alive():
            return super().on_headers_complete()  # such an answer ends with the connection
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

    def _hand_on(self) -> None:
        """Gives the held request to the ASGI application, with as much of its body as is there."""
        body = b"".join(self._body)
        self._route = None
        self._body = []
        super().on_headers_complete()
        if body:
            super().on_body(body)

    def _write(self, done: Done) -> None:
        encoded = done.encoded
        lines = [b"HTTP/1.1 200 OK\r\n"]
        for name, value in (*self.server_state.default_headers, *encoded.headers):
            lines += (name, b": ", value, b"\r\n")
        length = len(encoded.body)
        lines.append(b"content-type: %b\r\ncontent-length: %d\r\n\r\n" % (encoded.content_type, length))
        lines.append(encoded.body)
        self.transport.write(b"".join(lines))
        self.server_state.total_requests += 1
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )
