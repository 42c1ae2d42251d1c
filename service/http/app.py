"""The ASGI application in front of BentoML's own: every route of ours is answered here.

BentoML's middlewares cost a hot request more than the model does, so what they would do is done
here: body limit, deadline, concurrency cap, request ids, errors. Whatever is not ours (the Swagger
page and its files, BentoML's client schema) is handed on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, MutableMapping
from typing import Any, NamedTuple, TypeAlias

from service.domain.passage import SERVERS_FAULT
from service.http import problem
from service.http.admission import admit, explaining, not_ready, problem_of, too_large
from service.http.codec import Codec, Encoded, Head, request_id_of
from service.http.edge import Edge, Post, Reply, Route
from service.http.problem import Problem, overloaded
from service.http.telling import Seen, passage, timed
from service.paths.predict import PredictPath
from service.paths.question import Answer, Question
from service.paths.steps import Steps

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

HANDED_ON = ("/static_content/", "/schema.json")
"""Paths that BentoML answers, beside the page at ``/``."""
HUNG_UP = 499
"""The code under which a request is counted whose caller did not wait for the answer; nothing is sent."""
UNKNOWN_ROUTE = "other"
"""The ``route`` label of paths that are not ours, so that no caller can make up a series."""
READINESS = (
    "/readyz",
    "/v2/health/ready",
    "/v2/models/{model}/ready",
    "/v2/models/{model}/versions/{version}/ready",
)
"""Templates of the pages that say whether to send requests here."""
BEGUN = "understudy.begun"
"""Key of the scope under which a request lies that ``answer_here`` began and could not finish."""


class Done(NamedTuple):
    """A request that is answered but for the sending."""

    path: PredictPath
    route: Route
    question: Question
    answer: Answer
    encoded: Encoded


class Failed(NamedTuple):
    """A request that cannot be answered."""

    error: Exception
    seen: Seen
    """What is known of it."""


class Begun(NamedTuple):
    """A request that is decoded and not answered yet."""

    path: PredictPath
    question: Question
    answer: Answer | None = None
    """Of one whose explanation takes longer; asked again, a canary that failed would fail twice."""


class HungUp(Exception):
    """The caller is gone."""


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
        self.stopping = False
        """Whether requests should go elsewhere: this process ends soon, and answers until then."""
        self._in_work = 0
        self._reading: dict[asyncio.Task[Any], float] = {}
        self._sweeper: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        edge = self._edge or self._begin()
        path = scope["path"]
        route = edge.routes.get(path)
        if route is not None:
            if route.predict is not None and scope["method"] == "POST":
                await self._predict(edge, route, route.predict, scope, receive, send)
            elif route.post is not None and scope["method"] == "POST":
                await self._post(edge, route, route.post, scope, receive, send)
            else:
                await self._page(edge, route, scope, send)
        elif path == "/" or path.startswith(HANDED_ON):
            await self._inner(scope, receive, send)
        elif edge.unfit is not None:
            await self._refuse(edge, UNKNOWN_ROUTE, scope, send, not_ready(edge))
        else:
            await self._refuse(edge, UNKNOWN_ROUTE, scope, send, Problem(404, f"nothing is at {path[:200]}"))

    def predicting(self, path: str) -> Route | None:
        """The route of ``path`` where a POST is a prediction."""
        edge = self._edge
        route = edge.routes.get(path) if edge is not None else None
        return route if route is not None and route.predict is not None else None

    def answer_here(
        self, route: Route, headers: Iterable[tuple[bytes, bytes]], body: bytes
    ) -> Done | Begun | Failed:
        """A whole request answered without waiting for anything, or as far as that goes.

        What is not ``Done`` belongs into the scope under ``BEGUN``; the application takes it from there.
        """
        edge, codec, start = self._edge or self._begin(), route.predict, time.monotonic()
        if codec is None or self._in_work >= edge.limits.max_concurrency:
            return Failed(overloaded("too many requests are in work"), Seen(start))
        steps = question = None
        try:
            named = dict(headers)
            if edge.drawing is not None:
                steps = edge.drawing.prediction(named)
                codec = timed(codec, steps)
            path, arm = admit(edge, route, named)
            if len(body) > edge.limits.max_body_bytes:
                return Failed(too_large(edge), Seen(start, steps))
            question = path.decide(codec.decode(body, Head(named, arm, start)))
            answer = path.answer_here(question)
            if answer is None:
                return Begun(path, question)
            if question.wish is not None:
                explained = explaining(edge).here(question, answer, question.wish)
                if explained is None:
                    return Begun(path, question, answer)
                answer = explained
            return Done(path, route, question, answer, codec.encode(answer, question))
        except Exception as error:  # whatever it is, the caller gets a problem document
            return Failed(error, Seen(start, steps, question))

    def sent(self, done: Done) -> None:
        """Settles what ``answer_here`` answered, once it is on its way."""
        path, route, question, answer, _ = done
        if route.settles:
            path.settle(question, answer)
        if self._edge is not None:
            self._edge.responded(route.template, 200)
            if question.steps is not None:
                _tell_answered(self._edge, route, question, answer)

    async def _predict(
        self, edge: Edge, route: Route, codec: Codec, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """The predict path: admit, read, decode, answer, encode, send, settle."""
        if self._in_work >= edge.limits.max_concurrency:
            await self._refuse(edge, route.template, scope, send, overloaded("too many requests are in work"))
            return
        self._in_work += 1
        seen = Seen(time.monotonic())
        try:
            begun: Begun | Failed | None = scope.get(BEGUN)
            if isinstance(begun, Failed):
                seen = begun.seen
                raise begun.error
            if begun is None:
                seen = seen._replace(steps=_drawn(edge, scope))
                begun = await self._decode(edge, route, timed(codec, seen.steps), scope, receive)
            path, question, answered = begun
            seen = Seen(question.start, question.steps, question)
            answer = answered or await path.answer(question)
            if question.wish is not None:
                work = explaining(edge).explain(question, answer, question.wish)
                answer = await _while_wanted(receive, work)
            encoded = timed(codec, question.steps).encode(answer, question)
        except HungUp:
            edge.responded(route.template, HUNG_UP)
            if seen.steps is not None:
                edge.tell(passage("POST", route.template, HUNG_UP, seen, time.monotonic()))
            return
        except Exception as error:  # whatever it is, the caller gets a problem document
            await self._refuse(edge, route.template, scope, send, error, seen)
            return
        finally:
            self._in_work -= 1
        await _send(send, Reply(encoded.body, encoded.content_type, 200, encoded.headers))
        if route.settles:
            path.settle(question, answer)
        edge.responded(route.template, 200)
        if question.steps is not None:
            _tell_answered(edge, route, question, answer)

    async def _decode(self, edge: Edge, route: Route, codec: Codec, scope: Scope, receive: Receive) -> Begun:
        headers = dict(scope["headers"])
        path, arm = admit(edge, route, headers)
        body = await self._read(edge, receive)
        return Begun(path, codec.decode(body, Head(headers, arm, time.monotonic())))

    async def _post(
        self, edge: Edge, route: Route, post: Post, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """A POST that is no prediction; its body is read under the same limits."""
        if self._in_work >= edge.limits.max_concurrency:
            await self._refuse(edge, route.template, scope, send, overloaded("too many requests are in work"))
            return
        self._in_work += 1
        seen = Seen(time.monotonic(), None if edge.drawing is None else edge.drawing.other())
        try:
            admit(edge, route, dict(scope["headers"]))
            reply = await post(await self._read(edge, receive))
        except Exception as error:  # whatever it is, the caller gets a problem document
            await self._refuse(edge, route.template, scope, send, error, seen)
            return
        finally:
            self._in_work -= 1
        await self._reply(edge, route, scope, send, reply, seen)

    async def _page(self, edge: Edge, route: Route, scope: Scope, send: Send) -> None:
        seen = Seen(time.monotonic(), None if edge.drawing is None else edge.drawing.other())
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        page = route.pages.get(method)
        if page is None:
            allowed = ", ".join(route.allowed)
            error = Problem(405, f"use {allowed} here", headers=((b"allow", allowed.encode()),))
            await self._refuse(edge, route.template, scope, send, error, seen)
            return
        if self.stopping and route.template in READINESS:
            await self._reply(edge, route, scope, send, _elsewhere(scope), seen)
            return
        try:
            reply = await page()
        except Exception as error:  # whatever it is, the caller gets a problem document
            await self._refuse(edge, route.template, scope, send, error, seen)
            return
        await self._reply(edge, route, scope, send, reply, seen)

    async def _reply(
        self, edge: Edge, route: Route, scope: Scope, send: Send, reply: Reply, seen: Seen
    ) -> None:
        await _send(send, reply)
        edge.responded(route.template, reply.status)
        if seen.steps is not None:
            edge.tell(passage(scope["method"], route.template, reply.status, seen, time.monotonic()))

    async def _refuse(
        self,
        edge: Edge,
        template: str,
        scope: Scope,
        send: Send,
        error: Exception,
        seen: Seen | None = None,
    ) -> None:
        known = seen or Seen(time.monotonic())
        question, told = known.question, problem_of(error)
        name = request_id_of(dict(scope["headers"])) if question is None else question.request_id
        headers = ((b"x-request-id", name.encode()), *told.headers)
        await _send(send, Reply(told.body(name), problem.CONTENT_TYPE, told.status, headers))
        edge.responded(template, told.status)
        if told.status >= SERVERS_FAULT or known.steps is not None:
            end = time.monotonic()
            edge.tell(passage(scope["method"], template, told.status, known, end, None, error, name))

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
                    raise too_large(edge)
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


def _elsewhere(scope: Scope) -> Reply:
    """That requests should go elsewhere; expected, so nobody is told as of other answers of 503."""
    name, told = request_id_of(dict(scope["headers"])), overloaded("not ready: stopping")
    headers = ((b"x-request-id", name.encode()), *told.headers)
    return Reply(told.body(name), problem.CONTENT_TYPE, told.status, headers)


def _drawn(edge: Edge, scope: Scope) -> Steps | None:
    return None if edge.drawing is None else edge.drawing.prediction(dict(scope["headers"]))


def _tell_answered(edge: Edge, route: Route, question: Question, answer: Answer) -> None:
    seen = Seen(question.start, question.steps, question)
    edge.tell(passage("POST", route.template, 200, seen, time.monotonic(), answer))


async def _while_wanted(receive: Receive, work: Coroutine[Any, Any, Answer]) -> Answer:
    """What ``work`` gives; it is given up when the caller hangs up, so that others get their turn.

    Raises:
        HungUp: the caller did.
    """
    task, gone = asyncio.create_task(work), asyncio.create_task(_hang_up(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise HungUp
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, reply: Reply) -> None:
    headers = [
        (b"content-type", reply.content_type),
        (b"content-length", b"%d" % len(reply.body)),
        *reply.headers,
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
