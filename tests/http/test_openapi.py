"""The documented API says what the service does: its routes, its bodies and its problems."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.domain.evidence.cases import Case
from service.domain.evidence.document import Seen, assess, refused
from service.domain.evidence.verdict import Rules
from service.domain.expectations import Expectation, Reaction
from service.domain.observation import OUTCOMES
from service.domain.report import CandidateState, report
from service.domain.schema import ModelSpec
from service.http import kserve, openapi, v2
from service.http.codec import Codec
from service.http.doubts import cannot
from service.http.edge import Reply
from service.http.explain import ExplainCodec
from service.http.kserve import KServeCodec
from service.http.openapi_schemas import Described
from service.http.problem import Problem
from service.http.routes import Doubts, Limits, Sources, routes
from service.http.wishes import WishLimits
from service.paths.predict import PredictPath
from service.paths.rollout import RolloutPath
from tests.domain.evidence.studies import seen_rows, study
from tests.http.conform import faults, resolve
from tests.http.fakes import (
    CREDIT,
    DIGITS,
    MAX_ROWS,
    MODELS,
    PIPELINE,
    TABULAR,
    Violations,
    answer,
    binding,
    head,
    native_codec,
    reader,
    refusal,
    serving,
    some_rows,
    v2_codec,
    wishes,
)

ROUTES: dict[str, list[str]] = {}
for _template, _method in openapi.OPERATIONS:
    ROUTES.setdefault(_template, []).append(_method)


def document(spec: ModelSpec = CREDIT, **more: Any) -> dict[str, Any]:
    example = some_rows(spec, 1, 1)[0] if spec.schema.features else np.zeros((2, 3)).tolist()
    about = Described(spec, binding(spec), MAX_ROWS, example=example, **more)
    made = openapi.document(about, "1.2.3", ROUTES)
    return json.loads(json.dumps(made))


def schema_of(made: dict[str, Any], template: str, method: str, status: str | None = None) -> dict[str, Any]:
    """The JSON schema of a request, or of a response."""
    operation = made["paths"][template][method]
    found = operation["requestBody"] if status is None else operation["responses"][status]
    return found["content"]["application/json"]["schema"]


def every(part: Any, key: str) -> Iterator[Any]:
    """Each value of ``key`` anywhere in the document."""
    if isinstance(part, dict):
        if key in part:
            yield part[key]
        part = list(part.values())
    if isinstance(part, list):
        for entry in part:
            yield from every(entry, key)


async def nothing(body: bytes) -> Reply:
    return Reply(body)


def test_exactly_the_answered_routes_are_documented() -> None:
    about = Described(CREDIT, binding(CREDIT), MAX_ROWS)
    some = {"/predict": ["POST"], "/livez": ["GET"]}
    paths = openapi.document(about, "1", some)["paths"]
    assert {template: [method.upper() for method in path] for template, path in paths.items()} == some


@pytest.mark.parametrize("spec", MODELS.values(), ids=MODELS)
def test_every_route_of_the_service_is_in_its_document_and_the_other_way_round(spec: ModelSpec) -> None:
    views: Any = {spec.tag: bytes, "other:2": lambda: None}
    sources = Sources(
        models=dict,
        rollout=dict,
        report=dict,
        drift=bytes,
        metrics=bytes,
        global_views=views,
        uncertainty=views,
    )
    limits = Limits(MAX_ROWS, WishLimits(10_000, 5.0), 1_000)
    about = Described(spec, binding(spec), MAX_ROWS)
    found = routes(
        about, "1", limits, Violations(), sources, Doubts(cannot(spec.tag)), ("other:2",), nothing, nothing
    )
    made = json.loads(asyncio.run(found["/docs.json"].pages["GET"]()).body)
    answered = {(route.template, method) for route in found.values() for method in route.methods}
    documented = {
        (template, method.upper())
        for template, path in made["paths"].items()
        for method in path
        if method != "parameters"
    }
    assert answered == documented == set(openapi.OPERATIONS)


@pytest.mark.parametrize("route", [("/predict", "GET"), ("/nowhere", "POST"), ("/rollout", "PUT")])
def test_a_route_without_a_description_is_an_error(route: tuple[str, str]) -> None:
    with pytest.raises(KeyError):
        openapi.document(Described(CREDIT, binding(CREDIT), MAX_ROWS), "1", {route[0]: [route[1]]})


@pytest.mark.parametrize("spec", MODELS.values(), ids=MODELS)
def test_every_reference_leads_somewhere_and_every_component_is_referred_to(spec: ModelSpec) -> None:
    made = document(spec)
    references = set(every(made, "$ref"))
    for reference in references:
        resolve(made, reference)
    components = {
        f"#/components/{kind}/{name}"
        for kind, found in made["components"].items()
        if kind != "securitySchemes"
        for name in found
    }
    assert components == references


def test_operations_have_names_of_their_own_and_known_tags() -> None:
    made = document()
    names = list(every(made["paths"], "operationId"))
    assert len(names) == len(set(names)) == len(openapi.OPERATIONS)
    assert {tag for tags in every(made["paths"], "tags") for tag in tags} == {
        tag["name"] for tag in made["tags"]
    }


def test_parameters_in_a_path_are_declared_with_the_values_that_exist() -> None:
    made = document()
    for template, path in made["paths"].items():
        declared = [resolve(made, entry["$ref"]) for entry in path.get("parameters", [])]
        assert {entry["name"] for entry in declared} == {
            n for n in ("model", "version", "name", "bundle") if f"{{{n}}}" in template
        }
        assert all(entry["in"] == "path" and entry["required"] for entry in declared)
    parameters = made["components"]["parameters"]
    assert parameters["model"]["schema"]["enum"] == ["credit"]
    assert parameters["version"]["schema"]["enum"] == ["gbm-1"]


def test_predictions_document_their_headers_and_every_problem() -> None:
    made = document()
    for template in ("/predict", "/v2/models/{model}/infer", "/v1/models/{model}:predict"):
        operation = made["paths"][template]["post"]
        headers = {resolve(made, entry["$ref"])["name"] for entry in operation["parameters"]}
        assert headers >= {"X-Request-Id", "X-Routing-Key", "X-Model-Arm"}
        for status in (400, 404, 405, 408, 413, 415, 422, 500, 503, 504):
            response = resolve(made, operation["responses"][str(status)]["$ref"])
            content = response["content"]["application/problem+json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
            assert HTTPStatus(status).phrase in response["description"]


def test_raw_tensors_are_documented_both_ways() -> None:
    made = document()
    for template in ("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer"):
        operation = made["paths"][template]["post"]
        assert set(operation["requestBody"]["content"]) <= {name.decode() for name in v2.CONTENT_TYPES}
        assert "application/octet-stream" in operation["requestBody"]["content"]
        assert "application/octet-stream" in operation["responses"]["200"]["content"]
        assert "Inference-Header-Content-Length" in operation["responses"]["200"]["headers"]
        names = [resolve(made, entry["$ref"])["name"] for entry in operation["parameters"]]
        assert "Inference-Header-Content-Length" in names


CODECS: dict[str, Any] = {
    "/predict": native_codec,
    "/v1/models/{model}:predict": lambda spec: KServeCodec(reader(spec)),
    "/explain": lambda spec: ExplainCodec(reader(spec), wishes(spec)),
    "/v1/models/{model}:explain": lambda spec: ExplainCodec(reader(spec), wishes(spec), kserve=True),
    "/v2/models/{model}/infer": v2_codec,
}


@pytest.mark.parametrize("spec", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("template", CODECS)
def test_the_example_is_answered_and_the_answer_is_as_documented(spec: ModelSpec, template: str) -> None:
    made = document(spec)
    codec: Codec = CODECS[template](spec)
    request = schema_of(made, template, "post")
    example = resolve(made, request["$ref"])["example"]
    assert list(faults(made, request, example)) == []
    question = codec.decode(json.dumps(example).encode(), head())
    body = json.loads(codec.encode(answer(serving(spec), question), question).body)
    assert list(faults(made, schema_of(made, template, "post", "200"), body)) == []


@pytest.mark.parametrize("spec", TABULAR, ids=lambda spec: spec.name)
def test_an_instance_is_documented_as_object_and_as_array(spec: ModelSpec) -> None:
    made = document(spec)
    instance = {"$ref": "#/components/schemas/Instance"}
    for row in some_rows(spec, 20, 3):
        assert list(faults(made, instance, row)) == []
        assert list(faults(made, instance, list(row.values()))) == []
        assert list(faults(made, instance, {**row, "more": 1}))
        assert list(faults(made, instance, [*row.values(), 1]))
        assert list(faults(made, instance, dict(list(row.items())[1:])))


@pytest.mark.parametrize(
    ("name", "value"),
    [("Age", 1.5), ("Age", None), ("Age", "1"), ("Job", "boss"), ("Job", None), ("instances", "x")],
)
@pytest.mark.parametrize("spec", [CREDIT, PIPELINE], ids=lambda spec: spec.name)
def test_what_the_schema_refuses_the_service_refuses(spec: ModelSpec, name: str, value: Any) -> None:
    row = {**some_rows(spec, 1, 1)[0], name: value}
    assert list(faults(document(spec), {"$ref": "#/components/schemas/Instance"}, row))
    assert refusal(native_codec(spec), json.dumps({"instances": [row]}).encode()).status == 422


@pytest.mark.parametrize(
    ("reaction", "others"),
    [("warn", "answered with a warning"), ("refuse", "refused"), ("ignore", "answered too")],
)
def test_what_training_saw_is_told_and_does_not_bind(reaction: Reaction, others: str) -> None:
    seen = (
        Expectation(reaction, range=(18.0, 70.0)),
        Expectation(reaction, range=(0.0, 9.5), missing_rate=0.0, whole=True),
        Expectation(reaction, categories=("rent", "own"), missing_rate=0.1),
        Expectation(reaction),
        Expectation(reaction),
    )
    made = document(expectations=seen)
    unusual = f"other values are {others}."
    told = made["components"]["schemas"]["Instance"]["oneOf"][0]["properties"]
    assert [told[name].get("description") for name in CREDIT.schema.names()] == [
        f"From 18 to 70 in training; {unusual}",
        f"May be missing. From 0 to 9.5 in training, whole in training, never missing in training; {unusual}",
        f"May be missing. In training: rent, own; {unusual}",
        None,
        None,
    ]
    old = {**some_rows(CREDIT, 1, 1)[0], "Age": 99}
    assert list(faults(made, {"$ref": "#/components/schemas/Instance"}, old)) == []


def test_the_range_of_pixels_is_told() -> None:
    made = document(DIGITS, expectations=(Expectation(range=(0.0, 16.0)),))
    text = made["components"]["schemas"]["Instance"]["description"]
    assert text.endswith("From 0 to 16 in training; other values are answered with a warning.")


@pytest.mark.parametrize(
    "template", ["/predict", "/explain", "/v1/models/{model}:predict", "/v2/models/{model}/infer"]
)
def test_warnings_are_as_documented(template: str) -> None:
    expectations = (Expectation(range=(2000.0, 3000.0)),) + (Expectation(),) * 4
    made = document(expectations=expectations)
    codecs: dict[str, Any] = {
        "/predict": native_codec(CREDIT, None, expectations),
        "/explain": ExplainCodec(reader(CREDIT, None, expectations), wishes(CREDIT)),
        "/v1/models/{model}:predict": KServeCodec(reader(CREDIT, None, expectations)),
        "/v2/models/{model}/infer": v2_codec(CREDIT, expectations=expectations),
    }
    example = resolve(made, schema_of(made, template, "post")["$ref"])["example"]
    question = codecs[template].decode(json.dumps(example).encode(), head())
    body = json.loads(codecs[template].encode(answer(serving(CREDIT), question), question).body)
    assert body.get("warnings") or body["parameters"]["warnings"]
    assert list(faults(made, schema_of(made, template, "post", "200"), body)) == []
    if "parameters" in body:
        said = json.loads(body["parameters"]["warnings"])
        assert list(faults(made, {"$ref": "#/components/schemas/Warning"}, said[0])) == []


def test_problems_are_as_documented() -> None:
    made = document()
    found = [
        refusal(native_codec(CREDIT), b'{"instances":[[1,2],{}]}'),
        refusal(v2_codec(CREDIT), b'{"inputs":[{"name":"x","shape":[0],"datatype":"FP32"}]}'),
        Problem(503, "busy"),
    ]
    for problem in found:
        body = json.loads(problem.body("an id"))
        assert list(faults(made, {"$ref": "#/components/schemas/Problem"}, body)) == []


def test_documents_of_the_inference_protocols_are_as_documented() -> None:
    made = document()
    answers = {
        "/v2": v2.server_metadata("1"),
        "/v2/health/live": v2.server_live(),
        "/v2/health/ready": v2.server_ready(ready=True),
        "/v2/models/{model}": v2.model_metadata(CREDIT, binding(CREDIT), ("gbm-1",)),
        "/v2/models/{model}/ready": v2.model_ready("credit", ready=True),
        "/v1/models": kserve.models(("credit",)),
        "/v1/models/{model}": kserve.model("credit", ready=True),
    }
    for template, body in answers.items():
        assert list(faults(made, schema_of(made, template, "get", "200"), body)) == []


NOW = 1_700_000_000.0
STUDY = study()
CASE = {
    "severity": 1.0,
    "inputs": {"age": 30.0},
    "redacted": [],
    "production": {"label": "bad"},
    "candidate": {"label": "good"},
    "slices": ["young"],
    "explanations": None,
}


def test_the_verdict_and_the_evidence_are_documented_when_there_is_nothing_yet() -> None:
    states = (CandidateState("credit:gbm-2", None, False, 0), CandidateState("credit:x", "unfit", True, 0))
    found = {
        "credit:gbm-2": assess(STUDY, Seen({}, now=NOW)),
        "credit:x": refused(Rules(), "unfit", NOW),
    }
    made = document()
    body = report({}, "credit:gbm-1", states, found)
    assert list(faults(made, schema_of(made, "/shadow/report", "get", "200"), body)) == []


def test_the_shadow_report_is_as_documented() -> None:
    labels = (("candidate", "credit:gbm-2"),)
    samples = {
        ("understudy_shadow_rows_total", (*labels, ("outcome", OUTCOMES[0]))): 3.0,
        ("understudy_shadow_compared_rows_total", (*labels, ("slice", "all"))): 3.0,
        ("understudy_shadow_compared_rows_total", (*labels, ("slice", "renters"))): 1.0,
        ("understudy_shadow_flips_total", (*labels, ("from", "bad"), ("slice", "all"), ("to", "good"))): 1.0,
        ("understudy_shadow_gap_bucket", (*labels, ("le", "0.1"))): 2.0,
        ("understudy_shadow_gap_bucket", (*labels, ("le", "+Inf"))): 3.0,
        ("understudy_shadow_gap_sum", labels): 0.5,
    }
    states = (CandidateState("credit:gbm-2", None, False, 2), CandidateState("credit:x", "unfit", True, 0))
    case = Case("worst", "all", -1.0, "r", 0, NOW, CASE)
    books = seen_rows(STUDY, 2_000, labelled=True, again=True, deadline=30)
    seen = Seen(books, cases=[case], now=NOW, since=NOW, behaviour={"passed": True, "checks": []})
    body = report(samples, "credit:gbm-1", states, {"credit:gbm-2": assess(STUDY, seen)})
    made = document()
    assert list(faults(made, schema_of(made, "/shadow/report", "get", "200"), body)) == []
    assert body["candidates"][0]["gap"]["p99_at_most"] is None


def test_the_rollout_is_as_documented() -> None:
    path = PredictPath(
        serving(CREDIT), None, deadline=1, canary_deadline=0.5, fell_back=lambda fallback: None
    )
    described = RolloutPath(
        path, read=lambda: None, fingerprint=lambda: 0, load=lambda tag: None, publish=lambda tag, share: None
    ).describe()
    made = document()
    for body in (described, {**described, "refused": {"at": "2026-01-01T00:00:00+00:00", "reason": "no"}}):
        assert list(faults(made, schema_of(made, "/rollout", "get", "200"), body)) == []


@pytest.mark.system("chromium")
def test_the_swagger_page_that_bentoml_brings_shows_every_operation(tmp_path: Path) -> None:
    assets = files("bentoml").joinpath("_internal/server/static_content")
    made = openapi.document(Described(CREDIT, binding(CREDIT), MAX_ROWS), "1", ROUTES)
    page = tmp_path / "page.html"
    page.write_text(
        f"<meta charset='utf-8'><div id='ui'></div><script src='file://{assets}/swagger-ui-bundle.js'></script>"
        f"<script>SwaggerUIBundle({{spec: {json.dumps(made)}, dom_id: '#ui'}})</script>",
        encoding="utf-8",
    )
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000",
        f"--user-data-dir={tmp_path}", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "Unable to render this definition" not in shown
    for operation in every(made["paths"], "operationId"):
        assert f'-{operation}"' in shown
