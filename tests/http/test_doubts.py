"""What callers may ask about how sure an answer is, and how it is written."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from service.domain.schema import ModelSpec, label_indices
from service.domain.uncertainty.measure import Unfitting
from service.domain.uncertainty.quantifier import EXTRA, Doubt, Quantified
from service.http.doubts import DoubtReader, cannot
from service.http.doubts_wire import encode_doubts
from service.http.kserve import KServeCodec
from service.http.native import NativeCodec
from service.http.problem import TOO_MANY_ERRORS, Problem
from service.http.v2 import V2Codec
from service.paths.question import Answer, Question
from tests.http.conform import faults
from tests.http.fakes import (
    CREDIT,
    DIGITS,
    HOUSES,
    MAX_ROWS,
    MODELS,
    NUMERIC,
    PIPELINE,
    Violations,
    answer,
    binding,
    head,
    reader,
    scores_of,
    serving,
    some_rows,
    wishes,
)
from tests.http.test_openapi import document, schema_of


def anything(_: Doubt) -> None:
    """A model that can say all there is."""


READER = DoubtReader(anything)


def codec(spec: ModelSpec, *, always: bool = False) -> NativeCodec:
    return NativeCodec(reader(spec), wishes(spec), DoubtReader(anything, always))


def body(spec: ModelSpec, rows: int, **more: Any) -> bytes:
    instances = (
        some_rows(spec, rows, 5, missing=0) if spec.schema.features else np.zeros((rows, 2, 3)).tolist()
    )
    return json.dumps({"instances": instances, **more}).encode()


def said(spec: ModelSpec, rows: int, extra: bool = True) -> Quantified:
    """Made-up results in every column that a model of this task can have."""
    generator = np.random.default_rng(3)
    columns: dict[str, Any] = {
        "domain_score": generator.gamma(2, size=rows),
        "domain_percentile": generator.uniform(0, 100, rows),
        "in_domain": generator.random(rows) < 0.7,
    }
    if spec.classes:
        columns["set"] = generator.random((rows, len(spec.classes))) < 0.5
        columns["calibrated"] = generator.dirichlet(np.ones(len(spec.classes)), rows)
    else:
        columns["interval"] = np.sort(generator.normal(size=(rows, 2)), axis=1)
    if extra:
        columns |= {name: generator.random(rows) for name in ("total", "aleatoric", "epistemic")}
        if spec.classes:
            columns["entropy"] = generator.random(rows)
            columns["p_values"] = generator.random((rows, len(spec.classes)))
            columns["venn_abers"] = np.sort(generator.random((rows, 2)), axis=1)
    return Quantified(columns, 0.95, "some-measure", None)


@pytest.mark.parametrize("value", [None, False])
def test_nothing_is_said_that_was_not_asked_for(value: Any) -> None:
    assert READER.read(value) is None


def test_options_are_read_and_true_takes_what_the_manifest_declares() -> None:
    assert READER.read(True) == Doubt()
    found = READER.read(
        {
            "confidence": 0.95,
            "region": "aps",
            "probability": "isotonic",
            "domain": "knn",
            "include": ["entropy"],
        }
    )
    assert found == Doubt(0.95, "aps", "isotonic", "knn", frozenset({"entropy"}))
    assert READER.read({"confidence": None, "include": None}) == Doubt()


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"confidence": 0.4999}, ["uncertainty", "confidence"]),
        ({"confidence": 0.9991}, ["uncertainty", "confidence"]),
        ({"confidence": True}, ["uncertainty", "confidence"]),
        ({"confidence": "0.9"}, ["uncertainty", "confidence"]),
        ({"confidence": float("nan")}, ["uncertainty", "confidence"]),
        ({"region": 3}, ["uncertainty", "region"]),
        ({"domain": ""}, ["uncertainty", "domain"]),
        ({"include": "entropy"}, ["uncertainty", "include"]),
        ({"include": ["nonsense"]}, ["uncertainty", "include"]),
        ({"include": [["entropy"]]}, ["uncertainty", "include"]),
        ({"level": 0.9}, ["uncertainty", "level"]),
        (0.9, ["uncertainty"]),
        ([], ["uncertainty"]),
        ("yes", ["uncertainty"]),
    ],
)
def test_what_cannot_be_asked_is_refused_with_its_place(value: Any, where: list[str]) -> None:
    with pytest.raises(Problem) as caught:
        READER.read(value)
    assert caught.value.status == 422
    assert [error["loc"] for error in caught.value.errors] == [where]


def test_a_body_full_of_unknown_options_costs_no_more_than_the_errors_that_are_named() -> None:
    with pytest.raises(Problem) as caught:
        READER.read({f"option {number}": 1 for number in range(1000)})
    assert len(caught.value.errors) == TOO_MANY_ERRORS


def test_what_the_model_cannot_say_is_refused_with_the_reason() -> None:
    def check(doubt: Doubt) -> None:
        if doubt.region is not None:
            raise Unfitting("region: credit:gbm-1 has lac, aps, not 'quantile'")

    with pytest.raises(Problem, match="has lac, aps, not 'quantile'") as caught:
        DoubtReader(check).read({"region": "quantile"})
    assert (caught.value.status, caught.value.errors[0]["loc"]) == (422, ["uncertainty", "region"])
    with pytest.raises(Problem, match="packaged without measures"):
        DoubtReader(cannot("a:1")).read(True)


@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.parametrize("spec", MODELS.values(), ids=MODELS)
def test_what_was_asked_is_read_by_every_decoder(spec: ModelSpec, rows: int) -> None:
    options = {"confidence": 0.8, "include": ["entropy"]}
    wanted = Doubt(confidence=0.8, extra=frozenset({"entropy"}))
    for given, always, expected in (
        ({}, False, None),
        ({}, True, Doubt()),
        ({"uncertainty": False}, True, None),
        ({"uncertainty": None}, True, Doubt()),
        ({"uncertainty": None}, False, None),
        ({"uncertainty": True}, False, Doubt()),
        ({"uncertainty": options}, True, wanted),
    ):
        question = codec(spec, always=always).decode(body(spec, rows, **given), head())
        assert question.doubt == expected


def test_a_body_that_spells_nan_is_asked_the_same() -> None:
    text = b'{"instances": [{"a": 1, "b": NaN, "c": 2}], "uncertainty": {"confidence": 0.8}}'
    assert codec(NUMERIC).decode(text, head()).doubt == Doubt(confidence=0.8)


def test_many_plain_numbers_are_in_doubt_where_all_answers_are() -> None:
    features = tuple(type(NUMERIC.schema.features[0])(name, "float") for name in "abc")
    spec = ModelSpec("plain", "1", "binary", type(NUMERIC.schema)(features, "tensor"), ("no", "yes"))
    rows = np.random.default_rng(1).normal(size=(50, 3)).tolist()
    text = json.dumps({"instances": rows}).encode() + b" " * 4096
    assert codec(spec, always=True).decode(text, head()).doubt == Doubt()
    assert codec(spec).decode(text, head()).doubt is None


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("spec", MODELS.values(), ids=MODELS)
def test_every_number_is_written_with_the_precision_of_float32(
    spec: ModelSpec, rows: int, extra: bool
) -> None:
    found = said(spec, rows, extra)
    written = [json.loads(text) for text in encode_doubts(spec, found)]
    assert len(written) == rows
    for index, row in enumerate(written):
        assert (row["confidence"], row["region"], row["degraded"]) == (0.95, "some-measure", None)
        for name, column in found.columns.items():
            value = row["spread"][name] if name in ("total", "aleatoric", "epistemic") else row[name]
            if name == "set":
                assert value == [
                    label for label, inside in zip(spec.classes, column[index], strict=True) if inside
                ]
            elif isinstance(value, dict):
                assert list(value) == list(spec.classes)
                np.testing.assert_allclose(list(value.values()), column[index], rtol=1e-6)
            else:
                np.testing.assert_allclose(value, column[index], rtol=1e-6)


@pytest.mark.parametrize("spec", MODELS.values(), ids=MODELS)
def test_an_answer_in_doubt_is_as_it_is_documented(spec: ModelSpec) -> None:
    given = codec(spec)
    question = given.decode(body(spec, 3, uncertainty=True), head())
    plain = answer(serving(spec), question)
    made = document(spec)
    schema = schema_of(made, "/predict", "post", "200")
    for found in (said(spec, 3, extra=False), said(spec, 3), None):
        told = json.loads(given.encode(plain._replace(quantified=found), question).body)
        assert list(faults(made, schema, told)) == []
        assert all((row["uncertainty"] is None) == (found is None) for row in told["predictions"])
    told = json.loads(given.encode(plain, question._replace(doubt=None)).body)
    assert "uncertainty" not in told["predictions"][0]


@pytest.mark.parametrize(
    "options", [True, {"confidence": 0.9, "include": list(EXTRA)}, {"region": "lac"}, None]
)
def test_what_is_documented_may_be_asked(options: Any) -> None:
    made = document(CREDIT)
    request = json.loads(body(CREDIT, 1, uncertainty=options))
    assert list(faults(made, schema_of(made, "/predict", "post"), request)) == []


def test_what_is_infinite_or_unknown_is_null() -> None:
    columns = {
        "interval": np.array([[-np.inf, np.inf]]),
        **{name: np.array([np.nan]) for name in ("total", "aleatoric", "epistemic")},
    }
    (text,) = encode_doubts(HOUSES, Quantified(columns, 0.999, "absolute", "too few"))
    told = json.loads(text)
    assert told["interval"] == [None, None]
    assert told["degraded"] == "too few"
    assert set(told["spread"].values()) == {None}


def test_a_number_that_float32_cannot_hold_is_written_without_a_warning() -> None:
    """A row far out may be farther from the training data than float32 goes."""
    columns = {"interval": np.array([[-1e300, 2.0]]), "domain_score": np.array([1e200])}
    (text,) = encode_doubts(HOUSES, Quantified(columns, 0.9, "absolute", None))
    told = json.loads(text)
    assert (told["interval"], told["domain_score"]) == ([None, 2.0], None)


def test_many_classes_are_written_like_few() -> None:
    names = tuple(f'class "{number}" 100%' for number in range(30))
    spec = ModelSpec("many", "1", "multiclass", DIGITS.schema, names)
    mask = np.random.default_rng(0).random((4, 30)) < 0.5
    found = Quantified({"set": mask}, 0.9, "lac", None)
    for text, row in zip(encode_doubts(spec, found), mask, strict=True):
        assert json.loads(text)["set"] == [name for name, inside in zip(names, row, strict=True) if inside]


@pytest.mark.parametrize("spec", [CREDIT, PIPELINE, HOUSES, DIGITS], ids=lambda spec: spec.name)
def test_an_abstained_row_names_no_label_in_any_protocol(spec: ModelSpec) -> None:
    given = codec(spec)
    question = given.decode(body(spec, 3), head())
    scores = scores_of(spec, question.rows)
    labels = label_indices(spec, scores)
    labels[0], labels[2] = spec.outputs, spec.outputs + 1
    found = Answer("id", serving(spec), "production", scores, labels)
    for encoded in (given.encode(found, question), KServeCodec(reader(spec)).encode(found, question)):
        told = json.loads(encoded.body)["predictions"]
        key = "label" if spec.classes else "value"
        assert [row.get("abstained") for row in told] == ["ambiguous", None, "out_of_domain"]
        assert [row[key] is None for row in told] == [True, False, True]
        numbers = [
            list(row["probabilities"].values()) if spec.classes else [row.get("withheld", row[key])]
            for row in told
        ]
        np.testing.assert_allclose(numbers, scores, rtol=1e-6)
    v2 = V2Codec(spec, binding(spec), MAX_ROWS, Violations(), abstains=True)
    names = ["abstained", "label"] if spec.classes else ["abstained"]
    told = json.loads(
        v2.encode(
            found, Question("id", question.rows, None, None, 0.0, tuple((n, False) for n in names))
        ).body
    )
    outputs = {output["name"]: output["data"] for output in told["outputs"]}
    assert outputs["abstained"] == ["ambiguous", "", "out_of_domain"]
    if spec.classes:
        assert outputs["label"] == ["", spec.classes[labels[1]], ""]
    made = document(spec, abstains=True)
    told = json.loads(given.encode(found, question).body)
    assert list(faults(made, schema_of(made, "/predict", "post", "200"), told)) == []
