"""The edge as a caller meets it: limits, errors that say enough and not too much, what follows an answer."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from dataclasses import replace
from typing import Any

import pytest

from service.errors import InferenceError
from service.http.app import Failed
from service.http.instances import InstanceReader
from service.http.problem import TOO_MANY_ERRORS, Problem
from tests.domain.models import spec
from tests.http.edges import (
    BEARER,
    LIMITS,
    SECRET,
    TOKEN,
    Message,
    Response,
    World,
    hang_up,
    sending,
    silence,
)


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("body", [b"plain", [b"pl", b"", b"ain"], [b"plain", b""]])
def test_answers_a_body_however_it_arrives(world: World, body: bytes | list[bytes]) -> None:
    response = world.predict(body)
    assert (response.status, response.body) == (200, b"production")
    assert response.headers["content-type"] == "text/plain"


def test_settles_only_after_the_answer_was_sent(world: World) -> None:
    world.predict()
    assert world.log == ["start", "body", "mirrored"]
    assert world.responded == [("/predict", 200)]
    assert (world.tally.labels, len(world.tally.seconds)) == ([0, 1], 1)


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"misfit", 422), (b"bug", 500), (b"late", 504), (b"failing", 500), (b"unwritable", 500)],
)
def test_an_error_is_a_problem_that_is_counted_and_not_settled(
    world: World, body: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.CRITICAL):
        response = world.predict(body)
    assert response.problem["status"] == status
    assert world.log == ["start", "body"]
    assert world.responded == [("/predict", status)]
    assert world.tally.labels == [0, 0]


@pytest.mark.parametrize("body", [b"bug", b"late", b"failing", b"unwritable"])
def test_what_went_wrong_inside_is_told_to_the_log_and_never_in_the_answer(world: World, body: bytes) -> None:
    response = world.predict(body, x_request_id="order-17")
    assert SECRET.encode() not in response.body
    assert SECRET not in str(response.headers)
    (told,) = world.told
    assert (told.route, told.status, told.request_id) == ("/predict", response.status, "order-17")
    assert SECRET in str(told.error)


def test_a_page_that_fails_leaks_nothing_either(world: World) -> None:
    response = world.ask("GET", "/v2/models/m")
    assert response.status == 500
    assert SECRET not in json.dumps(response.problem)
    assert [str(told.error) for told in world.told] == [SECRET]
    assert world.responded == [("/v2/models/{model}", 500)]


def test_single_errors_are_named(world: World) -> None:
    problem = world.predict(b"misfit").problem
    assert (problem["detail"], problem["errors"]) == ("age: too old", [{"loc": ["age"], "msg": "too old"}])
    assert problem["title"] in ("Unprocessable Entity", "Unprocessable Content")


@pytest.mark.parametrize("status", [200, 422])
def test_the_request_id_comes_back(world: World, status: int) -> None:
    response = world.predict(b"plain" if status == 200 else b"misfit", x_request_id="order-17")
    assert (response.status, response.headers["x-request-id"]) == (status, "order-17")


def test_without_a_request_id_each_request_gets_its_own(world: World) -> None:
    found = {
        world.predict(body).headers["x-request-id"] for body in (b"plain", b"plain", b"misfit", b"misfit")
    }
    assert len(found) == 4
    assert {len(name) for name in found} == {32}


@pytest.mark.parametrize("given", ["", "x" * 129, "a\r\nset-cookie: b", "naïve"])
def test_an_id_that_cannot_be_one_is_refused_and_never_echoed(world: World, given: str) -> None:
    response = world.predict(x_request_id=given)
    assert response.status == 422
    assert response.problem["request_id"] != given


def test_an_unknown_path_is_404_and_makes_no_series(world: World) -> None:
    for path in ("/nothing", "/predict/", "/v2/models/other", "/\udcff".encode(errors="replace").decode()):
        response = world.ask("POST", path)
        assert response.status == 404
        assert path in response.problem["detail"]
    assert set(world.responded) == {("other", 404)}


def test_a_very_long_path_is_cut_in_the_answer(world: World) -> None:
    assert len(world.ask("GET", "/" + "x" * 50_000).body) < 1_000


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/predict", "POST"),
        ("HEAD", "/predict", "POST"),
        ("PUT", "/models", "GET"),
        ("OPTIONS", "/models", "GET"),
    ],
)
def test_another_method_is_405_and_the_right_one_is_named(
    world: World, method: str, path: str, allowed: str
) -> None:
    response = world.ask(method, path)
    assert response.status == 405
    assert allowed in response.headers["allow"].split(", ")
    assert allowed in response.problem["detail"]
    assert world.responded == [(path, 405)]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_pages_answer_get_and_head(world: World, method: str) -> None:
    response = world.ask(method, "/models")
    assert (response.status, response.headers["content-length"]) == (200, "17")
    assert world.responded == [("/models", 200)]


@pytest.mark.parametrize("path", ["/", "/static_content/swagger.js", "/schema.json"])
def test_what_is_bentomls_is_handed_on(world: World, path: str) -> None:
    assert world.ask("GET", path).body == b"bentoml"
    assert world.log[0] == f"bentoml http {path}"
    assert world.responded == []


def test_the_start_and_stop_of_the_server_are_handed_on(world: World) -> None:
    asyncio.run(world.app({"type": "lifespan"}, hang_up, lambda event: hang_up()))
    assert world.log == ["bentoml lifespan "]


@pytest.mark.parametrize(
    "given",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "application/json ; charset=utf-8",
    ],
)
def test_json_is_read(world: World, given: str) -> None:
    assert world.predict(content_type=given).status == 200


@pytest.mark.parametrize(
    "headers",
    [{"content-type": "text/xml"}, {"content-type": "application/jsonp"}, {"content-encoding": "gzip"}],
)
def test_what_cannot_be_read_is_415(world: World, headers: dict[str, str]) -> None:
    response = world.ask("POST", "/predict", b"plain", headers)
    assert response.status == 415
    assert next(iter(headers)) in response.problem["detail"]


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_read(world: World) -> None:
    async def never() -> Message:
        raise AssertionError("the body was read")

    response = asyncio.run(world.call("POST", "/predict", {"content-length": "1001"}, never))
    assert response.status == 413
    assert "1000 bytes" in response.problem["detail"]


@pytest.mark.parametrize("headers", [{}, {"content-length": "10"}, {"content-length": "a lot"}])
def test_a_body_that_turns_out_too_large_is_refused(world: World, headers: dict[str, str]) -> None:
    assert world.ask("POST", "/predict", [b"x" * 400] * 3, headers).status == 413
    assert world.ask("POST", "/predict", b"x" * 1_000, headers).status == 200


def test_a_body_that_does_not_come_is_408() -> None:
    world = World(limits=replace(LIMITS, deadline=0.03))
    start = time.monotonic()
    response = asyncio.run(world.call("POST", "/predict", {}, sending(b"pla", silence)))
    assert time.monotonic() - start < 2.0
    assert response.status == 408
    assert "0.03 s" in response.problem["detail"]
    assert world.responded == [("/predict", 408)]


def test_a_request_after_a_slow_one_in_the_same_task_is_answered() -> None:
    world = World(limits=replace(LIMITS, deadline=0.03))

    async def both() -> list[int]:
        slow = await world.call("POST", "/predict", {}, silence)
        await asyncio.sleep(0.15)  # nothing may cancel this task any more
        return [slow.status, (await world.call("POST", "/predict", {}, sending(b"plain"))).status]

    assert asyncio.run(both()) == [408, 200]


def test_a_server_that_stops_is_not_taken_for_a_slow_caller(world: World) -> None:
    async def stop() -> None:
        request = asyncio.create_task(world.call("POST", "/predict", {}, silence))
        await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request

    asyncio.run(stop())
    assert world.responded == []
    assert world.app._in_work == 0


def test_a_caller_that_hangs_up_in_the_body_is_not_predicted(world: World) -> None:
    response = asyncio.run(world.call("POST", "/predict", {}, sending(b"pla", hang_up)))
    assert response.status == 400
    assert "hung up" in response.problem["detail"]
    assert world.log == ["start", "body"]


def test_beyond_the_cap_requests_are_told_when_to_come_back() -> None:
    world = World(limits=replace(LIMITS, max_concurrency=2))

    async def crowd() -> list[Response]:
        arrived = asyncio.Event()

        async def last_part() -> Message:
            await arrived.wait()
            return {"type": "http.request", "body": b"in", "more_body": False}

        slow = [
            asyncio.create_task(world.call("POST", "/predict", {}, sending(b"pla", last_part)))
            for _ in range(2)
        ]
        await asyncio.sleep(0)
        refused = await world.call("POST", "/predict", {}, silence)
        page = await world.call("GET", "/models", {}, silence)
        arrived.set()
        answered = [await request for request in slow]
        return [refused, page, *answered, await world.call("POST", "/predict", {}, sending(b"plain"))]

    responses = asyncio.run(crowd())
    assert [response.status for response in responses] == [503, 200, 200, 200, 200]
    assert responses[0].headers["retry-after"] == "1"
    assert "too many requests" in responses[0].problem["detail"]


@pytest.mark.parametrize("body", [b"plain", b"misfit", b"bug", b"unwritable"])
def test_no_request_holds_its_place_once_it_is_over(body: bytes) -> None:
    world = World(limits=replace(LIMITS, max_concurrency=1))
    assert {world.predict(body).status for _ in range(3)} != {503}
    assert world.app._in_work == 0
    assert not world.app._reading


@pytest.mark.parametrize("path", ["/predict", "/anything"])
def test_an_unfit_service_says_why_and_when_to_come_back(path: str) -> None:
    world = World(path=None, unfit="m:prod fails parity")
    response = world.ask("POST", path, b"plain")
    assert response.status == 503
    assert "m:prod fails parity" in response.problem["detail"]
    assert response.headers["retry-after"] == "30"


ARM = {"x-model-arm": "canary"}
REFUSALS: dict[str, tuple[dict[str, str], int]] = {
    "no token": (ARM, 401),
    "another scheme": (ARM | {"authorization": f"Basic {TOKEN}"}, 401),
    "a wrong token": (ARM | {"authorization": "Bearer guess"}, 403),
    "half a token": (ARM | {"authorization": BEARER["authorization"][:-1]}, 403),
    "no canary": (ARM | BEARER, 409),
    "an unknown arm": ({"x-model-arm": "both"} | BEARER, 422),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_an_arm_is_chosen_by_operators_alone(world: World, case: str) -> None:
    headers, status = REFUSALS[case]
    response = world.ask("POST", "/predict", b"plain", headers)
    assert response.status == status
    assert response.problem["detail"].startswith("X-Model-Arm: ")
    assert ("www-authenticate" in response.headers) == (status == 401)
    assert TOKEN.encode() not in response.body
    assert "mirrored" not in world.log


def test_without_a_configured_token_nobody_chooses_an_arm() -> None:
    response = World(admin_token=None).ask("POST", "/predict", b"plain", ARM | {"authorization": "Bearer "})
    assert response.status == 403


@pytest.mark.parametrize("arm", ["production", "canary"])
def test_an_operator_gets_the_arm_that_was_named(world: World, arm: str) -> None:
    world.start_canary()
    response = world.ask("POST", "/predict", b"plain", {"x-model-arm": arm} | BEARER)
    assert (response.status, response.body) == (200, arm.encode())


def test_a_failure_found_without_asgi_keeps_the_request_s_name(world: World) -> None:
    async def fail() -> Any:
        return world.app.answer_here(world.edge.routes["/predict"], [(b"x-request-id", b"mine")], b"failing")

    failed = asyncio.run(fail())
    assert isinstance(failed, Failed)
    assert failed.seen.question is not None
    assert (type(failed.error), failed.seen.question.request_id) == (InferenceError, "mine")


def test_thousands_of_unknown_names_make_no_thousands_of_errors() -> None:
    reader = InstanceReader(spec().schema, 10, lambda feature, kind: None)
    names = {f"made-up-{number}": 1 for number in range(5_000)}
    for document in ({**names, "instances": [[1, 2, 3]]}, {"instances": [names]}):
        with pytest.raises(Problem) as refused:
            reader.diagnose(json.dumps(document).encode(), frozenset({"instances"}))
        assert len(refused.value.errors) <= 2 * TOO_MANY_ERRORS
