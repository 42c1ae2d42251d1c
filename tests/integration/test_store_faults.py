"""Whatever happens to PostgreSQL: answers go on, labels are told to come again, and nothing counts twice."""

from __future__ import annotations

import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, text

from load_tests.postgres import Postgres
from load_tests.server import Server, running_server
from models.demo.credit import held_out
from tests.conftest import locate
from tests.integration.conftest import await_shadow, eventually

pytestmark = [pytest.mark.process, pytest.mark.system("postgres"), pytest.mark.timeout(300)]

PATIENCE = 2.0
CONFIG: dict[str, Any] = {
    "production": "credit:gbm-1",
    "candidates": ["credit:gbm-2"],
    "shadow": {"idle_priority": False},  # else whoever else runs tests here decides when it gets its turn
    "explain": {"process": False},
    "feedback": {"write_ms": 1000 * PATIENCE},
    "evidence": {"noise_rate": 0.0, "explain": False},
    "drift": {"looks_per_minute": 0},
}
CASES = held_out()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    found = locate("postgres")
    assert found is not None
    # not in pytest's folder, which each new run closes to others again
    with tempfile.TemporaryDirectory(prefix="postgres-") as home:
        made = Postgres(found.resolve().parent, Path(home))
        made.start()
        yield made
        made.stop()


@pytest.fixture(scope="module")
def server(demo_home: Path, postgres: Postgres) -> Iterator[Server]:
    with running_server(
        config=CONFIG, models=demo_home, env={"UNDERSTUDY_STORE_URL": postgres.url}
    ) as started:
        await_shadow(started)
        assert eventually(lambda: labelled(started.url, "first") == 202, 30), "the store was not opened"
        yield started


def labelled(url: str, name: str) -> int:
    return httpx.post(
        f"{url}/feedback", json={"request_id": name, "labels": ["good"]}, timeout=30
    ).status_code


@dataclass
class Seen:
    """What callers saw while the store was in trouble."""

    answers: list[int] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    others: list[httpx.Response] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    """Seconds until a label was answered."""


@contextmanager
def callers(server: Server, name: str) -> Iterator[Seen]:
    """Asks for answers and brings labels as fast as one caller of each kind can until the block ends."""
    seen, done = Seen(), threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            while not done.wait(0.01):
                number = len(seen.answers)
                body = {"request_id": f"{name}-{number}", "instances": [CASES[number % len(CASES)][0]]}
                seen.answers.append(client.post("/predict", json=body).status_code)

    def label() -> None:
        number = 0
        with httpx.Client(base_url=server.url, timeout=30) as client:
            while not done.wait(0.02):
                number += 1
                body = {"request_id": f"{name}-{number}", "labels": ["good"]}
                begun = time.monotonic()
                answer = client.post("/feedback", json=body)
                seen.waited.append(time.monotonic() - begun)
                if answer.status_code == 202:
                    seen.acknowledged.append(f"{name}-{number}")
                else:
                    seen.others.append(answer)

    threads = [threading.Thread(target=ask), threading.Thread(target=label)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        done.set()
        for thread in threads:
            thread.join(60)


def stopped(postgres: Postgres) -> None:
    postgres.freeze()
    try:
        time.sleep(8)
    finally:
        postgres.thaw()


def crashed(postgres: Postgres) -> None:
    postgres.stop(signal.SIGQUIT)
    try:
        time.sleep(3)
    finally:
        postgres.start()


def locked(postgres: Postgres) -> None:
    engine = create_engine(postgres.url)
    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE deliveries, records, pairings, distributions"))
        time.sleep(5)
    engine.dispose()


def hunted(postgres: Postgres) -> None:
    engine = create_engine(postgres.url, isolation_level="AUTOCOMMIT")
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'understudy'"
    due = time.monotonic() + 4
    with engine.connect() as connection:
        while time.monotonic() < due:
            connection.execute(text(end))
            time.sleep(0.02)
    engine.dispose()


def counts(postgres: Postgres) -> dict[str, int]:
    """Answers in the store, both models', and labels."""
    engine = create_engine(postgres.url)
    with engine.connect() as connection:
        found = {
            table: connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
            for table in ("records", "paired_answers", "deliveries")
        }
    engine.dispose()
    return found


@pytest.mark.parametrize("fault", [stopped, crashed, locked, hunted])
def test_a_store_in_trouble_costs_no_answer_and_nothing_is_lost_or_doubled(
    server: Server, postgres: Postgres, fault: Callable[[Postgres], None]
) -> None:
    before = counts(postgres)
    rows = report(server)["evidence"]["rows"] if report(server)["evidence"] else 0
    with callers(server, fault.__name__) as seen:
        fault(postgres)
        assert eventually(lambda: labelled(server.url, f"after-{fault.__name__}") in {200, 202}, 30)
    assert set(seen.answers) == {200}
    assert {answer.status_code for answer in seen.others} <= {503}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in seen.others)
    assert max(seen.waited) < PATIENCE + 2, "a label was held up"
    with httpx.Client(base_url=server.url, timeout=30) as client:
        for name in seen.acknowledged:  # what was acknowledged is there, so the same is no news
            assert client.post("/feedback", json={"request_id": name, "labels": ["good"]}).status_code == 200

    def caught_up() -> bool:
        found = report(server)["evidence"]
        return found is not None and found["rows"] - rows >= len(seen.answers)

    assert eventually(caught_up, 90), "the shadow did not catch up"
    wanted = before["records"] + len(seen.answers), before["paired_answers"] + len(seen.answers)
    assert eventually(lambda: (counts(postgres)["records"], counts(postgres)["paired_answers"]) == wanted, 60)
    assert report(server)["evidence"]["rows"] == rows + len(seen.answers)


def report(server: Server) -> dict[str, Any]:
    (found,) = httpx.get(f"{server.url}/shadow/report", timeout=30).json()["candidates"]
    assert isinstance(found, dict)
    return found


def test_a_replica_of_one_worker_holds_four_connections(server: Server, postgres: Postgres) -> None:
    engine = create_engine(postgres.url)
    query = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'understudy'")

    def held() -> int:
        with engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    labelled(server.url, "connected")
    assert eventually(lambda: held() == 4, 60), f"{held()} connections"
    engine.dispose()
