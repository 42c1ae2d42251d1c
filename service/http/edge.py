"""The ASGI application in front of BentoML's own: every route of ours is answered here.

BentoML's middlewares cost a hot request more than the model does, so what they would do is done
here: body limit, deadline, concurrency cap, request ids, errors. Whatever is not ours (the Swagger
page and its files, BentoML's client schema) is handed on.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from service.domain.observation import Arm
from service.errors import DeadlineError, InferenceError
from service.http import problem
from service.http.codec import Codec, Head, Headers, request_id_of
from service.http.problem import Problem, overloaded
from service.paths.predict import PredictPath

log = logging.getLogger("understudy.http")

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

HANDED_ON = ("/static_content/", "/schema.json")
"""Paths that BentoML answers, beside the page at ``/``."""
UNKNOWN_ROUTE = "other"
"""The ``route`` label of paths that are not ours, so that no caller can make up a series."""
JSON_TYPES = frozenset({b"", b"application/json", b"application/json; charset=utf-8"})


class Reply(NamedTuple):
    """An answer that is no prediction."""

    body: bytes
    content_type: bytes = b"application/json"
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()


Page: TypeAlias = Callable[[], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Route:
    """What one path answers. ``template`` is its name in metrics and in the documented API."""

    template: str
    pages: dict[str, Page] = field(default_factory=dict)
    """By method; GET serves HEAD as well."""
    predict: Codec | None = None
    """POST: the predict path in this protocol."""
    content_types: frozenset[bytes] = JSON_TYPES
    """Accepted by ``predict``, in lower case."""

    @property
    def methods(self) -> list[str]:
        return sorted({*self.pages, *(["POST"] if self.predict else [])})


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """What one request, and all of them together, may take."""

    max_body_bytes: int
    max_concurrency: int
    deadline: float
    """Seconds, for reading the body too."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Everything the application needs; made by ``service.wiring``."""

    path: PredictPath | None
    """None where the production bundle is unfit."""
    unfit: str | None
    """Why nothing can be predicted, or None."""
    routes: dict[str, Route]
    limits: EdgeLimits
    responded: Callable[[str, int], None]
    """Counts (route template, status code)."""
    admin_token: str | None


class EdgeApp:
    """ASGI: ours first, the rest to BentoML's application.

    Args:
        inner: BentoML's application.
        edge: called at the first request, when the service has been built.
    """

    def __init__(self, inner: App, edge: Callable[[], Edge]) -> None:
        self._inner = inner
        self._make = edge
        self._edge: Edge | None = None
        self._in_work = 0
        self._reading: dict[asyncio.Task[Any], float] = {}
        self._sweeper: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        edge = self._edge
        if edge is None:
            edge = self._begin()
        path = scope["path"]
        route = edge.routes.get(path)
        if route is not None:
            if route.predict is not None and scope["method"] == "POST":
                await self._predict(edge, route, route.predict, scope, receive, send)
            else:
                await self._page(edge, route, scope, send)
        elif path == "/" or path.startswith(HANDED_ON):
            await self._inner(scope, receive, send)
        elif edge.unfit is not None:
            await self._refuse(edge, UNKNOWN_ROUTE, scope, send, _not_ready(edge))
        else:
            await self._refuse(edge, UNKNOWN_ROUTE, scope, send, Problem(404, f"nothing is at {path[:200]}"))

    async def _predict(
        self, edge: Edge, route: Route, codec: Codec, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """The hot path: admit, read, decode, answer, encode, send, settle."""
        if self._in_work >= edge.limits.max_concurrency:
            await self._refuse(edge, route.template, scope, send, overloaded("too many requests are in work"))
            return
        self._in_work += 1
        try:
            headers = dict(scope["headers"])
            path = self._admit(edge, route, headers)
            body = await self._read(edge, receive)
            arm = None if b"x-model-arm" not in headers else _override(edge, path, headers)
            question = codec.decode(body, Head(headers, arm, time.monotonic()))
            answer = await path.answer(question)
            encoded = codec.encode(answer, question)
        except Exception as error:  # whatever it is, the caller gets a problem document
            await self._refuse(edge, route.template, scope, send, _problem_of(error))
            return
        finally:
            self._in_work -= 1
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [
                    (b"content-type", encoded.content_type),
                    (b"content-length", b"%d" % len(encoded.body)),
                    *encoded.headers,
                ],
            }
        )
        await send({"type": "http.response.body", "body": encoded.body})
        path.settle(question, answer)
        edge.responded(route.template, 200)

    async def _page(self, edge: Edge, route: Route, scope: Scope, send: Send) -> None:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        page = route.pages.get(method)
        if page is None:
            allowed = ", ".join(route.methods)
            error = Problem(405, f"use {allowed} here", headers=((b"allow", allowed.encode()),))
            await self._refuse(edge, route.template, scope, send, error)
            return
        try:
            reply = await page()
        except Exception as error:  # whatever it is, the caller gets a problem document
            await self._refuse(edge, route.template, scope, send, _problem_of(error))
            return
        await _send(send, reply)
        edge.responded(route.template, reply.status)

    async def _refuse(self, edge: Edge, template: str, scope: Scope, send: Send, error: Problem) -> None:
        request_id = request_id_of(dict(scope["headers"]))
        headers = ((b"x-request-id", request_id.encode()), *error.headers)
        body = error.body(request_id)
        await _send(send, Reply(body, problem.CONTENT_TYPE, error.status, headers))
        edge.responded(template, error.status)

    def _admit(self, edge: Edge, route: Route, headers: Headers) -> PredictPath:
        """What can be refused before the body is read."""
        if edge.path is None:
            raise _not_ready(edge)
        content_type = headers.get(b"content-type", b"")
        if content_type not in route.content_types and content_type.lower() not in route.content_types:
            accepted = ", ".join(sorted(name.decode() for name in route.content_types if name))
            raise Problem(
                415, f"content-type: expected {accepted}, found {content_type.decode('latin-1')[:100]}"
            )
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise Problem(415, "content-encoding: compressed bodies are not read")
        length = headers.get(b"content-length")
        if length is not None and length.isdigit() and int(length) > edge.limits.max_body_bytes:
            raise _too_large(edge)
        return edge.path

    async def _read(self, edge: Edge, receive: Receive) -> bytes:
        """The whole body; the sweeper cancels a read that outlasts the deadline."""
        task = asyncio.current_task()
        assert task is not None
        self._reading[task] = time.monotonic() + edge.limits.deadline
        try:
            parts: list[bytes] = []
            size = 0
            while (message := await receive())["type"] == "http.request":
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > edge.limits.max_body_bytes:
                    raise _too_large(edge)
                if not message.get("more_body", False):
                    return parts[0] if len(parts) == 1 else b"".join(parts)
            raise Problem(400, "the caller hung up before the body was complete")
        except asyncio.CancelledError:
            if self._reading.get(task, 0.0) >= time.monotonic():
                raise  # the server is stopping, not our deadline
            task.uncancel()
            raise Problem(408, f"the body did not arrive within {edge.limits.deadline:g} s") from None
        finally:
            del self._reading[task]

    def _begin(self) -> Edge:
        self._edge = self._make()
        self._sweeper = asyncio.create_task(self._sweep(), name="body-deadlines")
        return self._edge

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            now = time.monotonic()
            for task, due in list(self._reading.items()):
                if now > due:
                    task.cancel()


def _override(edge: Edge, path: PredictPath, headers: Headers) -> Arm:
    """The arm named in ``X-Model-Arm``, for those who may choose one."""
    if edge.admin_token is None:
        raise Problem(403, "X-Model-Arm: no admin token is configured, so no arm can be chosen")
    given = headers.get(b"authorization", b"")
    if not given.startswith(b"Bearer "):
        raise Problem(
            401, "X-Model-Arm: needs the admin bearer token", headers=((b"www-authenticate", b"Bearer"),)
        )
    if not hmac.compare_digest(given.removeprefix(b"Bearer "), edge.admin_token.encode()):
        raise Problem(403, "X-Model-Arm: that is not the admin token")
    if headers[b"x-model-arm"] == b"production":
        return "production"
    if headers[b"x-model-arm"] == b"canary":
        if path.split.canary is None:
            raise Problem(409, "X-Model-Arm: no canary is running")
        return "canary"
    raise Problem(422, "X-Model-Arm: expected production or canary")


def _problem_of(error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, DeadlineError):
        return Problem(504, "the model did not answer before the deadline")
    if isinstance(error, InferenceError):
        log.error("production failed: %s", error)
        return Problem(500, "the model failed on this input")
    log.error("unexpected error", exc_info=error)
    return Problem(500, "unexpected error; the log has the details under this request's time")


def _not_ready(edge: Edge) -> Problem:
    return overloaded(f"not ready: {edge.unfit}", retry_after=30)


def _too_large(edge: Edge) -> Problem:
    return Problem(413, f"the body is larger than {edge.limits.max_body_bytes} bytes")


async def _send(send: Send, reply: Reply) -> None:
    headers = [
        (b"content-type", reply.content_type),
        (b"content-length", b"%d" % len(reply.body)),
        *reply.headers,
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
