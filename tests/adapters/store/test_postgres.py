"""Whatever PostgreSQL does is over in bounded time, told as one kind of error, and done once."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection, create_engine, insert, text, update
from sqlalchemy.exc import OperationalError

from load_tests.postgres import NOBODY, Postgres
from service.adapters.store import postgres as dialect
from service.adapters.store.database import Database, Interrupted
from service.adapters.store.store import Store
from service.adapters.store.tables import KNOWLEDGE, SCHEMA
from service.adapters.store.upgrades import LOCK, NEWEST, STEPS, upgrade
from service.domain.drift.slots import slot_of
from service.domain.labels import Filed
from service.errors import StoreError
from tests.adapters.store.answers import given, record
from tests.adapters.store.comparisons import ALL, batch, key, total
from tests.adapters.store.counts import CREDIT, rows
from tests.conftest import locate

Found = TypeVar("Found")

pytestmark = [pytest.mark.system("postgres"), pytest.mark.timeout(120)]

PATIENCE = 0.5
BOUND = 2 * (PATIENCE + dialect.GRACE_SECONDS) + 2.5
"""Seconds in which any call is over: a ping and a new connection, of 2 s at least, may come before it."""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    found = locate("postgres")
    assert found is not None
    # not in pytest's folder, which each new run closes to others again
    with tempfile.TemporaryDirectory(prefix="postgres-") as home:
        settings = {"fsync": "off", "max_connections": "8"}
        made = Postgres(found.resolve().parent, Path(home), settings)
        made.start()
        yield made
        made.stop()


@pytest.fixture
def say(server: Postgres) -> Iterator[Callable[[str], None]]:
    """Runs one statement as whoever looks after the server."""
    engine = create_engine(server.url, isolation_level="AUTOCOMMIT")

    def execute(statement: str) -> None:
        with engine.connect() as connection:
            connection.execute(text(statement))

    yield execute
    engine.dispose()


@pytest.fixture
def database(server: Postgres, say: Callable[[str], None]) -> Iterator[Database]:
    """An empty store."""
    say("DROP SCHEMA public CASCADE")
    say("CREATE SCHEMA public")
    made = Database(server.url, patience=PATIENCE)
    yield made
    made.close()


@pytest.fixture
def store(database: Database) -> Store:
    made = Store(database)
    made.learnt()
    return made


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_cannot_keep_every_name_is_refused_by_its_encoding(
    server: Postgres, say: Callable[[str], None], encoding: str
) -> None:
    say(f"CREATE DATABASE narrow ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    database = Database(server.url.replace("/postgres?", "/narrow?"), patience=PATIENCE)
    try:
        with pytest.raises(StoreError, match=f"encoding is {encoding}; it has to be UTF8"):
            Store(database).learnt()
    finally:
        database.close()
        say("DROP DATABASE narrow WITH (FORCE)")


def took(call: Callable[[], object]) -> tuple[float, str]:
    """How long a call took until it failed, and why."""
    begun = time.monotonic()
    with pytest.raises(StoreError) as caught:
        call()
    return time.monotonic() - begun, str(caught.value)


def at_last(call: Callable[[], Found]) -> Found:
    """What a call gives once the store takes it again."""
    due = time.monotonic() + 20
    while True:
        try:
            return call()
        except StoreError:
            if time.monotonic() >= due:
                raise
            time.sleep(0.05)


def refused(call: Callable[[], object]) -> str:
    """Why a call fails, once it does."""
    for _ in range(1_000):
        try:
            call()
        except StoreError as error:
            return str(error)
    return "it was never refused"


def test_a_server_that_is_stopped_holds_nobody_for_long_and_nothing_is_done_twice(
    server: Postgres, store: Store
) -> None:
    assert store.add(batch(1, {7: {ALL: [1]}}))
    server.freeze()
    try:
        for _ in range(2):  # with a connection from before, and with a new one
            seconds, _ = took(lambda: store.add(batch(2, {7: {ALL: [1]}})))
            assert seconds < BOUND
        seconds, _ = took(lambda: store.sums(key()))
        assert seconds < BOUND
    finally:
        server.thaw()
    store.add(batch(2, {7: {ALL: [1]}}))
    assert total(store.sums(key())[0], ALL) == [2]


def test_a_server_that_dies_and_returns_has_all_that_was_acknowledged(server: Postgres, store: Store) -> None:
    assert store.add(batch(1, {7: {ALL: [1]}}))
    assert store.file([given("a", "good")]) == [Filed(False, True)]
    server.stop(signal.SIGQUIT)
    seconds, why = took(lambda: store.file([given("b", "good")]))
    assert seconds < BOUND
    assert "password" not in why
    server.start()
    assert store.file([given("a", "good"), given("b", "good")]) == [Filed(False, False), Filed(False, True)]
    assert not store.add(batch(1, {7: {ALL: [1]}}))


def test_sessions_that_are_ended_all_the_time_cost_tries_but_no_label_and_no_count(
    server: Postgres, store: Store, say: Callable[[str], None]
) -> None:
    done = threading.Event()

    def terminate() -> None:
        while not done.wait(0.05):
            say(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'understudy'"
            )

    hunter = threading.Thread(target=terminate)
    hunter.start()
    try:
        for number in range(1, 41):
            while True:
                try:
                    store.add(batch(number, {7: {ALL: [1]}}))
                    store.file([given(f"label-{number}", "good")])
                    break
                except Interrupted:
                    continue
    finally:
        done.set()
        hunter.join()
    assert total(store.sums(key())[0], ALL) == [40]
    names = [given(f"label-{number}", "good") for number in range(1, 41)]
    assert set(store.file(names)) == {Filed(False, False)}


def test_a_table_that_somebody_locks_is_waited_for_no_longer_than_said(
    server: Postgres, store: Store
) -> None:
    other = create_engine(server.url)
    with other.begin() as connection:
        connection.execute(text("LOCK TABLE deliveries"))
        seconds, why = took(lambda: store.file([given("a", "good")]))
    assert PATIENCE <= seconds < BOUND
    assert "timeout" in why
    assert store.file([given("a", "good")]) == [Filed(False, True)]
    other.dispose()


def test_where_no_connection_is_left_it_is_told_at_once(server: Postgres, store: Store) -> None:
    store.close()
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OperationalError):
            while True:
                engine = create_engine(server.url)
                held.callback(engine.dispose)
                held.enter_context(engine.connect())
        seconds, why = took(lambda: store.file([given("a", "good")]))
    assert seconds < BOUND
    assert "too many clients" in why
    assert at_last(lambda: store.file([given("a", "good")])) == [Filed(False, True)]


def test_a_server_that_became_read_only_is_left_for_another_one(
    store: Store, database: Database, say: Callable[[str], None]
) -> None:
    names = itertools.count()
    say("ALTER SYSTEM SET default_transaction_read_only = on")
    say("SELECT pg_reload_conf()")
    try:
        assert "read-only" in refused(lambda: store.file([given(f"before-{next(names)}", "good")]))
        assert database._engine.pool.checkedin() == 0  # type: ignore[attr-defined] # a QueuePool
        assert store.learnt() == {}  # a standby can still be read
    finally:
        say("ALTER SYSTEM RESET default_transaction_read_only")
        say("SELECT pg_reload_conf()")
    assert at_last(lambda: store.file([given("after", "good")])) == [Filed(False, True)]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to make a small disk")
def test_a_full_disk_is_told_and_what_was_refused_fits_once_there_is_room(
    server: Postgres, say: Callable[[str], None]
) -> None:
    disk = tempfile.mkdtemp(prefix="small-disk-")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", disk], check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        os.chown(disk, NOBODY, NOBODY)
        say("DROP SCHEMA public CASCADE")
        say("CREATE SCHEMA public")
        say(f"CREATE TABLESPACE small LOCATION '{disk}'")
        database = Database(f"{server.url}&options=-cdefault_tablespace%3Dsmall", patience=10)
        store = Store(database)
        wanted = [[record(f"{part}-{number}", 200) for number in range(200)] for part in range(40)]
        todo = iter(wanted)
        assert "No space left" in refused(lambda: store.write(next(todo)))
        written = len(wanted) - len(list(todo)) - 1
        assert 0 < written < len(wanted)
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        found = [len(store.write(some)) for some in wanted]
        assert found == [0] * written + [200] * (len(wanted) - written)
        database.close()
        say("DROP SCHEMA public CASCADE")
        say("CREATE SCHEMA public")
        say("DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
        Path(disk).rmdir()


def test_a_frozen_replica_loses_its_locks(database: Database, store: Store) -> None:
    with database.begin() as connection:
        found = connection.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one()
    assert found == f"{dialect.IDLE_SECONDS:.0f}s"


def test_two_that_wait_for_each_other_are_told_that_the_same_may_succeed(
    server: Postgres, store: Store
) -> None:
    gate, found = threading.Barrier(2, timeout=30), []
    store.write([record("a"), record("b")])

    def work(first: str, second: str) -> None:
        mine = Database(server.url, patience=20)
        query = text("UPDATE records SET joined = 1 WHERE request_id = :name")
        try:
            with mine.begin() as connection:
                connection.execute(query, {"name": first})
                gate.wait()
                connection.execute(query, {"name": second})
            found.append("done")
        except Interrupted as error:
            found.append(str(error).rpartition(": ")[2])
        finally:
            mine.close()

    threads = [threading.Thread(target=work, args=names) for names in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(found) == ["deadlock detected", "done"]


def test_no_session_keeps_anything_that_the_next_transaction_in_it_would_feel(
    server: Postgres, store: Store, database: Database
) -> None:
    """What PgBouncer's transaction mode asks of its clients."""
    for number in range(12):  # psycopg would prepare what comes again
        store.file([given(f"a-{number}", "good")])
    with database._engine.connect() as connection:
        left = connection.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar_one()
        times = connection.execute(text("SHOW statement_timeout")).scalar_one()
        locks = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        assert (left, times, connection.execute(locks).scalar_one()) == (0, "0", 0)


def test_who_comes_while_another_upgrades_is_told_in_time_and_the_upgrade_may_take_longer(
    server: Postgres, database: Database
) -> None:
    other = create_engine(server.url)
    with other.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        seconds, why = took(Store(database).learnt)
    other.dispose()
    assert PATIENCE <= seconds < BOUND
    assert "timeout" in why

    def slow(connection: Connection) -> None:
        connection.execute(text("SELECT pg_sleep(:time)"), {"time": PATIENCE + dialect.GRACE_SECONDS + 0.5})

    Store(database).learnt()
    with database.begin() as connection:
        upgrade(connection, [*STEPS, slow])
        assert connection.execute(text("SELECT version FROM understudy_schema")).scalar_one() == NEWEST + 1


def test_a_replica_goes_on_beside_a_newer_one_unless_that_says_otherwise(
    store: Store, database: Database
) -> None:
    with database.begin() as connection:
        connection.execute(update(SCHEMA).values(version=NEWEST + 1))
    assert store.file([given("a", "good")]) == [Filed(False, True)]
    with database.begin() as connection:
        connection.execute(update(SCHEMA).values(usable_from=NEWEST + 1))
    with pytest.raises(StoreError, match=f"knows them up to {NEWEST}"):
        store.file([given("b", "good")])
    with pytest.raises(StoreError, match=f"knows them up to {NEWEST}"):
        store.learnt()


def test_tables_that_are_taken_away_are_made_anew(store: Store, say: Callable[[str], None]) -> None:
    store.file([given("a", "good")])
    say("DROP SCHEMA public CASCADE")
    say("CREATE SCHEMA public")
    with pytest.raises(StoreError, match="gone"):
        store.file([given("a", "good")])
    assert store.file([given("a", "good")]) == [Filed(False, True)]


def test_a_replica_whose_clock_is_a_year_ahead_deletes_nothing_of_the_others(
    server: Postgres, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    year, really, day = 365 * 86_400.0, time.time, 86_400.0
    now = really()
    store.write([record("a", at=now)])
    store.file([given("a", "good", at=now)])
    store.add_rows(rows(1, {slot_of(now): [3, 4]}))
    monkeypatch.setattr(time, "time", lambda: really() + year)
    wrong = Store(Database(server.url, patience=PATIENCE), now=time.time)
    wrong.measure(10**9)
    assert not wrong.sweep(time.time() - 30 * day)
    assert not wrong.forget(time.time() - 90 * day)
    assert not wrong.forget_rows(time.time() - 30 * day)
    wrong.add_rows(rows(2, {slot_of(now): [1, 1]}))
    assert list(wrong.rows(CREDIT)[0]) == [slot_of(now)]
    assert wrong.file([given("a", "good")]) == [Filed(True, False)]
    wrong.close()


def test_a_dump_gives_a_store_that_the_service_goes_on_with(
    server: Postgres, store: Store, say: Callable[[str], None]
) -> None:
    store.write([record("a")])
    store.add(batch(1, {7: {ALL: [1]}}))
    dump = server.url.rpartition("host=")[2] + "/store.dump"
    server.run("pg_dump", "--format=custom", "--file", dump)
    store.file([given("after", "good")])
    store.add(batch(2, {7: {ALL: [1]}}))
    server.run("pg_restore", "--clean", "--if-exists", "--single-transaction", dump)
    assert store.file([given("after", "good")]) == [Filed(False, True)]  # as it was before
    assert store.write([record("a"), record("b")]) == {("b", 0)}
    store.add(batch(2, {7: {ALL: [1]}}))
    assert total(store.sums(key())[0], ALL) == [2]


def test_a_value_of_ours_that_is_wrong_is_no_trouble_of_the_store(database: Database) -> None:
    with pytest.raises(Exception, match="null value") as caught, database.begin() as connection:
        connection.execute(insert(KNOWLEDGE).values(key="a", value=None))
    assert not isinstance(caught.value, StoreError)
