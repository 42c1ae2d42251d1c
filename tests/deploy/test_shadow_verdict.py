"""What Argo Rollouts concludes from the report of a service that runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from load_tests.server import Server, free_port, running, running_server, service_command
from models.demo.credit import held_out
from tests.deploy.argo import MeasurementError, Phase, chosen, filled, holds, measured
from tests.deploy.components import CANDIDATE, of_kind
from tests.integration.conftest import await_shadow, eventually

(METRIC,) = of_kind("argo-rollouts", "AnalysisTemplate")["understudy-shadow-verdict"]["metrics"]
ARGS = {"candidate": CANDIDATE, "namespace": "shop"}
LENIENT = {"flip_rate": 0.9, "gap": 0.9, "failure_rate": 0.9}
STRICT = {"flip_rate": 0.001, "gap": 0.001}
ROWS = [instance for instance, _ in held_out()]
ABSENT = "credit:none"


def config(**verdict: Any) -> dict[str, Any]:
    return {
        "production": "credit:gbm-1",
        "candidates": [CANDIDATE, ABSENT],
        "shadow": {"idle_priority": False},  # else whoever else runs tests here decides when it gets its turn
        "explain": {"process": False},
        "verdict": {"least_rows": 200, "labels": "ignored", **verdict},
    }


def asked(url: str, candidate: str = CANDIDATE) -> Phase:
    """One measurement as Argo makes it: whatever is not 2xx is an error."""
    path = METRIC["provider"]["web"]["url"].partition(":3000")[2]
    try:
        answer = httpx.get(url + path, timeout=METRIC["provider"]["web"]["timeoutSeconds"])
    except httpx.TransportError:
        return "Error"
    return measured(METRIC, answer.json(), {**ARGS, "candidate": candidate}) if answer.is_success else "Error"


def send(server: Server) -> None:
    """Some thousands of rows."""
    with httpx.Client(base_url=server.url, timeout=30) as client:
        for place in range(60):
            rows = [ROWS[(100 * place + row) % len(ROWS)] for row in range(100)]
            client.post("/predict", json={"instances": rows}).raise_for_status()


@pytest.fixture(scope="module")
def lenient(demo_home: Path) -> Iterator[Server]:
    with running_server(config=config(**LENIENT), models=demo_home) as server:
        await_shadow(server)
        yield server


@pytest.mark.process
@pytest.mark.timeout(120)
def test_it_holds_until_there_is_evidence_and_then_promotes(lenient: Server) -> None:
    assert asked(lenient.url) == "Inconclusive"
    send(lenient)
    assert eventually(lambda: asked(lenient.url) != "Inconclusive", 40)
    assert asked(lenient.url) == "Successful"


@pytest.mark.process
@pytest.mark.timeout(120)
def test_a_worse_candidate_fails(demo_home: Path) -> None:
    with running_server(config=config(**STRICT), models=demo_home) as server:
        await_shadow(server)
        assert asked(server.url) == "Inconclusive"
        send(server)
        assert eventually(lambda: asked(server.url) != "Inconclusive", 40)
        assert asked(server.url) == "Failed"


@pytest.mark.process
def test_a_model_that_was_refused_fails_and_one_that_nobody_knows_is_an_error(lenient: Server) -> None:
    assert asked(lenient.url, ABSENT) == "Failed"
    assert asked(lenient.url, "credit:gbm-9") == "Error"


@pytest.mark.process
@pytest.mark.timeout(120)
def test_a_service_without_a_shadow_never_says_yes(demo_home: Path) -> None:
    without = {"production": "credit:gbm-1", "explain": {"process": False}}
    with running_server(config=without, models=demo_home) as server:
        assert asked(server.url) == "Error"


@pytest.mark.process
def test_a_service_that_is_not_ready_or_not_there_is_an_error(tmp_path: Path) -> None:
    home = {"UNDERSTUDY_HOME": str(tmp_path / "home"), "BENTOML_HOME": str(tmp_path)}
    with running(service_command, ready="/livez", env=home) as server:
        assert httpx.get(f"{server.url}/readyz").status_code == 503
        assert asked(server.url) == "Error"
    assert asked(f"http://127.0.0.1:{free_port()}") == "Error"


def entry(state: str, verdict: dict[str, Any] | None) -> dict[str, Any]:
    return {"candidates": [{"candidate": CANDIDATE, "state": state, "verdict": verdict}]}


@pytest.mark.parametrize(
    ("state", "verdict", "expected"),
    [
        ("shadowing", {"state": "promote"}, "Successful"),
        ("shadowing", {"state": "hold"}, "Inconclusive"),
        ("shadowing", {"state": "rollback"}, "Failed"),
        ("shadowing", None, "Inconclusive"),
        ("paused", {"state": "promote"}, "Inconclusive"),
        ("paused", {"state": "rollback"}, "Failed"),
        ("refused", {"state": "promote"}, "Failed"),
        ("refused", None, "Failed"),
    ],
)
def test_every_state_of_a_candidate_has_its_phase(
    state: str, verdict: dict[str, Any] | None, expected: Phase
) -> None:
    assert measured(METRIC, entry(state, verdict), ARGS) == expected


def test_it_is_the_named_candidate_that_is_judged() -> None:
    two = [
        {"candidate": "credit:gbm-1", "state": "shadowing", "verdict": {"state": "promote"}},
        {"candidate": CANDIDATE, "state": "shadowing", "verdict": {"state": "rollback"}},
    ]
    assert measured(METRIC, {"candidates": two}, ARGS) == "Failed"
    assert measured(METRIC, {"candidates": two[:1]}, ARGS) == "Error"


def test_conditions_mean_what_they_mean_to_argo() -> None:
    assert holds("len(result) > 0 && result[0] <= 0.5", [0.5])
    assert not holds("len(result) > 0 && result[0] <= 0.5", [])
    assert not holds("len(result) > 0 && result[0] <= 0.5", [float("nan")])
    assert holds('!(result.a == "x") || result.b != nil', {"a": "y"})
    for wrong in ("result.a.b == 1", "result.a", "result[0]", "open(result)"):
        with pytest.raises(MeasurementError):
            holds(wrong, {"a": None})


def test_a_path_that_finds_nothing_is_an_error() -> None:
    path = filled(METRIC["provider"]["web"]["jsonPath"], ARGS)
    empty: tuple[dict[str, Any], ...] = ({"candidates": []}, {})
    for document in empty:
        with pytest.raises(MeasurementError):
            chosen(document, path)
