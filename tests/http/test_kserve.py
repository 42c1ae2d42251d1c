"""KServe's first protocol answers what ``/predict`` answers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from service.domain.schema import ModelSpec
from service.http import kserve
from service.http.kserve import KServeCodec
from tests.http.fakes import (
    CREDIT,
    MODELS,
    TABULAR,
    answer,
    head,
    native_codec,
    reader,
    refusal,
    serving,
    some_rows,
)


@pytest.mark.parametrize("spec", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("count", [1, 9])
def test_predictions_are_those_of_the_native_protocol(spec: ModelSpec, count: int) -> None:
    images = np.random.default_rng(2).normal(size=(count, 2, 3)).tolist()
    instances: list[Any] = some_rows(spec, count, 4) if spec.schema.features else images
    body = json.dumps({"instances": instances}).encode()
    native, codec = native_codec(spec), KServeCodec(reader(spec))
    asked, question = native.decode(body, head()), codec.decode(body, head())
    np.testing.assert_array_equal(question.rows, asked.rows)
    found = answer(serving(spec), question)
    document = json.loads(codec.encode(found, question).body)
    assert document == {"predictions": json.loads(native.encode(found, asked).body)["predictions"]}


@pytest.mark.parametrize("spec", TABULAR, ids=lambda spec: spec.name)
def test_nan_is_read_as_missing(spec: ModelSpec) -> None:
    instances = some_rows(spec, 3, 5, missing=1.0)
    body = json.dumps({"instances": instances}).replace("null", "NaN").encode()
    rows = KServeCodec(reader(spec)).decode(body, head()).rows
    assert np.isnan(rows[:, [feature.missing for feature in spec.schema.features]]).all()


def test_ids_and_routing_keys_come_in_headers() -> None:
    body = json.dumps({"instances": some_rows(CREDIT, 1, 1)}).encode()
    question = KServeCodec(reader(CREDIT)).decode(
        body, head("canary", x_request_id="7", x_routing_key="anna")
    )
    assert (question.request_id, question.routing_key, question.arm) == ("7", "anna", "canary")


def test_a_field_that_would_be_ignored_is_refused() -> None:
    body = json.dumps(
        {"instances": some_rows(CREDIT, 1, 1), "parameters": {}, "signature_name": "x"}
    ).encode()
    found = refusal(KServeCodec(reader(CREDIT)), body)
    assert [error["loc"] for error in found.errors] == [["parameters"], ["signature_name"]]


def test_the_documents_say_what_the_protocol_says() -> None:
    assert kserve.models(("credit",)) == {"models": ["credit"]}
    assert kserve.model("credit", ready=False) == {"name": "credit", "ready": False}
