"""Replays beside a real server: over HTTP for who has the token, and never in the way of predictions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from load_tests.server import ROOT, Server, running_server
from models.demo.credit import held_out
from tests.integration.conftest import await_shadow, eventually

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

TOKEN = "open sesame"
BEARER = {"authorization": f"Bearer {TOKEN}"}
CANDIDATE = "credit:linear-1"
"""In the model store, and no candidate of this server."""


@pytest.fixture(scope="module")
def server(demo_home: Path) -> Iterator[Server]:
    config = {
        "production": "credit:gbm-1",
        "candidates": ["credit:gbm-2"],
        "shadow": {"idle_priority": False},  # else whoever else runs tests here decides when rows are kept
        "explain": {"process": False},
    }
    with running_server(config=config, models=demo_home, env={"UNDERSTUDY_ADMIN_TOKEN": TOKEN}) as started:
        await_shadow(started)
        yield started


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=90, headers=BEARER) as opened:
        yield opened


def answered(client: httpx.Client, count: int) -> dict[str, Any]:
    """The first held-out rows with production's answers and their truth, as a replay takes them."""
    cases = held_out()[:count]
    instances = [row for row, _ in cases]
    found = client.post("/predict", json={"instances": instances}).json()["predictions"]
    return {"instances": instances, "predictions": found, "labels": [label for _, label in cases]}


def test_a_bundle_that_is_no_candidate_is_tried_on_rows_that_are_sent(client: httpx.Client) -> None:
    told = answered(client, 300)
    flipped = told["predictions"][7]["probabilities"]
    flipped["good"], flipped["bad"] = flipped["bad"], flipped["good"]
    answer = client.post("/shadow/replay", json={"candidate": CANDIDATE, **told})
    assert answer.status_code == 200, answer.text
    report = answer.json()
    assert next(iter(report)) == "inconsistent"
    assert (report["inconsistent"]["checked"], report["inconsistent"]["rows"]) == (300, 1)
    assert report["inconsistent"]["examples"][0]["row"] == 7
    assert (report["replay"]["rows"], report["replay"]["labelled"]) == (300, 300)
    truth = np.array(told["labels"])
    right = np.mean([each["label"] for each in told["predictions"]] == truth)
    assert report["evidence"]["labelled"]["accuracy"]["production"] == pytest.approx(right)
    assert report["verdict"]["state"] in ("promote", "hold", "rollback")
    assert client.get("/shadow/report").json()["candidates"][0]["candidate"] == "credit:gbm-2"


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"authorization": ""}, {}, 401),
        ({"authorization": "Bearer x"}, {}, 403),
        ({}, {"candidate": "credit:gbm-9", "source": "kept"}, 404),
        ({}, {"candidate": "no tag", "source": "kept"}, 404),
        ({}, {"candidate": CANDIDATE, "instances": [{"Age": "old"}]}, 422),
        ({}, {"candidate": "digits:mlp-1", "instances": [held_out()[0][0]]}, 422),
    ],
)
def test_a_replay_that_cannot_be_is_refused_in_words(
    client: httpx.Client, headers: dict[str, str], body: dict[str, Any], status: int
) -> None:
    answer = client.post("/shadow/replay", json=body, headers=headers)
    assert answer.status_code == status, answer.text
    problem = answer.json()
    assert problem["detail"]
    if status == 422:
        assert problem["errors"][0]["loc"][0] in ("instances", "candidate")


def test_one_replay_at_a_time_and_predictions_go_on(client: httpx.Client, server: Server) -> None:
    told = {"candidate": CANDIDATE, "instances": [row for row, _ in held_out()] * 5}
    statuses: list[int] = []

    def replay() -> None:
        with httpx.Client(base_url=server.url, timeout=90, headers=BEARER) as another:
            statuses.append(another.post("/shadow/replay", json=told).status_code)

    threads = [threading.Thread(target=replay) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert client.post("/predict", json={"instances": told["instances"][:1]}).status_code == 200
    assert sorted(statuses) == [200, 409]


def test_what_the_shadow_kept_is_replayed_and_exported(
    client: httpx.Client, server: Server, tmp_path: Path
) -> None:
    for start in range(0, 60, 6):
        rows = [row for row, _ in held_out()[start : start + 6]]
        posted = {"instances": rows, "request_id": f"kept-{start}"}
        assert client.post("/predict", json=posted).status_code == 200

    def kept() -> dict[str, Any] | None:
        answer = client.post("/shadow/replay", json={"candidate": CANDIDATE, "source": "kept"})
        return answer.json() if answer.status_code == 200 else None

    report = eventually(kept, 60)
    assert report, "nothing was kept"
    assert report["replay"]["rows"] > 0
    assert report["inconsistent"]["rows"] == 0
    assert report["verdict"]["state"] == "hold"
    assert report["verdict"]["reasons"][0]["code"] == "not_representative"

    path = tmp_path / "kept.jsonl"
    home = server.home
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("UNDERSTUDY_")},
        "BENTOML_HOME": str(home / "bentoml"),
        "UNDERSTUDY_HOME": str(home / "understudy"),
        "UNDERSTUDY_CONFIG": str(home / "settings.yaml"),
    }

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "service.replay", *map(str, arguments)],
            cwd=ROOT, env=variables, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    exported = run("--export", path)
    assert exported.returncode == 0, exported.stderr
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert {row["request_id"].partition("-")[0] for row in rows} >= {"kept"}
    report_path = tmp_path / "report.json"
    replayed = run("--candidate", "credit:gbm-2", "--file", path, "--out", report_path)
    assert replayed.returncode == 0, replayed.stderr
    assert replayed.stdout.startswith("Production answers all")
    assert json.loads(report_path.read_text())["replay"]["picked"] == len(rows)
