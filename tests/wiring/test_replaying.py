"""The edge's way to a replay: a child that answers, refuses, fails or is late."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from models import store
from models.bundle import Bundle
from service.adapters.background import Finished
from service.errors import LateError
from service.http import openapi
from service.http.openapi_schemas import Described
from service.http.problem import Problem
from service.settings import Environment, Settings
from service.wiring import replaying
from tests.http.conform import faults
from tests.wiring.bundles import tiny_bundle

ROW = {"age": 3, "home": "rent", "income": 0.5}


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    bundle = tiny_bundle(tmp_path_factory.mktemp("bundle"), version="replaying").bundle
    if not store.exists(bundle.spec.tag):
        store.save(bundle.path)
    return bundle


def post(production: Bundle, home: Path, body: Any = None, seconds: float = 60.0) -> dict[str, Any]:
    settings, environment = Settings(production="other:one"), Environment(home=home)
    page = replaying.replay_page(settings, environment, production, seconds)
    asked = body or {"candidate": production.spec.tag, "instances": [ROW]}

    async def posted() -> dict[str, Any]:
        found: dict[str, Any] = json.loads((await page(json.dumps(asked).encode())).body)
        return found

    return asyncio.run(posted())


def refusal(production: Bundle, home: Path, body: Any = None) -> Problem:
    with pytest.raises(Problem) as caught:
        post(production, home, body)
    return caught.value


@pytest.mark.process
def test_a_child_makes_the_report_of_the_production_model_that_answers(
    production: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    monkeypatch.setenv("UNDERSTUDY_PRODUCTION", "another:one")
    found = post(production, tmp_path)
    assert found["replay"]["production"] == found["replay"]["candidate"] == production.spec.tag
    assert (found["evidence"]["rows"], found["replay"]["source"]) == (1, "instances")
    assert list(found) == ["inconsistent", "replay", "verdict", "evidence"]
    about = Described(production.spec, production.binding, 10)
    made = openapi.document(about, "1", {"/shadow/replay": ["POST"]})
    assert list(faults(made, {"$ref": "#/components/schemas/ReplayReport"}, found)) == []
    empty = refusal(production, tmp_path, {"candidate": production.spec.tag, "source": "kept"})
    assert (empty.status, empty.detail) == (422, "candidate: kept: there are no rows to replay")


@pytest.mark.process
def test_a_child_that_is_late_is_stopped(production: Bundle, tmp_path: Path) -> None:
    with pytest.raises(LateError):
        post(production, tmp_path, seconds=0.05)


def test_a_bundle_that_is_not_there_is_unknown_and_starts_nothing(
    production: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "run_beside", lambda *asked: pytest.fail("a child was started"))
    problem = refusal(production, tmp_path, {"candidate": "tiny:nowhere", "instances": [ROW]})
    assert problem.status == 404
    assert "tiny:nowhere is not in the model store" in problem.detail


@pytest.mark.parametrize("status", [0, 3, 4])
def test_every_verdict_is_an_answer(
    production: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(replaying, "run_beside", lambda *asked: Finished(status, b'{"it": 1}', b"a warning"))
    assert post(production, tmp_path) == {"it": 1}


def test_what_the_child_refuses_is_told_and_what_broke_it_is_not(
    production: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = b"WARNING: something\nerror: a:b answers other classes\n"
    monkeypatch.setattr(replaying, "run_beside", lambda *asked: Finished(2, b"", said))
    problem = refusal(production, tmp_path)
    assert (problem.status, problem.detail) == (422, "candidate: a:b answers other classes")
    monkeypatch.setattr(replaying, "run_beside", lambda *asked: Finished(-9, b"", b"Traceback\nKeyError: 5"))
    with pytest.raises(RuntimeError, match="ended with status -9"):
        post(production, tmp_path)
