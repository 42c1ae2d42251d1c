"""The edge explains what it answers, at once where it can; only a prediction with its reasons is traffic."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from service.domain.errand import Errand, Reply, Status
from service.domain.explainers.document import Wish
from service.domain.explainers.game import Ask, Unsuitable
from service.domain.schema import FeatureBatch, Scores
from service.http.app import BEGUN, Begun, Done
from service.http.codec import Encoded, Head
from service.http.edge import Route
from service.paths.explain import ExplainPath
from service.paths.question import Answer, Explained, Question
from tests.http.edges import FakeCodec, World, hang_up, sending, silence


class ExplainingCodec(FakeCodec):
    """The body is the method's name."""

    def decode(self, body: bytes, head: Head) -> Question:
        return super().decode(b"x", head)._replace(wish=Wish(Ask(body.decode())))

    def encode(self, answer: Answer, question: Question) -> Encoded:
        return Encoded(b",".join(answer.explanations), b"text/plain")


class Explaining(World):
    """``quick`` is explained at once, ``slow`` by a remote that answers ``reply``, ``never`` by nobody."""

    def __init__(self, status: Status = "done") -> None:
        super().__init__()
        self.errands: list[Errand] = []
        self.status = status
        self.noted: list[str] = []
        self.given_up = 0
        path = ExplainPath(
            self, deadline=1.0, max_rows=5, explained=lambda method, seconds: self.noted.append(method)
        )
        routes = {
            "/predict": Route("/predict", predict=ExplainingCodec()),
            "/explain": Route("/explain", predict=ExplainingCodec(), settles=False),
        }
        self.path.production = replace(self.path.production, explain=self.explain)
        self.edge = replace(self.edge, explain=path, routes=self.edge.routes | routes)

    def explain(self, rows: FeatureBatch, scores: Scores, wish: Wish) -> Explained | None:
        if wish.ask.method == "never":
            raise Unsuitable("never explains nothing")
        return Explained("quick", 0.0, [b"quickly"]) if wish.ask.method == "quick" else None

    async def send(self, errand: Errand) -> Reply:
        self.errands.append(errand)
        if errand.wish.ask.method == "endless":
            try:
                await asyncio.Event().wait()
            finally:
                self.given_up += 1
        return Reply(self.status, [b"slowly"], method="slow", reason="this is why")

    def post(self, path: str, method: bytes) -> Any:
        return asyncio.run(self.call("POST", path, {}, sending(method, after=silence)))


@pytest.mark.parametrize(("method", "said"), [(b"quick", b"quickly"), (b"slow", b"slowly")])
def test_a_prediction_with_its_reasons_is_traffic_and_a_question_about_them_is_not(
    method: bytes, said: bytes
) -> None:
    world = Explaining()
    assert world.post("/explain", method).body == said
    assert (world.log, world.tally.seconds) == (["start", "body"], [])
    assert world.post("/predict", method).body == said
    assert world.log[2:] == ["start", "body", "mirrored"]
    assert len(world.tally.seconds) == 1
    assert world.responded == [("/explain", 200), ("/predict", 200)]
    assert world.noted == [method.decode()] * 2


@pytest.mark.parametrize(
    ("status", "code"), [("unsuitable", 422), ("busy", 503), ("late", 504), ("failed", 500)]
)
def test_what_cannot_be_explained_is_a_problem_and_no_traffic(status: Status, code: int) -> None:
    world = Explaining(status)
    response = world.post("/predict", b"slow")
    assert response.problem["status"] == code
    assert ("this is why" in response.problem["detail"]) == (code != 500)
    assert ("the explanation failed" in response.problem["detail"]) == (code == 500)
    assert ("retry-after" in response.headers) == (code == 503)
    assert world.log == ["start", "body"]


def test_the_reason_why_a_method_cannot_is_told_under_explain() -> None:
    problem = Explaining().post("/explain", b"never").problem
    assert problem["detail"] == "explain: never explains nothing"
    assert problem["errors"] == [{"loc": ["explain"], "msg": "never explains nothing"}]


def test_the_shortcut_explains_at_once_or_hands_the_question_on() -> None:
    world = Explaining()
    world.post("/explain", b"quick")
    route = world.edge.routes["/explain"]
    done = world.app.answer_here(route, (), b"quick")
    assert isinstance(done, Done)
    assert done.encoded.body == b"quickly"
    world.log.clear()
    world.app.sent(done)
    assert world.log == []
    assert isinstance(world.app.answer_here(route, (), b"slow"), Begun)


def test_a_question_that_is_handed_on_is_not_inferred_again() -> None:
    world, asked = Explaining(), 0
    world.post("/explain", b"quick")
    production = world.path.production

    def infer(rows: FeatureBatch, due: float) -> Scores:
        nonlocal asked
        asked += 1
        return production.infer(rows, due)

    world.path.production = replace(production, infer=infer)
    route = world.edge.routes["/explain"]
    begun = world.app.answer_here(route, (), b"slow")
    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/explain", "headers": headers, BEGUN: begun}
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(world.app(scope, sending(b"", after=silence), send))
    assert (sent[0]["status"], asked) == (200, 1)


def test_without_a_fit_model_nothing_is_explained() -> None:
    world = Explaining()
    world.edge = replace(world.edge, path=None, explain=None, unfit="credit:gbm-1 fails parity")
    response = world.post("/explain", b"quick")
    assert response.status == 503
    assert json.loads(response.body)["detail"] == "not ready: credit:gbm-1 fails parity"


def test_a_caller_who_hangs_up_is_not_worked_for_and_gives_back_the_place() -> None:
    world = Explaining()
    world.edge = replace(world.edge, limits=replace(world.edge.limits, max_concurrency=1))
    sent: list[Any] = []

    async def send(event: Any) -> None:
        sent.append(event)

    async def go() -> None:
        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
        await world.app(scope, sending(b"endless", after=hang_up), send)

    asyncio.run(go())
    assert (sent, world.given_up, world.responded) == ([], 1, [("/predict", 499)])
    assert world.tally.seconds == []
    assert world.post("/predict", b"slow").status == 200
