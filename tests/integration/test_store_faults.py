"""Whatever happens to PostgreSQL: answers go on, labels are told to come again, and nothing counts twice."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psycopg
import pytest
from sqlalchemy import create_engine, text

from load_tests.postgres import Postgres
from load_tests.server import Server, running_server
from models.demo.credit import held_out
from service.paths.drift_keeper import STORE_SECONDS
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
ANSWERS = ("records", "paired_answers")
"""Tables with a row for each request."""
SETTINGS = {"max_connections": "16", "max_wal_size": "48MB", "min_wal_size": "32MB"}
DISK_MIB = 192
"""So small that it can be filled."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    found = locate("postgres")
    assert found is not None
    # not in pytest's folder, which each new run closes to others again
    with tempfile.TemporaryDirectory(prefix="postgres-") as home, small_disk(Path(home)):
        made = Postgres(found.resolve().parent, Path(home), SETTINGS)
        made.start()
        yield made
        made.stop()


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """A disk of ``DISK_MIB`` at ``place``, where this process may mount one; else the one it is on."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(place)]
    mounted = os.getuid() == 0 and subprocess.run(mount, check=False, capture_output=True).returncode == 0
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="module")
def server(demo_home: Path, postgres: Postgres) -> Iterator[Server]:
    with running_server(
        config=CONFIG, models=demo_home, env={"UNDERSTUDY_STORE_URL": postgres.url}
    ) as started:
        await_shadow(started)
        assert eventually(lambda: labelled(started.url, "first") == 202, 30), "the store was not opened"
        with callers(started, "healthy") as seen:
            assert eventually(lambda: len(seen.answers) > 100, 30)
        wanted = len(seen.answers)
        assert eventually(lambda: all(counts(postgres)[table] == wanted for table in ANSWERS), 30)
        assert eventually(lambda: seen_rows(started) == wanted, 30)
        assert eventually(lambda: at_rest(postgres), 60), "rows by bin go on changing"
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


END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'understudy'"


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
    due = time.monotonic() + 4
    with as_administrator(postgres) as connection:
        while time.monotonic() < due:
            connection.execute(END)
            time.sleep(0.02)


def made_read_only(postgres: Postgres) -> None:
    """As a server is that was the first one and has become another one's standby."""
    with as_administrator(postgres) as connection:
        connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        connection.execute("SELECT pg_reload_conf()")
        time.sleep(5)
        connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
        connection.execute("SELECT pg_reload_conf()")


def used_up(postgres: Postgres) -> None:
    """Others hold every connection that the server has to give."""
    with as_administrator(postgres) as first, contextlib.ExitStack() as held:
        due = time.monotonic() + 5
        while time.monotonic() < due:
            try:
                held.enter_context(psycopg.connect(postgres.plain_url))
            except psycopg.OperationalError:  # there are no more: but for those of the service
                first.execute(END)
                time.sleep(0.02)


def full(postgres: Postgres) -> None:
    """Nothing more fits on the disk."""
    if not postgres.home.is_mount():
        pytest.skip("a disk that can be filled has to be mounted, which takes root")
    ballast = postgres.home / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        with as_administrator(postgres) as connection, pytest.raises(psycopg.errors.DiskFull):
            connection.execute("CREATE TABLE large AS SELECT generate_series(1, 1000000) AS number")
        time.sleep(5)
    finally:
        ballast.unlink()


@contextmanager
def as_administrator(postgres: Postgres) -> Iterator[psycopg.Connection[Any]]:
    """Outside transactions, and whatever the server refuses to others."""
    with psycopg.connect(
        postgres.plain_url, autocommit=True, options="-c default_transaction_read_only=off"
    ) as connection:
        yield connection


def counted(postgres: Postgres) -> float:
    """Rows by bin in the store, each row once for every variable and model."""
    with as_administrator(postgres) as connection:
        found = connection.execute("SELECT counts FROM distribution_slots").fetchall()
    return float(sum(np.frombuffer(counts).sum() for (counts,) in found))


def at_rest(postgres: Postgres) -> bool:
    """Whether no rows by bin have come for longer than a shadow takes between two writes."""
    found = counted(postgres)
    due = time.monotonic() + STORE_SECONDS + 2
    while time.monotonic() < due:
        if counted(postgres) != found:
            return False
        time.sleep(0.2)
    return found > 0


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


@pytest.mark.parametrize("fault", [stopped, crashed, locked, hunted, made_read_only, used_up, full])
def test_a_store_in_trouble_costs_no_answer_and_nothing_is_lost_or_doubled(
    server: Server, postgres: Postgres, fault: Callable[[Postgres], None]
) -> None:
    before, by_bin = counts(postgres), counted(postgres)
    per_row = by_bin / before["records"]
    rows = seen_rows(server)
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

    caught_up = eventually(lambda: seen_rows(server) - rows >= len(seen.answers), 90)
    assert caught_up, "the shadow did not catch up"
    wanted = {table: before[table] + len(seen.answers) for table in ANSWERS}
    arrived = eventually(lambda: {table: counts(postgres)[table] for table in ANSWERS} == wanted, 60)
    assert arrived, f"{counts(postgres)} where {wanted} are due"
    assert seen_rows(server) == rows + len(seen.answers)
    assert eventually(lambda: counted(postgres) == by_bin + per_row * len(seen.answers), 60), "rows by bin"


def seen_rows(server: Server) -> int:
    """Of the evidence, as the report has it."""
    (found,) = httpx.get(f"{server.url}/shadow/report", timeout=30).json()["candidates"]
    return int(found["evidence"]["rows"]) if found["evidence"] else 0


def test_a_replica_of_one_worker_holds_four_connections(server: Server, postgres: Postgres) -> None:
    engine = create_engine(postgres.url)
    query = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'understudy'")

    def held() -> int:
        with engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    labelled(server.url, "connected")
    assert eventually(lambda: held() == 4, 60), f"{held()} connections"
    engine.dispose()
