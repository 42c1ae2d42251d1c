"""Which models may serve: told by several processes, shown as one number for each model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from service.adapters import prometheus
from service.adapters.prometheus import Page
from service.adapters.ready_metrics import ReadyMetrics
from service.domain.report import Samples
from tests.adapters.counted import value

ROOT = Path(__file__).parents[2]

# One process: says of each model whether it is ready, and prints the merged page as JSON.
PROCESS = """
import json, pathlib, sys
from service.adapters import prometheus
from service.adapters.ready_metrics import ReadyMetrics
prometheus.write_as(sys.argv[1])
registry = prometheus.new_registry()
metrics = ReadyMetrics(registry)
for tag, role, ready in json.loads(sys.argv[2]):
    metrics.said(tag, role, ready)
found = prometheus.Page(registry, None, directories=[pathlib.Path(sys.argv[3])]).samples()
json.dump([[name, dict(labels), value] for (name, labels), value in found.items()], sys.stdout)
"""


def said(process: str, shared: Path, *told: tuple[str, str, bool]) -> Samples:
    """What a fresh process leaves on the page."""
    command = [sys.executable, "-c", PROCESS, process, json.dumps(told), str(shared)]
    environment = {"PYTHONPATH": str(ROOT), "PROMETHEUS_MULTIPROC_DIR": str(shared)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return {(name, tuple(sorted(labels.items()))): found for name, labels, found in json.loads(done.stdout)}


def test_a_refused_model_is_shown_as_nought_and_one_that_comes_back_as_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    registry = prometheus.new_registry()
    metrics, page = ReadyMetrics(registry), Page(registry, None)
    named = {"model": "credit", "version": "gbm-2", "role": "candidate"}
    for ready in (False, True):
        metrics.said("credit:gbm-2", "candidate", ready)
        assert value(page.samples(), "model_ready", **named) == ready


def test_production_is_ready_where_it_is_in_every_worker(tmp_path: Path) -> None:
    named = {"model": "m", "version": "1", "role": "production"}
    said("edge0", tmp_path, ("m:1", "production", True))
    said("shadow", tmp_path, ("m:2", "candidate", False), ("m:1", "candidate", True))
    found = said("edge1", tmp_path, ("m:1", "production", False))
    assert value(found, "model_ready", **named) == 0
    assert value(found, "model_ready", model="m", version="2", role="candidate") == 0
    assert value(found, "model_ready", model="m", version="1", role="candidate") == 1
    assert value(said("edge1", tmp_path, ("m:1", "production", True)), "model_ready", **named) == 1
