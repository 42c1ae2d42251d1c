"""The way to the store: durable, and one kind of error for whatever is wrong with it."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from service.adapters.store.database import Database
from service.adapters.store.postgres import PatientConnection
from service.adapters.store.store import Store
from service.adapters.store.tables import KNOWLEDGE, SCHEMA
from service.adapters.store.upgrades import STEPS, upgrade
from service.domain.labels import Filed, Joined
from service.errors import ConfigurationError, StoreError
from tests.adapters.store.answers import given, record

ROOT = Path(__file__).parents[3]
NEWEST = len(STEPS) + 1
"""Version of the tables."""

# Says which labels were acknowledged, one a line, for as long as it lives.
WRITER = """
import sys
from service.adapters.store.database import Database
from service.adapters.store.store import Store
from service.domain.labels import Given
store = Store(Database(sys.argv[1], patience=10))
for number in range(1_000_000):
    store.file([Given(f"{sys.argv[2]}-{number}", ("good",), 1.0)])
    print(number, flush=True)
"""


def sqlite_store(path: Path, patience: float = 0.05) -> Store:
    return Store(Database(f"sqlite:///{path}", patience=patience))


def test_two_that_open_a_new_store_at_once_wait_for_each_other(tmp_path: Path) -> None:
    """SQLite itself refuses at once, whatever its time-out, to make a WAL of a file that is written to."""
    other = sqlite3.connect(tmp_path / "s.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        sqlite_store(tmp_path / "s.db").learnt()
    threading.Timer(0.2, other.execute, ["COMMIT"]).start()
    assert sqlite_store(tmp_path / "s.db", patience=30).learnt() == {}
    other.close()


def test_whatever_was_acknowledged_is_there_after_a_kill_in_the_middle(
    url: str, make: Callable[[], Store]
) -> None:
    make().learnt()
    for life in ("first", "second"):
        command = [sys.executable, "-c", WRITER, url, life]
        with subprocess.Popen(
            command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            for line in writer.stdout:
                if int(line) >= 50:
                    break
            writer.kill()
            told = [50, *(int(line) for line in writer.stdout if line.endswith("\n"))]
            assert writer.wait(30) == -signal.SIGKILL
        names = [f"{life}-{number}" for number in range(max(told) + 1)]
        assert set(make().file([given(name, "good") for name in names])) == {Filed(False, False)}


def test_sqlite_writes_through_to_the_disk(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 's.db'}", patience=1)
    with database.begin() as connection:
        full, wal = 2, "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == full
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == wal
    database.close()


def test_who_can_do_without_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 's.db'}", patience=1, durable=False)
    with database.begin() as connection:
        normal = 1
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == normal
    database.close()


def test_nobody_is_kept_waiting_where_there_is_nothing_to_join(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path / "store.db")
    store.learnt()
    with contextlib.closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert store.join(lambda batches, learnt: {}) == Joined()
    store.close()


def test_a_file_is_for_the_service_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = sqlite_store(path)
    store.write([record("a")])
    modes = [stat.S_IMODE(found.stat().st_mode) for found in tmp_path.iterdir()]
    assert len(modes) == 3
    assert set(modes) == {0o600}
    store.close()


def test_a_transaction_that_raises_leaves_nothing(url: str) -> None:
    database = Database(url, patience=10)

    def attempt() -> None:
        with database.begin() as connection:
            connection.execute(insert(KNOWLEDGE).values(key="a", value=b"1"))
            raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            attempt()
    with database.look() as connection:
        assert connection.execute(select(KNOWLEDGE)).all() == []
    database.close()


def test_a_locked_store_is_given_up_and_works_again_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = sqlite_store(path)
    store.learnt()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        store.file([given("a", "good")])
    assert store.learnt() == {}  # who only reads does not wait
    other.execute("COMMIT")
    other.close()
    assert store.file([given("a", "good")]) == [Filed(False, True)]
    store.close()


def test_a_full_disk_is_told_and_costs_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'store.db'}", patience=1)
    store = Store(database)
    store.file([given("before", "good")])
    with database.look() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
        connection.execute(text(f"PRAGMA max_page_count = {pages + 2}"))
    with pytest.raises(StoreError, match="full"):
        store.write([record(f"a-{number}", 50) for number in range(100)])
    with database.look() as connection:
        connection.execute(text("PRAGMA max_page_count = 1000000"))
    assert store.file([given("before", "good")]) == [Filed(False, False)]
    assert len(store.write([record(f"a-{number}", 50) for number in range(100)])) == 100
    store.close()


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"no database at all" * 1_000)
    with pytest.raises(StoreError, match="not a database"):
        sqlite_store(tmp_path / "store.db").file([given("a", "good")])


def test_a_store_whose_folder_is_missing_is_opened_once_it_is_there(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path / "later" / "store.db")
    with pytest.raises(StoreError, match="No such file"):
        store.file([given("a", "good")])
    (tmp_path / "later").mkdir()
    assert store.file([given("a", "good")]) == [Filed(False, True)]
    store.close()


def test_labels_never_go_into_a_file_that_was_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = sqlite_store(path)
    store.file([given("a", "good")])
    for found in list(tmp_path.iterdir()):
        found.unlink()
    assert store.file([given("b", "good")]) == [Filed(False, True)]
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT request_id FROM deliveries").fetchall() == [("b",)]
    other.close()
    store.close()


def test_an_unreachable_server_is_told_without_its_password() -> None:
    url = "postgresql+psycopg://somebody:secret@127.0.0.1:1/nothing"
    with pytest.raises(StoreError) as caught:
        Store(Database(url, patience=1)).file([given("a", "good")])
    assert "secret" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


def test_a_password_in_the_query_is_not_told_either_and_what_the_url_says_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = (
        "postgresql+psycopg:///nothing?host=127.0.0.1&port=1&password=secret&options=-csearch_path%3Dours"
        "&sslmode=disable&application_name=ours"
    )
    seen: dict[str, object] = {}
    really = PatientConnection.connect

    def note(*arguments: Any, **options: Any) -> Any:
        seen.update(options)
        return really(*arguments, **options)

    monkeypatch.setattr(PatientConnection, "connect", note)
    with pytest.raises(StoreError) as caught:
        Store(Database(url, patience=1)).learnt()
    assert "secret" not in str(caught.value)
    assert seen["options"] == "-csearch_path=ours"  # a pooler refuses any that it does not know
    assert (seen["sslmode"], seen["application_name"]) == ("disable", "ours")
    assert seen["tcp_user_timeout"] == 1000  # a machine that is gone holds nobody for longer


def test_what_is_no_url_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="UNDERSTUDY_STORE_URL"):
        Database("store.db", patience=1)


@pytest.mark.system("postgres")
def test_a_statement_that_takes_too_long_is_given_up(postgres: str) -> None:
    database = Database(postgres, patience=0.2)
    with pytest.raises(StoreError, match="timeout"), database.begin() as connection:
        connection.execute(text("SELECT pg_sleep(30)"))
    database.close()


def test_two_processes_may_open_a_new_store_at_once(url: str) -> None:
    script = (
        "import sys; from service.adapters.store.database import Database; "
        "from service.adapters.store.store import Store; "
        "sys.stdin.read(); print(Store(Database(sys.argv[1], patience=10)).learnt())"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, url],
            cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for _ in range(3)
    ]  # fmt: skip
    assert [process.communicate(timeout=60)[0] for process in started] == [b"{}\n"] * 3


def test_an_old_store_takes_every_step_that_it_lacks_and_no_other(url: str) -> None:
    database = Database(url, patience=10)
    taken: list[str] = []

    def step(name: str) -> Callable[[Connection], None]:
        return lambda connection: taken.append(name)

    with database.begin() as connection:
        connection.execute(update(SCHEMA).values(version=1))
        upgrade(connection, [step("to 2"), step("to 3")])
        upgrade(connection, [step("to 2"), step("to 3"), step("to 4")])
        upgrade(connection, [step("to 2"), step("to 3"), step("to 4")])
        assert connection.execute(select(SCHEMA.c.version)).scalar_one() == 4
    assert taken == ["to 2", "to 3", "to 4"]
    database.close()


def test_a_step_that_fails_leaves_the_store_as_it_was(url: str) -> None:
    database = Database(url, patience=10)

    def halfway(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE records ADD COLUMN more INTEGER"))
        raise ZeroDivisionError

    def attempt() -> None:
        with database.begin() as connection:
            upgrade(connection, [*STEPS, halfway])

    with pytest.raises(ZeroDivisionError):
        attempt()
    with database.begin() as connection:
        assert connection.execute(select(SCHEMA.c.version)).scalar_one() == NEWEST
        connection.execute(text("ALTER TABLE records ADD COLUMN more INTEGER"))  # so it is not there
    database.close()


def test_a_store_of_a_newer_service_is_refused_and_left_alone(url: str, make: Callable[[], Store]) -> None:
    database = Database(url, patience=10)
    with database.begin() as connection:
        connection.execute(update(SCHEMA).values(version=7, usable_from=NEWEST + 1))
    with pytest.raises(StoreError, match=f"version 7, this service knows them up to {NEWEST}"):
        make().file([given("a", "good")])
    with database._engine.begin() as connection:
        connection.execute(update(SCHEMA).values(version=NEWEST))
    assert make().file([given("a", "good")]) == [Filed(False, True)]
    database.close()


def test_no_error_tells_what_was_to_be_written(url: str) -> None:
    database = Database(url, patience=10)
    statement = insert(KNOWLEDGE).values(key="an income", value=b"98765")
    with pytest.raises(IntegrityError) as found, database.begin() as connection:  # noqa: PT012 - two of them clash
        connection.execute(statement)
        connection.execute(statement)
    assert "98765" not in str(found.value)
    database.close()


def test_importing_the_store_is_left_to_who_needs_it() -> None:
    script = (
        "import sys, service.wiring.edge, service.wiring.recorder, service.wiring.shadow; "
        "print([name for name in sys.modules if name.startswith(('sqlalchemy', 'psycopg', 'sqlite3'))])"
    )
    environment = {
        "PYTHONPATH": str(ROOT),
        "BENTOML_DO_NOT_TRACK": "true",
        "BENTOML_HOME": os.environ["BENTOML_HOME"],
    }
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, check=True, timeout=60
    )
    assert found.stdout == b"[]\n"


def test_a_copy_that_sqlite_makes_while_the_service_writes_is_a_store_to_go_on_with(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path / "store.db")
    store.file([given("before", "good")])
    with (
        contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as source,
        contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as copy,
    ):
        source.backup(copy)  # what the command `sqlite3 store.db ".backup copy.db"` does
    store.file([given("after", "good")])
    store.close()
    restored = sqlite_store(tmp_path / "copy.db")
    assert restored.file([given("before", "good")]) == [Filed(False, False)]
    assert restored.file([given("after", "good")]) == [Filed(False, True)]
    restored.close()
