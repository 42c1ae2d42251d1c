"""Bundles and settings that must not serve."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from load_tests.server import ROOT, running, running_server, service_command
from models.bundle import GOLDEN, file_digest
from models.manifest import MANIFEST_NAME, read_manifest, write_manifest
from tests.integration.conftest import await_shadow, eventually

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]


@pytest.fixture
def store(demo_home: Path, tmp_path: Path) -> Path:
    """A copy of the demo's model store that a test may damage."""
    shutil.copytree(demo_home / "models", tmp_path / "models")
    return tmp_path


def break_parity(store: Path, name: str, version: str) -> None:
    """Another answer for golden row 5, with digests that fit it: only the gate can find it."""
    directory = store / "models" / name / version
    with np.load(directory / GOLDEN) as archive:
        parts = dict(archive)
    parts["outputs"][5, 0] += 0.25
    np.savez(directory / GOLDEN, **parts)
    manifest = read_manifest(directory / MANIFEST_NAME)
    digests = {**manifest.digests, GOLDEN: file_digest(directory / GOLDEN)}
    write_manifest(manifest.model_copy(update={"digests": digests}), directory / MANIFEST_NAME)


def test_production_that_fails_parity_is_never_ready_and_says_which_row_and_by_how_much(
    store: Path, tmp_path: Path
) -> None:
    break_parity(store, "credit", "gbm-1")
    env = {
        "UNDERSTUDY_HOME": str(tmp_path / "home"),
        "BENTOML_HOME": str(store),
    }
    with running(service_command, ready="/livez", env=env) as server:
        ready = httpx.get(f"{server.url}/readyz")
        assert ready.status_code == 503
        assert "row 5" in ready.json()["detail"]
        assert "0.25" in ready.json()["detail"]
        refused = httpx.post(f"{server.url}/predict", json={"instances": [{}]})
        assert refused.status_code == 503
        assert "Retry-After" in refused.headers
        said = 'understudy_model_ready{model="credit",role="production",version="gbm-1"} 0.0'
        assert said in httpx.get(f"{server.url}/metrics").text
        said = "nothing is shadowed, production is unfit"
        assert eventually(lambda: said in server.log.read_text())
        assert eventually(lambda: server.log.read_text().count("Service Shadow initialized") == 1)
        metrics = httpx.get(f"{server.url}/metrics").text
        assert 'understudy_verdict{candidate="credit:gbm-2",state="hold"} 1.0' in metrics
        assert server.log.read_text().count(said) == 1, "the shadow was started again and again"


def test_a_candidate_that_fails_parity_is_refused_and_production_serves(
    store: Path, instances: list[dict[str, Any]]
) -> None:
    break_parity(store, "credit", "gbm-2")
    config = {
        "production": "credit:gbm-1",
        "candidates": ["credit:gbm-2", "credit:linear-1", "credit:gone-1"],
    }
    with running_server(config=config, models=store) as server:
        await_shadow(server)
        assert httpx.post(f"{server.url}/predict", json={"instances": instances[:3]}).status_code == 200
        failing, sound, absent = httpx.get(f"{server.url}/models").json()["candidates"]
        assert failing["state"] == "refused"
        assert "row 5" in failing["reason"]
        assert sound["state"] == "ready"
        assert absent["state"] == "refused"
        assert "credit:gone-1" in absent["reason"]
        metrics = httpx.get(f"{server.url}/metrics").text
        for version, ready in (("gbm-2", 0.0), ("linear-1", 1.0), ("gone-1", 0.0)):
            said = f'understudy_model_ready{{model="credit",role="candidate",version="{version}"}} {ready}'
            assert said in metrics


def test_an_impossible_setting_stops_the_start_and_is_named(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("production: credit:gbm-1\nshadow: {sample_rate: 2}\n")
    done = subprocess.run(
        service_command(1),
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "UNDERSTUDY_CONFIG": str(settings), "BENTOML_HOME": str(tmp_path)},
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "shadow.sample_rate" in done.stderr
    assert "less than or equal to 1" in done.stderr
    assert "Traceback" not in done.stderr
