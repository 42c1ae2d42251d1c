"""The edge with a fake codec, model and mirror; callers that send, fall silent or hang up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from service.domain.breaker import Breaker
from service.domain.canary import Rollout
from service.domain.observation import Mirrored
from service.domain.passage import Passage
from service.domain.schema import FeatureBatch, ModelSpec, Scores
from service.errors import DeadlineError, InferenceError
from service.http.app import EdgeApp
from service.http.codec import Encoded, Head, ask
from service.http.edge import Edge, EdgeLimits, Reply, Route
from service.http.problem import Problem
from service.paths.canary import Canary, Split
from service.paths.predict import PredictPath
from service.paths.question import Answer, Question, Serving
from tests.domain.models import spec

SECRET = "the table of passwords"
TOKEN = "open sesame"
BEARER = {"authorization": f"Bearer {TOKEN}"}
LIMITS = EdgeLimits(max_body_bytes=1_000, max_concurrency=10, deadline=5.0)

Message = dict[str, Any]
Body = Callable[[], Awaitable[Message]]


@dataclass
class Response:
    """What the application sent."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """The problem document; every error is one."""
        assert self.headers["content-type"] == "application/problem+json"
        found: dict[str, Any] = json.loads(self.body)
        assert set(found) >= {"type", "title", "status", "detail", "request_id", "errors"}
        assert found["status"] == self.status
        assert found["request_id"] == self.headers["x-request-id"]
        return found


class FakeCodec:
    """Reads nothing but a word; some words make the request misbehave."""

    def decode(self, body: bytes, head: Head) -> Question:
        if body == b"misfit":
            raise Problem(422, "age: too old", [{"loc": ["age"], "msg": "too old"}])
        if body == b"bug":
            raise RuntimeError(SECRET)
        return ask(head, np.array([[len(body), 0, 0]], np.float32), None, None)

    def encode(self, answer: Answer, question: Question) -> Encoded:
        if question.rows[0, 0] == len(b"unwritable"):
            raise ValueError(SECRET)
        return Encoded(answer.arm.encode(), b"text/plain", ((b"x-request-id", answer.request_id.encode()),))


def infer(rows: FeatureBatch, due: float) -> Scores:
    if rows[0, 0] == len(b"late"):
        raise DeadlineError(SECRET)
    if rows[0, 0] == len(b"failing"):
        raise InferenceError(SECRET)
    return np.array([[0.5, 0.5]], np.float32)


async def infer_in_thread(rows: FeatureBatch, due: float) -> Scores:
    return infer(rows, due)


@dataclass
class FakeTally:
    labels: list[int] = field(default_factory=lambda: [0, 0])
    seconds: list[float] = field(default_factory=list)
    domain: list[int] = field(default_factory=lambda: [0, 0])


class World:
    """An application with everything it tells others, in the order it told it."""

    def __init__(self, **edge: Any) -> None:
        self.log: list[str] = []
        self.responded: list[tuple[str, int]] = []
        self.told: list[Passage] = []
        self.tally = FakeTally()
        self.path = PredictPath(
            self.serving(spec()),
            self,
            deadline=5,
            canary_deadline=1,
            fell_back=lambda fallback: None,
        )
        routes = (
            Route("/predict", predict=FakeCodec()),
            Route("/models", {"GET": self.models}),
            Route("/v2/models/{model}", {"GET": self.broken}),
        )
        made = Edge(
            path=self.path,
            explain=None,
            unfit=None,
            routes={route.template.replace("{model}", "m"): route for route in routes},
            limits=LIMITS,
            responded=lambda route, code: self.responded.append((route, code)),
            admin_token=TOKEN,
            tell=self.told.append,
        )
        self.edge = replace(made, **edge)
        self.app = EdgeApp(self.inner, lambda: self.edge)

    def serving(self, model: ModelSpec) -> Serving:
        return Serving(model, infer, infer_in_thread, 10, self.tally)

    def offer(self, item: Mirrored) -> None:
        self.log.append("mirrored")

    async def models(self) -> Reply:
        return Reply(b'{"some":"models"}')

    async def broken(self) -> Reply:
        raise RuntimeError(SECRET)

    async def inner(self, scope: Any, receive: Any, send: Any) -> None:
        self.log.append(f"bentoml {scope['type']} {scope.get('path', '')}")
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"bentoml"})

    async def call(self, method: str, path: str, headers: dict[str, str], receive: Body) -> Response:
        events: list[Message] = []

        async def send(event: Any) -> None:
            events.append(event)
            self.log.append(event["type"].removeprefix("http.response."))

        given = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self.app({"type": "http", "method": method, "path": path, "headers": given}, receive, send)
        start, body = events
        names = [name for name, _ in start["headers"]]
        assert len(set(names)) == len(names)
        shown = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
        assert int(shown.get("content-length", len(body["body"]))) == len(body["body"])
        return Response(start["status"], shown, body["body"])

    def ask(
        self, method: str, path: str, body: bytes | list[bytes] = b"", headers: dict[str, str] | None = None
    ) -> Response:
        return asyncio.run(self.call(method, path, headers or {}, sending(body)))

    def predict(self, body: bytes | list[bytes] = b"plain", **headers: str) -> Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", "/predict", body, named)

    def start_canary(self) -> None:
        canary = Canary(self.serving(spec("new")), lambda rows: rows, Breaker())
        self.path.split = Split(Rollout("m:new", 1, "s"), canary)


def sending(body: bytes | list[bytes], then: Body | None = None, after: Body | None = None) -> Body:
    """A caller that sends ``body``, in parts where it is a list, and does ``then`` before it is complete.

    What it does once it is complete is ``after``; by default nobody may ask.
    """
    parts = [body] if isinstance(body, bytes) else body
    last = len(parts) - 1
    events = iter(
        [
            {"type": "http.request", "body": part, "more_body": then is not None or index < last}
            for index, part in enumerate(parts)
        ]
    )

    async def receive() -> Message:
        event = next(events, None)
        if event is not None:
            return event
        further = then or after
        assert further is not None, "read beyond the end of the body"
        return await further()

    return receive


async def silence() -> Message:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


async def hang_up() -> Message:
    return {"type": "http.disconnect"}
