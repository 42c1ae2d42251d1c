"""Every composition of the manifests is what a cluster takes, what is safe, and what fits the service."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conftest import locate
from tests.deploy import custom, fit, strict
from tests.deploy.checks import CHECKS, CUSTOM
from tests.deploy.manifests import COMPONENTS, COMPOSITIONS, OVERLAYS, called, composed, found, of_kind, value


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_nothing_is_wrong_with_any_composition(composition: str, check: str) -> None:
    if check in CUSTOM and not custom.SCHEMAS.is_dir():
        pytest.skip(f"needs the schemas of custom resources in {custom.SCHEMAS}")
    assert CHECKS[check](composed(composition)) == []


@pytest.mark.parametrize("version", strict.VERSIONS)
@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_every_release_in_support_takes_every_object_strictly(composition: str, version: str) -> None:
    assert strict.core_problems(composed(composition), version) == []


@pytest.mark.parametrize("version", strict.VERSIONS)
def test_a_kind_that_a_release_does_not_have_is_not_taken(version: str) -> None:
    old = {"apiVersion": "autoscaling/v2beta2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"}}
    assert strict.core_problems([old], version) == [
        f"HorizontalPodAutoscaler/a: Kubernetes {version} has no autoscaling/v2beta2"
    ]


def test_every_overlay_and_every_component_is_part_of_a_composition() -> None:
    assert {overlay for overlay, _ in COMPOSITIONS.values()} == set(OVERLAYS)
    assert {each for _, components in COMPOSITIONS.values() for each in components} == set(COMPONENTS)
    assert len(OVERLAYS) >= 3
    assert len(COMPONENTS) >= 4


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_adds_or_changes_something(component: str) -> None:
    assert composed(f"production with {component}") != composed("production")


def test_production_is_scaled_by_its_edge_alone() -> None:
    (scaler,) = of_kind(composed("production"), "HorizontalPodAutoscaler")
    assert [each["containerResource"]["container"] for each in scaler["spec"]["metrics"]] == ["edge"]
    assert value(scaler, "spec.minReplicas") >= 3


def test_two_autoscalers_never_stand_side_by_side() -> None:
    for composition in COMPOSITIONS:
        kinds = [each["kind"] for each in composed(composition)]
        assert not {"HorizontalPodAutoscaler", "ScaledObject"} <= set(kinds), composition


def test_the_gpu_is_the_edges() -> None:
    deployment = found(composed("gpu"), "Deployment", "understudy")
    edge, shadow = (
        value(deployment, f"spec.template.spec.containers[{name}]") for name in ("edge", "shadow")
    )
    assert int(value(edge, "resources.limits[nvidia.com/gpu]")) == 1
    assert "nvidia.com/gpu" not in value(shadow, "resources.limits")
    assert fit.variables(shadow)["UNDERSTUDY_PROVIDERS"] == "CPUExecutionProvider"


@pytest.mark.system("promtool")
def test_prometheus_takes_every_rule(tmp_path: Path) -> None:
    rules = list(of_kind(composed("production with monitoring"), "PrometheusRule"))
    assert rules
    for each in rules:
        path = tmp_path / f"{each['metadata']['name']}.yml"
        path.write_text(yaml.safe_dump({"groups": each["spec"]["groups"]}), encoding="utf-8")
        command = [str(locate("promtool")), "check", "rules", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{called(each)}: {done.stdout}{done.stderr}"
