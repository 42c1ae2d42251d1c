"""The metrics page of a running service is what METRICS.md says, family by family."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy import metrics
from load_tests.server import Server, running_server
from models.demo.credit import held_out
from service.domain.drift.slots import WINDOWS
from tests.integration.conftest import await_shadow, eventually, settled_books

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

PREFIX = "understudy_"
TROUBLE = {
    "understudy_canary_fallbacks_total",
    "understudy_evidence_lost_total",
    "understudy_shadow_unexplained_rows_total",
}
"""Families that nobody sees as long as all goes well."""
CONFIG: dict[str, Any] = {
    "production": "credit:gbm-1",
    "candidates": ["credit:gbm-2", "credit:linear-1", "credit:gone-1"],
    "server": {"workers": 2},
    "rollout": {"candidate": "credit:gbm-2", "share_basis_points": 3_000},
    "shadow": {"explain_rate": 1.0, "idle_priority": False},
    "feedback": {"write_ms": 30_000},
}
CASES = held_out()[:200]


@pytest.fixture(scope="module")
def server(demo_home: Path) -> Iterator[Server]:
    """A service that everybody makes use of."""
    with running_server(config=CONFIG, models=demo_home) as started:
        await_shadow(started)
        with httpx.Client(base_url=started.url, timeout=30) as client:
            ask(client)

            def complete() -> bool:  # the shadow explains what comes once its methods are prepared
                client.post("/predict", json={"instances": [CASES[0][0]]}).raise_for_status()
                return not absent(page(client))

            assert eventually(complete, 90), absent(page(client))
            settled_books(started)
        yield started


def ask(client: httpx.Client) -> None:
    """Predictions, reasons, labels, and a request that is refused."""
    for start in range(0, len(CASES), 20):
        batch, name = CASES[start : start + 20], f"request-{start}"
        rows = [instance for instance, _ in batch]
        body = {"instances": rows, "request_id": name, "uncertainty": True, "explain": {"top": 2}}
        client.post("/predict", json=body).raise_for_status()
        labels = {"request_id": name, "labels": [label for _, label in batch]}
        client.post("/feedback", json=labels).raise_for_status()
    client.post("/explain", json={"instances": rows[:1]}).raise_for_status()
    unfit = client.post("/predict", json={"instances": [rows[0] | {"Home": "a tent"}]})
    assert unfit.status_code == 422


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=10) as opened:
        yield opened


def page(client: httpx.Client) -> dict[str, tuple[str, set[tuple[str, ...]]]]:
    """By family its type and the labels that its series have."""
    text = client.get("/metrics").text
    kinds = dict(line.split()[2:] for line in text.splitlines() if line.startswith("# TYPE"))
    assert len(kinds) == text.count("# TYPE"), "a family is there twice"
    found: dict[str, tuple[str, set[tuple[str, ...]]]] = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {tuple(sorted(sample.labels.keys() - {"le"})) for sample in family.samples}
        found[name] = (kinds[name], labels)
    return found


def answered(client: httpx.Client) -> float:
    """Rows that were answered, as the page has them."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if sample.name == "understudy_predictions_total"
    )


def absent(found: dict[str, Any]) -> set[str]:
    return {family.name for family in metrics.families()} - TROUBLE - found.keys()


def test_the_page_has_every_documented_family_and_no_other(client: httpx.Client) -> None:
    found = page(client)
    documented = {family.name: family for family in metrics.families()}
    assert absent(found) == set()
    assert {name for name in found if name.startswith(PREFIX)} <= documented.keys()
    for name, (kind, labels) in found.items():
        if name in documented:
            assert (name, kind) == (name, documented[name].type)
            assert (name, labels) == (name, {tuple(sorted(documented[name].labels))})


@pytest.mark.system("promtool")
def test_the_page_passes_promtool(client: httpx.Client) -> None:
    lint = subprocess.run(
        ["promtool", "check", "metrics"],
        input=client.get("/metrics").content,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (lint.returncode, lint.stdout + lint.stderr) == (0, b"")


def test_the_gauges_say_which_models_may_serve(client: httpx.Client) -> None:
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if sample.name in ("understudy_model_ready", "understudy_breaker_open")
    }
    assert found == {
        ("understudy_model_ready", "credit", "production", "gbm-1"): 1,
        ("understudy_model_ready", "credit", "candidate", "gbm-2"): 1,
        ("understudy_model_ready", "credit", "candidate", "linear-1"): 1,
        ("understudy_model_ready", "credit", "candidate", "gone-1"): 0,
        ("understudy_breaker_open", "credit:gbm-2"): 0,
        ("understudy_breaker_open", "credit:linear-1"): 0,
        ("understudy_breaker_open", "credit:gone-1"): 0,
    }


def test_drift_is_answered_for_every_model_that_runs(client: httpx.Client) -> None:
    def counted() -> bool:
        models = client.get("/drift").json()["models"]
        return bool(models) and models[0]["windows"]["start"]["rows"] == answered(client)

    assert eventually(counted, 60), client.get("/drift").text[:500]
    found = client.get("/drift").json()
    assert found["reason"] is None
    assert [(model["model"], model["role"]) for model in found["models"]] == [
        ("credit:gbm-1", "production"),
        ("credit:gbm-2", "candidate"),
        ("credit:linear-1", "candidate"),
    ]
    for model in found["models"]:
        assert list(model["windows"]) == list(WINDOWS)
        assert {"score", "label", "feature:Income"} <= {
            variable["variable"] for variable in model["windows"]["1h"]["variables"]
        }


def test_a_scrape_shows_what_was_answered_a_moment_before(client: httpx.Client) -> None:
    """Counts are moved every 0.1 s, and a text is shown again for 0.2 s at most."""
    before = answered(client)
    client.post("/predict", json={"instances": [CASES[0][0]] * 3}).raise_for_status()
    assert eventually(lambda: answered(client) == before + 3, 10)
