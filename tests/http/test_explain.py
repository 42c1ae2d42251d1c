"""``/explain`` and its kin: one schema, one wish, no traffic."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from service.domain.explainers.game import Ask
from service.http.codec import Codec
from service.http.explain import ExplainCodec
from service.paths.question import Sheet
from tests.http.fakes import CREDIT, NUMERIC, answer, head, native_codec, reader, refusal, serving, wishes

EXPLAIN = ExplainCodec(reader(NUMERIC), wishes(NUMERIC))
COMPARE = ExplainCodec(reader(NUMERIC), wishes(NUMERIC), candidates=("m:1", "m:2"))
KSERVE = ExplainCodec(reader(NUMERIC), wishes(NUMERIC), kserve=True)
FAST, PATIENT = [[1, 2, 3]], [[1, float("nan"), 3]]


def body_of(instances: Any = FAST, **more: Any) -> bytes:
    return json.dumps({"instances": instances, **more}).encode()


@pytest.mark.parametrize("instances", [FAST, PATIENT], ids=["fast", "patient"])
def test_rows_are_read_as_predict_reads_them_and_explained_unless_told_otherwise(instances: Any) -> None:
    question = EXPLAIN.decode(body_of(instances), head())
    assert question.wish is not None
    assert question.wish.ask == Ask(max_evals=1_000)
    same = native_codec(NUMERIC).decode(body_of(instances), head())
    assert np.array_equal(question.rows, same.rows, equal_nan=True)
    asked = EXPLAIN.decode(body_of(instances, explain={"method": "lime"}, request_id="1"), head())
    assert asked.wish is not None
    assert (asked.request_id, asked.wish.ask.method) == ("1", "lime")


@pytest.mark.parametrize("codec", [EXPLAIN, COMPARE], ids=["explain", "compare"])
@pytest.mark.parametrize("instances", [FAST, PATIENT], ids=["fast", "patient"])
@pytest.mark.parametrize("off", [False, None])
def test_not_to_explain_is_refused_here(codec: Codec, instances: Any, off: Any) -> None:
    found = refusal(codec, body_of(instances, explain=off))
    assert found.errors == [{"loc": ["explain"], "msg": "expected true or an object of options"}]


@pytest.mark.parametrize("codec", [EXPLAIN, COMPARE, KSERVE], ids=["explain", "compare", "kserve"])
def test_an_unknown_field_and_a_bad_row_are_refused(codec: Codec) -> None:
    found = refusal(codec, body_of([[1, 2, "3"]], uncertainty=True))
    assert [error["loc"] for error in found.errors] == [["uncertainty"], ["instances", 0, "c"]]


def test_accept_decides_the_form() -> None:
    for accept, form in (("image/png", "png"), ("text/html", "html"), ("*/*", "json")):
        wish = EXPLAIN.decode(body_of(), head(accept=accept)).wish
        assert wish is not None
        assert wish.form == form
    assert refusal(EXPLAIN, body_of(), head(accept="text/csv")).status == 406
    wish = KSERVE.decode(body_of(), head(accept="image/svg+xml")).wish
    assert wish is not None
    assert wish.form == "svg"


def test_a_comparison_is_with_the_first_candidate_or_the_named_one_and_always_of_production() -> None:
    for named, against in ((None, "m:1"), ("m:2", "m:2")):
        question = COMPARE.decode(body_of(candidate=named), head())
        assert question.wish is not None
        assert (question.wish.against, question.arm) == (against, "production")
    for wrong in ("m:3", 1, ["m:1"]):
        assert refusal(COMPARE, body_of(candidate=wrong)).errors == [
            {"loc": ["candidate"], "msg": "expected one of m:1, m:2"}
        ]
    assert refusal(COMPARE, body_of(), head(accept="image/png")).errors[0]["loc"] == ["accept"]
    canary = head()._replace(arm="canary")
    assert refusal(COMPARE, body_of(), canary).errors[0]["loc"] == ["X-Model-Arm"]


@pytest.mark.parametrize(
    "option",
    [{"output": "probability"}, {"label": "yes"}, {"neighbours": 2}],
    ids=["output", "label", "neighbours"],
)
def test_what_a_comparison_does_not_offer_is_refused_by_name(option: dict[str, Any]) -> None:
    found = refusal(COMPARE, body_of(explain=option))
    assert found.errors == [{"loc": ["explain", *option], "msg": "not offered for comparisons"}]


def test_explanations_are_written_with_who_answered() -> None:
    question = EXPLAIN.decode(body_of([[1, 2, 3]] * 2, request_id="an id"), head())
    found = answer(serving(NUMERIC), question, "canary")._replace(explanations=[b'{"n":1}', b'{"n":2}'])
    encoded = EXPLAIN.encode(found, question)
    assert json.loads(encoded.body) == {
        "request_id": "an id",
        "model": {"name": "numeric", "version": "2", "arm": "canary"},
        "explanations": [{"n": 1}, {"n": 2}],
    }
    encoded = KSERVE.encode(found, question)
    assert json.loads(encoded.body) == {"explanations": [{"n": 1}, {"n": 2}]}
    assert dict(encoded.headers) == {b"x-request-id": b"an id", b"x-model-arm": b"canary"}


def test_a_page_is_sent_as_it_is_and_may_load_nothing() -> None:
    question = EXPLAIN.decode(body_of(), head(accept="text/html"))
    found = answer(serving(NUMERIC), question)._replace(sheet=Sheet(b"<html>", b"text/html"))
    encoded = EXPLAIN.encode(found, question)
    assert (encoded.body, encoded.content_type) == (b"<html>", b"text/html")
    assert dict(encoded.headers)[b"content-security-policy"].startswith(b"default-src 'none'")


def test_a_feature_called_explain_is_no_option() -> None:
    assert refusal(ExplainCodec(reader(CREDIT), wishes(CREDIT)), body_of([{"explain": 1}])).status == 422
