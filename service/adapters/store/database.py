"""One process's way to the store: connections, transactions, time-outs, and one kind of error.

Durable: a transaction that ended is on the disk (SQLite in WAL mode with synchronous=FULL, PostgreSQL by
default), so neither a ``kill -9`` nor a power cut takes it back. Who can do without, does not keep SQLite's
only write lock while the disk is waited for.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from service.adapters.store import postgres
from service.adapters.store.upgrades import NEWEST, is_right, refuse_newer, upgrade
from service.errors import ConfigurationError, StoreError

WAL_PAUSE = 0.01
"""Seconds between two tries to make a new file a WAL one."""
CLOCK_SECONDS = 1.0
"""Clocks that differ by less are the same: an answer takes its time."""


class Interrupted(StoreError):
    """Somebody else's doing or a lost connection; the same may succeed at once. It may have been done."""


class Database:
    """The store at ``url``; opened, and upgraded where needed, by the first transaction.

    Args:
        url: ``sqlite:///PATH`` or ``postgresql+psycopg://…``.
        patience: seconds that a statement may take, and that a lock is waited for; an upgrade of the tables
            may take longer.
        connections: transactions at once; more wait.
        durable: False where a power cut may take back SQLite's last transactions, all that were after some
            moment; what a durable one wrote before or after is not touched.
    """

    def __init__(self, url: str, *, patience: float, connections: int = 1, durable: bool = True) -> None:
        try:
            self._url = make_url(url)
        except ArgumentError as error:
            raise ConfigurationError("UNDERSTUDY_STORE_URL is not a database URL") from error
        self._name = self._url.set(query={}).render_as_string()  # a password may be in the query, too
        self._file = Path(self._url.database or "") if self._url.get_backend_name() == "sqlite" else None
        self._patience = patience
        self._engine = (
            postgres.engine(self._url, patience, connections)
            if self._file is None
            else _sqlite_engine(self._url, patience, connections, durable)
        )
        self._opening = threading.Lock()
        self._opened: object = None
        self.ahead = 0.0
        """Seconds that this machine's clock is ahead of the store's, as far as is known."""

    @contextlib.contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction, on the disk when the block ends, and undone where it raises.

        On SQLite it holds the only write lock from its start.

        Raises:
            StoreError: the store cannot be reached, is locked, full, read-only or too slow, or is one of a
                newer service. Nothing was written, unless the answer to the last word was lost.
        """
        with self._told():
            self._open()
            with self._engine.begin() as connection:
                self._greet(connection)
                yield connection

    @contextlib.contextmanager
    def look(self) -> Iterator[Connection]:
        """A connection that only reads, and holds up nobody. Raises ``StoreError``."""
        with self._told():
            self._open()
            with self._engine.connect() as connection:
                if self._file is not None:  # else time-outs need a transaction
                    connection.execution_options(isolation_level="AUTOCOMMIT")
                self._greet(connection)
                yield connection

    def close(self) -> None:
        """Hangs up."""
        self._engine.dispose()

    def _open(self) -> None:
        """Makes sure that the tables are there; a file that was taken away is made anew."""
        with self._opening:
            if self._opened is not None and self._opened == self._identity():
                return
            self._engine.dispose()
            if self._file is not None:  # what it holds is for the service alone
                os.close(os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600))
            # one after the other: two that have looked and then upgrade would wait for each other
            with self._first() as connection:
                right = is_right(connection)
            if not right:
                with self._first() as connection:
                    upgrade(connection)
            self._opened = self._identity()

    @contextlib.contextmanager
    def _first(self) -> Iterator[Connection]:
        """A transaction in which there may be no tables."""
        with self._engine.begin() as connection:
            if self._file is None:
                postgres.greet(connection, self._patience, tables=False)
            yield connection

    def _greet(self, connection: Connection) -> None:
        """Tables may be upgraded, or restored from a backup, while this process goes on."""
        if self._file is not None:
            return
        try:
            found = postgres.greet(connection, self._patience)
        except ProgrammingError as error:
            if postgres.code_of(error) not in (postgres.NO_TABLE, postgres.NO_COLUMN):
                raise
            self._opened = None
            raise StoreError(f"{self._name}: its tables are gone") from error
        refuse_newer(found.version, found.usable_from, NEWEST)
        ahead = time.time() - found.now
        self.ahead = ahead if abs(ahead) >= CLOCK_SECONDS else 0.0

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """One kind of error for whatever is wrong with the store."""
        try:
            yield
        except (DataError, IntegrityError, ProgrammingError):
            raise  # what we asked was wrong, and will be the next time
        except (DatabaseError, InterfaceError, PoolTimeoutError, OSError) as error:
            if postgres.code_of(error) == postgres.READ_ONLY:
                self._engine.dispose()  # another server may have taken over behind the same name
            kind = Interrupted if postgres.passing(error) else StoreError
            raise kind(f"{self._name}: {_reason(error)}") from error

    def _identity(self) -> object:
        """What changes when the file is another one than before; SQLite would not notice."""
        if self._file is None:
            return True
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino


def _sqlite_engine(url: URL, patience: float, connections: int, durable: bool) -> Engine:
    engine = create_engine(
        url,
        hide_parameters=True,  # what is kept of rows is no matter for logs
        pool_size=connections,
        max_overflow=0,
        pool_timeout=patience,
        connect_args={"timeout": patience},
    )
    event.listen(engine, "connect", partial(_prepare_sqlite, durable, patience))
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(durable: bool, patience: float, connection: Any, _: Any) -> None:
    connection.isolation_level = None  # else Python's driver begins transactions where it likes
    _take_wal(connection, patience)
    connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")


def _take_wal(connection: Any, patience: float) -> None:
    """Two that make a file a WAL one at the same moment do not wait for each other: one fails at once."""
    due = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() >= due:
                raise
            time.sleep(WAL_PAUSE)


def _begin_sqlite(connection: Connection) -> None:
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # a lock that is taken later can only fail


def _reason(error: Exception) -> str:
    """One line, without the statement and its values, which are nobody's business."""
    cause = getattr(error, "orig", None) or error
    return str(cause).strip().partition("\n")[0] or type(cause).__name__
