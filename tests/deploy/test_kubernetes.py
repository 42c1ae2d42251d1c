"""The overlays render, and Kubernetes' own schemas take them; what stands in them exists in the service."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # it brings no types
import pytest
import yaml

from service.settings import read_environment, read_settings
from service.wiring.stopping import edge_patience

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
OVERLAYS = ("small", "production", "gpu")
VERSIONS = ("1.34", "1.35", "1.36", "1.37")
SHADOWS_SECONDS = 8.0  # for what is queued, once the edge is gone
WRITABLE = {"/tmp", "/var/lib/understudy"}  # of both containers, whose root file system is read-only


@cache
def documents(overlay: str) -> tuple[dict[str, Any], ...]:
    kubectl = Path(sys.executable).with_name("kubectl")
    command = [str(kubectl), "kustomize", str(FOLDER / "overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def the(overlay: str, kind: str) -> dict[str, Any]:
    (found,) = (each for each in documents(overlay) if each["kind"] == kind)
    return found


def pod(overlay: str) -> dict[str, Any]:
    spec: dict[str, Any] = the(overlay, "Deployment")["spec"]["template"]["spec"]
    return spec


def containers(overlay: str) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in pod(overlay)["containers"]}


def variables(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_is_taken_strictly(overlay: str, version: str) -> None:
    for each in documents(overlay):
        kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_slip_of_the_pen_is_not_taken(version: str) -> None:
    slip = yaml.safe_load(yaml.safe_dump(the("small", "Deployment")))
    slip["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(slip, version, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_service_takes_the_configuration_and_every_variable(overlay: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(the(overlay, "ConfigMap")["data"]["config.yaml"])
    for container in containers(overlay).values():
        given = variables(container) | {"UNDERSTUDY_STORE_URL": "postgresql+psycopg://u@host/understudy"}
        settings = read_settings(path, given)
        assert not settings.shadow.supervised
        assert read_environment(given).home == Path("/var/lib/understudy")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_pod_is_given_as_long_as_a_stop_takes(overlay: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(the(overlay, "ConfigMap")["data"]["config.yaml"])
    settings = read_settings(path, {})
    assert settings.server.drain_seconds > 5, "longer than a connection may be silent"
    pauses = [
        int(each["lifecycle"]["preStop"]["exec"]["command"][1]) for each in containers(overlay).values()
    ]
    assert pauses[0] <= pauses[1], "the shadow outlives the edge"
    longest = max(pauses) + edge_patience(settings) + SHADOWS_SECONDS
    assert longest < pod(overlay)["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_candidate_cannot_take_the_pod_off_the_air(overlay: str) -> None:
    shadow, edge = containers(overlay)["shadow"], containers(overlay)["edge"]
    assert shadow["command"][-1] == "--keep"
    assert not {"readinessProbe", "livenessProbe", "startupProbe"} & set(shadow)
    assert {"readinessProbe", "livenessProbe", "startupProbe"} <= set(edge)
    assert shadow["image"] == edge["image"]
    assert {"cpu", "memory"} <= set(shadow["resources"]["limits"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_are_restricted(overlay: str) -> None:
    context = pod(overlay)["securityContext"]
    assert context["runAsNonRoot"]
    assert context["runAsUser"] > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod(overlay)["automountServiceAccountToken"]
    mounted = {each["name"]: each for each in pod(overlay)["volumes"]}
    for container in containers(overlay).values():
        own = container["securityContext"]
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert (own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"]) == (False, True)
        mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
        assert set(mounts) >= WRITABLE
        assert set(mounts.values()) <= set(mounted)
    homes = {
        each["name"]
        for container in containers(overlay).values()
        for each in container["volumeMounts"]
        if each["mountPath"] == "/var/lib/understudy"
    }
    assert len(homes) == 1, "where the two meet"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_selects_pods_finds_them(overlay: str) -> None:
    labels = the(overlay, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        the(overlay, "Deployment")["spec"]["selector"]["matchLabels"],
        the(overlay, "Service")["spec"]["selector"],
        the(overlay, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        the(overlay, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels for selector in selectors)
    ports = {each["name"] for each in containers(overlay)["edge"]["ports"]}
    assert {each["targetPort"] for each in the(overlay, "Service")["spec"]["ports"]} <= ports


def test_production_is_scaled_by_its_edge_alone() -> None:
    spec = the("production", "HorizontalPodAutoscaler")["spec"]
    assert spec["scaleTargetRef"]["name"] == the("production", "Deployment")["metadata"]["name"]
    assert "replicas" not in the("production", "Deployment")["spec"], "or each apply undoes the scaling"
    (metric,) = spec["metrics"]
    assert metric["containerResource"]["container"] in containers("production")


def test_the_gpu_is_the_edges() -> None:
    found = containers("gpu")
    assert int(found["edge"]["resources"]["limits"]["nvidia.com/gpu"]) == 1
    assert "nvidia.com/gpu" not in found["shadow"]["resources"]["limits"]
    assert variables(found["shadow"])["UNDERSTUDY_PROVIDERS"] == "CPUExecutionProvider"
