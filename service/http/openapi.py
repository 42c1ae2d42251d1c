"""``/docs.json``: the documented API, made from the routes that are answered and the model behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, TypeAlias

from service.http.openapi_doubts import DOCUMENT
from service.http.openapi_parts import TEXT, Json, array, closed, ref
from service.http.openapi_schemas import Described, components

Operation: TypeAlias = Callable[[Described], Json]

OPENAPI = "3.1.0"
INFO = (
    "Predictions of one production model. Candidates see the same rows as shadows, without callers noticing; "
    "a canary may answer a share of the requests."
)
PROBLEMS: dict[int, str] = {
    400: "The body is not what its headers say, or not JSON.",
    401: "The bearer token is missing.",
    403: "The bearer token is wrong, or none is configured.",
    404: "Nothing is at this path.",
    405: "Another method belongs here; see Allow.",
    406: "Nothing that Accept names can be written.",
    408: "The body did not arrive in time.",
    409: "It contradicts the present rollout, labels that came before, or a replay that is running.",
    413: "The body is too large, or has too many rows.",
    415: "The body's type is not read here.",
    422: "The body does not fit the model; errors name each place.",
    500: "The model failed.",
    503: "Overloaded or not ready; see Retry-After.",
    504: "There was no answer before the deadline.",
}
_PREDICTING = tuple(status for status in PROBLEMS if status != 406)
_TAGS = {
    "predict": "The service's own protocol.",
    "explain": "Why a model answers what it answers.",
    "feedback": "What turned out to be true.",
    "inference": "The Open Inference Protocol, with its binary tensor extension.",
    "kserve": "KServe's first protocol.",
    "candidates": "What is known of the models.",
    "operations": "For those who run the service.",
}


def document(
    about: Described, version: str, routes: Mapping[str, Iterable[str]], tags: Iterable[str] = ()
) -> Json:
    """The OpenAPI document.

    Args:
        about: the production model.
        version: the service's.
        routes: path template to the methods that it answers.
        tags: bundles that a path may name; production's if empty.

    Raises:
        KeyError: a route has no description here.
    """
    bundles = [tag.partition(":") for tag in tags] or [(about.spec.name, ":", about.spec.version)]
    named = {
        "model": [about.spec.name],
        "version": [about.spec.version],
        "name": sorted({name for name, _, _ in bundles}),
        "bundle": sorted({number for _, _, number in bundles}),
    }
    return {
        "openapi": OPENAPI,
        "info": {
            "title": "Understudy",
            "version": version,
            "description": INFO,
            "license": {"name": "Apache-2.0"},
        },
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": {template: _path(about, template, methods, named) for template, methods in routes.items()},
        "components": {
            "schemas": components(about),
            "responses": {str(status): _problem(status) for status in PROBLEMS},
            "parameters": _parameters(named),
            "headers": _headers(),
            "securitySchemes": {"admin": {"type": "http", "scheme": "bearer"}},
        },
    }


def _path(about: Described, template: str, methods: Iterable[str], named: Mapping[str, list[str]]) -> Json:
    path: Json = {}
    inside = [name for name in named if f"{{{name}}}" in template]
    if inside:
        path["parameters"] = [{"$ref": f"#/components/parameters/{name}"} for name in inside]
    for method in methods:
        path[method.lower()] = OPERATIONS[template, method](about)
    return path


def _parameters(named: Mapping[str, list[str]]) -> Json:
    identifier = {"type": "string", "minLength": 1, "maxLength": 128}
    headers = {
        "RequestId": ("X-Request-Id", identifier, "The request's id; a new one is made if absent."),
        "RoutingKey": (
            "X-Routing-Key",
            identifier,
            "Requests with the same key are answered by the same arm.",
        ),
        "ModelArm": ("X-Model-Arm", ref("Arm"), "The arm that is to answer; needs the admin bearer token."),
        "JsonLength": (
            "Inference-Header-Content-Length",
            {"type": "integer", "minimum": 0},
            "Bytes of JSON at the start of the body; raw tensors follow.",
        ),
    }
    found: Json = {
        key: {"name": name, "in": "header", "schema": schema, "description": text}
        for key, (name, schema, text) in headers.items()
    }
    for name, values in named.items():
        found[name] = {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "enum": values},
        }
    return found


def _headers() -> Json:
    return {
        "RequestId": {"schema": TEXT, "description": "The request's id."},
        "ModelArm": {"schema": ref("Arm"), "description": "Who answered."},
        "JsonLength": {
            "schema": {"type": "integer"},
            "description": "Bytes of JSON at the start of the body; only where raw tensors follow.",
        },
    }


def _problem(status: int) -> Json:
    return {
        "description": f"{HTTPStatus(status).phrase}. {PROBLEMS[status]}",
        "content": {"application/problem+json": {"schema": ref("Problem")}},
    }


def _responses(content: Json, problems: Iterable[int], **more: Any) -> Json:
    found: Json = {"200": {"description": "The answer.", "content": content, **more}}
    return found | {str(status): {"$ref": f"#/components/responses/{status}"} for status in problems}


def _predict(
    tag: str,
    name: str,
    summary: str,
    request: Json,
    response: Json,
    *,
    raw: bool = False,
    problems: Iterable[int] = _PREDICTING,
) -> Operation:
    """A POST on the predict path; ``raw``: bodies may have raw tensors in them."""
    given = ("RequestId", "RoutingKey", "ModelArm", *(["JsonLength"] if raw else []))
    told: Json = {}
    if tag == "kserve":  # the other protocols say both in the body
        told |= {"X-Request-Id": "RequestId", "X-Model-Arm": "ModelArm"}
    if raw:
        told["Inference-Header-Content-Length"] = "JsonLength"
        request, response = request | _RAW, response | _RAW
    headers = {header: {"$ref": f"#/components/headers/{key}"} for header, key in told.items()}
    operation = {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        "security": [{}, {"admin": []}],
        "parameters": [{"$ref": f"#/components/parameters/{key}"} for key in given],
        "requestBody": {"required": True, "content": request},
        "responses": _responses(response, problems, headers=headers),
    }
    return lambda _: operation


def _get(tag: str, name: str, summary: str, schema: Json, *problems: int) -> Operation:
    """A GET that is answered with JSON."""
    return _page(tag, name, summary, {"application/json": {"schema": schema}}, *problems)


def _text(name: str, summary: str, *problems: int) -> Operation:
    return _page("operations", name, summary, {"text/plain": {"schema": TEXT}}, *problems)


def _page(tag: str, name: str, summary: str, content: Json, *problems: int) -> Operation:
    operation = {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        "responses": _responses(content, (405, 500, *problems)),
    }
    return lambda _: operation


def _feedback() -> Operation:
    """Labels on their way in; 202 and 200 say the same."""
    problems = tuple(status for status in _PREDICTING if status not in (401, 403, 504))
    answers = _responses(_json("FeedbackResponse"), problems)
    operation = {
        "operationId": "feedback",
        "tags": ["feedback"],
        "summary": "Says what was true of the rows of an answered request",
        "requestBody": {"required": True, "content": _json("FeedbackRequest")},
        "responses": answers
        | {
            "202": {"description": "The labels are stored.", "content": _json("FeedbackResponse")},
            "200": {"description": "They were stored before.", "content": _json("FeedbackResponse")},
        },
    }
    return lambda _: operation


def _replay() -> Operation:
    """A replay; only for those who run the service."""
    problems = tuple(status for status in PROBLEMS if status != 406)
    operation = {
        "operationId": "replay",
        "tags": ["candidates"],
        "summary": "What a candidate would have answered to recorded traffic, offline",
        "security": [{"admin": []}],
        "requestBody": {"required": True, "content": _json("ReplayRequest")},
        "responses": _responses(_json("ReplayReport"), problems),
    }
    return lambda _: operation


def _json(name: str) -> Json:
    return {"application/json": {"schema": ref(name)}}


_RAW: Json = {
    "application/octet-stream": {
        "schema": {
            "type": "string",
            "format": "binary",
            "description": "The same JSON, then each raw tensor in turn: numbers in little-endian C order, "
            "each element of a BYTES tensor behind its length as a little-endian uint32.",
        }
    }
}
_PAGE: Json = {"text/html": {"schema": {"type": "string", "description": "A page to read."}}}
_PICTURES: Json = {
    "image/svg+xml": {"schema": {"type": "string", "description": "The first row's picture."}},
    "image/png": {"schema": {"type": "string", "format": "binary"}},
    **_PAGE,
}
_READY = closed({"ready": {"type": "boolean"}})
_MODEL_READY = closed({"name": TEXT, "ready": {"type": "boolean"}})
_MODEL, _VERSION = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"


def _inference(template: str, suffix: str, who: str) -> dict[tuple[str, str], Operation]:
    """What is answered for a model, with or without its version in the path."""
    infer = _predict(
        "inference",
        f"infer{suffix}",
        f"Predictions for tensors, {who}",
        _json("InferenceRequest"),
        _json("InferenceResponse"),
        raw=True,
    )
    metadata = _get(
        "inference", f"model{suffix}", "What the model takes and answers", ref("ModelMetadata"), 404
    )
    ready = _get("inference", f"modelReady{suffix}", "Whether the model answers", _MODEL_READY, 404, 503)
    return {
        (template, "GET"): metadata,
        (f"{template}/ready", "GET"): ready,
        (f"{template}/infer", "POST"): infer,
    }


OPERATIONS: dict[tuple[str, str], Operation] = {
    ("/predict", "POST"): _predict(
        "predict", "predict", "Predictions for rows", _json("PredictRequest"), _json("PredictResponse")
    ),
    ("/explain", "POST"): _predict(
        "explain",
        "explain",
        "Why the model answers so",
        _json("ExplainRequest"),
        _json("ExplainResponse") | _PICTURES,
        problems=tuple(PROBLEMS),
    ),
    ("/explain/compare", "POST"): _predict(
        "explain",
        "compareReasons",
        "How far production's and a candidate's reasons differ",
        _json("CompareRequest"),
        _json("CompareResponse") | _PAGE,
        problems=tuple(PROBLEMS),
    ),
    ("/models/{name}/{bundle}/global", "GET"): _get(
        "explain", "globalViews", "What the model relies on as a whole", ref("GlobalViews"), 404
    ),
    ("/models/{name}/{bundle}/uncertainty", "GET"): _get(
        "candidates", "uncertainty", "What packaging found out about how sure it is", DOCUMENT, 404
    ),
    ("/v1/models/{model}:explain", "POST"): _predict(
        "kserve",
        "kserveExplain",
        "Why the model answers so",
        _json("KServeRequest"),
        _json("KServeExplainResponse") | _PICTURES,
        problems=tuple(PROBLEMS),
    ),
    ("/feedback", "POST"): _feedback(),
    ("/v2", "GET"): _get(
        "inference",
        "server",
        "What the server offers",
        closed({"name": TEXT, "version": TEXT, "extensions": array(TEXT)}),
    ),
    ("/v2/health/live", "GET"): _get(
        "inference", "serverLive", "Whether the server runs", closed({"live": {"type": "boolean"}})
    ),
    ("/v2/health/ready", "GET"): _get("inference", "serverReady", "Whether the server answers", _READY, 503),
    **_inference(_MODEL, "", "by whom the rollout says"),
    **_inference(_VERSION, "OfVersion", "by the version named"),
    ("/v1/models", "GET"): _get("kserve", "kserveModels", "The models", closed({"models": array(TEXT)})),
    ("/v1/models/{model}", "GET"): _get(
        "kserve", "kserveModel", "Whether the model answers", _MODEL_READY, 404, 503
    ),
    ("/v1/models/{model}:predict", "POST"): _predict(
        "kserve", "kservePredict", "Predictions for rows", _json("KServeRequest"), _json("KServeResponse")
    ),
    ("/models", "GET"): _get("candidates", "models", "Production and its candidates", ref("Models")),
    ("/rollout", "GET"): _get("candidates", "rollout", "The canary split in force", ref("Rollout")),
    ("/shadow/report", "GET"): _get(
        "candidates", "shadowReport", "How candidates compare with production", ref("ShadowReport")
    ),
    ("/drift", "GET"): _get(
        "candidates", "drift", "How far traffic is from the reference data, by window", ref("Drift")
    ),
    ("/console", "GET"): _page("candidates", "console", "What the evidence says, for people", _PAGE),
    ("/shadow/replay", "POST"): _replay(),
    ("/livez", "GET"): _text("livez", "Whether the process runs"),
    ("/healthz", "GET"): _text("healthz", "Whether the process runs"),
    ("/readyz", "GET"): _text("readyz", "Whether predictions are answered", 503),
    ("/metrics", "GET"): _text("metrics", "What Prometheus scrapes"),
    ("/docs.json", "GET"): _get("operations", "docs", "This document", {"type": "object"}),
}
"""What each route does, by path template and method."""
