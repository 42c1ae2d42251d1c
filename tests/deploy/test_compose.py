"""What `docker compose up` in deploy/compose mounts, sets and opens; no container is started here."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import DEFAULT_FILE, OUTSIDE_THE_FILE, PREFIX, read_environment, read_settings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy" / "compose" / "docker-compose.yml"
VARIABLE = re.compile(r"\$\{(\w+):?-?([^}]*)\}")


def document() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text("utf-8"))
    return found


SERVICES: dict[str, dict[str, Any]] = document()["services"]


def environment(name: str) -> dict[str, str]:
    """As compose would set it where nobody sets anything."""
    found = SERVICES[name].get("environment", {})
    return {key: VARIABLE.sub(lambda match: match[2], str(value)) for key, value in found.items()}


def test_everything_that_is_mounted_is_there() -> None:
    known = set(document()["volumes"])
    for name, service in SERVICES.items():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (COMPOSE.parent / source).exists(), f"{name}: {source}"
                assert mount.endswith(":ro"), f"{name} may write to {source}"
            else:
                assert source in known, f"{name}: {source}"


def test_nothing_listens_beyond_this_machine() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports), ports


def test_every_image_has_its_version() -> None:
    images = {name: service["image"] for name, service in SERVICES.items() if "build" not in service}
    assert len(images) == 4
    for name, image in images.items():
        assert re.search(r":v?\d+\.\d+", image), f"{name}: {image}"


def test_the_service_understands_every_variable_that_it_gets() -> None:
    given = environment("understudy")
    settings = read_settings(DEFAULT_FILE, given)
    assert settings.log.format == "json"
    assert read_environment(given).store_url is not None
    outside = {PREFIX + name for name in OUTSIDE_THE_FILE}
    assert {name for name in given if name in outside} == {"UNDERSTUDY_STORE_URL", "UNDERSTUDY_ADMIN_TOKEN"}


def test_the_password_that_the_service_uses_is_the_one_that_the_store_has() -> None:
    password = environment("postgres")["POSTGRES_PASSWORD"]
    assert f"understudy:{password}@postgres/" in environment("understudy")["UNDERSTUDY_STORE_URL"]


def test_the_store_is_healthy_only_once_others_can_reach_it() -> None:
    assert SERVICES["understudy"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert "--host=127.0.0.1" in SERVICES["postgres"]["healthcheck"]["test"]


def test_every_variable_that_compose_takes_is_explained() -> None:
    taken = {match[1] for match in VARIABLE.finditer(COMPOSE.read_text("utf-8"))}
    explained = (COMPOSE.parent / ".env.example").read_text("utf-8")
    assert taken == set(re.findall(r"^(\w+)=", explained, re.MULTILINE))


def test_prometheus_finds_who_is_in_the_same_network() -> None:
    for name in ("understudy", "alertmanager"):
        targets = yaml.safe_load((COMPOSE.parent / "targets" / f"{name}.yml").read_text("utf-8"))
        assert targets[0]["targets"][0].split(":")[0] in SERVICES
    beside = {path.name for path in (ROOT / "deploy" / "prometheus" / "targets").iterdir()}
    assert {path.name for path in (COMPOSE.parent / "targets").iterdir()} == beside


def test_grafana_finds_prometheus() -> None:
    path = ROOT / "deploy" / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
    source = yaml.safe_load(path.read_text("utf-8"))["datasources"][0]
    assert source["url"].removeprefix("http://").split(":")[0] in SERVICES


def test_grafana_loads_dashboards_from_where_they_are_mounted() -> None:
    path = ROOT / "deploy" / "grafana" / "provisioning" / "dashboards" / "understudy.yml"
    folder = yaml.safe_load(path.read_text("utf-8"))["providers"][0]["options"]["path"]
    mounted = [mount.split(":") for mount in SERVICES["grafana"]["volumes"]]
    assert ["../grafana/dashboards", folder, "ro"] in mounted
    assert list((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))


@pytest.mark.system("amtool")
def test_alertmanager_takes_its_configuration() -> None:
    path = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
    subprocess.run(["amtool", "check-config", path], check=True, capture_output=True, timeout=30)


@pytest.mark.system("amtool")
@pytest.mark.parametrize(("severity", "receiver"), [("page", "page"), ("ticket", "ticket")])
def test_a_page_goes_to_whoever_is_paged(severity: str, receiver: str) -> None:
    path = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
    command = ["amtool", "config", "routes", "test", f"--config.file={path}", f"severity={severity}"]
    found = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    assert found.stdout.strip() == receiver


@pytest.mark.system("promtool")
def test_prometheus_takes_its_configuration() -> None:
    path = ROOT / "deploy" / "prometheus" / "prometheus.yml"
    subprocess.run(["promtool", "check", "config", path], check=True, capture_output=True, timeout=30)


@pytest.mark.parametrize("name", SERVICES)
def test_compose_knows_of_everything_that_runs_whether_it_is_well(name: str) -> None:
    """What is built here says it itself; the others are asked on the port that they listen to."""
    service = SERVICES[name]
    if "build" in service:
        assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text("utf-8")
        return
    kind, *command = service["healthcheck"]["test"]
    assert kind == "CMD"
    asked = re.search(r"http://127\.0\.0\.1:(\d+)/", " ".join(command))
    if "ports" in service:
        assert asked is not None
        assert service["ports"][0].endswith(f":{asked[1]}")


def test_bundles_are_those_of_the_image_even_after_it_was_built_anew() -> None:
    """A volume is filled once, and would go on hiding what a later image brings."""
    assert not any("/var/lib/bentoml" in mount for mount in SERVICES["understudy"]["volumes"])
