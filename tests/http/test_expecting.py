"""Rows unlike training's are answered with a warning or refused, the same in every protocol."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tritonclient.http import InferRequestedOutput

from service.domain.expectations import Expectation, Expectations
from service.domain.schema import Feature, ModelSpec, Schema
from service.domain.watch import MANY_ROWS, MOST_BREACHES
from service.http.codec import Codec
from service.http.explain import ExplainCodec
from service.http.instances import body_decoder
from service.http.kserve import KServeCodec
from service.http.problem import Problem
from service.paths.question import Question
from tests.domain.expecting import canonical, oracle, requests
from tests.http import tritons
from tests.http.fakes import (
    CREDIT,
    DIGITS,
    MAX_ROWS,
    PIPELINE,
    Violations,
    answer,
    head,
    mutated,
    native_codec,
    reader,
    refusal,
    serving,
    some_rows,
    v2_codec,
    wishes,
)

GOOD = {"Age": 30, "Income per month": 1.5, "Wohnort ü 100%": "own", "instances": -2, "Job": "fixed"}
SEEN: Expectations = (
    Expectation(range=(18, 68)),
    Expectation(range=(0.1, 100), missing_rate=0.0),
    Expectation(categories=("rent", "own"), missing_rate=0.1),
    Expectation(range=(-5, 5), whole=True),
    Expectation(categories=("fixed",)),
)
STRANGE = {"Age": 93, "Income per month": None, "Wohnort ü 100%": "Größe 5%", "instances": 0.5, "Job": "free"}
SAID = {
    "Age": ("range", "93 is outside 18 to 68, which training saw"),
    "Income per month": ("missing", "missing, which training never saw"),
    "Wohnort ü 100%": ("category", "'Größe 5%' is a category that training never saw"),
    "instances": ("type", "0.5 is a fraction; training saw whole numbers only"),
    "Job": ("category", "'free' is a category that training never saw"),
}


def kserve_codec(
    spec: ModelSpec, violations: Violations | None = None, expectations: Expectations = ()
) -> KServeCodec:
    return KServeCodec(reader(spec, violations, expectations))


def explain_codec(
    spec: ModelSpec, violations: Violations | None = None, expectations: Expectations = ()
) -> ExplainCodec:
    return ExplainCodec(reader(spec, violations, expectations), wishes(spec))


CODECS = [native_codec, kserve_codec, explain_codec]


def body_of(*instances: Any) -> bytes:
    return json.dumps({"instances": instances}).encode()


def warned(question: Question) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(b"[%b]" % question.warnings)
    return found


def reacting(reaction: Any, seen: Expectations = SEEN) -> Expectations:
    return tuple(replace(each, on_violation=reaction) for each in seen)


@pytest.mark.parametrize("spec", [CREDIT, PIPELINE], ids=lambda spec: spec.name)
@pytest.mark.parametrize("make", CODECS)
@pytest.mark.parametrize("blank", [b"null", b"NaN"])
def test_every_strange_value_is_named_and_counted(spec: ModelSpec, make: Any, blank: bytes) -> None:
    violations = Violations()
    codec = make(spec, violations, SEEN)
    for form in (STRANGE, list(STRANGE.values())):
        violations.clear()
        question = codec.decode(body_of(GOOD, form).replace(b"null", blank), head())
        assert warned(question) == [
            {"loc": ["instances", 1, name], "kind": kind, "msg": message}
            for name, (kind, message) in SAID.items()
        ]
        assert violations == {(name, kind): 1 for name, (kind, _) in SAID.items()}
        plain = make(spec).decode(body_of(GOOD, form).replace(b"null", blank), head())
        np.testing.assert_array_equal(question.rows, plain.rows)


@pytest.mark.parametrize("make", CODECS)
def test_nothing_is_said_about_rows_as_training_saw_them(make: Any) -> None:
    violations = Violations()
    codec = make(CREDIT, violations, SEEN)
    question = codec.decode(body_of(GOOD, {**GOOD, "Wohnort ü 100%": None}), head())
    assert question.warnings == b""
    assert not violations
    body = json.loads(codec.encode(answer(serving(CREDIT), question), question).body)
    assert "warnings" not in body


@pytest.mark.parametrize("make", CODECS)
def test_an_answer_lists_its_warnings_beside_everything_else(make: Any) -> None:
    codec = make(CREDIT, None, SEEN)
    question = codec.decode(body_of(STRANGE), head(x_request_id="1"))
    found = answer(serving(CREDIT), question)._replace(explanations=[b"{}"])
    body = json.loads(codec.encode(found, question).body)
    plain = json.loads(codec.encode(found, question._replace(warnings=b"")).body)
    assert body.pop("warnings") == warned(question)
    assert body == plain


@pytest.mark.parametrize("make", CODECS)
@pytest.mark.parametrize("blank", [b"null", b"NaN"])
def test_a_manifest_may_have_strange_rows_refused(make: Any, blank: bytes) -> None:
    violations = Violations()
    codec = make(CREDIT, violations, reacting("refuse"))
    found = refusal(codec, body_of(GOOD, STRANGE).replace(b"null", blank))
    assert found.status == 422
    assert found.errors == [
        {"loc": ["instances", 1, name], "msg": message} for name, (_, message) in SAID.items()
    ]
    assert found.detail == f"instances.1.Age: {SAID['Age'][1]} (and 4 more)"
    assert violations == {(name, kind): 1 for name, (kind, _) in SAID.items()}


def test_only_what_the_manifest_refuses_is_an_error() -> None:
    violations = Violations()
    expectations = (SEEN[0], *reacting("refuse", SEEN[1:2]), *SEEN[2:])
    found = refusal(native_codec(CREDIT, violations, expectations), body_of(STRANGE))
    assert [error["loc"][-1] for error in found.errors] == ["Income per month"]
    assert len(violations) == len(SAID)


@pytest.mark.parametrize("make", CODECS)
def test_what_is_ignored_is_neither_told_nor_counted(make: Any) -> None:
    violations = Violations()
    question = make(CREDIT, violations, reacting("ignore")).decode(body_of(STRANGE), head())
    assert question.warnings == b""
    assert not violations


def test_many_warnings_are_cut_and_all_are_counted() -> None:
    violations = Violations()
    rows = [{**GOOD, "Age": 93, "Job": "free"}] * MAX_ROWS
    question = native_codec(CREDIT, violations, SEEN).decode(body_of(*rows), head())
    assert len(warned(question)) == MOST_BREACHES
    assert violations == {("Age", "range"): MAX_ROWS, ("Job", "category"): MAX_ROWS}
    found = refusal(native_codec(CREDIT, violations, reacting("refuse")), body_of(*rows))
    assert len(found.errors) == MOST_BREACHES


@pytest.mark.parametrize("make", CODECS)
@pytest.mark.parametrize("blank", [b"null", b"NaN"])
def test_too_many_missing_values_are_told_of_though_each_of_them_is_usual(make: Any, blank: bytes) -> None:
    violations = Violations()
    codec = make(CREDIT, violations, SEEN)
    few, many = MANY_ROWS // 10, MANY_ROWS // 2
    rows = [{**GOOD, "Wohnort ü 100%": None}] * few + [GOOD] * (MANY_ROWS - few)
    assert codec.decode(body_of(*rows).replace(b"null", blank), head()).warnings == b""
    rows = [{**GOOD, "Wohnort ü 100%": None}] * many + [GOOD] * (MANY_ROWS - many)
    (said,) = warned(codec.decode(body_of(*rows).replace(b"null", blank), head()))
    assert said == {
        "loc": ["instances", "Wohnort ü 100%"],
        "kind": "missing",
        "msg": f"{many} of {MANY_ROWS} are missing; 10% were in training",
    }
    assert violations == {("Wohnort ü 100%", "missing"): 1}


@pytest.mark.parametrize(
    ("value", "strange"),
    [
        (b"0.1", False),
        (b"0.10000000149011612", False),  # float32's own tenth
        (b"0.09999999777", False),  # rounds to it
        (b"0.0999999977", True),
        (b"100", False),
        (b"100.000001", False),
        (b"100.00001", True),
        (b"1e2", False),
        (b"-0.0", True),
    ],
)
@pytest.mark.parametrize("spec", [CREDIT, PIPELINE], ids=lambda spec: spec.name)
def test_a_decimal_counts_as_the_float32_that_the_model_sees(
    spec: ModelSpec, value: bytes, strange: bool
) -> None:
    body = body_of(GOOD).replace(b"1.5", value)
    assert bool(native_codec(spec, None, SEEN).decode(body, head()).warnings) == strange


@pytest.mark.parametrize(("value", "kinds"), [(5, []), (5.0, []), (-5, []), (6, ["range"]), (0.5, ["type"])])
def test_whole_numbers_may_be_written_either_way(value: float, kinds: list[str]) -> None:
    question = native_codec(CREDIT, None, SEEN).decode(body_of({**GOOD, "instances": value}), head())
    assert [each["kind"] for each in warned(question)] == kinds


def names_with_quotes() -> tuple[ModelSpec, Expectations]:
    schema = Schema((Feature('a "quoted" name', "float"), Feature("b", "float", missing=True)), "tensor")
    return ModelSpec("m", "1", "regression", schema), (
        Expectation(range=(0, 1)),
        Expectation(missing_rate=0.0),
    )


@pytest.mark.parametrize("make", CODECS)
def test_a_model_whose_names_no_fast_decoder_reads_warns_as_well(make: Any) -> None:
    spec, expectations = names_with_quotes()
    question = make(spec, None, expectations).decode(body_of([2, 0], [1, None], [0, 0]), head())
    assert [each["loc"] for each in warned(question)] == [
        ["instances", 0, 'a "quoted" name'],
        ["instances", 1, "b"],
    ]


PLAIN = ModelSpec(
    "plain", "1", "binary", Schema(tuple(Feature(f"x{n}", "float") for n in range(6)), "tensor"), ("a", "b")
)


def test_many_numbers_are_judged_as_few_are() -> None:
    violations = Violations()
    expectations = (Expectation(range=(-3000, 3000)),) * 5 + (Expectation(whole=True),)
    codec = native_codec(PLAIN, violations, expectations)
    rng = np.random.default_rng(1)
    rows = [[round(value, 3) for value in row[:5]] + [2.0] for row in rng.normal(size=(40, 6)).tolist()]
    padded = b" " * 5_000
    assert codec.decode(body_of(*rows) + padded, head()).warnings == b""
    rows[7][2], rows[9][5] = 3001.0, 2.5
    together = codec.decode(body_of(*rows) + padded, head())
    np.testing.assert_array_equal(together.rows, np.array(rows, np.float32))
    assert [(each["loc"], each["kind"]) for each in warned(together)] == [
        (["instances", 7, "x2"], "range"),
        (["instances", 9, "x5"], "type"),
    ]
    assert violations == {("x2", "range"): 1, ("x5", "type"): 1}
    refusing = native_codec(PLAIN, violations, reacting("refuse", expectations))
    assert refusal(refusing, body_of(*rows) + padded).status == 422


def test_an_image_with_strange_pixels_is_named_as_a_whole() -> None:
    violations = Violations()
    expectations = (Expectation(range=(0, 16)),)
    good, strange = [[0, 16, 3], [4, 5, 6]], [[0, 255, 3], [300, -5, 6]]
    for make in CODECS:
        violations.clear()
        question = make(DIGITS, violations, expectations).decode(body_of(good, strange), head())
        assert warned(question) == [
            {
                "loc": ["instances", 1],
                "kind": "range",
                "msg": "300 is outside 0 to 16, which training saw",
            }
        ]
        assert violations == {("pixel", "range"): 1}
        assert make(DIGITS, None, expectations).decode(body_of(good), head()).warnings == b""
    codec = v2_codec(DIGITS, violations, expectations=expectations)
    body = tritons.body_of(tritons.tensor("x", [good, strange]))
    assert [each["loc"] for each in warned(codec.decode(body, head()))] == [["inputs", "x", 1]]


ROUNDED = (
    Schema((Feature("f0", "int64"),), "tensor"),
    (Expectation(range=(1e9, 1e9)),),
    [[999_999_999]],
)
"""A number that is outside as posted, and within as a float32 tensor has it."""


@settings(max_examples=300)
@given(requests(), st.booleans())
@example(ROUNDED, False)
def test_what_the_fast_decoder_takes_is_as_expected_and_the_rest_is_judged_value_by_value(
    request_: Any, as_objects: bool
) -> None:
    schema, expectations, rows = request_
    model = reader(ModelSpec("m", "1", "regression", schema), None, expectations)
    names = schema.names()
    instances = [dict(zip(names, row, strict=True)) for row in rows] if as_objects else rows
    wanted = oracle(schema, expectations, rows)
    try:
        body_decoder(model.usual)(body_of(*instances))
    except ValueError:
        taken = False
    else:
        taken = True
    assert not (taken and wanted)
    violations = Violations()
    codec = native_codec(ModelSpec("m", "1", "regression", schema), violations, expectations)
    refused = any(expectations[column].on_violation == "refuse" for _, column in wanted)
    if refused:
        found = refusal(codec, body_of(*instances)).errors
        places = [place for place in sorted(wanted) if expectations[place[1]].on_violation == "refuse"]
    else:
        question = codec.decode(body_of(*instances), head())
        np.testing.assert_array_equal(question.rows, canonical(schema, rows))
        found, places = warned(question), sorted(wanted)
        assert [each["kind"] for each in found] == [wanted[place] for place in places]
    assert [each["loc"] for each in found] == [["instances", row, names[column]] for row, column in places]
    assert violations.total() == len(wanted)


@settings(max_examples=150)
@given(requests(), st.booleans())
def test_tensors_are_judged_as_rows_are(request_: Any, packed: bool) -> None:
    schema, expectations, rows = request_
    if schema.layout == "columns":
        packed = False
    spec = ModelSpec("m", "1", "regression", schema)
    matrix = canonical(schema, rows)
    if packed:
        arrays = {"x": matrix}
    else:
        columns = zip(schema.features, zip(*rows, strict=True), strict=True)
        arrays = {feature.name: tritons.as_array(feature, list(column)) for feature, column in columns}
    expectations = reacting("warn", expectations)
    sent = [
        [float(np.float32(value)) if isinstance(value, float) else value for value in row] for row in rows
    ]
    wanted = oracle(schema, expectations, sent)
    violations = Violations()
    codec = v2_codec(spec, violations, expectations=expectations)
    for binary in (True, False):
        violations.clear()
        question = codec.decode(*tritons.by_client(arrays, binary))
        names = schema.names()
        found = {tuple(each["loc"][1:]): each["kind"] for each in warned(question)}
        assert found == {
            ("x", row, names[column]) if packed else (names[column], row): kind
            for (row, column), kind in wanted.items()
        }
        assert violations.total() == len(wanted)


def test_a_tritonclient_finds_the_warnings_among_the_parameters() -> None:
    codec = v2_codec(CREDIT, None, expectations=SEEN)
    arrays = {
        feature.name: tritons.as_array(feature, [STRANGE[feature.name]]) for feature in CREDIT.schema.features
    }
    for binary in (True, False):
        outputs = [InferRequestedOutput("probabilities", binary_data=binary)]
        question = codec.decode(*tritons.by_client(arrays, True, outputs))
        found = tritons.by_result(codec.encode(answer(serving(CREDIT), question), question))
        parameters = found.get_response()["parameters"]
        assert parameters["arm"] == "production"
        assert [(each["loc"], each["kind"]) for each in json.loads(parameters["warnings"])] == [
            (["inputs", name, 0], kind) for name, (kind, _) in SAID.items()
        ]
        assert found.as_numpy("probabilities").shape == (1, 2)
        usual = codec.decode(
            *tritons.by_client({n: tritons.as_array(f, [GOOD[n]]) for n, f in named(CREDIT)}, binary)
        )
        body = codec.encode(answer(serving(CREDIT), usual), usual)
        assert tritons.by_result(body).get_response()["parameters"] == {"arm": "production"}


def named(spec: ModelSpec) -> list[tuple[str, Feature]]:
    return [(feature.name, feature) for feature in spec.schema.features]


def test_strange_tensors_are_refused_where_the_manifest_says_so() -> None:
    codec = v2_codec(CREDIT, None, expectations=reacting("refuse"))
    arrays = {n: tritons.as_array(f, [STRANGE[n]]) for n, f in named(CREDIT)}
    found = refusal(codec, *tritons.by_client(arrays, True))
    assert [error["loc"] for error in found.errors] == [["inputs", name, 0] for name in SAID]


CELLS = [0.0, 1.0, 2.0, -1.0, 0.5, 30.0, 2.0**53, 2.0**54, np.inf, -np.inf, np.nan, 3e38]


@pytest.mark.parametrize("seen", [(), SEEN], ids=["nothing expected", "expecting"])
def test_what_a_packed_tensor_may_not_hold_is_refused_whatever_is_expected(seen: Expectations) -> None:
    codec = v2_codec(CREDIT, None, expectations=seen)
    rng = np.random.default_rng(2)
    accepted = 0
    for _ in range(3_000):
        rows = rng.choice([0.0, 1.0], size=(rng.integers(1, 4), 5)).astype(np.float32)
        rows[rng.integers(len(rows)), rng.integers(5)] = rng.choice(CELLS)
        good = all(
            feature.missing
            if np.isnan(value)
            else np.isfinite(value)
            and (feature.type == "float" or value == np.floor(value))
            and (feature.type != "int64" or abs(value) <= 2**53)
            and (feature.type != "string" or 0 <= value < len(feature.categories))
            for row in rows.tolist()
            for feature, value in zip(CREDIT.schema.features, row, strict=True)
        )
        accepted += good
        given = tritons.by_client({"x": rows}, True)
        if good:
            np.testing.assert_array_equal(codec.decode(*given).rows, rows)
        else:
            assert refusal(codec, *given).status == 422
    assert 0 < accepted < 3_000


def told(codec: Codec, body: bytes) -> tuple[Any, ...]:
    """The problem or the rows of a request."""
    try:
        question = codec.decode(body, head())
    except Problem as problem:
        return problem.status, problem.detail, problem.errors
    return 200, question.rows.tobytes(), question.rows.shape


@pytest.mark.parametrize("make", CODECS)
@pytest.mark.parametrize("spec", [CREDIT, PIPELINE], ids=lambda spec: spec.name)
def test_warnings_change_neither_what_is_refused_nor_what_is_read(make: Any, spec: ModelSpec) -> None:
    watching, other = make(spec, None, SEEN), make(spec)
    generator = random.Random(11)
    whole = body_of(GOOD, *some_rows(spec, 3, 0), STRANGE)
    statuses = set()
    for _ in range(2_000):
        body = mutated(whole, generator)
        mine = told(watching, body)
        assert mine == told(other, body)
        statuses.add(mine[0])
    assert {200, 400, 422} <= statuses
