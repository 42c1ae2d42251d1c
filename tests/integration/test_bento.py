"""`bentoml build` makes a Bento that serves, shadow included, from anywhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from load_tests.server import HOST, ROOT, Server, inherited_variables, running
from tests.integration.conftest import await_shadow, settled_books

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, demo_home: Path) -> Path:
    """A BENTOML_HOME with the demo's bundles and the Bento."""
    home = tmp_path_factory.mktemp("bento")
    for bundle in ("gbm-1", "gbm-2"):
        shutil.copytree(demo_home / "models/credit" / bundle, home / "models/credit" / bundle)
    subprocess.run(
        [sys.executable, "-m", "bentoml", "build", "--output", "tag"],
        cwd=ROOT,
        env={**inherited_variables(), "BENTOML_HOME": str(home)},
        check=True,
        capture_output=True,
        timeout=120,
    )
    return home


@pytest.fixture(scope="module")
def bento(store: Path) -> Path:
    (found,) = (path for path in (store / "bentos/understudy").iterdir() if path.is_dir())
    return found


@pytest.fixture
def server(store: Path, tmp_path: Path) -> Iterator[Server]:
    """The Bento served from a folder without the repository, at the priority of the tests beside it."""
    serve = [sys.executable, "-m", "bentoml", "serve", "understudy:latest", "--host", HOST]
    with running(
        lambda port: [*serve, "--port", str(port)],
        ready="/readyz",
        env={
            "BENTOML_HOME": str(store),
            "UNDERSTUDY_HOME": str(tmp_path / "home"),
            "UNDERSTUDY_SHADOW_IDLE_PRIORITY": "false",
            "UNDERSTUDY_EXPLAIN_PROCESS": "false",
        },
        wrap=lambda command: ["env", f"--chdir={tmp_path}", *command],
    ) as started:
        yield started


def test_the_service_is_in_it_and_nothing_else(bento: Path) -> None:
    inside = {path.name for path in (bento / "src").iterdir()}
    assert inside == {"service", "models", "LICENSE", "requirements-serving.lock", "bentofile.yaml"}
    assert not list(bento.rglob("*.pyc"))


def test_it_installs_what_the_lock_pins(bento: Path) -> None:
    installed = (bento / "env/python/requirements.txt").read_text("utf-8")
    lock = (ROOT / "requirements-serving.lock").read_text("utf-8")
    assert installed.count("--hash=sha256:") == lock.count("--hash=sha256:")


def test_it_answers_and_its_shadow_compares(server: Server, instances: list[dict[str, Any]]) -> None:
    await_shadow(server)
    answer = httpx.post(f"{server.url}/predict", json={"instances": instances[:100]}, timeout=10)
    assert answer.status_code == 200
    assert len(answer.json()["predictions"]) == 100
    assert settled_books(server).outcomes["credit:gbm-2"]["compared"] == 100
