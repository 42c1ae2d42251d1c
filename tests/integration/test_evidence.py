"""Evidence with real processes: it counts what both models answered, and outlives whoever counted."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from load_tests.server import Server, running_server
from models.bundle import open_bundle
from models.demo.credit import held_out
from tests.integration.conftest import await_shadow, eventually, oracle

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

SECRET = 98_765.5
"""An income that nobody else has, in a column of which nothing may be kept."""
CONFIG: dict[str, Any] = {
    "production": "credit:gbm-1",
    "candidates": ["credit:gbm-2"],
    "shadow": {"idle_priority": False},  # else whoever else runs tests here decides when it gets its turn
    "explain": {"process": False},
    "feedback": {"write_ms": 30_000},
    "evidence": {"noise_rate": 1.0, "redact": {"Income": "drop", "Age": "hash"}},
}
CASES = held_out()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evidence") / "store.db"


def started(demo_home: Path, store: Path) -> Any:
    environment = {"UNDERSTUDY_STORE_URL": f"sqlite:///{store}", "UNDERSTUDY_REDACT_KEY": "pepper"}
    return running_server(config=CONFIG, models=demo_home, env=environment)


@pytest.fixture(scope="module")
def server(demo_home: Path, store: Path) -> Iterator[Server]:
    with started(demo_home, store) as found:
        await_shadow(found)
        yield found


def ask(server: Server, name: str, cases: list[tuple[dict[str, Any], str]]) -> None:
    """One request for each case, named after ``name`` and its place."""
    with httpx.Client(base_url=server.url, timeout=30) as client:
        for place, (instance, _) in enumerate(cases):
            body = {"request_id": f"{name}-{place}", "instances": [instance]}
            assert client.post("/predict", json=body).status_code == 200


def report(server: Server) -> dict[str, Any]:
    (found,) = httpx.get(f"{server.url}/shadow/report", timeout=30).json()["candidates"]
    assert isinstance(found, dict)
    return found


def seen(server: Server) -> dict[str, Any]:
    found = report(server)["evidence"]
    return found or {"rows": -1, "labelled": None, "cases": {"worst": [], "samples": {}}}


def await_rows(server: Server, rows: int) -> dict[str, Any]:
    """The evidence once it is of so many rows."""
    assert eventually(lambda: seen(server)["rows"] == rows, 60), f"{seen(server)['rows']} rows, not {rows}"
    return seen(server)


def answers(demo_home: Path, version: str, cases: list[tuple[dict[str, Any], str]]) -> np.ndarray:
    bundle = open_bundle(demo_home / "models" / "credit" / version)
    return oracle(bundle, [instance for instance, _ in cases])


def test_the_evidence_is_what_both_models_answer_to_the_same_rows(server: Server, demo_home: Path) -> None:
    cases = CASES[:200]
    ask(server, "first", cases)
    evidence = await_rows(server, 200)
    before, after = answers(demo_home, "gbm-1", cases), answers(demo_home, "gbm-2", cases)
    flipped = (before[:, 1] >= 0.5) != (after[:, 1] >= 0.5)
    assert evidence["measures"]["flips"]["flipped"] == int(flipped.sum()) > 0
    gap = np.abs(before - after).max(axis=1)
    assert evidence["measures"]["gap"]["mean"] == pytest.approx(float(gap.mean()), rel=1e-4)
    renters = [instance["Home"] == "rent" for instance, _ in cases]
    assert evidence["slices"]["Home=rent"]["rows"] == sum(renters)
    assert evidence["slices"]["Home=rent"]["flips"]["flipped"] == int((flipped & renters).sum())
    worst = evidence["cases"]["worst"][0]
    assert worst["request_id"] == f"first-{int(np.argmax(flipped + gap))}"


def test_labels_say_which_of_the_two_was_right(server: Server, demo_home: Path) -> None:
    cases = CASES[:200]
    await_rows(server, 200)
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for place, (_, label) in enumerate(cases):
            body = {"request_id": f"first-{place}", "labels": [label]}
            assert client.post("/feedback", json=body).status_code == 202

    def all_joined() -> bool:
        return (seen(server)["labelled"] or {"rows": 0})["rows"] == 200

    assert eventually(all_joined, 60)
    truth = np.array([label == "good" for _, label in cases])
    right = [(answers(demo_home, version, cases)[:, 1] >= 0.5) == truth for version in ("gbm-1", "gbm-2")]
    found = seen(server)["labelled"]["accuracy"]
    assert found["production_only"] == int((right[0] & ~right[1]).sum())
    assert found["candidate_only"] == int((right[1] & ~right[0]).sum())
    assert found["production"] == pytest.approx(right[0].mean())


def test_production_agrees_with_itself_however_it_is_run(server: Server) -> None:
    noise = seen(server)["noise"]
    assert {"alone", "session", "threads"} <= noise["variants"].keys()
    assert noise["flip_rate"] == 0.0
    assert noise["gap"] <= 1e-5


def test_a_case_has_both_answers_both_reasons_and_only_what_may_be_kept(server: Server, store: Path) -> None:
    instance, _ = CASES[0]
    before = seen(server)["rows"]
    ask(server, "secret", [({**instance, "Income": SECRET, "Assets": 300_000.0}, "")] * 3)
    await_rows(server, before + 3)

    def explained() -> bool:
        return any(case["explanations"] for case in seen(server)["cases"]["worst"])

    assert eventually(explained, 60), "no case was explained"
    for case in seen(server)["cases"]["worst"]:
        assert case["inputs"]["Income"] == "dropped"
        assert case["inputs"]["Age"].startswith("hash:")
        assert case["production"]["label"] in ("bad", "good")
        assert case["production"].keys() == case["candidate"].keys()
    assert str(SECRET) not in httpx.get(f"{server.url}/shadow/report").text
    held = b"".join(path.read_bytes() for path in store.parent.iterdir())
    assert b"secret-0" in held, "nothing was kept of the request at all"
    assert str(SECRET).encode() not in held


def test_exactly_one_verdict_is_published(server: Server) -> None:
    def states() -> dict[str, float]:
        text = httpx.get(f"{server.url}/metrics").text
        return {
            sample.labels["state"]: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "understudy_verdict"
        }

    assert eventually(lambda: sum(states().values()) == 1.0)
    state = report(server)["verdict"]["state"]
    assert states() == {name: float(name == state) for name in ("promote", "hold", "rollback")}


def test_evidence_survives_the_death_of_whoever_gathered_it(server: Server) -> None:
    rows, labelled = seen(server)["rows"], seen(server)["labelled"]["rows"]
    (shadow,) = [
        child
        for child in psutil.Process(server.pid).children(recursive=True)
        if "service.shadow" in child.cmdline()
    ]

    def all_written() -> bool:  # as a later life would find it
        return stored_rows(server) == rows

    assert eventually(all_written, 60)
    os.kill(shadow.pid, signal.SIGKILL)

    def reborn() -> bool:
        ask(server, f"knock-{next(KNOCKS)}", CASES[:1])
        return seen(server)["rows"] > rows

    assert eventually(reborn, 90), "the shadow did not come back"
    assert seen(server)["labelled"]["rows"] == labelled


def test_replicas_add_up_and_a_new_one_knows_what_the_others_saw(
    server: Server, demo_home: Path, store: Path
) -> None:
    with started(demo_home, store) as other:
        await_shadow(other)
        rows = stored_rows(server)

        def caught_up() -> bool:
            return bool(seen(other)["rows"] >= rows)

        assert eventually(caught_up, 60), "the new one does not know the old evidence"
        both = seen(other)["rows"]
        ask(other, "other", CASES[200:240])
        await_rows(other, both + 40)
        await_rows(server, both + 40)


KNOCKS = iter(range(10_000))


def stored_rows(server: Server) -> int:
    """What the store itself has of compared rows."""
    from service.adapters.store.database import Database
    from service.adapters.store.store import Store
    from service.domain.evidence.books import AGREEMENT, Page

    url = psutil.Process(server.pid).environ()["UNDERSTUDY_STORE_URL"]
    store = Store(Database(url, patience=10))
    try:
        keys = store.keys("credit:gbm-1")
        return sum(int(store.sums(key)[0][Page(AGREEMENT, "all")][0]) for key in keys)
    finally:
        store.close()
