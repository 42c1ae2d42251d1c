"""The Open Inference Protocol: bodies that are damaged, or that ask for what is not there."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest

from service.domain.schema import Feature, ModelSpec, Schema
from tests.http.fakes import (
    CREDIT,
    DIGITS,
    MAX_ROWS,
    NUMERIC,
    PIPELINE,
    head,
    mutated,
    outcome,
    refusal,
    some_rows,
    v2_codec,
)
from tests.http.tritons import GOOD, as_array, body_of, by_client, raw, tensor


def test_rows_are_counted_before_they_are_read() -> None:
    for entry in (tensor("x", [[0.0, 0.0, 0.0]] * (MAX_ROWS + 1)), {**GOOD, "shape": [10**9, 3]}):
        found = refusal(v2_codec(NUMERIC), body_of(entry))
        assert found.status == 413
        assert f"inputs.x: {entry['shape'][0]} rows, at most {MAX_ROWS}" in found.detail


@pytest.mark.parametrize(
    ("sizes", "tail", "status", "message"),
    [
        ([12], 12, 200, ""),
        ([12], 11, 400, "inputs.x: 11 bytes of the body are left for its 12"),
        ([12], 13, 400, "the body has 1 bytes that belong to no input"),
        ([8], 8, 422, "inputs.x.data: FP32 [1, 3] is 12 bytes, found 8"),
        ([10**30], 12, 400, "bytes of the body are left"),
    ],
)
def test_sizes_of_raw_tensors_have_to_add_up(sizes: list[int], tail: int, status: int, message: str) -> None:
    entry = {"name": "x", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": sizes[0]}}
    text = body_of(entry)
    given = head(inference_header_content_length=len(text))
    codec = v2_codec(NUMERIC)
    if status == 200:
        assert codec.decode(text + bytes(tail), given).rows.tolist() == [[0, 0, 0]]
        return
    found = refusal(codec, text + bytes(tail), given)
    assert found.status == status
    assert message in found.detail


@pytest.mark.parametrize(
    "data", [b"", b"\x04\0\0", b"\x05\0\0\0free", b"\x04\0\0\0free\x01", b"\xff\xff\xff\xfffree", b"\0" * 8]
)
def test_lengths_of_raw_words_have_to_add_up(data: bytes) -> None:
    spec = ModelSpec("m", "1", "regression", Schema((Feature("Job", "string", ("free",)),), "columns"))
    found = refusal(v2_codec(spec), *raw((tensor("Job", ["free"], "BYTES"), data)))
    assert found.status == 422
    assert f"inputs.Job.data: {len(data)} bytes are not 1 elements" in found.detail


@pytest.mark.parametrize("length", ["-1", "1e3", "", "x", "9" * 30, "100000"])
def test_the_length_of_the_json_has_to_be_one(length: str) -> None:
    found = refusal(v2_codec(NUMERIC), body_of(GOOD), head(inference_header_content_length=length))
    assert found.status == 400
    assert "Inference-Header-Content-Length" in found.detail


def test_a_raw_tensor_needs_the_header() -> None:
    body, _ = raw((GOOD, bytes(12)))
    assert refusal(v2_codec(NUMERIC), body).status == 400


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b'{"inputs":[{"name":"\xff"}]}', 400, "not JSON"),
        (b'{"inputs":' + b"[" * 100_000, 400, "not JSON"),
        (b'{"inputs":[{"name":"x","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}]}", 400, ""),
        (b"[]", 422, "expected `object`"),
        (b"{}", 422, "missing required field `inputs`"),
        (b'{"inputs":null}', 422, "expected `array`"),
        (b'{"inputs":[1]}', 422, "expected `object`"),
        (b'{"inputs":[{}]}', 422, "missing required field `name`"),
        (b'{"inputs":[],"input":1}', 422, "unknown field `input`"),
        (b'{"inputs":[],"parameters":[]}', 422, "parameters"),
        (b'{"inputs":[],"parameters":{"binary_data_output":1}}', 422, "parameters.binary_data_output"),
        (b'{"inputs":[],"id":7}', 422, "id: "),
        (b'{"inputs":[],"outputs":[{"name":"label","parameters":{"binary_data":0}}]}', 422, "outputs.label."),
    ],
    ids=range(15),
)
def test_a_body_that_is_no_request_is_refused(body: bytes, status: int, message: str) -> None:
    found = refusal(v2_codec(NUMERIC), body)
    assert found.status == status
    assert message in found.detail


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"name": "value"}, "unknown output; there are label, probabilities"),
        ({"name": "label", "parameters": {"classification": 2}}, "classification is not offered"),
        ({"name": "label", "parameters": {"shared_memory_region": "r"}}, "shared memory is not offered"),
        ({"name": "probabilities"}, "asked for twice"),
    ],
)
def test_an_output_that_is_not_there_is_refused(output: dict[str, Any], message: str) -> None:
    found = refusal(v2_codec(NUMERIC), body_of(GOOD, outputs=[{"name": "probabilities"}, output]))
    assert found.status == 422
    assert found.errors == [{"loc": ["outputs", output["name"]], "msg": found.errors[0]["msg"]}]
    assert message in found.detail


def test_an_error_has_the_key_that_inference_clients_read() -> None:
    found = refusal(v2_codec(NUMERIC), body_of({**GOOD, "name": "y"}))
    assert json.loads(found.body("1"))["error"] == found.detail


@pytest.mark.parametrize("spec", [NUMERIC, CREDIT, PIPELINE, DIGITS], ids=lambda spec: spec.name)
@pytest.mark.parametrize("binary", [True, False], ids=["raw", "json"])
def test_damaged_requests_are_refused_with_a_problem_or_read_as_good_rows(
    spec: ModelSpec, binary: bool
) -> None:
    if spec.schema.features:
        instances = some_rows(spec, 3, 8)
        arrays = {f.name: as_array(f, [row[f.name] for row in instances]) for f in spec.schema.features}
    else:
        arrays = {"x": np.zeros((3, 2, 3), np.float32)}
    whole, given = by_client(arrays, binary)
    codec, generator, statuses = v2_codec(spec), random.Random(11), set()
    for _ in range(2_000):
        status, rows = outcome(codec, mutated(whole, generator), given)
        statuses.add(status)
        if rows is not None:
            assert rows.shape[1] == spec.schema.width
            assert rows.dtype == spec.schema.dtype
            assert not np.isinf(rows).any()
    assert {400, 422} <= statuses <= {200, 400, 413, 422}
