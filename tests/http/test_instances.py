"""Rows as JSON: what is read, and what each refusal says."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest

from service.domain.schema import Feature, ModelSpec, Schema
from service.http.codec import Codec
from service.http.kserve import KServeCodec
from service.http.problem import TOO_MANY_ERRORS
from tests.http.fakes import (
    CREDIT,
    DIGITS,
    MAX_ROWS,
    NUMERIC,
    PIPELINE,
    TABULAR,
    Violations,
    expected_rows,
    head,
    mutated,
    native_codec,
    outcome,
    reader,
    refusal,
    some_rows,
)

GOOD = {"Age": 30, "Income per month": 1.5, "Wohnort ü 100%": "own", "instances": -2, "Job": "fixed"}

CodecOf: TypeAlias = Callable[[ModelSpec], Codec]
CODECS: list[CodecOf] = [native_codec, lambda spec: KServeCodec(reader(spec))]


def body_of(*instances: Any) -> bytes:
    return json.dumps({"instances": instances}).encode()


def errors_of(instance: Any, spec: ModelSpec = CREDIT) -> list[tuple[list[Any], str]]:
    """What a request with this one row is told."""
    found = refusal(native_codec(spec), body_of(instance))
    assert found.status == 422
    return [(error["loc"], error["msg"]) for error in found.errors]


@pytest.mark.parametrize("spec", TABULAR, ids=lambda spec: spec.name)
@pytest.mark.parametrize("count", [1, 2, MAX_ROWS])
def test_objects_and_arrays_become_the_same_canonical_rows(spec: ModelSpec, count: int) -> None:
    codec = native_codec(spec)
    for seed in range(5):
        instances = some_rows(spec, count, seed)
        expected = expected_rows(spec, instances)
        for form in (instances, [list(row.values()) for row in instances]):
            rows = codec.decode(body_of(*form), head()).rows
            assert rows.dtype == spec.schema.dtype
            assert rows.flags.c_contiguous
            np.testing.assert_array_equal(rows, expected)


def test_objects_and_arrays_may_be_mixed_and_keys_come_in_any_order() -> None:
    backwards = dict(reversed(GOOD.items()))
    rows = native_codec(CREDIT).decode(body_of(GOOD, list(GOOD.values()), backwards), head()).rows
    assert rows.tolist() == [[30.0, 1.5, 1.0, -2.0, 0.0]] * 3


@pytest.mark.parametrize("blank", [b"null", b"NaN"])
@pytest.mark.parametrize("count", [1, 3])
def test_null_and_nan_are_missing_where_the_manifest_allows_it(blank: bytes, count: int) -> None:
    row = b'{"Age":1,"Income per month":%b,"Wohnort \xc3\xbc 100%%":%b,"instances":0,"Job":"free"}'
    body = b'{"instances":[%b]}' % b",".join([row % (blank, blank)] * count)
    rows = native_codec(CREDIT).decode(body, head()).rows
    assert rows.shape == (count, 5)
    assert np.isnan(rows).tolist() == [[False, True, True, False, False]] * count


def test_a_missing_value_is_refused_where_the_manifest_does_not_allow_it() -> None:
    violations = Violations()
    found = refusal(native_codec(CREDIT, violations), body_of(GOOD, {**GOOD, "Age": None, "Job": None}))
    assert [error["loc"] for error in found.errors] == [["instances", 1, "Age"], ["instances", 1, "Job"]]
    assert "may not be missing" in found.detail
    assert violations == {("Age", "missing"): 1, ("Job", "missing"): 1}


@pytest.mark.parametrize(
    ("feature", "value", "message", "kind"),
    [
        ("Age", "30", "expected a number, found a string", "type"),
        ("Age", True, "expected a number, found a boolean", "type"),
        ("Age", 30.5, "expected a whole number, found 30.5", "type"),
        ("Age", 2**53 + 1, "too large", "range"),
        ("Age", -(10**400), "too large", "range"),
        ("instances", False, "expected a number, found a boolean", "type"),
        ("instances", [1], "expected a number, found an array", "type"),
        ("instances", {}, "expected a number, found an object", "type"),
        ("instances", 3.5e38, "too large", "range"),
        ("instances", 10**400, "too large", "range"),
        ("instances", float("inf"), "too large", "range"),
        ("instances", float("-inf"), "too large", "range"),
        ("Job", 1, "expected a string, found a number", "type"),
        ("Job", "boss", "unknown category 'boss'; known are fixed, free", "category"),
        ("Job", "Fixed", "unknown category", "category"),
        ("Job", "", "unknown category ''", "category"),
    ],
)
@pytest.mark.parametrize("spec", [CREDIT, PIPELINE], ids=lambda spec: spec.name)
def test_a_value_that_does_not_fit_is_named_and_counted(
    spec: ModelSpec, feature: str, value: Any, message: str, kind: str
) -> None:
    violations = Violations()
    found = refusal(native_codec(spec, violations), body_of(GOOD, {**GOOD, feature: value}))
    assert found.status == 422
    assert [error["loc"] for error in found.errors] == [["instances", 1, feature]]
    assert message in found.detail
    assert found.detail.startswith(f"instances.1.{feature}: ")
    assert violations == {(feature, kind): 1}
    assert json.loads(found.body("an id"))["status"] == 422


def test_the_largest_numbers_that_a_model_can_take_are_taken() -> None:
    largest = float(np.finfo(np.float32).max)
    row = {"a": largest, "b": -largest, "c": 2**53}
    rows = native_codec(NUMERIC).decode(body_of(row), head()).rows
    assert rows.tolist() == [[largest, -largest, 2.0**53]]


def test_integers_are_exact_to_2_53_in_pipelines() -> None:
    rows = native_codec(PIPELINE).decode(body_of({**GOOD, "Age": 2**53 - 1}), head()).rows
    assert rows[0, 0] == 2**53 - 1


def test_unknown_and_absent_features_are_all_named() -> None:
    row = {name: value for name, value in GOOD.items() if name not in ("Age", "Job")} | {"age": 30}
    assert errors_of(row) == [
        (["instances", 0, "age"], "unknown feature"),
        (["instances", 0, "Age"], "required, and not there"),
        (["instances", 0, "Job"], "required, and not there"),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([1, 2], "expected 5 values in schema order, found 2"),
        ([*GOOD.values(), 1], "expected 5 values in schema order, found 6"),
        ([], "expected 5 values"),
        ("row", "expected an object or an array, found a string"),
        (None, "expected an object or an array, found null"),
        (7, "expected an object or an array, found a number"),
    ],
)
def test_a_row_of_the_wrong_form_is_refused(row: Any, message: str) -> None:
    ((loc, found),) = errors_of(row)
    assert loc == ["instances", 0]
    assert message in found


def test_a_problem_lists_a_bounded_number_of_errors() -> None:
    found = refusal(
        native_codec(CREDIT),
        body_of(
            *[{**GOOD, "Job": "boss"}] * MAX_ROWS,
        ),
    )
    assert len(json.loads(found.body("1"))["errors"]) == TOO_MANY_ERRORS
    assert f"and {TOO_MANY_ERRORS - 1} more" in found.detail


def test_a_caller_s_own_names_are_not_repeated_at_length() -> None:
    found = refusal(native_codec(CREDIT), body_of({**GOOD, "x" * 10_000: 1}))
    assert len(found.body("1")) < 2_000


@pytest.mark.parametrize("codec", CODECS)
def test_rows_are_counted_before_they_are_looked_at(codec: CodecOf) -> None:
    many = refusal(codec(CREDIT), body_of(*[GOOD] * (MAX_ROWS + 1)))
    assert many.status == 413
    assert f"{MAX_ROWS + 1} rows, at most {MAX_ROWS}" in many.detail
    wrong_too = refusal(codec(CREDIT), body_of(*["?"] * (MAX_ROWS + 1)))
    assert wrong_too.status == 413
    none = refusal(codec(CREDIT), body_of())
    assert (none.status, none.detail) == (422, "instances: expected at least one row")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"instances":[}',
        b"{'instances': []}",
        b'{"instances":[[1,"\xff"]]}',
        b'\xef\xbb\xbf{"instances":[]}',
        '{"instances":[]}'.encode("utf-16"),
        b'{"instances":' + b"[" * 100_000,
        b'{"instances":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"instances":[' + b"1" * 5_000 + b"]}",
        b'{"instances":[[30,1.5,"own",-2,"fixed"]]} tail',
        b"\x00" * 64,
        b'{"instances":[[30,1.5,"own",-2,"\\ud800"]]}',
        b'{"instances":[[30,1.5,"own",-2,"fixed"]],"\\uDFFF":1}',
    ],
    ids=range(14),
)
@pytest.mark.parametrize("codec", CODECS)
def test_what_is_not_json_in_utf_8_is_malformed(codec: CodecOf, body: bytes) -> None:
    found = refusal(codec(CREDIT), body)
    assert found.status == 400
    assert found.detail.startswith("the body is not JSON: ")


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"instances"'])
def test_json_that_is_no_object_does_not_fit(body: bytes) -> None:
    found = refusal(native_codec(CREDIT), body)
    assert found.status == 422
    assert "expected an object" in found.detail


@pytest.mark.parametrize("instances", [None, {}, "rows", 3])
def test_instances_have_to_be_an_array(instances: Any) -> None:
    found = refusal(native_codec(CREDIT), json.dumps({"instances": instances}).encode())
    assert found.status == 422
    assert found.detail.startswith("instances: expected an array")


def test_the_last_of_two_equal_keys_counts_however_the_body_is_read() -> None:
    codec = native_codec(NUMERIC)
    fast = codec.decode(b'{"instances":[{"a":1,"a":2,"b":3,"c":4}]}', head()).rows
    slow = codec.decode(b'{"instances":[{"a":1,"a":2,"b":NaN,"c":4}]}', head()).rows
    assert fast[0, 0] == slow[0, 0] == 2


@pytest.mark.parametrize(
    "name", ["a b", "100%", "%s", "ü", "", "__init__", "class", 'he said "x"', "back\\slash", "tab\t"]
)
@pytest.mark.parametrize("layout", ["tensor", "columns"])
def test_a_feature_may_have_any_name(name: str, layout: Any) -> None:
    schema = Schema((Feature(name, "float", missing=True), Feature("other", "string", ("x%", '"'))), layout)
    codec = native_codec(ModelSpec("m", "1", "regression", schema))
    assert codec.decode(body_of({name: 2, "other": '"'}, [3, "x%"]), head()).rows.tolist() == [[2, 1], [3, 0]]
    found = refusal(codec, body_of({name: "?", "other": "x%"}))
    assert found.errors == [{"loc": ["instances", 0, name], "msg": "expected a number, found a string"}]
    absent = refusal(codec, body_of({"other": "x%"}))
    assert absent.errors == [{"loc": ["instances", 0, name], "msg": "required, and not there"}]


def test_an_image_is_nested_arrays_of_its_shape() -> None:
    images = np.random.default_rng(1).normal(size=(4, 2, 3)).astype(np.float32)
    rows = native_codec(DIGITS).decode(body_of(*images.tolist()), head()).rows
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, images.reshape(4, 6))


@pytest.mark.parametrize(
    ("image", "loc", "message"),
    [
        ([[1, 2, 3]], [], "expected an array of 2, found 1 values"),
        ([[1, 2, 3], [4, 5]], [1], "expected an array of 3, found 2 values"),
        ([[1, 2, 3], 4], [1], "expected an array of 3, found a number"),
        ([[1, 2, 3], [4, "5", 6]], [1, 1], "expected a number, found a string"),
        ([[1, 2, 3], [4, True, 6]], [1, 1], "expected a number, found a boolean"),
        ([[1, 2, 3], [4, [5], 6]], [1, 1], "expected a number, found an array"),
        ([[1, 2, 3], [4, None, 6]], [1, 1], "expected a number, found null"),
        ([[1, 2, 3], [4, float("nan"), 6]], [1, 1], "may not be missing"),
        ([[1, 2, 3], [4, float("inf"), 6]], [1, 1], "too large"),
        ([[1, 2, 3], [4, 1e39, 6]], [1, 1], "too large"),
        ([[1, 2, 3], [4, 10**400, 6]], [1, 1], "too large"),
        ({"a": 1}, [], "expected an array of 2, found an object"),
    ],
)
def test_an_image_of_another_shape_or_with_other_values_is_refused(
    image: Any, loc: list[int], message: str
) -> None:
    found = refusal(native_codec(DIGITS), body_of([[0, 0, 0], [0, 0, 0]], image))
    assert found.status == 422
    assert found.errors[0]["loc"] == ["instances", 1, *loc]
    assert message in found.errors[0]["msg"]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("spec", [CREDIT, PIPELINE, DIGITS], ids=lambda spec: spec.name)
def test_damaged_bodies_are_refused_with_a_problem_or_read_as_good_rows(
    codec: CodecOf, spec: ModelSpec
) -> None:
    made = codec(spec)
    generator = random.Random(7)
    whole = (
        body_of(*some_rows(spec, 3, 0)) if spec.schema.features else body_of(*np.zeros((3, 2, 3)).tolist())
    )
    statuses = set()
    for _ in range(2_000):
        status, rows = outcome(made, mutated(whole, generator), head())
        statuses.add(status)
        if rows is not None:
            assert rows.shape[1] == spec.schema.width
            assert not np.isinf(rows).any()
    assert {200, 400, 422} <= statuses <= {200, 400, 413, 422}
