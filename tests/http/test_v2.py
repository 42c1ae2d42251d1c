"""The Open Inference Protocol: what is read and what is answered."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest
from tritonclient.http import InferRequestedOutput, InferResult

from service.domain.breaker import Breaker
from service.domain.canary import Rollout
from service.domain.schema import Feature, ModelSpec, Schema
from service.http import v2
from service.http.kserve import KServeCodec
from service.paths.canary import Canary, Split
from service.paths.predict import PredictPath
from tests.http.fakes import (
    CREDIT,
    DIGITS,
    HOUSES,
    MAX_ROWS,
    MODELS,
    NUMERIC,
    PIPELINE,
    TABULAR,
    answer,
    binding,
    expected_rows,
    head,
    native_codec,
    reader,
    refusal,
    scores_of,
    serving,
    some_rows,
    v2_codec,
)
from tests.http.tritons import GOOD, as_array, body_of, by_client, by_result, tensor

PACKED = [NUMERIC, HOUSES, CREDIT]


@pytest.mark.parametrize("spec", TABULAR, ids=lambda spec: spec.name)
@pytest.mark.parametrize("binary", [True, False], ids=["raw", "json"])
@pytest.mark.parametrize("count", [1, 13])
def test_one_tensor_for_each_feature_is_read_as_the_native_protocol_reads_rows(
    spec: ModelSpec, binary: bool, count: int
) -> None:
    for seed in range(5):
        instances = some_rows(spec, count, seed)
        arrays = {
            feature.name: as_array(feature, [row[feature.name] for row in instances])
            for feature in spec.schema.features
        }
        flat = {name: array[:, 0] for name, array in reversed(arrays.items())}
        native = native_codec(spec).decode(json.dumps({"instances": instances}).encode(), head())
        for given in (arrays, flat):
            rows = v2_codec(spec).decode(*by_client(given, binary)).rows
            assert rows.dtype == spec.schema.dtype
            assert rows.flags.c_contiguous
            np.testing.assert_array_equal(rows, native.rows)


@pytest.mark.parametrize("spec", PACKED, ids=lambda spec: spec.name)
@pytest.mark.parametrize("binary", [True, False], ids=["raw", "json"])
def test_a_packed_tensor_is_the_canonical_matrix(spec: ModelSpec, binary: bool) -> None:
    for seed in range(5):
        matrix = expected_rows(spec, some_rows(spec, 11, seed))
        rows = v2_codec(spec).decode(*by_client({"x": matrix}, binary)).rows
        assert rows.flags.c_contiguous
        assert rows.flags.aligned
        np.testing.assert_array_equal(rows, matrix)


@pytest.mark.parametrize("binary", [True, False], ids=["raw", "json"])
def test_an_image_keeps_its_pixels_in_c_order(binary: bool) -> None:
    images = np.random.default_rng(1).normal(size=(4, 2, 3)).astype(np.float32)
    rows = v2_codec(DIGITS).decode(*by_client({"x": images}, binary)).rows
    np.testing.assert_array_equal(rows, images.reshape(4, 6))


def test_raw_bytes_at_an_even_address_are_not_copied() -> None:
    matrix = np.arange(150, dtype=np.float32).reshape(50, 3)
    shared = 0
    for padding in range(4):
        body, given = by_client({"x": matrix}, binary=True, request_id="i" * (padding + 1))
        rows = v2_codec(NUMERIC).decode(body, given).rows
        np.testing.assert_array_equal(rows, matrix)
        shared += np.shares_memory(rows, np.frombuffer(body, dtype=np.uint8))
    assert shared == 1


def test_a_small_tensor_does_not_keep_a_large_body_in_memory() -> None:
    matrix = np.arange(3, dtype=np.float32).reshape(1, 3)
    for padding in range(4):
        body, given = by_client({"x": matrix}, binary=True, request_id="i" * (padding + 100))
        assert v2_codec(NUMERIC).decode(body, given).rows.flags.owndata


@pytest.mark.parametrize("spec", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("count", [1, 9])
def test_every_protocol_gives_the_same_answer(spec: ModelSpec, count: int) -> None:
    native, kserve, codec = native_codec(spec), KServeCodec(reader(spec)), v2_codec(spec)
    if spec.schema.features:
        instances: list[Any] = some_rows(spec, count, 8)
        arrays = {f.name: as_array(f, [row[f.name] for row in instances]) for f in spec.schema.features}
    else:
        arrays = {"x": np.random.default_rng(8).normal(size=(count, 2, 3)).astype(np.float32)}
        instances = arrays["x"].tolist()
    plain = json.dumps({"instances": instances}).encode()
    asked = native.decode(plain, head())
    expected = json.loads(native.encode(answer(serving(spec), asked), asked).body)["predictions"]
    also = kserve.decode(plain, head())
    assert json.loads(kserve.encode(answer(serving(spec), also), also).body)["predictions"] == expected
    for binary in (True, False):
        wanted = [InferRequestedOutput(output["name"], binary) for output in v2.outputs(spec)]
        question = codec.decode(*by_client(arrays, binary, wanted))
        result = by_result(codec.encode(answer(serving(spec), question), question))
        assert predictions_of(spec, result) == expected


def predictions_of(spec: ModelSpec, result: InferResult) -> list[dict[str, Any]]:
    """The tensors of a response as the native protocol's predictions."""
    if not spec.classes:
        return [{"value": float(str(value))} for value in result.as_numpy("value")]
    labels = [label if isinstance(label, str) else label.decode() for label in result.as_numpy("label")]
    return [
        {
            "label": label,
            "probabilities": dict(zip(spec.classes, [float(str(score)) for score in scores], strict=True)),
        }
        for label, scores in zip(labels, result.as_numpy("probabilities"), strict=True)
    ]


def test_a_request_laid_out_by_hand_is_read_byte_for_byte() -> None:
    text = (
        b'{"id":"7","inputs":['
        b'{"name":"Age","shape":[2],"datatype":"INT64","parameters":{"binary_data_size":16}},'
        b'{"name":"Income per month","shape":[2,1],"datatype":"FP32","parameters":{"binary_data_size":8}},'
        b'{"name":"Wohnort \xc3\xbc 100%","shape":[2],"datatype":"BYTES",'
        b'"parameters":{"binary_data_size":18}},'
        b'{"name":"instances","shape":[2],"datatype":"INT32","data":[5,-5]},'
        b'{"name":"Job","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":17}}],'
        b'"outputs":[{"name":"label","parameters":{"binary_data":true}}],'
        b'"parameters":{"routing_key":"anna"}}'
    )
    tail = bytes.fromhex(
        "1e00000000000000 feffffffffffffff"  # 30, -2
        "0000c03f 0000c07f"  # 1.5, NaN
        "0a000000 4772c3b6c39f65203525 00000000"  # 'Größe 5%', missing
        "04000000 66726565 05000000 6669786564"  # free, fixed
    )
    codec = v2_codec(CREDIT)
    question = codec.decode(text + tail, head(inference_header_content_length=len(text)))
    assert (question.request_id, question.routing_key) == ("7", "anna")
    np.testing.assert_array_equal(question.rows, [[30, 1.5, 2, 5, 1], [-2, np.nan, np.nan, -5, 0]])
    found = answer(serving(CREDIT), question)._replace(labels=[1, 0])
    encoded = codec.encode(found, question)
    answered = (
        b'{"model_name":"credit","model_version":"gbm-1","parameters":{"arm":"production"},"id":"7","outputs":['
        b'{"name":"label","datatype":"BYTES","shape":[2],"parameters":{"binary_data_size":15}}]}'
    )
    assert encoded.body == answered + b"\x04\0\0\0good\x03\0\0\0bad"
    assert encoded.headers == ((b"inference-header-content-length", b"%d" % len(answered)),)
    assert encoded.content_type == b"application/octet-stream"


def test_json_may_be_nested_as_its_shape_or_flat() -> None:
    codec = v2_codec(NUMERIC)
    for data in ([[1, 2, 3], [4, None, 6]], [1, 2, 3, 4, None, 6]):
        rows = codec.decode(body_of(tensor("x", data, shape=[2, 3])), head()).rows
        np.testing.assert_array_equal(rows, [[1, 2, 3], [4, np.nan, 6]])
    single = [tensor(name, [[1], [2]]) for name in ("a", "b", "c")]
    assert codec.decode(body_of(*single), head()).rows.tolist() == [[1, 1, 1], [2, 2, 2]]


def test_null_nan_and_the_empty_word_are_missing() -> None:
    codec = v2_codec(CREDIT)
    rest = [
        tensor("Age", [1, 2, 3], "INT64"),
        tensor("instances", [0, 0, 0]),
        tensor("Job", ["free"] * 3, "BYTES"),
    ]
    income = tensor("Income per month", [None, float("nan"), 1])
    home = tensor("Wohnort ü 100%", [None, "", "own"], "BYTES")
    rows = codec.decode(body_of(*rest, income, home), head()).rows
    assert np.isnan(rows[:, 1:3]).tolist() == [[True, True], [True, True], [False, False]]


@pytest.mark.parametrize("datatype", ["FP64", "INT32", "INT64"])
@pytest.mark.parametrize("spec", [NUMERIC, PIPELINE], ids=lambda spec: spec.name)
def test_other_numbers_are_read_where_the_model_can_hold_them(spec: ModelSpec, datatype: str) -> None:
    name = spec.schema.features[0].name
    others = [
        tensor(f.name, [f.categories[0] if f.categories else 1], "BYTES" if f.categories else "FP32")
        for f in spec.schema.features[1:]
    ]
    dtype = {"FP64": np.float64, "INT32": np.int32, "INT64": np.int64}[datatype]
    for value in (0, -7, 2**20):
        for entry in (tensor(name, [value], datatype), None):
            if entry is not None:
                body, given = body_of(entry, *others), head()
            else:
                data = np.array([value], dtype).tobytes()
                text = [
                    {**tensor(name, [0], datatype), "parameters": {"binary_data_size": len(data)}},
                    *others,
                ]
                del text[0]["data"]
                body = body_of(*text)
                given = head(inference_header_content_length=len(body))
                body += data
            assert v2_codec(spec).decode(body, given).rows[0, 0] == value


def test_doubles_are_exact_in_pipelines() -> None:
    body = body_of(
        tensor("Age", [2**53 - 1], "INT64"),
        tensor("Income per month", [0.1], "FP64"),
        tensor("Wohnort ü 100%", ["own"], "BYTES"),
        tensor("instances", [0.1], "FP32"),
        tensor("Job", ["free"], "BYTES"),
    )
    rows = v2_codec(PIPELINE).decode(body, head()).rows
    assert rows.tolist() == [[2**53 - 1, 0.1, 1, float(np.float32(0.1)), 1]]


def test_a_feature_named_as_the_graph_s_input_takes_its_own_tensor() -> None:
    spec = ModelSpec("one", "1", "regression", Schema((Feature("x", "float"),), "tensor"))
    for values in ([1.0, 2.0], [[1.0], [2.0]]):
        assert v2_codec(spec).decode(body_of(tensor("x", values)), head()).rows.tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize("bits", ["7fa00000", "ffc00001", "7fc00000"])
@pytest.mark.parametrize("spec", [NUMERIC, PIPELINE], ids=lambda spec: spec.name)
def test_every_kind_of_nan_is_missing(spec: ModelSpec, bits: str) -> None:
    instances = some_rows(spec, 1, 1)
    arrays = {f.name: as_array(f, [instances[0][f.name]]) for f in spec.schema.features}
    name = "b" if spec is NUMERIC else "Income per month"
    arrays[name] = np.frombuffer(bytes.fromhex(bits)[::-1], np.float32).reshape(1, 1)
    rows = v2_codec(spec).decode(*by_client(arrays, binary=True)).rows
    assert np.isnan(rows[0, 1])


def test_unknown_parameters_mean_nothing() -> None:
    body, given = by_client(
        {"x": np.ones((1, 3), np.float32)},
        True,
        priority=3,
        timeout=10,
        sequence_id=4,
        parameters={"mine": "x"},
    )
    assert v2_codec(NUMERIC).decode(body, given).rows.tolist() == [[1, 1, 1]]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, {"label": False, "probabilities": False}),
        ({"outputs": []}, {"label": False, "probabilities": False}),
        ({"parameters": {"binary_data_output": True}}, {"label": True, "probabilities": True}),
        ({"outputs": [{"name": "probabilities"}]}, {"probabilities": False}),
        (
            {
                "outputs": [
                    {"name": "probabilities"},
                    {"name": "label", "parameters": {"binary_data": False}},
                ],
                "parameters": {"binary_data_output": True},
            },
            {"probabilities": True, "label": False},
        ),
    ],
)
def test_the_caller_chooses_outputs_their_order_and_their_form(
    more: dict[str, Any], expected: dict[str, bool]
) -> None:
    codec = v2_codec(NUMERIC)
    question = codec.decode(body_of(tensor("x", [[1, 2, 3], [4, 5, 6]]), **more), head())
    result = by_result(codec.encode(answer(serving(NUMERIC), question), question))
    outputs = result.get_response()["outputs"]
    assert {output["name"]: "data" not in output for output in outputs} == expected
    assert [output["name"] for output in outputs] == list(expected)
    np.testing.assert_array_equal(result.as_numpy("probabilities"), scores_of(NUMERIC, question.rows))


def test_the_response_names_the_model_the_arm_and_the_request() -> None:
    codec = v2_codec(CREDIT)
    canary = ModelSpec("credit", "50%", "binary", CREDIT.schema, CREDIT.classes)
    question = codec.decode(
        *by_client({"x": expected_rows(CREDIT, some_rows(CREDIT, 2, 1))}, True, request_id="r%")
    )
    document = by_result(codec.encode(answer(serving(canary), question, "canary"), question)).get_response()
    assert (document["model_name"], document["model_version"], document["id"]) == ("credit", "50%", "r%")
    assert document["parameters"] == {"arm": "canary"}


def test_ids_come_from_the_body_or_from_headers() -> None:
    given = head(x_request_id="h", x_routing_key="k")
    question = v2_codec(NUMERIC).decode(body_of(GOOD), given)
    assert (question.request_id, question.routing_key) == ("h", "k")
    body = body_of(GOOD, id="b", parameters={"routing_key": "bk"})
    question = v2_codec(NUMERIC).decode(body, given)
    assert (question.request_id, question.routing_key) == ("b", "bk")
    assert refusal(v2_codec(NUMERIC), body_of(GOOD, id="x" * 129)).status == 422


def test_a_path_that_names_a_version_is_answered_by_it_while_a_canary_runs() -> None:
    path = PredictPath(
        serving(NUMERIC), None, deadline=1e9, canary_deadline=1, fell_back=lambda fallback: None
    )
    canary = ModelSpec("numeric", "3", "binary", NUMERIC.schema, NUMERIC.classes)
    path.split = Split(Rollout("numeric:3", 10_000), Canary(serving(canary), lambda rows: rows, Breaker()))
    for codec, version in ((v2_codec(NUMERIC), "3"), (v2_codec(NUMERIC, arm="production"), "2")):
        question = codec.decode(body_of(GOOD), head())
        document = json.loads(codec.encode(asyncio.run(path.answer(question)), question).body)
        assert document["model_version"] == version


def test_raw_scores_are_the_bytes_of_the_scores() -> None:
    codec = v2_codec(HOUSES)
    bits = np.random.default_rng(5).integers(0, 2**32, size=MAX_ROWS, dtype=np.uint32).view(np.float32)
    values = np.nan_to_num(bits)[:, None]
    for binary in (True, False):
        body = body_of(tensor("x", [[1, 2, 3]]), parameters={"binary_data_output": binary})
        question = codec.decode(body, head())
        found = answer(serving(HOUSES), question)._replace(scores=values, labels=[0] * MAX_ROWS)
        result = by_result(codec.encode(found, question)).as_numpy("value")
        np.testing.assert_array_equal(result.view(np.uint32), values[:, 0].view(np.uint32))


def test_metadata_lists_what_the_codec_reads_and_answers() -> None:
    for spec in MODELS.values():
        document = v2.model_metadata(spec, binding(spec), ("1", "2"))
        assert (document["name"], document["versions"]) == (spec.name, ["1", "2"])
        arrays = {}
        for entry in document["inputs"]:
            shape = [3, *entry["shape"][1:]]
            feature = next((f for f in spec.schema.features if f.name == entry["name"]), None)
            dtype = {"FP32": np.float32, "INT64": np.int64, "BYTES": object}[entry["datatype"]]
            word = feature.categories[0] if feature and feature.categories else 0
            arrays[entry["name"]] = np.full(shape, word, dtype=dtype)
        codec = v2_codec(spec)
        question = codec.decode(*by_client(arrays, binary=True))
        assert len(question.rows) == 3
        outputs = by_result(codec.encode(answer(serving(spec), question), question)).get_response()["outputs"]
        described = [(o["name"], o["datatype"], [3, *o["shape"][1:]]) for o in document["outputs"]]
        assert [(o["name"], o["datatype"], o["shape"]) for o in outputs] == described


def test_the_server_s_documents_say_what_the_protocol_says() -> None:
    assert v2.server_metadata("1.2") == {
        "name": "understudy", "version": "1.2", "extensions": ["binary_tensor_data"]
    }  # fmt: skip
    assert v2.server_live() == {"live": True}
    assert v2.server_ready(ready=False) == {"ready": False}
    assert v2.model_ready("credit", ready=True) == {"name": "credit", "ready": True}
    assert b"application/octet-stream" in v2.CONTENT_TYPES
