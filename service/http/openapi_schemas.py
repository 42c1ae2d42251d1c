"""JSON schemas of requests and answers, made from the model that is served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.domain.schema import Binding, Feature, ModelSpec
from service.http import v2
from service.http.codec import LONGEST_ID
from service.http.instances import LARGEST, WHOLE
from service.http.openapi_explain import explanation_schemas, wish
from service.http.openapi_parts import FREE, NUMBER, TEXT, Json, array, closed, fixed, ref
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
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Smallest and largest value in training, by feature."""
    example: Any = None
    """One instance as ``/predict`` takes it, or None."""


def components(about: Described) -> dict[str, Json]:
    """Every component schema by name."""
    rows = {"minItems": 1, "maxItems": about.max_rows}
    answered = {"name": TEXT, "version": TEXT, "arm": ref("Arm")}
    return {
        "Instance": _instance(about),
        "Prediction": _prediction(about.spec),
        "PredictRequest": _with_example(
            closed(
                {
                    "instances": array(ref("Instance"), **rows),
                    "explain": wish(about.spec),
                    "uncertainty": {
                        "type": ["boolean", "null"],
                        "enum": [False, None],
                        "description": "Not offered yet.",
                    },
                    "request_id": _identifier("Wins over the header X-Request-Id."),
                    "routing_key": _identifier("Wins over the header X-Routing-Key."),
                },
                optional=("explain", "uncertainty", "request_id", "routing_key"),
            ),
            about,
        ),
        "PredictResponse": closed(
            {"request_id": TEXT, "model": closed(answered), "predictions": array(ref("Prediction"))}
        ),
        **_explaining(about, rows, answered),
        "KServeRequest": _with_example(closed({"instances": array(ref("Instance"), **rows)}), about),
        "KServeResponse": closed({"predictions": array(ref("Prediction"))}),
        **_inference(about),
        **fixed(),
    }


def _explaining(about: Described, rows: Json, answered: Json) -> dict[str, Json]:
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
        "ExplainResponse": closed(
            {"request_id": TEXT, "model": closed(answered), "explanations": array(ref("Explanation"))}
        ),
        "KServeExplainResponse": closed({"explanations": array(ref("Explanation"))}),
        **explanation_schemas(),
    }


def _identifier(description: str) -> Json:
    return {"type": ["string", "null"], "minLength": 1, "maxLength": LONGEST_ID, "description": description}


def _instance(about: Described) -> Json:
    schema = about.spec.schema
    if schema.layout == "image":
        nested: Json = {"type": "number", "minimum": -LARGEST, "maximum": LARGEST}
        for length in reversed(schema.shape):
            nested = array(nested, minItems=length, maxItems=length)
        return {**nested, "description": f"One tensor of shape {list(schema.shape)}."}
    values: dict[str, Json] = {
        feature.name: _value(feature, about.ranges.get(feature.name)) for feature in schema.features
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


def _value(feature: Feature, seen: tuple[float, float] | None) -> Json:
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
    if seen is not None:
        text = f"From {seen[0]:g} to {seen[1]:g} in training; other values are answered too."
        value["description"] = f"{value.get('description', '')} {text}".strip()
    return value


def _with_example(request: Json, about: Described) -> Json:
    return request if about.example is None else {**request, "example": {"instances": [about.example]}}


def _prediction(spec: ModelSpec) -> Json:
    why = {"explanation": {**ref("Explanation"), "description": "Where it was asked for."}}
    if not spec.classes:
        return closed({"value": NUMBER, **why}, optional=tuple(why))
    share: Json = {"type": "number", "description": "0 to 1."}
    probabilities = closed(dict.fromkeys(spec.classes, share))
    label = {"type": "string", "enum": list(spec.classes)}
    return closed({"label": label, "probabilities": probabilities, **why}, optional=tuple(why))


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
            "name": {"type": "string", "enum": [output["name"] for output in v2.outputs(about.spec)]},
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
        "parameters": closed({"arm": ref("Arm")}),
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
