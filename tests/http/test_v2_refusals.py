"""The Open Inference Protocol: what each refusal of a value or a tensor names."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import np_to_triton_dtype

from service.http.problem import TOO_MANY_ERRORS
from tests.http.fakes import (
    CREDIT,
    NUMERIC,
    PIPELINE,
    Violations,
    expected_rows,
    head,
    refusal,
    some_rows,
    v2_codec,
)
from tests.http.tritons import GOOD, as_array, body_of, by_client, raw, tensor


@pytest.mark.parametrize(
    ("datatype", "value", "dtype"),
    [
        ("FP64", 1e300, np.float64),
        ("INT64", 2**53 + 1, np.int64),
        ("INT64", -(2**63), np.int64),
    ],
)
def test_a_number_too_large_for_the_model_is_refused(datatype: str, value: float, dtype: Any) -> None:
    entry = tensor("x", [[1, 2, 3], [value, 2, 3]], datatype)
    violations = Violations()
    codec = v2_codec(NUMERIC, violations)
    for body, given in (
        (body_of(entry), head()),
        raw((entry, np.array([[1, 2, 3], [value, 2, 3]], dtype).tobytes())),
    ):
        found = refusal(codec, body, given)
        assert found.status == 422
        assert [error["loc"] for error in found.errors] == [["inputs", "x", 1, "a"]]
    assert violations.total() == 2


@pytest.mark.parametrize(
    ("datatype", "value", "dtype"), [("FP64", 0.1, np.float64), ("INT64", 2**24 + 1, np.int64)]
)
def test_numbers_are_rounded_to_the_model_as_they_are_in_json(
    datatype: str, value: float, dtype: Any
) -> None:
    codec = v2_codec(NUMERIC, Violations())
    entry = tensor("x", [[value, 2, 3]], datatype)
    packed = raw((entry, np.array([[value, 2, 3]], dtype).tobytes()))
    for body, given in ((body_of(entry), head()), packed):
        np.testing.assert_array_equal(codec.decode(body, given).rows, np.array([[value, 2, 3]], np.float32))


BAD_VALUES: list[tuple[Any, str, str, str]] = [
    ([[1, 2, 3], [float("inf"), 2, 3]], "a", "range", "infinite, or too large"),
    ([[1, 2, 3], [1e39, 2, 3]], "a", "range", "infinite, or too large"),
    ([[1, 2, 3], [10**400, 2, 3]], "a", "range", "too large"),
    ([[1, 2, 3], [None, 2, 3]], "a", "missing", "may not be missing"),
    ([[1, 2, 3], [float("nan"), 2, 3]], "a", "missing", "may not be missing"),
    ([[1, 2, 3], [1, 2, 3.5]], "c", "type", "expected a whole number"),
    ([[1, 2, 3], [1, 2, 1e30]], "c", "range", "too large"),
    ([[1, 2, 3], [1, "2", 3]], "b", "type", "expected FP32, found a string"),
    ([[1, 2, 3], [1, True, 3]], "b", "type", "expected FP32, found a boolean"),
    ([[1, 2, 3], [1, [2], 3]], "b", "type", "expected FP32, found an array"),
]


@pytest.mark.parametrize(("data", "feature", "kind", "message"), BAD_VALUES)
def test_a_bad_value_in_a_packed_tensor_is_named_by_row_and_feature(
    data: Any, feature: str, kind: str, message: str
) -> None:
    violations = Violations()
    found = refusal(v2_codec(NUMERIC, violations), body_of(tensor("x", data, shape=[2, 3])))
    assert found.status == 422
    assert found.errors[0]["loc"] == ["inputs", "x", 1, feature]
    assert message in found.errors[0]["msg"]
    assert violations[feature, kind] == 1


@pytest.mark.parametrize(("data", "feature", "kind", "message"), BAD_VALUES)
def test_a_bad_value_in_a_feature_s_own_tensor_is_named_by_row(
    data: Any, feature: str, kind: str, message: str
) -> None:
    violations = Violations()
    columns = [tensor(name, [row[i] for row in data], shape=[2]) for i, name in enumerate("abc")]
    found = refusal(v2_codec(NUMERIC, violations), body_of(*columns))
    assert found.status == 422
    assert found.errors[0]["loc"] == ["inputs", feature, 1]
    assert message in found.errors[0]["msg"]
    assert violations == {(feature, kind): 1}


@pytest.mark.parametrize("value", [-1.0, 2.0, 0.5, 1e30])
def test_a_code_outside_the_vocabulary_is_refused(value: float) -> None:
    matrix = expected_rows(CREDIT, some_rows(CREDIT, 4, 1))
    matrix[2, 4] = value
    violations = Violations()
    found = refusal(v2_codec(CREDIT, violations), *by_client({"x": matrix}, binary=True))
    assert found.errors == [{"loc": ["inputs", "x", 2, "Job"], "msg": "expected a category's index, 0 to 1"}]
    assert violations == {("Job", "category"): 1}


@pytest.mark.parametrize("binary", [True, False], ids=["raw", "json"])
@pytest.mark.parametrize(
    ("word", "kind"), [("boss", "category"), ("FREE", "category"), ("free ", "category"), ("", "missing")]
)
def test_a_word_outside_the_vocabulary_is_refused(word: str, kind: str, binary: bool) -> None:
    instances = some_rows(CREDIT, 3, 1)
    arrays = {f.name: as_array(f, [row[f.name] for row in instances]) for f in CREDIT.schema.features}
    arrays["Job"][1, 0] = word
    violations = Violations()
    found = refusal(v2_codec(CREDIT, violations), *by_client(arrays, binary))
    assert found.status == 422
    assert [error["loc"] for error in found.errors] == [["inputs", "Job", 1]]
    assert violations == {("Job", kind): 1}


def test_words_that_are_no_text_are_refused() -> None:
    instances = some_rows(CREDIT, 1, 1)
    inputs = []
    for feature in CREDIT.schema.features:
        array = as_array(feature, [instances[0][feature.name]])
        data = array.tobytes() if feature.type != "string" else struct.pack("<I", 2) + b"\xff\xfe"
        inputs.append((tensor(feature.name, [[0]], np_to_triton_dtype(array.dtype)), data))
    found = refusal(v2_codec(CREDIT), *raw(*inputs))
    assert [error["loc"] for error in found.errors] == [["inputs", "Wohnort ü 100%", 0], ["inputs", "Job", 0]]


@pytest.mark.parametrize(
    ("entry", "loc", "message"),
    [
        ({**GOOD, "shape": [3]}, ["x", "shape"], "expected [rows, 3], found [3]"),
        ({**GOOD, "shape": [3, 1]}, ["x", "shape"], "expected [rows, 3], found [3, 1]"),
        ({**GOOD, "shape": []}, ["x", "shape"], "expected [rows, 3], found []"),
        ({**GOOD, "shape": [1, 3, 1]}, ["x", "shape"], "expected [rows, 3]"),
        ({**GOOD, "shape": [0, 3], "data": []}, ["x", "shape"], "at least one row"),
        ({**GOOD, "shape": [-1, 3]}, ["x", "shape", 0], "`int` >= 0"),
        ({**GOOD, "shape": "1,3"}, ["x", "shape"], "`array`"),
        ({**GOOD, "shape": [2, 3]}, ["x", "data"], "expected 6 values, flat or nested as [2, 3]"),
        ({**GOOD, "data": [[1, 2], [3]]}, ["x", "data"], "expected 3 values"),
        ({**GOOD, "data": []}, ["x", "data"], "expected 3 values"),
        ({**GOOD, "data": {"0": 1}}, ["x", "data"], "`array"),
        ({**GOOD, "data": None}, ["x"], "neither data nor binary_data_size"),
        ({**GOOD, "datatype": "FP16"}, ["x", "datatype"], "found 'FP16'"),
        ({**GOOD, "datatype": "BYTES"}, ["x", "datatype"], "expected FP32, FP64, INT32, INT64"),
        ({**GOOD, "datatype": "BOOL"}, ["x", "datatype"], "found 'BOOL'"),
        ({**GOOD, "datatype": "INT32", "data": [[1, 2, 3.0]]}, ["x", 0, "c"], "expected INT32, found 3.0"),
        ({**GOOD, "datatype": "INT32", "data": [[1, 2, 2**31]]}, ["x", 0, "c"], "too large"),
        ({**GOOD, "extra": 1}, ["x"], "unknown field `extra`"),
        ({**GOOD, "parameters": {"binary_data_size": 12}}, ["x"], "both data and binary_data_size"),
        ({**GOOD, "parameters": {"binary_data_size": -1}}, ["x", "parameters", "binary_data_size"], ">= 0"),
        ({**GOOD, "name": "y"}, ["y"], "unknown input; the model takes 'x' [rows, 3], or one input for each"),
        ({**GOOD, "name": 3}, [0, "name"], "`str`"),
        (
            {"name": "x", "shape": [1, 3], "datatype": "FP32", "parameters": {"shared_memory_region": "r"}},
            ["x"],
            "shared memory is not offered",
        ),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(entry: dict[str, Any], loc: list[Any], message: str) -> None:
    found = refusal(v2_codec(NUMERIC), body_of(entry))
    assert found.status == 422
    assert found.errors[0]["loc"] == ["inputs", *loc]
    assert message in found.errors[0]["msg"]
    if isinstance(loc[0], str):
        assert loc[0] in found.detail


@pytest.mark.parametrize(
    ("inputs", "loc", "message"),
    [
        ([], [], "expected at least one"),
        ([tensor("a", [1]), tensor("b", [1])], ["c"], "required, and not there"),
        ([tensor("a", [1])] * 2 + [tensor("c", [1])], ["a"], "there twice"),
        ([GOOD, tensor("a", [1])], ["x"], "goes alone"),
        ([GOOD, GOOD], ["x"], "goes alone"),
        ([tensor(n, [1]) for n in "abcd"], ["d"], "unknown input"),
        ([tensor("a", [1]), tensor("b", [1, 2]), tensor("c", [1])], ["b", "shape"], "has 2 rows, 'a' has 1"),
        ([tensor("a", [[1, 2]]), tensor("b", [1]), tensor("c", [1])], ["a", "shape"], "[rows] or [rows, 1]"),
        (
            [tensor("a", ["1"], "BYTES"), tensor("b", [1]), tensor("c", [1])],
            ["a", "datatype"],
            "found 'BYTES'",
        ),
    ],
)
def test_inputs_that_do_not_belong_together_are_named(
    inputs: list[dict[str, Any]], loc: list[str], message: str
) -> None:
    found = refusal(v2_codec(NUMERIC), body_of(*inputs))
    assert found.status == 422
    assert found.errors[0]["loc"] == ["inputs", *loc]
    assert message in found.detail


def test_a_problem_lists_a_bounded_number_of_inputs() -> None:
    found = refusal(v2_codec(NUMERIC), body_of(*[tensor(f"x{index}", [1]) for index in range(10_000)]))
    assert len(found.errors) == TOO_MANY_ERRORS


def test_a_category_takes_words_and_a_pipeline_no_packed_tensor() -> None:
    numbers = [tensor(f.name, [1.0]) for f in PIPELINE.schema.features]
    assert refusal(v2_codec(PIPELINE), body_of(*numbers)).errors == [
        {"loc": ["inputs", "Wohnort ü 100%", "datatype"], "msg": "expected BYTES, found 'FP32'"}
    ]
    packed = refusal(v2_codec(PIPELINE), body_of(tensor("x", [[1.0] * 5])))
    assert "unknown input; the model takes one input for each feature (Age, " in packed.detail
