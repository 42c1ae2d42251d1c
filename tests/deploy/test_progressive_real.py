"""Every query of a release or of scaling has a value at a real Prometheus that watches a real service."""

from __future__ import annotations

import contextlib
import math
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from deploy.prometheus import recording
from load_tests.prometheus import installed, prometheus, shortened
from load_tests.server import ROOT, Server, running_server
from tests.deploy.components import CANDIDATE, argo_queries, flagger_queries, keda_query
from tests.integration.conftest import await_shadow

pytestmark = [pytest.mark.system("prometheus"), pytest.mark.process, pytest.mark.timeout(240)]

SHORT = {"2m": "6s", "5m": "10s", "30m": "10s", "1h": "10s", "6h": "12s", "24h": "16s"}
CONFIG = {
    "production": "credit:gbm-1",
    "candidates": [CANDIDATE],
    "rollout": {"candidate": CANDIDATE, "share_basis_points": 3000, "salt": "s1"},
    "shadow": {"idle_priority": False},  # two cores for all of it
    "explain": {"process": False},
}
RATE = 200
"""Rows a second."""
PATIENCE = 60.0


def queries() -> dict[str, str]:
    """By name, over short windows in which not much happens; without pods, which only an operator names."""
    found = {each.name: each.query for each in (*argo_queries(".*"), *flagger_queries(""))}
    found["keda"] = keda_query()
    without = {name: re.sub(r',pod=~"[^"]*"', "", query) for name, query in found.items()}
    few = {name: re.sub(r">= 1?[05]00+\b", ">= 10", query) for name, query in without.items()}
    return {
        name: re.sub(r"\[(\d+[mh])\]", lambda window: f"[{SHORT[window[1]]}]", query)
        for name, query in few.items()
    }


@contextlib.contextmanager
def traffic(server: Server) -> Iterator[None]:
    command = [sys.executable, "-m", "load_tests.traffic", "--url", server.url, "--rate", str(RATE)]
    rows = ["--rows", str(int(RATE * 4 * PATIENCE))]
    sender = subprocess.Popen([*command, *rows], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        sender.terminate()
        sender.wait(timeout=30)


@pytest.fixture(scope="module")
def values(demo_home: Path) -> Iterator[Mapping[str, list[float]]]:
    """What each query answered at one moment, once all of them do."""
    program = installed()
    assert program is not None
    found: dict[str, list[float]] = {}
    with running_server(config=CONFIG, models=demo_home) as server:
        await_shadow(server)
        target = "{}:{}".format(*server.address)
        rules = shortened(recording.groups(), SHORT, "1s")
        with prometheus(program, [target], rules) as watching, traffic(server):
            end = time.monotonic() + PATIENCE
            while time.monotonic() < end:
                found = {name: [*watching.instant(query).values()] for name, query in queries().items()}
                if all(found.values()):
                    break
                time.sleep(0.5)
            yield found


@pytest.mark.parametrize("name", queries())
def test_it_has_one_value_and_that_is_a_number(values: Mapping[str, list[float]], name: str) -> None:
    (value,) = values[name]
    assert math.isfinite(value)


def test_a_share_is_a_share_and_requests_are_those_that_were_sent(values: Mapping[str, list[float]]) -> None:
    for name, found in values.items():
        if "ratio" in name and "mismatch" not in name:
            assert 0 <= found[0] <= 1, name
    assert RATE / 20 < values["keda"][0] <= RATE * 1.5
