"""The shadow as a process of somebody else's: either side may come, die and return, and no row is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from load_tests.callers import calling
from load_tests.metrics import Accounting
from load_tests.server import ROOT, Server, inherited_variables, running_server
from service.adapters.ledger import Ledger
from service.adapters.sidecar import CONFIGURATION
from tests.integration.conftest import books, eventually

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

TAG = "credit:gbm-2"
DRAIN_SECONDS = 3.0
CONFIG: dict[str, Any] = {
    "production": "credit:gbm-1",
    "candidates": [TAG],
    "server": {"workers": 2},
    "shadow": {"supervised": False, "idle_priority": False, "explain_rate": 0.0},
    "explain": {"process": False},
    "evidence": {"enabled": False},
}


@contextmanager
def sidecar(demo_home: Path, home: Path, **config: Any) -> Iterator[psutil.Process]:
    """The keeper of a shadow that shares ``home`` with an edge."""
    settings = home / f"shadow-{len(config)}.yaml"
    settings.write_text(yaml.safe_dump({**CONFIG, **config}))
    environment = {
        **inherited_variables(),
        "BENTOML_HOME": str(demo_home),
        "UNDERSTUDY_HOME": str(home),
        "UNDERSTUDY_CONFIG": str(settings),
    }
    command = [sys.executable, "-m", "service.shadow", "--keep"]
    with (home / "sidecar.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log)
    found = psutil.Process(process.pid)
    try:
        yield found
    finally:
        with suppress(psutil.NoSuchProcess):  # a test may have killed them
            kill(*found.children(recursive=True), found)
        process.wait()


@contextmanager
def edge(demo_home: Path, home: Path, **settings: Any) -> Iterator[Server]:
    config = {**CONFIG, "server": {"workers": 2, **settings}}
    with running_server(config=config, models=demo_home, env={"UNDERSTUDY_HOME": str(home)}) as found:
        yield found


def waits_for_sigterm(process: psutil.Process) -> bool:
    """Whether the signal is blocked, and kept."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    (blocked,) = [int(line.split()[1], 16) for line in lines if line.startswith("SigBlk:")]
    return bool(blocked & 1 << signal.SIGTERM - 1)


def kill(*processes: psutil.Process) -> None:
    for each in processes:
        if each.is_running():
            os.kill(each.pid, signal.SIGKILL)


def kill_edge(server: Server) -> None:
    first = psutil.Process(server.pid)
    kill(first, *first.children(recursive=True))


def candidate(server: Server) -> dict[str, Any]:
    (found,) = httpx.get(f"{server.url}/shadow/report").json()["candidates"]
    return dict(found)


def await_meeting(server: Server) -> None:
    def loaded() -> bool:
        (found,) = httpx.get(f"{server.url}/models").json()["candidates"]
        return bool(found["state"] == "ready")

    assert eventually(loaded, 40), candidate(server)


def ask(server: Server, instances: list[dict[str, Any]], count: int = 100) -> int:
    """Rows that were answered."""
    with httpx.Client(base_url=server.url, timeout=10) as client:
        for instance in instances[:count]:
            assert client.post("/predict", json={"instances": [instance]}).status_code == 200
    return count


def settle(server: Server, rows: int) -> dict[str, int]:
    """Outcomes once they add up to ``rows``; read once, since the other worker's page may be 0.2 s old."""
    found: dict[str, int] = {}

    def balanced() -> bool:
        seen: Accounting = books(server)
        found.update(seen.outcomes[TAG])
        return sum(found.values()) == rows

    assert eventually(balanced, 15), found
    return found


def test_either_side_starts_first_dies_and_returns_and_every_row_has_an_outcome(
    demo_home: Path, tmp_path: Path, instances: list[dict[str, Any]]
) -> None:
    with sidecar(demo_home, tmp_path) as keeper:
        with edge(demo_home, tmp_path) as server:
            await_meeting(server)
            rows = ask(server, instances)
            assert settle(server, rows)["compared"] == rows
            (child,) = keeper.children()
            os.kill(child.pid, signal.SIGKILL)
            rows += ask(server, instances)
            before = settle(server, rows)
            assert before["compared"] >= 100
            await_meeting(server)
            rows += ask(server, instances)
            after = settle(server, rows)
            assert after["compared"] >= before["compared"] + 100
            kill_edge(server)
        with edge(demo_home, tmp_path, workers=1) as server:
            await_meeting(server)
            again = settle(server, rows)
            assert again == after, "the shadow's counters go on where the edge's start anew"
            rows += ask(server, instances)
            settle(server, rows)
            kill_edge(server)
            kill(keeper, *keeper.children(recursive=True))
    with edge(demo_home, tmp_path) as server:
        assert candidate(server)["state"] == "refused"
        rows += ask(server, instances)
        alone = settle(server, rows)
        assert alone["shadow_down"] >= 100
        with sidecar(demo_home, tmp_path) as keeper:
            await_meeting(server)
            rows += ask(server, instances)
            assert settle(server, rows)["compared"] == alone["compared"] + 100
            rows += ask(server, instances)
            keeper.terminate()
            assert keeper.wait(30) == 0
            settle(server, rows)


def test_a_shadow_of_another_configuration_is_never_met_and_the_report_says_so(
    demo_home: Path, tmp_path: Path, instances: list[dict[str, Any]]
) -> None:
    others = ["credit:linear-1"]
    with edge(demo_home, tmp_path) as server, sidecar(demo_home, tmp_path, candidates=others):
        assert eventually(lambda: list(tmp_path.glob("shared/*/shadow.json")), 40)
        assert settle(server, ask(server, instances, 20))["shadow_down"] == 20
        found = candidate(server)
        assert found["state"] == "refused"
        assert "no shadow of the same configuration" in found["reason"]


def test_a_pod_that_is_stopped_loses_no_row_of_those_it_answered(
    demo_home: Path, tmp_path: Path, instances: list[dict[str, Any]]
) -> None:
    """Both containers get SIGTERM at once; the edge answers on, and the shadow hears the last row."""
    body = json.dumps({"instances": instances[:3]}).encode()
    with (
        sidecar(demo_home, tmp_path) as keeper,
        edge(demo_home, tmp_path, drain_seconds=DRAIN_SECONDS) as server,
    ):
        await_meeting(server)
        workers = server.tree()["edge"]
        with calling(server.address, "/predict", body, callers=4) as callers:
            assert eventually(lambda: callers.ended["200"] > 100)
            keeper.terminate()
            os.kill(server.pid, signal.SIGTERM)
            stopped = time.monotonic()
            answered = callers.ended["200"]
            time.sleep(DRAIN_SECONDS - 0.7)
        assert set(callers.ended) == {"200"}
        assert callers.ended["200"] > answered + 100, "it answers on"
        assert keeper.wait(DRAIN_SECONDS + 15) == 0
        assert time.monotonic() - stopped > DRAIN_SECONDS
        assert not any(psutil.pid_exists(pid) for pid in workers), "the shadow goes last"
    (path,) = tmp_path.glob("shared/*/ledger.bin")
    ledger = Ledger(path, (TAG,), records=True, distributions=True)
    for page in range(ledger.pages):
        assert sum(ledger.totals(page).values()) == 3 * callers.ended["200"]
        assert ledger.in_flight(page) == 0


def test_a_shadow_that_is_stopped_while_it_starts_ends_well_before_it_has_loaded_a_model(
    demo_home: Path, tmp_path: Path
) -> None:
    with sidecar(demo_home, tmp_path) as keeper:
        assert eventually(lambda: any(map(waits_for_sigterm, keeper.children())), 20)
        keeper.terminate()
        assert keeper.wait(20) == 0
    assert "loaded" not in (tmp_path / "sidecar.log").read_text()


def test_a_second_shadow_waits_its_turn_and_takes_over(demo_home: Path, tmp_path: Path) -> None:
    said = tmp_path / "sidecar.log"

    def loaded() -> int:
        return said.read_text().count(f"{TAG} loaded")

    with sidecar(demo_home, tmp_path) as first:
        assert eventually(lambda: loaded() == 1, 40)
        with sidecar(demo_home, tmp_path) as second:
            assert eventually(lambda: "another shadow of this configuration" in said.read_text(), 20)
            assert loaded() == 1
            kill(first, *first.children(recursive=True))
            assert eventually(lambda: loaded() == 2, 40)
            second.terminate()
            assert second.wait(30) == 0


def test_a_sidecar_without_its_setting_says_so_and_stays(demo_home: Path, tmp_path: Path) -> None:
    with sidecar(demo_home, tmp_path, shadow={"supervised": True}) as keeper:
        said = tmp_path / "sidecar.log"
        assert eventually(lambda: f"status {CONFIGURATION}" in said.read_text(), 20)
        assert "shadow.supervised" in said.read_text()
        assert keeper.is_running()
