"""``POST /shadow/replay``: who may ask for it, what it takes, and what it answers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from service.domain.schema import ModelSpec
from service.errors import BusyError, LateError
from service.http.admission import problem_of
from service.http.edge import Reply, Route
from service.http.problem import Problem
from service.http.replay import Asked, ReplayPage
from service.http.traffic import TrafficReader
from tests.http.edges import BEARER, Response, World, sending
from tests.http.fakes import DIGITS, HOUSES, NUMERIC, reader

REPORT = b'{"inconsistent":{}}'
ROW: dict[str, Any] = {"a": 1.5, "b": None, "c": 3}
GOOD = {"candidate": "numeric:3", "instances": [ROW]}


class FakeReplay:
    """Answers one thing, and remembers what it was asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked: list[Asked] = []

    async def __call__(self, asked: Asked) -> bytes:
        self.asked.append(asked)
        if self.error is not None:
            raise self.error
        return REPORT


def page(replay: FakeReplay, model: ModelSpec = NUMERIC) -> ReplayPage:
    return ReplayPage(TrafficReader(model, reader(model)), replay)


def post(body: Any, replay: FakeReplay | None = None, model: ModelSpec = NUMERIC) -> Reply:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def posted() -> Reply:
        return await page(replay or FakeReplay(), model)(data)

    return asyncio.run(posted())


def refusal(body: Any, error: Exception | None = None, model: ModelSpec = NUMERIC) -> Problem:
    replay = FakeReplay(error)
    with pytest.raises(Problem) as caught:
        post(body, replay, model)
    assert error is not None or replay.asked == []
    return caught.value


def test_the_report_is_answered_as_it_was_made() -> None:
    reply = post(GOOD)
    assert (reply.status, reply.content_type, reply.body) == (200, b"application/json", REPORT)


def test_the_kept_rows_are_replayed_where_they_are_named() -> None:
    replay = FakeReplay()
    post({"candidate": "numeric:3", "source": "kept"}, replay)
    assert replay.asked == [Asked("numeric:3", None)]


@pytest.mark.parametrize("model", [NUMERIC, HOUSES, DIGITS], ids=lambda model: model.name)
def test_rows_reach_the_replay_with_all_that_is_known_of_them(model: ModelSpec) -> None:
    replay, image = FakeReplay(), [[1, 2, 3], [4, 5, 6]]
    told: dict[str, Any] = {
        "instances": [ROW, ROW] if model.schema.features else [image, image],
        "labels": [model.classes[1], None] if model.classes else [1.5, None],
        "predictions": [
            {"probabilities": dict.fromkeys(model.classes, 0.25)} if model.classes else {"value": 2},
            None,
        ],
    }
    post({"candidate": "other:1", **told}, replay, model)
    (asked,) = replay.asked
    assert asked.candidate == "other:1"
    assert asked.traffic is not None
    assert json.loads(asked.traffic) == told
    assert b"\n" not in asked.traffic


def test_a_missing_value_may_be_spelt_nan_and_numbers_may_be_large() -> None:
    replay = FakeReplay()
    post(b'{"candidate":"numeric:3","instances":[[%b,NaN,1]]}' % (b"9" * 30), replay)
    (asked,) = replay.asked
    ((large, missing, one),) = json.loads(asked.traffic or b"")["instances"]
    assert (large, one) == (int("9" * 30), 1)
    assert missing != missing


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ([], []),
        ({"instances": [ROW]}, ["candidate"]),
        ({"candidate": 1, "source": "kept"}, ["candidate"]),
        ({"candidate": "a:b"}, ["instances"]),
        ({**GOOD, "source": "kept"}, ["instances"]),
        ({"candidate": "a:b", "source": "/etc/passwd"}, ["source"]),
        ({"candidate": "a:b", "source": None}, ["source"]),
        ({"candidate": "a:b", "source": "kept", "labels": ["yes"]}, ["labels"]),
        ({**GOOD, "file": "traffic.jsonl"}, ["file"]),
        ({"candidate": "a:b", "instances": ROW}, ["instances"]),
        ({"candidate": "a:b", "instances": []}, ["instances"]),
        ({"candidate": "a:b", "instances": [ROW, {**ROW, "a": "x"}]}, ["instances", 1, "a"]),
        ({**GOOD, "labels": ["maybe"]}, ["labels", 0]),
        ({**GOOD, "labels": ["yes", "no"]}, ["labels"]),
        ({**GOOD, "predictions": [{"probabilities": {"no": 1}}]}, ["predictions", 0, "probabilities", "yes"]),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_started(body: Any, loc: list[str | int]) -> None:
    problem = refusal(body)
    assert problem.status == 422
    assert [error["loc"] for error in problem.errors] == [loc]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"candidate": "\\ud800"}', b"[" * 100_000])
def test_what_is_no_json_is_refused_as_such(body: bytes) -> None:
    assert refusal(body).status == 400


def test_more_rows_than_a_request_may_have_are_refused() -> None:
    assert refusal({**GOOD, "instances": [ROW] * 51}).status == 413


def test_a_second_replay_is_told_that_one_is_running() -> None:
    problem = refusal(GOOD, BusyError("another one is running"))
    assert problem.status == 409
    assert "a replay is running" in problem.detail


def test_a_replay_that_takes_too_long_is_a_504() -> None:
    with pytest.raises(LateError) as caught:
        post(GOOD, FakeReplay(LateError("it was not done within 60 s, and was stopped")))
    assert (problem_of(caught.value).status, problem_of(caught.value).detail) == (504, str(caught.value))


def with_replay(replay: FakeReplay, **edge: Any) -> World:
    world = World(**edge)
    world.edge.routes["/shadow/replay"] = Route("/shadow/replay", post=page(replay), admin=True)
    return world


def call(world: World, body: Any = GOOD, **headers: str) -> Response:
    data = json.dumps(body).encode()
    return asyncio.run(world.call("POST", "/shadow/replay", headers, sending(data)))


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"authorization": "Basic x"}, 401), ({"authorization": "Bearer wrong"}, 403), (BEARER, 200)],
)
def test_only_who_has_the_token_may_replay(headers: dict[str, str], status: int) -> None:
    replay = FakeReplay()
    world = with_replay(replay)
    answer = call(world, **headers)
    assert answer.status == status
    assert len(replay.asked) == (status == 200)
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert world.responded == [("/shadow/replay", status)]


def test_without_a_token_nobody_may_replay() -> None:
    answer = call(with_replay(FakeReplay(), admin_token=None), **BEARER)
    assert answer.status == 403
    assert "no admin token is configured" in answer.problem["detail"]


def test_who_may_not_is_refused_before_the_body_is_read() -> None:
    async def unread() -> Any:
        raise AssertionError("the body was read")

    world = with_replay(FakeReplay())
    answer = asyncio.run(world.call("POST", "/shadow/replay", {}, unread))
    assert answer.status == 401


def test_other_methods_are_told_which_one_belongs_here() -> None:
    world = with_replay(FakeReplay())
    answer = asyncio.run(world.call("GET", "/shadow/replay", {}, sending(b"")))
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
