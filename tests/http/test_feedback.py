"""``POST /feedback``: what it takes, what it answers, and what it says of labels that cannot be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from service.domain.labels import Filed, Given, LabelConflict, LabelCount
from service.domain.schema import ModelSpec
from service.errors import StoreError
from service.http.edge import Reply, Route
from service.http.feedback import FeedbackPage
from service.http.problem import Problem
from service.paths.feedback import FeedbackPath
from tests.domain.models import spec
from tests.http.edges import Response, World, sending

MAX_ROWS = 5
NEW = Filed(matched=True, fresh=True)
CREDIT, HOUSES = spec(), spec(task="regression")


class FakeFile:
    """A store that answers one thing, and remembers what it was given."""

    def __init__(self, answer: Filed | Exception = NEW) -> None:
        self.answer = answer
        self.given: list[Given] = []

    async def __call__(self, given: Sequence[Given]) -> list[Any]:
        self.given += given
        if isinstance(self.answer, StoreError):
            raise self.answer
        return [self.answer] * len(given)


def page(file: FakeFile, model: ModelSpec = CREDIT) -> FeedbackPage:
    return FeedbackPage(model, MAX_ROWS, FeedbackPath(file, deadline=30, told=lambda outcome: None))


def post(body: Any, file: FakeFile | None = None, model: ModelSpec = CREDIT) -> Reply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def posted() -> Reply:
        return await page(file or FakeFile(), model)(data)

    return asyncio.run(posted())


def refusal(body: Any, model: ModelSpec = CREDIT, answer: Exception | None = None) -> Problem:
    file = FakeFile() if answer is None else FakeFile(answer)
    with pytest.raises(Problem) as caught:
        post(body, file, model)
    assert answer is not None or file.given == []
    return caught.value


@pytest.mark.parametrize(
    ("filed", "status", "matched"),
    [
        (Filed(True, True), 202, b'{"matched":true}'),
        (Filed(False, True), 202, b'{"matched":false}'),
        (Filed(True, False), 200, b'{"matched":true}'),
        (Filed(False, False), 200, b'{"matched":false}'),
    ],
)
def test_says_whether_the_labels_are_new_and_whether_their_answer_is_known(
    filed: Filed, status: int, matched: bytes
) -> None:
    reply = post({"request_id": "a", "labels": ["good"]}, FakeFile(filed))
    assert (reply.status, reply.body, reply.content_type) == (status, matched, b"application/json")


def test_labels_reach_the_store_as_they_were_sent() -> None:
    file = FakeFile()
    post({"request_id": "a", "labels": ["good", None, "bad"]}, file)
    post({"request_id": "b", "labels": [1, None, -2.5]}, file, HOUSES)
    assert [(one.request_id, one.labels) for one in file.given] == [
        ("a", ("good", None, "bad")),
        ("b", (1.0, None, -2.5)),
    ]
    assert isinstance(file.given[1].labels[0], float)


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ([], []),
        ({"labels": ["good"]}, ["request_id"]),
        ({"request_id": "a"}, ["labels"]),
        ({"request_id": 1, "labels": ["good"]}, ["request_id"]),
        ({"request_id": "", "labels": ["good"]}, ["request_id"]),
        ({"request_id": "x" * 129, "labels": ["good"]}, ["request_id"]),
        ({"request_id": "a\n", "labels": ["good"]}, ["request_id"]),
        ({"request_id": "a", "labels": "good"}, ["labels"]),
        ({"request_id": "a", "labels": []}, ["labels"]),
        ({"request_id": "a", "labels": ["good"] * (MAX_ROWS + 1)}, ["labels"]),
        ({"request_id": "a", "labels": [None, None]}, ["labels"]),
        ({"request_id": "a", "labels": ["good", "splendid"]}, ["labels", 1]),
        ({"request_id": "a", "labels": ["good", 1]}, ["labels", 1]),
        ({"request_id": "a", "labels": ["good"], "label": "good"}, ["label"]),
    ],
)
def test_what_does_not_fit_is_refused_and_its_place_is_named(body: Any, loc: list[str | int]) -> None:
    problem = refusal(body)
    assert problem.status == 422
    assert [error["loc"] for error in problem.errors] == [loc]


@pytest.mark.parametrize("wrong", [b"NaN", b"Infinity", b"1e999", b'"12"', b"true", b"1" * 400])
def test_the_label_of_a_regression_is_a_finite_number(wrong: bytes) -> None:
    problem = refusal(b'{"request_id":"a","labels":[1.5,%b]}' % wrong, HOUSES)
    assert (problem.status, problem.errors[0]["loc"]) == (422, ["labels", 1])


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"request_id": "\\ud800"}', b"[" * 100_000])
def test_what_is_no_json_is_refused_as_such(body: bytes) -> None:
    assert refusal(body).status == 400


def test_a_contradiction_and_a_wrong_number_are_told_apart() -> None:
    body = {"request_id": "a", "labels": ["good"]}
    conflict = refusal(body, answer=LabelConflict("label 0 was given before as 'bad'; a label is final"))
    assert conflict.status == 409
    assert "given before as 'bad'" in conflict.detail
    count = refusal(body, answer=LabelCount("expected 3 labels"))
    assert (count.status, count.errors[0]["loc"]) == (422, ["labels"])


def test_a_store_that_fails_is_a_503_that_says_when_to_come_again_and_not_why() -> None:
    problem = refusal(
        {"request_id": "a", "labels": ["good"]}, answer=StoreError("sqlite:///secret/place: full")
    )
    assert problem.status == 503
    assert int(dict(problem.headers)[b"retry-after"]) > 0
    assert "secret" not in problem.detail


async def call(world: World, path: str, body: bytes, method: str = "POST", **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await world.call(method, path, named, sending(body))


def with_feedback(file: FakeFile) -> World:
    world = World()
    world.edge.routes["/feedback"] = Route("/feedback", post=page(file))
    return world


def test_a_route_that_takes_a_post_is_answered_under_the_limits_of_any_other() -> None:
    async def story() -> None:
        world = with_feedback(FakeFile())
        good = b'{"request_id":"a","labels":["good"]}'
        assert (await call(world, "/feedback", good)).status == 202
        assert (await call(world, "/feedback", b" " * 2_000)).status == 413
        assert (await call(world, "/feedback", good, content_type="text/csv")).status == 415
        assert (await call(world, "/feedback", b"", "GET")).status == 405
        refused = await call(world, "/feedback", b"{", x_request_id="mine")
        assert (refused.status, refused.problem["request_id"]) == (400, "mine")
        assert world.responded == [("/feedback", status) for status in (202, 413, 415, 405, 400)]

    asyncio.run(story())


def test_a_store_that_hangs_takes_nothing_from_predictions() -> None:
    class Hanging(FakeFile):
        def __init__(self) -> None:
            super().__init__()
            self.reached = asyncio.Event()

        async def __call__(self, given: Sequence[Given]) -> list[Any]:
            self.reached.set()
            await asyncio.Event().wait()
            raise AssertionError

    async def story() -> None:
        hanging = Hanging()
        world = with_feedback(hanging)
        body = b'{"request_id":"a","labels":["good"]}'
        asking = [asyncio.create_task(call(world, "/feedback", body)) for _ in range(9)]
        await hanging.reached.wait()
        assert not any(task.done() for task in asking)
        assert (await call(world, "/predict", b"plain")).status == 200
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    asyncio.run(story())
