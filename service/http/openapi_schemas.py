"""JSON schemas of requests and answers, made from the model that is served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from service.domain.expectations import Expectation, Expectations, active
from service.domain.schema import LARGEST, WHOLE, Binding, Feature, ModelSpec
from service.http import v2
from service.http.codec import LONGEST_ID
from service.http.openapi_doubts import abstained, doubt, doubt_schema
from service.http.openapi_drift import drift_schemas
from service.http.openapi_evidence import evidence_schemas
from service.http.openapi_expectations import tensor_warnings, usual, warning, warnings
from service.http.openapi_explain import explanation_schemas, wish
from service.http.openapi_feedback import feedback_schemas
from service.http.openapi_parts import FREE, MAYBE_NUMBER, NUMBER, TEXT, Json, array, closed, fixed, ref
from service.http.openapi_replay import replay_schemas
from service.http.v2_tensors import default_inputs
from service.http.v2_wire import DTYPES

DATATYPES = [*DTYPES, "BYTES"]


@dataclass(frozen=True, slots=True)
class Described:
    """The model that a document is about."""

    spec: ModelSpec
    binding: Binding
    max_rows: int
    """Rows of one request."""
    expectations: Expectations = ()
    """What training saw, and what becomes of rows unlike it."""
    example: Any = None
    """One instance as ``/predict`` takes it, or None."""
    abstains: bool = False
    """Whether some answers may name no label."""


def components(about: Described) -> dict[str, Json]:
    """Every component schema by name."""
    rows = {"minItems": 1, "maxItems": about.max_rows}
    head = {"request_id": TEXT, "model": closed({"name": TEXT, "version": TEXT, "arm": ref("Arm")})}
    return {
        "Instance": _instance(about),
        "Prediction": _prediction(about),
        "Uncertainty": doubt_schema(about.spec),
        "PredictRequest": _with_example(
            closed(
                {
                    "instances": array(ref("Instance"), **rows),
                    "explain": wish(about.spec),
                    "uncertainty": doubt(),
                    "request_id": _identifier("Wins over the header X-Request-Id."),
                    "routing_key": _identifier("Wins over the header X-Routing-Key."),
                },
                optional=("explain", "uncertainty", "request_id", "routing_key"),
            ),
            about,
        ),
        "PredictResponse": _answer({**head, "predictions": array(ref("Prediction"))}),
        **_explaining(about, rows, head),
        "KServeRequest": _with_example(closed({"instances": array(ref("Instance"), **rows)}), about),
        "KServeResponse": _answer({"predictions": array(ref("Prediction"))}),
        "Warning": warning(),
        **_inference(about),
        **feedback_schemas(about.spec, about.max_rows),
        **replay_schemas(about.spec, about.max_rows),
        **evidence_schemas(),
        **drift_schemas(),
        **fixed(),
    }


def _explaining(about: Described, rows: Json, head: Json) -> dict[str, Json]:
    """Requests and answers of the explain routes."""
    asked = {
        "instances": array(ref("Instance"), **rows),
        "explain": wish(about.spec),
        "request_id": _identifier("Wins over the header X-Request-Id."),
        "routing_key": _identifier("Wins over the header X-Routing-Key."),
    }
    optional = ("explain", "request_id", "routing_key")
    candidate = {"type": ["string", "null"], "description": "Tag of a candidate; the first if absent."}
    return {
        "ExplainRequest": _with_example(closed(asked, optional=optional), about),
        "CompareRequest": _with_example(
            closed({**asked, "candidate": candidate}, optional=(*optional, "candidate")), about
        ),
        "ExplainResponse": _answer({**head, "explanations": array(ref("Explanation"))}),
        "KServeExplainResponse": _answer({"explanations": array(ref("Explanation"))}),
        **explanation_schemas(),
    }


def _answer(properties: Json) -> Json:
    """A JSON answer, which may warn of its rows."""
    return closed({**properties, "warnings": warnings()}, optional=("warnings",))


def _identifier(description: str) -> Json:
    return {"type": ["string", "null"], "minLength": 1, "maxLength": LONGEST_ID, "description": description}


def _instance(about: Described) -> Json:
    schema = about.spec.schema
    expectations = about.expectations or active(schema, ())
    if schema.layout == "image":
        nested: Json = {"type": "number", "minimum": -LARGEST, "maximum": LARGEST}
        for length in reversed(schema.shape):
            nested = array(nested, minItems=length, maxItems=length)
        text = f"One tensor of shape {list(schema.shape)}. {usual(expectations[0])}".strip()
        return {**nested, "description": text}
    values: dict[str, Json] = {
        feature.name: _value(feature, expected)
        for feature, expected in zip(schema.features, expectations, strict=True)
    }
    in_order: Json = {
        "type": "array",
        "prefixItems": [{**value, "title": name} for name, value in values.items()],
        "items": False,
        "minItems": len(values),
        "maxItems": len(values),
        "description": "The values in this order.",
    }
    return {"description": "One row.", "oneOf": [closed(values), in_order]}


def _value(feature: Feature, expected: Expectation) -> Json:
    kinds: dict[str, Json] = {
        "float": {"type": "number", "minimum": -LARGEST, "maximum": LARGEST},
        "int64": {"type": "integer", "minimum": -WHOLE, "maximum": WHOLE},
        "string": {"type": "string", "enum": list(feature.categories)},
    }
    value = kinds[feature.type]
    if feature.missing:
        value["type"] = [value["type"], "null"]
        value["description"] = "May be missing."
        if "enum" in value:
            value["enum"] = [*value["enum"], None]
    text = f"{value.get('description', '')} {usual(expected)}".strip()
    if text:
        value["description"] = text
    return value


def _with_example(request: Json, about: Described) -> Json:
    return request if about.example is None else {**request, "example": {"instances": [about.example]}}


def _prediction(about: Described) -> Json:
    spec = about.spec
    more: dict[str, Json] = {
        "uncertainty": {**ref("Uncertainty"), "description": "Where it was asked for."},
        "explanation": {**ref("Explanation"), "description": "Where it was asked for."},
    }
    if about.abstains:
        more["abstained"] = abstained()
    if not spec.classes:
        if about.abstains:
            more["withheld"] = {**NUMBER, "description": "The value that is not to be relied on."}
        value = MAYBE_NUMBER if about.abstains else NUMBER
        return closed({"value": value, **more}, optional=tuple(more))
    share: Json = {"type": "number", "description": "0 to 1."}
    probabilities = closed(dict.fromkeys(spec.classes, share))
    label: Json = {"type": "string", "enum": list(spec.classes)}
    if about.abstains:
        label = {"type": ["string", "null"], "enum": [*spec.classes, None]}
    return closed({"label": label, "probabilities": probabilities, **more}, optional=tuple(more))


def _inference(about: Described) -> dict[str, Json]:
    """The Open Inference Protocol's own."""
    shape = array({"type": "integer"}, description="Rows first.")
    parameters = {**FREE, "description": "For raw tensors: binary_data_size, in bytes."}
    tensor = {"name": TEXT, "datatype": {"type": "string", "enum": DATATYPES}, "shape": shape}
    data = {
        "type": "array",
        "description": "In C order, flat or nested; null is missing. Absent for a raw tensor.",
    }
    given = closed({**tensor, "parameters": parameters, "data": data}, optional=("parameters", "data"))
    wanted = closed(
        {
            "name": {
                "type": "string",
                "enum": [output["name"] for output in v2.outputs(about.spec, about.abstains)],
            },
            "parameters": {**FREE, "description": "binary_data: whether the answer comes as a raw tensor."},
        },
        optional=("parameters",),
    )
    more: Json = {
        "type": "object",
        "properties": {
            "binary_data_output": {"type": "boolean"},
            "routing_key": _identifier("See /predict."),
        },
        "additionalProperties": True,
    }
    request = closed(
        {
            "id": _identifier("The request's id."),
            "parameters": more,
            "inputs": array(ref("InferenceTensor"), minItems=1),
            "outputs": array(ref("InferenceOutput"), description="All outputs if absent."),
        },
        optional=("id", "parameters", "outputs"),
    )
    example = _tensors(about)
    response = {
        "model_name": TEXT,
        "model_version": TEXT,
        "id": TEXT,
        "parameters": closed({"arm": ref("Arm"), "warnings": tensor_warnings()}, optional=("warnings",)),
        "outputs": array(ref("InferenceTensor")),
    }
    metadata = array(closed(tensor))
    return {
        "InferenceTensor": given,
        "InferenceOutput": wanted,
        "InferenceRequest": request if example is None else {**request, "example": {"inputs": example}},
        "InferenceResponse": closed(response),
        "ModelMetadata": closed(
            {
                "name": TEXT,
                "versions": array(TEXT),
                "platform": {"type": "string", "enum": [v2.PLATFORM]},
                "inputs": metadata,
                "outputs": metadata,
            }
        ),
    }


def _tensors(about: Described) -> list[Json] | None:
    """The example as the inputs of the Open Inference Protocol."""
    if about.example is None:
        return None
    features = about.spec.schema.features
    inputs = default_inputs(about.spec.schema, about.binding)
    given = about.example
    row = [given[feature.name] for feature in features] if isinstance(given, dict) else given
    one_row = [{**entry, "shape": [1, *entry["shape"][1:]]} for entry in inputs]
    if len(inputs) == 1:
        return [{**one_row[0], "data": [row]}]
    return [{**entry, "data": [value]} for entry, value in zip(one_row, row, strict=True)]
