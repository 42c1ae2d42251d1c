"""Labels, from an answer to the metrics page, with real processes and no candidates."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from load_tests.server import Server, running_server
from models.demo.credit import held_out
from tests.integration.conftest import eventually

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

CREDIT = {"model": "credit", "version": "gbm-1", "arm": "production"}


@pytest.fixture(scope="module")
def server(demo_home: Path) -> Iterator[Server]:
    """Production alone, which is shadowed by nobody but the recorder."""
    config = {
        "production": "credit:gbm-1",
        "candidates": [],
        "server": {"workers": 2},
        "shadow": {
            "idle_priority": False
        },  # else whoever else runs tests here decides when records are written
        "explain": {"process": False},
        "feedback": {"write_ms": 30_000},  # the first label has SQLAlchemy imported
    }
    with running_server(config=config, models=demo_home) as started:
        with httpx.Client(base_url=started.url, timeout=10) as opened:

            def recording() -> bool:
                opened.post("/predict", json={"instances": [held_out()[0][0]]})
                return recorded(opened, 1)

            assert eventually(recording, 60), "the shadow did not start"
        yield started


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=10) as opened:
        yield opened


def counted(client: httpx.Client, name: str, **labels: str) -> float:
    """The sum of a counter's series that have these labels."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def recorded(client: httpx.Client, rows: float) -> bool:
    """Whether the store has so many rows."""
    return counted(client, "understudy_records_total", outcome="written") >= rows


def settled_records(client: httpx.Client) -> float:
    """Rows in the store, once every answered row was written or shed."""

    def at_rest() -> bool:
        return counted(client, "understudy_records_total") == counted(client, "understudy_predictions_total")

    assert eventually(at_rest, 30), "some answers are neither recorded nor counted as shed"
    return counted(client, "understudy_records_total", outcome="written")


def test_labels_meet_their_answers_and_are_counted_by_who_was_right(client: httpx.Client) -> None:
    cases: list[tuple[dict[str, Any], str]] = held_out()[:60]
    before = settled_records(client)
    answers = {}
    for start in range(0, 60, 3):
        batch = cases[start : start + 3]
        name = f"application-{start}"
        posted = {"instances": [row for row, _ in batch], "request_id": name}
        answer = client.post("/predict", json=posted).json()
        answers[name] = ([p["label"] for p in answer["predictions"]], [label for _, label in batch])
    assert eventually(lambda: recorded(client, before + 60), 30), "the answers were not recorded"

    for name, (_, truth) in answers.items():
        answer = client.post("/feedback", json={"request_id": name, "labels": truth})
        assert (answer.status_code, answer.json()) == (202, {"matched": True})
        again = client.post("/feedback", json={"request_id": name, "labels": truth})
        assert (again.status_code, again.json()) == (200, {"matched": True})
    right = sum(said == true for pairs in answers.values() for said, true in zip(*pairs, strict=True))

    def joined() -> bool:
        return counted(client, "understudy_labels_total", **CREDIT) >= 60

    assert eventually(joined, 20), "the labels were not joined"
    assert counted(client, "understudy_labels_total", **CREDIT, correct="true") == right
    assert counted(client, "understudy_labels_total", **CREDIT, correct="false") == 60 - right
    assert counted(client, "understudy_feedback_total", outcome="matched") == 20
    assert counted(client, "understudy_feedback_total", outcome="repeated") == 20


def test_a_label_that_is_early_waits_and_one_that_contradicts_or_misfits_is_refused(
    client: httpx.Client, instances: list[dict[str, Any]]
) -> None:
    before = counted(client, "understudy_labels_total", **CREDIT)
    early = client.post("/feedback", json={"request_id": "early", "labels": ["good", None]})
    assert (early.status_code, early.json()) == (202, {"matched": False})
    assert (
        client.post("/predict", json={"instances": instances[:2], "request_id": "early"}).status_code == 200
    )

    def matched() -> bool:
        return client.post("/feedback", json={"request_id": "early", "labels": ["good", None]}).json()[
            "matched"
        ]

    assert eventually(matched, 20), "the answer was not recorded"
    assert eventually(lambda: counted(client, "understudy_labels_total", **CREDIT) == before + 1)
    for labels, status in ((["bad", None], 409), (["good"], 422), (["good", "splendid"], 422)):
        answer = client.post("/feedback", json={"request_id": "early", "labels": labels})
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
    late = client.post("/feedback", json={"request_id": "early", "labels": ["good", "bad"]})
    assert (late.status_code, late.json()) == (202, {"matched": True})
    assert eventually(lambda: counted(client, "understudy_labels_total", **CREDIT) == before + 2)


def test_what_was_acknowledged_outlives_the_death_of_the_shadow_and_of_the_store(
    server: Server, client: httpx.Client, instances: list[dict[str, Any]]
) -> None:
    before = counted(client, "understudy_labels_total", **CREDIT)
    (shadow,) = server.tree()["shadow"]
    os.kill(shadow, signal.SIGKILL)
    kept = client.post("/feedback", json={"request_id": "widow", "labels": ["good"]})
    assert (kept.status_code, kept.json()) == (202, {"matched": False})
    assert eventually(lambda: server.tree().get("shadow", [shadow]) != [shadow], 30), (
        "no other shadow was born"
    )

    home = server.home / "understudy"
    home.rename(home.with_name("elsewhere"))  # nobody can open the store now
    try:
        gone = client.post("/feedback", json={"request_id": "orphan", "labels": ["good"]})
        assert gone.status_code == 503
        assert int(gone.headers["retry-after"]) > 0
        assert client.post("/predict", json={"instances": instances[:1]}).status_code == 200
    finally:
        home.with_name("elsewhere").rename(home)
    assert eventually(
        lambda: client.post("/feedback", json={"request_id": "orphan", "labels": ["good"]}).status_code == 202
    )

    def answered() -> bool:
        posted = {"instances": instances[:1], "request_id": "widow"}
        assert client.post("/predict", json=posted).status_code == 200
        return counted(client, "understudy_labels_total", **CREDIT) == before + 1

    assert eventually(answered, 30), "the label that had been acknowledged was not joined"
    assert counted(client, "understudy_feedback_total", outcome="store_error") >= 1
