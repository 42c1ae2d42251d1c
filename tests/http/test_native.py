"""``/predict``: ids, what is offered later, and how answers are written."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from service.domain.observation import Arm
from service.domain.schema import Feature, ModelSpec, Schema
from service.http.codec import KEPT_MODELS, LONGEST_ID, PerModel
from service.http.native import NativeCodec
from service.paths.question import Answer
from tests.http.fakes import (
    CREDIT,
    HOUSES,
    MAX_ROWS,
    NUMERIC,
    PIPELINE,
    answer,
    head,
    native_codec,
    refusal,
    serving,
    some_rows,
)


def codec_of(spec: ModelSpec = NUMERIC) -> NativeCodec:
    return native_codec(spec)


def body_of(**more: Any) -> bytes:
    return json.dumps({"instances": [[1, 2, 3]], **more}).encode()


def test_ids_in_the_body_win_over_ids_in_headers() -> None:
    given = head(x_request_id="from-header", x_routing_key="header-key")
    question = codec_of().decode(body_of(request_id="from-body", routing_key="body-key"), given)
    assert (question.request_id, question.routing_key) == ("from-body", "body-key")
    question = codec_of().decode(body_of(), given)
    assert (question.request_id, question.routing_key) == ("from-header", "header-key")


def test_a_request_without_ids_gets_a_fresh_one_and_no_routing_key() -> None:
    first, second = (codec_of().decode(body_of(request_id=None), head()) for _ in range(2))
    assert len(first.request_id) == 32
    assert first.request_id != second.request_id
    assert first.routing_key is None


@pytest.mark.parametrize("field", ["request_id", "routing_key"])
@pytest.mark.parametrize("value", ["", "x" * (LONGEST_ID + 1), "line\nbreak", "Größe", "nul\x00"])
def test_an_id_that_cannot_travel_in_a_header_is_refused(field: str, value: str) -> None:
    found = refusal(codec_of(), body_of(**{field: value}))
    assert found.status == 422
    assert found.errors[0]["loc"] == [field]


@pytest.mark.parametrize("header", ["x_request_id", "x_routing_key"])
def test_a_header_that_cannot_serve_as_an_id_is_refused(header: str) -> None:
    found = refusal(codec_of(), body_of(), head(**{header: "x" * (LONGEST_ID + 1)}))
    assert found.status == 422


@pytest.mark.parametrize("field", ["request_id", "routing_key"])
@pytest.mark.parametrize("value", [1, True, ["a"], {}])
def test_an_id_has_to_be_a_string(field: str, value: Any) -> None:
    found = refusal(codec_of(), body_of(**{field: value}))
    assert found.errors == [{"loc": [field], "msg": "expected a string or null"}]


def test_what_is_not_offered_yet_is_refused_by_name_and_may_be_switched_off() -> None:
    for off in (False, None):
        assert codec_of().decode(body_of(uncertainty=off), head()).rows.tolist() == [[1, 2, 3]]
    for on in (True, {"confidence": 0.9}, "yes", {}, 0, ""):
        assert refusal(codec_of(), body_of(uncertainty=on)).errors[0]["loc"] == ["uncertainty"]


@pytest.mark.parametrize("instances", [[[1, 2, 3]], [[1, float("nan"), 3]]], ids=["fast", "patient"])
def test_a_wish_for_explanations_travels_with_the_question(instances: Any) -> None:
    for off in (False, None):
        assert codec_of().decode(body_of(instances=instances, explain=off), head()).wish is None
    asked = codec_of().decode(body_of(instances=instances, explain={"method": "lime", "top": 2}), head()).wish
    assert asked is not None
    assert (asked.ask.method, asked.top) == ("lime", 2)
    asked = codec_of().decode(body_of(instances=instances, explain={}), head()).wish
    assert asked is not None
    assert asked.ask.method == "auto"
    for wrong in ("yes", 1, {"topp": 5}, 0, "", []):
        assert (
            refusal(codec_of(), body_of(instances=instances, explain=wrong)).errors[0]["loc"][0] == "explain"
        )


@pytest.mark.parametrize("spec", [CREDIT, HOUSES], ids=lambda spec: spec.name)
def test_each_explanation_stands_with_its_prediction(spec: ModelSpec) -> None:
    codec = codec_of(spec)
    question = codec.decode(json.dumps({"instances": some_rows(spec, 3, 3)}).encode(), head())
    plain = answer(serving(spec), question)
    explained = plain._replace(explanations=[b'{"row":0}', b'{"row":1}', b'{"row":2}'])
    before = json.loads(codec.encode(plain, question).body)
    after = json.loads(codec.encode(explained, question).body)
    assert [row.pop("explanation") for row in after["predictions"]] == [{"row": 0}, {"row": 1}, {"row": 2}]
    assert after == before


def test_an_unknown_field_is_refused_beside_everything_else_that_is_wrong() -> None:
    found = refusal(codec_of(), json.dumps({"instances": [[1, 2, "3"]], "instance": 1, "x": 2}).encode())
    assert [error["loc"] for error in found.errors] == [["instance"], ["x"], ["instances", 0, "c"]]
    assert "there are explain, instances, request_id, routing_key, uncertainty" in found.detail


def test_the_arm_of_the_head_is_the_arm_of_the_question() -> None:
    arms: list[Arm | None] = [None, "production", "canary"]
    assert [codec_of().decode(body_of(), head(arm)).arm for arm in arms] == arms


@pytest.mark.parametrize("spec", [CREDIT, PIPELINE, NUMERIC], ids=lambda spec: spec.name)
@pytest.mark.parametrize("count", [1, 7])
def test_an_answer_says_who_answered_and_every_label_and_probability(spec: ModelSpec, count: int) -> None:
    codec = codec_of(spec)
    question = codec.decode(json.dumps({"instances": some_rows(spec, count, 3)}).encode(), head())
    found = answer(serving(spec), question, "canary")
    encoded = codec.encode(found, question)
    assert encoded.content_type == b"application/json"
    document = json.loads(encoded.body)
    assert document == {
        "request_id": question.request_id,
        "model": {"name": spec.name, "version": spec.version, "arm": "canary"},
        "predictions": [
            {
                "label": spec.classes[label],
                "probabilities": dict(zip(spec.classes, _decimals(scores), strict=True)),
            }
            for label, scores in zip(found.labels, found.scores, strict=True)
        ],
    }


def _decimals(scores: np.ndarray) -> list[float]:
    """The shortest decimals of float32 values."""
    return [float(str(score)) for score in scores]


def test_a_regression_answers_values() -> None:
    codec = codec_of(HOUSES)
    question = codec.decode(json.dumps({"instances": some_rows(HOUSES, 5, 3)}).encode(), head())
    found = answer(serving(HOUSES), question)
    predictions = json.loads(codec.encode(found, question).body)["predictions"]
    assert predictions == [{"value": value} for value in _decimals(found.scores[:, 0])]


def test_every_finite_float32_reads_back_as_itself() -> None:
    bits = np.random.default_rng(5).integers(0, 2**32, size=20_000, dtype=np.uint32)
    edges = np.array([0.0, -0.0, 1e-45, 1.1754944e-38, 3.4028235e38, 0.1, 1 / 3, 16777217], dtype=np.float32)
    values = np.concatenate([bits.view(np.float32), edges])
    values = values[np.isfinite(values)]
    found = Answer("1", serving(HOUSES), "production", values[:, None], [0] * len(values))
    question = codec_of(HOUSES).decode(body_of(), head())
    document = json.loads(codec_of(HOUSES).encode(found, question).body)
    read = np.array([prediction["value"] for prediction in document["predictions"]]).astype(np.float32)
    np.testing.assert_array_equal(read.view(np.uint32), values.view(np.uint32))


@pytest.mark.parametrize("name", ['"', "%", "%s%b%%", "\\", "\n", "ü€😀", "a" * 1000])
def test_class_and_model_names_are_written_as_they_are(name: str) -> None:
    spec = ModelSpec(name, name, "binary", Schema((Feature("a", "float"),), "tensor"), (name, "other"))
    codec = codec_of(spec)
    question = codec.decode(b'{"instances":[[1],[2]],"request_id":"100% \\"sure\\" %b"}', head())
    document = json.loads(codec.encode(answer(serving(spec), question), question).body)
    assert document["request_id"] == '100% "sure" %b'
    assert document["model"]["name"] == document["model"]["version"] == name
    assert set(document["predictions"][0]["probabilities"]) == {name, "other"}


def test_models_of_the_same_name_are_not_mixed_up() -> None:
    codec = codec_of(NUMERIC)
    question = codec.decode(body_of(), head())
    twin = ModelSpec("numeric", "3", "binary", NUMERIC.schema, ("no", "yes"), threshold=0.01)
    for spec in (NUMERIC, twin, NUMERIC):
        document = json.loads(codec.encode(answer(serving(spec), question), question).body)
        assert document["model"]["version"] == spec.version


def test_templates_of_models_long_gone_are_dropped() -> None:
    made: list[str] = []
    templates = PerModel(lambda spec: made.append(spec.version) or spec.version)
    specs = [ModelSpec("m", str(index), "regression", NUMERIC.schema) for index in range(KEPT_MODELS + 1)]
    assert [templates(spec) for spec in specs] == [spec.version for spec in specs]
    assert templates(specs[-1]) == specs[-1].version
    assert len(made) == len(specs)
    assert len(templates._made) <= KEPT_MODELS


PLAIN = ModelSpec(
    "plain",
    "1",
    "binary",
    Schema(tuple(Feature(f"x{n}", "float", missing=n == 0) for n in range(6)), "tensor"),
    ("a", "b"),
)


def bulk(rows: int = 200, seed: int = 0) -> list[list[float]]:
    numbers = np.random.default_rng(seed).normal(scale=1e3, size=(rows, 6))
    return [[round(value, 6) for value in row] for row in numbers.tolist()]


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows,
        lambda rows: rows[:50],
        lambda rows: [[int(value) for value in row] for row in rows],
        lambda rows: [[None, *row[1:]] for row in rows],
        lambda rows: [dict(zip(PLAIN.schema.names(), row, strict=True)) for row in rows],
        lambda rows: [*rows[:-1], dict(zip(PLAIN.schema.names(), rows[-1], strict=True))],
        lambda rows: [[2**60, -0.0, 1e-45, 3.4e38, 1e-300, 7], *rows],
    ],
    ids=["numbers", "half", "whole", "missing", "objects", "mixed", "odd"],
)
def test_many_numbers_are_read_as_few_are(change: Any) -> None:
    codec, rows = codec_of(PLAIN), change(bulk())[:MAX_ROWS]
    together = codec.decode(
        json.dumps({"instances": rows, "request_id": "1"}).encode() + b" " * 5_000, head()
    )
    alone = [codec.decode(json.dumps({"instances": [row]}).encode(), head()).rows for row in rows]
    np.testing.assert_array_equal(together.rows, np.concatenate(alone))
    assert together.request_id == "1"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([1, 2, 3, 4, 5, True], "expected a number, found a boolean"),
        ([1, 2, 3, 4, 5, "6"], "expected a number, found a string"),
        ([1, 2, 3, 4, 5, None], "may not be missing"),
        ([1, 2, 3, 4, 5, 1e39], "infinite, or too large"),
        ([1, 2, 3, 4, 5, [6]], "expected a number, found an array"),
        ([1, 2, 3, 4, 5], "expected 6 values in schema order, found 5"),
        ("123456", "expected an object or an array, found a string"),
        (7, "expected an object or an array, found a number"),
    ],
)
def test_a_bad_row_among_many_numbers_is_named(row: Any, message: str) -> None:
    rows = [*bulk(30), row, [1.0] * (7 if isinstance(row, list) and len(row) == 5 else 6)]
    found = refusal(codec_of(PLAIN), json.dumps({"instances": rows}).encode() + b" " * 5_000)
    assert found.status == 422
    assert found.errors[0]["loc"][:2] == ["instances", 30]
    assert found.errors[0]["msg"].startswith(message)


@pytest.mark.parametrize("written", [b'{"instances":[ [%b]]}', b'{"instances":[[%b] ] ,"request_id":"[[]]"}'])
def test_a_boolean_among_many_numbers_is_refused_however_the_body_is_written(written: bytes) -> None:
    rows = [b"1,2,3,4,5,6"] * 20 + [b"true,2,3,4,5,6"] + [b"1,2,3,4,5,6"] * 20
    found = refusal(codec_of(PLAIN), written % b"],[".join(rows) + b" " * 5_000)
    assert found.errors == [{"loc": ["instances", 20, "x0"], "msg": "expected a number, found a boolean"}]


@pytest.mark.parametrize(
    ("more", "loc"),
    [({"request_id": 7}, "request_id"), ({"routing_key": [1]}, "routing_key"), ({"explian": 1}, "explian")],
)
def test_other_faults_of_a_large_body_are_named_too(more: dict[str, Any], loc: str) -> None:
    found = refusal(codec_of(PLAIN), json.dumps({"instances": bulk(40), **more}).encode() + b" " * 5_000)
    assert found.errors[0]["loc"] == [loc]
