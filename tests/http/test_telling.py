"""Which requests are told of: each that fails on our side, those that are drawn, those that callers trace."""

from __future__ import annotations

from typing import Any

import pytest

from service.domain.passage import Parent, Passage
from service.http.telling import Drawing
from tests.http.edges import BEARER, World

TRACE, SPAN = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7


def traceparent(flags: str) -> str:
    return f"00-{TRACE:032x}-{SPAN:016x}-{flags}"


def world(log_rate: float = 0.0, trace_rate: float | None = None, **edge: Any) -> World:
    return World(drawing=Drawing(log_rate, trace_rate, seed=0), **edge)


def told(found: World) -> Passage:
    (only,) = found.told
    return only


def test_a_request_that_was_not_drawn_is_told_to_nobody() -> None:
    found = world()
    assert found.predict().status == 200
    assert found.predict(b"misfit").status == 422
    assert found.ask("GET", "/models").status == 200
    assert found.told == []


def test_a_drawn_request_is_told_once_it_was_answered() -> None:
    found = world(log_rate=1.0)
    found.predict(x_request_id="order-17")
    passage = told(found)
    assert passage.logged
    assert (passage.method, passage.route, passage.status) == ("POST", "/predict", 200)
    assert (passage.request_id, passage.rows) == ("order-17", 1)
    assert (passage.arm, passage.model, passage.error) == ("production", "m:prod", None)
    assert passage.trace_id is None
    assert passage.end >= passage.start


def test_an_answer_of_the_canary_is_told_as_its_own() -> None:
    found = world(log_rate=1.0)
    found.start_canary()
    found.predict(x_model_arm="canary", **BEARER)
    assert (told(found).arm, told(found).model) == ("canary", "m:new")


@pytest.mark.parametrize("path", ["/models", "/v2/models/m", "/predict"])
def test_a_drawn_page_is_told_with_its_template(path: str) -> None:
    found = world(log_rate=1.0, trace_rate=1.0)
    found.ask("GET", path)
    passage = told(found)
    assert passage.route == {"/v2/models/m": "/v2/models/{model}"}.get(path, path)
    assert (passage.logged, passage.trace_id) == (True, None)


@pytest.mark.parametrize("drawn", [True, False])
@pytest.mark.parametrize("body", [b"bug", b"failing", b"late", b"unwritable"])
def test_a_failure_of_ours_is_told_whether_it_was_drawn_or_not(body: bytes, drawn: bool) -> None:
    found = world(log_rate=float(drawn))
    status = found.predict(body).status
    passage = told(found)
    assert (passage.status, passage.logged) == (status, drawn)
    assert passage.error is not None
    assert passage.model is None


def test_too_many_requests_are_told_as_such() -> None:
    found = world()
    found.app._in_work = found.edge.limits.max_concurrency
    assert found.predict().status == 503
    assert told(found).status == 503


def test_a_drawn_refusal_is_told_with_the_id_that_the_caller_got() -> None:
    found = world(log_rate=1.0)
    response = found.predict(b"misfit")
    assert told(found).request_id == response.headers["x-request-id"]


@pytest.mark.parametrize(("flags", "wanted"), [("01", True), ("00", False)])
def test_the_caller_s_flag_decides_about_the_trace(flags: str, wanted: bool) -> None:
    found = world(trace_rate=1.0 - wanted)  # the opposite of what the caller wants
    found.predict(traceparent=traceparent(flags))
    if wanted:
        passage = told(found)
        assert (passage.trace_id, passage.parent) == (TRACE, Parent(TRACE, SPAN, True))
        assert not passage.logged
    else:
        assert found.told == []


def test_a_damaged_traceparent_leaves_the_decision_to_the_rate() -> None:
    found = world(trace_rate=1.0)
    found.predict(traceparent="00-zzz-01")
    passage = told(found)
    assert passage.parent is None
    assert passage.trace_id


def test_traces_of_their_own_have_different_ids() -> None:
    found = world(trace_rate=1.0)
    for _ in range(50):
        found.predict()
    ids = {passage.trace_id for passage in found.told}
    assert len(ids) == 50
    assert all(trace_id is not None and 0 < trace_id < 1 << 128 for trace_id in ids)


def test_where_there_are_no_traces_callers_get_none() -> None:
    found = world(log_rate=0.0, trace_rate=None)
    found.predict(traceparent=traceparent("01"))
    assert found.told == []


def test_the_steps_of_a_traced_request_lie_within_it() -> None:
    found = world(trace_rate=1.0)
    found.predict()
    passage = told(found)
    assert [each.name for each in passage.steps] == ["decode", "infer", "encode"]
    assert (passage.steps[1].arm, passage.steps[1].model) == ("production", "m:prod")
    times = [passage.start, *(time for each in passage.steps for time in (each.start, each.end)), passage.end]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("body", "failed"), [(b"misfit", "decode"), (b"failing", "infer"), (b"unwritable", "encode")]
)
def test_the_step_that_failed_is_the_last(body: bytes, failed: str) -> None:
    found = world(trace_rate=1.0)
    found.predict(body)
    *before, last = told(found).steps
    assert (last.name, last.failure is None) == (failed, False)
    assert all(each.failure is None for each in before)


def test_an_answer_has_no_header_more_where_it_is_traced() -> None:
    plain, traced = world().predict(x_request_id="a"), world(1.0, 1.0).predict(x_request_id="a")
    assert plain == traced
