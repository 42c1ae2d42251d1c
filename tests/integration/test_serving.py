"""One production model, two candidates, two workers: what callers and Prometheus see."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from load_tests.server import Server
from models.bundle import Bundle
from tests.integration.conftest import CANDIDATES, books, eventually, oracle, settled_books

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

LABELS = ("bad", "good")


def test_answers_are_those_of_the_graph(
    client: httpx.Client, instances: list[dict[str, Any]], demo_bundle: Callable[[str], Bundle]
) -> None:
    wanted = oracle(demo_bundle("credit:gbm-1"), instances)
    answer = client.post("/predict", json={"instances": instances}).json()

    assert answer["model"] == {"name": "credit", "version": "gbm-1", "arm": "production"}
    found = [[p["probabilities"]["bad"], p["probabilities"]["good"]] for p in answer["predictions"]]
    np.testing.assert_array_equal(np.array(found, dtype=np.float32), wanted)
    assert [p["label"] for p in answer["predictions"]] == [LABELS[int(row[1] >= 0.5)] for row in wanted]


def test_metrics_and_report_add_up_over_workers_and_match_an_offline_comparison(
    server: Server,
    client: httpx.Client,
    instances: list[dict[str, Any]],
    demo_bundle: Callable[[str], Bundle],
) -> None:
    before = settled_books(server)
    report_before = {c["candidate"]: c for c in client.get("/shadow/report").json()["candidates"]}
    for start in range(0, len(instances), 7):  # one connection each, so that both workers get some
        batch = instances[start : start + 7]
        assert httpx.post(f"{server.url}/predict", json={"instances": batch}).status_code == 200
    after = settled_books(server).since(before)

    assert after.answered == len(instances)
    assert after.balanced
    production = oracle(demo_bundle("credit:gbm-1"), instances)
    report = {c["candidate"]: c for c in client.get("/shadow/report").json()["candidates"]}
    for tag in CANDIDATES:
        assert after.outcomes[tag]["compared"] == len(instances)
        candidate = oracle(demo_bundle(tag), instances)
        flipped = Counter(
            (LABELS[int(a)], LABELS[int(b)])
            for a, b in zip(production[:, 1] >= 0.5, candidate[:, 1] >= 0.5, strict=True)
            if a != b
        )
        assert matrix(report[tag]) - matrix(report_before[tag]) == flipped
        rent = np.array([row["Home"] == "rent" for row in instances])
        compared = report[tag]["slices"]["Home=rent"]["compared"]
        assert (
            compared - report_before[tag]["slices"].get("Home=rent", {"compared": 0})["compared"]
            == rent.sum()
        )
        total = report[tag]["gap"]["mean"] * report[tag]["gap"]["count"]
        total -= (report_before[tag]["gap"]["mean"] or 0.0) * report_before[tag]["gap"]["count"]
        assert total == pytest.approx(np.abs(production - candidate).max(axis=1).sum(), rel=1e-4)


def test_a_shadow_that_is_killed_costs_no_answer_and_no_row_of_the_account(
    server: Server, instances: list[dict[str, Any]]
) -> None:
    before = settled_books(server)
    stop, codes = threading.Event(), Counter[int]()

    def traffic() -> None:
        with httpx.Client(base_url=server.url, timeout=10) as client:
            for turn in range(20_000):
                if stop.is_set():
                    return
                codes[
                    client.post(
                        "/predict", json={"instances": [instances[turn % len(instances)]]}
                    ).status_code
                ] += 1

    thread = threading.Thread(target=traffic)
    thread.start()
    try:
        old = server.tree()["shadow"]
        time.sleep(0.5)
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: set(server.tree().get("shadow", [])) - set(old), 30), "not spawned again"
        down = books(server)
        grew = eventually(lambda: books(server).since(down).outcomes["credit:gbm-2"]["compared"] > 0, 30)
        assert grew, "the new shadow compares nothing"
    finally:
        stop.set()
        thread.join()
    after = settled_books(server).since(before)

    assert set(codes) == {200}
    assert after.answered == codes[200]
    assert after.balanced, after
    assert after.outcomes["credit:gbm-2"]["shadow_down"] > 0


@pytest.mark.system("promtool")
def test_the_metrics_page_has_no_series_made_by_callers_and_pleases_promtool(
    server: Server, client: httpx.Client
) -> None:
    for turn in range(50):
        client.get(f"/made/up/{turn}")
        client.post(
            "/predict", json={"instances": [{"made-up": turn}]}, headers={"X-Request-Id": f"id-{turn}"}
        )
    page = client.get("/metrics").text
    assert "made" not in page
    assert "id-1" not in page
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=page, text=True, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_a_body_of_sixty_megabytes_is_refused_and_the_worker_lives(server: Server) -> None:
    answer = httpx.post(
        f"{server.url}/predict", content=b" " * 60_000_000, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413
    streamed = httpx.post(
        f"{server.url}/predict",
        content=(b" " * 65_536 for _ in range(900)),
        headers={"content-type": "application/json"},
    )
    assert streamed.status_code == 413
    assert httpx.get(f"{server.url}/readyz").status_code == 200


def matrix(candidate: dict[str, Any]) -> Counter[tuple[str, str]]:
    return Counter({(cell["from"], cell["to"]): cell["rows"] for cell in candidate["flips"]["matrix"]})
