"""Recorded traffic becomes the rows that ``/predict`` would have read, with their answers and their truth."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from service.domain.expectations import Expectation, Expectations
from service.domain.schema import Feature, ModelSpec
from service.http.problem import Problem
from service.http.traffic import MOST_NAMES, TrafficReader
from service.paths.traffic import Traffic
from tests.domain.models import spec
from tests.http.fakes import (
    CREDIT,
    DIGITS,
    HOUSES,
    MODELS,
    NUMERIC,
    PIPELINE,
    TABULAR,
    answer,
    expected_rows,
    head,
    native_codec,
    reader,
    serving,
    some_rows,
)

ROW: dict[str, Any] = {"a": 1.5, "b": None, "c": 3}


def traffic_reader(model: ModelSpec, label: str = "label", expectations: Expectations = ()) -> TrafficReader:
    return TrafficReader(model, reader(model, None, expectations), label)


def read(model: ModelSpec, fields: dict[str, Any], *, text: bool = False, label: str = "label") -> Traffic:
    return traffic_reader(model, label).read("line 1", fields, text=text)


def refusal(
    model: ModelSpec, fields: dict[str, Any], *, text: bool = False, expectations: Expectations = ()
) -> Problem:
    with pytest.raises(Problem) as caught:
        traffic_reader(model, expectations=expectations).read("line 1", fields, text=text)
    return caught.value


def locs(problem: Problem) -> list[list[str | int]]:
    return [error["loc"] for error in problem.errors]


def as_text(fields: dict[str, Any]) -> dict[str, str]:
    return {name: "" if value is None else str(value) for name, value in fields.items()}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_request_and_its_answer_come_back_as_they_were_on_the_wire(model: ModelSpec) -> None:
    instances = some_rows(model, 7, 3) if model.schema.features else np.arange(42.0).reshape(7, 2, 3).tolist()
    codec = native_codec(model)
    posted = {"instances": instances, "request_id": "it", "routing_key": "k"}
    question = codec.decode(json.dumps(posted).encode(), head())
    answered = json.loads(codec.encode(answer(serving(model), question), question).body)
    found = read(model, posted | answered)
    assert (found.request_id, found.by_another, found.picked) == ("it", False, False)
    np.testing.assert_array_equal(found.rows, question.rows)
    assert found.rows.dtype == model.schema.dtype
    scores = answer(serving(model), question).scores
    np.testing.assert_array_equal(found.recorded.astype(np.float32), scores)
    assert np.isnan(found.labels).all()


@pytest.mark.parametrize("model", TABULAR, ids=lambda model: model.name)
@pytest.mark.parametrize("text", [False, True])
def test_a_row_by_feature_name_is_the_row_of_a_request(model: ModelSpec, text: bool) -> None:
    for row in some_rows(model, 20, 5):
        found = read(model, as_text(row) if text else row, text=text)
        np.testing.assert_array_equal(found.rows, expected_rows(model, [row]))
        assert np.isnan(found.recorded).all()
        assert np.isnan(found.labels).all()


def test_an_image_is_a_row_of_pixels_too() -> None:
    pixels = {f"pixel:{index}": str(index / 4) for index in range(6)}
    found = read(DIGITS, pixels | {"label": "two"}, text=True)
    np.testing.assert_array_equal(found.rows, [np.arange(6) / 4])
    assert found.labels.tolist() == [2.0]
    del pixels["pixel:3"]
    assert locs(refusal(DIGITS, pixels, text=True)) == [["pixel:3"]]


def test_numbers_that_a_table_widened_are_whole_all_the_same() -> None:
    found = read(NUMERIC, {**ROW, "c": 3.0})
    assert found.rows[0, 2] == 3
    assert locs(refusal(NUMERIC, {**ROW, "c": 3.5})) == [["instances", 0, "c"]]


@pytest.mark.parametrize("missing", ["", " ", "NA", "nan", "null", "None"])
def test_text_may_spell_a_missing_value_in_the_usual_ways(missing: str) -> None:
    assert math.isnan(read(NUMERIC, {"a": "1", "b": missing, "c": "2"}, text=True).rows[0, 1])
    assert locs(refusal(NUMERIC, {"a": missing, "b": "1", "c": "2"}, text=True)) == [["instances", 0, "a"]]


def test_a_word_that_looks_missing_is_a_category_where_it_is_one() -> None:
    model = spec("prod", Feature("age", "float"), Feature("home", "string", ("none", "some"), missing=True))
    assert read(model, {"age": "1", "home": "none"}, text=True).rows[0, 1] == 0


@pytest.mark.parametrize(
    ("fields", "scores"),
    [
        ({"probabilities": {"yes": 0.75, "no": 0.25}}, [0.25, 0.75]),
        ({"p:no": 0.25, "p:yes": 0.75}, [0.25, 0.75]),
        ({"score": 0.75}, [0.25, 0.75]),
        ({"score": None}, [math.nan, math.nan]),
        ({"p:no": None, "p:yes": None}, [math.nan, math.nan]),
    ],
)
@pytest.mark.parametrize("text", [False, True])
def test_a_recorded_answer_may_be_told_in_several_ways(
    fields: dict[str, Any], scores: list[float], text: bool
) -> None:
    if text and "probabilities" in fields:
        return
    told = ROW | fields
    found = read(NUMERIC, as_text(told) if text else told, text=text)
    np.testing.assert_array_equal(found.recorded, [scores])


@pytest.mark.parametrize("name", ["value", "score"])
@pytest.mark.parametrize("text", [False, True])
def test_the_recorded_value_of_a_regression_has_two_names(name: str, text: bool) -> None:
    told = ROW | {name: -2.5, "label": 7}
    found = read(HOUSES, as_text(told) if text else told, text=text)
    assert found.recorded.tolist() == [[-2.5]]
    assert found.labels.tolist() == [7.0]


def test_a_value_that_was_withheld_was_answered_all_the_same() -> None:
    told = {"value": None, "abstained": "out_of_domain", "withheld": 4.5}
    assert read(HOUSES, {"instances": [ROW], "predictions": [told]}).recorded.tolist() == [[4.5]]


def test_what_is_not_known_of_some_rows_is_left_open() -> None:
    told = {"probabilities": {"no": 0.5, "yes": 0.5}}
    found = read(
        NUMERIC, {"instances": [ROW] * 3, "predictions": [told, None, told], "labels": [None, "yes", "no"]}
    )
    np.testing.assert_array_equal(np.isnan(found.recorded).all(axis=1), [False, True, False])
    np.testing.assert_array_equal(found.labels, [math.nan, 1, 0])


def test_the_field_of_the_truth_can_be_named_and_the_name_of_a_feature_is_the_features() -> None:
    assert read(NUMERIC, ROW | {"truth": "yes", "label": "no"}, label="truth").labels.tolist() == [1.0]
    model = spec("prod", *(Feature(name, "float") for name in ("label", "score", "request_id")))
    found = read(model, {"label": 1, "score": 2, "request_id": 3, "p:bad": 0.5, "p:good": 0.5})
    assert found.rows.tolist() == [[1, 2, 3]]
    assert (found.recorded.tolist(), found.request_id) == ([[0.5, 0.5]], None)
    assert np.isnan(found.labels).all()


def test_a_feature_may_be_called_instances() -> None:
    (row,) = some_rows(CREDIT, 1, 1)
    assert isinstance(row["instances"], float)
    np.testing.assert_array_equal(read(CREDIT, row).rows, expected_rows(CREDIT, [row]))


def test_classes_that_a_table_holds_as_numbers_are_known_by_their_names() -> None:
    model = spec(classes=("0", "1"))
    row = {"age": 1, "home": "rent", "income": 2}
    assert read(model, row | {"label": 1}).labels.tolist() == [1.0]


def test_answers_of_another_model_are_told_apart() -> None:
    told = {"instances": [ROW], "predictions": [{"probabilities": {"no": 0.5, "yes": 0.5}}]}
    assert not read(NUMERIC, told | {"model": {"name": "numeric", "version": "2"}}).by_another
    assert read(NUMERIC, told | {"model": {"name": "numeric", "version": "3", "arm": "canary"}}).by_another


def test_other_fields_are_left_out_and_named_once_and_not_without_end() -> None:
    found = traffic_reader(NUMERIC)
    for index in range(100):
        found.read("line", ROW | {"customer": index, f"column {index}": 1})
    assert len(found.left_out) == MOST_NAMES
    assert {"customer", "column 0"} <= found.left_out


@pytest.mark.parametrize(
    ("fields", "loc"),
    [
        ({}, ["instances", 0, "a"]),
        (ROW | {"a": "x"}, ["instances", 0, "a"]),
        (ROW | {"a": None}, ["instances", 0, "a"]),
        (ROW | {"a": True}, ["instances", 0, "a"]),
        (ROW | {"a": 1e39}, ["instances", 0, "a"]),
        (ROW | {"label": "maybe"}, ["label"]),
        (ROW | {"score": "high"}, ["score"]),
        (ROW | {"score": True}, ["score"]),
        (ROW | {"p:no": 0.5}, ["p:yes"]),
        (ROW | {"probabilities": 0.5}, ["probabilities"]),
        (ROW | {"probabilities": {"no": 0.5}}, ["probabilities.yes"]),
        ({"instances": []}, ["instances"]),
        ({"instances": [ROW, 5]}, ["instances", 1]),
        ({"instances": [ROW, ROW | {"d": 1}]}, ["instances", 1, "d"]),
        ({"instances": [ROW], "labels": ["yes", "no"]}, ["labels"]),
        ({"instances": [ROW], "labels": [1]}, ["labels", 0]),
        ({"instances": [ROW], "predictions": {}}, ["predictions"]),
        ({"instances": [ROW], "predictions": [5]}, ["predictions", 0]),
        ({"instances": [ROW], "predictions": [{"label": "yes"}]}, ["predictions", 0, "probabilities"]),
        (
            {"instances": [ROW], "predictions": [{"probabilities": {"no": 1, "yes": math.inf}}]},
            ["predictions", 0, "probabilities", "yes"],
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_its_place_is_named(
    fields: dict[str, Any], loc: list[str | int]
) -> None:
    assert loc in locs(refusal(NUMERIC, fields))


@pytest.mark.parametrize("cell", ["x", "1_000", "1,5", "0x10", "inf", "1e999"])
def test_text_that_is_no_number_is_refused(cell: str) -> None:
    assert locs(refusal(NUMERIC, {"a": cell, "b": "1", "c": "2"}, text=True)) == [["instances", 0, "a"]]
    assert locs(refusal(HOUSES, as_text(ROW | {"label": cell}), text=True)) == [["label"]]


def test_rows_that_predict_refuses_as_unlike_training_are_refused_here_too() -> None:
    expectations = (Expectation("refuse", range=(0.0, 1.0)), Expectation(), Expectation())
    assert locs(refusal(NUMERIC, ROW, expectations=expectations)) == [["instances", 0, "a"]]
    warned = (Expectation("warn", range=(0.0, 1.0)), Expectation(), Expectation())
    assert traffic_reader(NUMERIC, expectations=warned).read("line 1", ROW).rows[0, 0] == 1.5


def test_more_rows_than_one_request_may_have_are_refused() -> None:
    assert refusal(NUMERIC, {"instances": [ROW] * 51}).status == 413


def test_names_that_no_fast_decoder_takes_are_read_patiently() -> None:
    model = spec("prod", Feature('quoted "a"', "float"), Feature("b", "float"))
    assert read(model, {'quoted "a"': 1.5, "b": 2}).rows.tolist() == [[1.5, 2.0]]
    assert PIPELINE.classes[0] == 'sa"id'
