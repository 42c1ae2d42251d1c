"""A stop under load, with real processes: no answer is lost, and the last rows are compared."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from load_tests.callers import calling
from load_tests.generator import ask
from load_tests.proxies import haproxy
from load_tests.server import (
    ROOT,
    Server,
    free_port,
    get,
    inherited_variables,
    running,
    running_server,
    service_command,
    service_variables,
)
from load_tests.wire import request
from tests.integration.conftest import await_shadow, eventually

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

DRAIN_SECONDS = 2.0


@pytest.fixture
def server(demo_home: Path) -> Iterator[Server]:
    """Two edge workers and a shadow, for one stop."""
    config = {
        "production": "credit:gbm-1",
        "candidates": ["credit:gbm-2"],
        "server": {"workers": 2, "drain_seconds": DRAIN_SECONDS},
        "shadow": {"idle_priority": False},  # else whoever else runs tests here decides when it writes
        "explain": {"process": False},
    }
    with running_server(config=config, models=demo_home) as started:
        await_shadow(started)
        yield started


def gone(server: Server) -> bool:
    return psutil.Process(server.pid).status() == psutil.STATUS_ZOMBIE


def rows_recorded(server: Server) -> int:
    """Of the store, which outlives the server."""
    with sqlite3.connect(server.home / "understudy" / "store.db") as store:
        return int(store.execute("SELECT coalesce(sum(rows), 0) FROM records").fetchone()[0])


def test_a_stop_under_load_loses_neither_answers_nor_rows(
    server: Server, instances: list[dict[str, Any]]
) -> None:
    body = json.dumps({"instances": instances[:1]}).encode()
    post = request("POST", "/predict", body, {"Content-Type": "application/json"})
    with socket.create_connection(server.address, timeout=30) as slow:
        slow.sendall(post.data[:-10])
        with calling(server.address, "/predict", body, callers=6) as callers:
            time.sleep(0.5)
            kept = callers.connections
            os.kill(server.pid, signal.SIGTERM)
            stopped = time.monotonic()
            assert eventually(lambda: get(server.address, "/readyz")[0] == 503, 1.0)
            slow.sendall(post.data[-10:])
            assert b"200 OK" in slow.recv(1 << 16).partition(b"\r\n")[0]
            os.kill(server.pid, signal.SIGTERM)  # a second one changes nothing
            time.sleep(DRAIN_SECONDS - 0.5 - (time.monotonic() - stopped))
    assert set(callers.ended) == {"200"}
    assert kept == 6 < callers.connections
    assert eventually(lambda: gone(server), 20)
    assert DRAIN_SECONDS < time.monotonic() - stopped < DRAIN_SECONDS + 15
    assert rows_recorded(server) == callers.ended["200"] + 1


@pytest.mark.system("haproxy")
def test_a_proxy_sends_its_callers_elsewhere_before_a_replica_is_gone(
    server: Server, instances: list[dict[str, Any]]
) -> None:
    body = json.dumps({"instances": instances[:1]}).encode()

    def peer(port: int) -> list[str]:
        return [sys.executable, "-m", "load_tests.peers.constant", str(port)]

    with running(peer, ready="/readyz") as other, haproxy([server.port, other.port]) as proxy:
        with calling(proxy.address, "/predict", body, callers=4) as callers:
            assert eventually(lambda: callers.ended["200"] > 200)
            os.kill(server.pid, signal.SIGTERM)
            assert eventually(lambda: gone(server), 20)
        assert set(callers.ended) == {"200"}
        assert callers.connections == 4, "the proxy passed Connection: close on"


def test_an_interrupt_ends_the_drain(server: Server, instances: list[dict[str, Any]]) -> None:
    body = json.dumps({"instances": instances[:1]}).encode()
    edges = server.tree()["edge"]
    answer = ask(server.address, request("POST", "/predict", body, {"Content-Type": "application/json"}))
    assert b"200 OK" in answer[:15]
    os.kill(server.pid, signal.SIGINT)
    assert eventually(lambda: not any(map(alive, edges)), DRAIN_SECONDS - 0.5), "Ctrl-C waited for the drain"
    assert eventually(lambda: refused(server), 3.0), "who connects is left hanging while the shadow ends"
    assert eventually(lambda: gone(server), 20)


def test_a_worker_that_dies_while_the_others_drain_takes_nobody_along(
    server: Server, instances: list[dict[str, Any]]
) -> None:
    body = json.dumps({"instances": instances[:1]}).encode()
    victim, other = server.tree()["edge"]
    os.kill(server.pid, signal.SIGTERM)
    assert eventually(lambda: get(server.address, "/readyz")[0] == 503, 1.0)
    os.kill(victim, signal.SIGKILL)
    assert eventually(lambda: not alive(victim), 1.0)
    answer = ask(server.address, request("POST", "/predict", body, {"Content-Type": "application/json"}))
    assert b"200 OK" in answer[:15]
    assert server.tree()["edge"] == [other], "another one was started that would end at once"
    assert eventually(lambda: gone(server), 20)


@pytest.mark.parametrize("moment", ["Starting production HTTP", "loaded on"])
def test_a_server_that_is_told_to_stop_before_it_is_ready_ends(
    moment: str, demo_home: Path, tmp_path: Path
) -> None:
    shutil.copytree(demo_home / "models", tmp_path / "bentoml" / "models")
    settings = {"production": "credit:gbm-1", "candidates": ["credit:gbm-2"], "server": {"drain_seconds": 60}}
    (tmp_path / "settings.yaml").write_text(json.dumps(settings))
    path = tmp_path / "log"
    with path.open("wb") as log:
        starting = subprocess.Popen(
            service_command(free_port()),
            cwd=ROOT,
            env={**inherited_variables(), **service_variables(tmp_path)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        assert eventually(lambda: moment in path.read_text(), 30), path.read_text()
        below = psutil.Process(starting.pid).children(recursive=True)
        starting.terminate()
        ended = eventually(lambda: starting.poll() is not None, 45)
        assert ended, f"it waits for a drain of a server that nobody was sent to:\n{path.read_text()}"
        assert eventually(lambda: not any(alive(each.pid) for each in below), 5)
    finally:
        if starting.poll() is None:
            for each in psutil.Process(starting.pid).children(recursive=True):
                each.kill()
            starting.kill()
            starting.wait()


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def refused(server: Server) -> bool:
    try:
        get(server.address, "/livez", timeout=1.0)
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False
