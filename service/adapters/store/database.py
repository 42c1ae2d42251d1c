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

from service.adapters.store.upgrades import upgrade
from service.errors import ConfigurationError, StoreError

CONNECT_SECONDS = 3
"""How long PostgreSQL may take to accept a connection."""
WAL_PAUSE = 0.01
"""Seconds between two tries to make a new file a WAL one."""
KEEPALIVE_SECONDS = 5
"""After this silence it is seen whether PostgreSQL's machine is still there."""


class Database:
    """The store at ``url``; opened, and upgraded where needed, by the first transaction.

    Args:
        url: ``sqlite:///PATH`` or ``postgresql+psycopg://…``.
        patience: seconds that a statement may take, and that a lock is waited for.
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
        self._engine = _engine(self._url, patience, connections, durable)
        self._opening = threading.Lock()
        self._opened: object = None

    @contextlib.contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction, on the disk when the block ends, and undone where it raises.

        On SQLite it holds the only write lock from its start.

        Raises:
            StoreError: the store cannot be reached, is locked, full or too slow; nothing was written.
        """
        try:
            self._open()
            with self._engine.begin() as connection:
                yield connection
        except (DataError, IntegrityError, ProgrammingError):
            raise  # what we asked was wrong, and will be the next time
        except (DatabaseError, InterfaceError, PoolTimeoutError, OSError) as error:
            raise StoreError(f"{self._name}: {_reason(error)}") from error

    @contextlib.contextmanager
    def look(self) -> Iterator[Connection]:
        """A connection that only reads, and holds up nobody. Raises ``StoreError``."""
        try:
            self._open()
            with self._engine.connect() as connection:
                yield connection.execution_options(isolation_level="AUTOCOMMIT")
        except (DatabaseError, InterfaceError, PoolTimeoutError, OSError) as error:
            raise StoreError(f"{self._name}: {_reason(error)}") from error

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
            with self._engine.begin() as connection:
                upgrade(connection)
            self._opened = self._identity()

    def _identity(self) -> object:
        """What changes when the file is another one than before; SQLite would not notice."""
        if self._file is None:
            return True
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino


def _engine(url: URL, patience: float, connections: int, durable: bool) -> Engine:
    if url.get_backend_name() == "sqlite":
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
    milliseconds = max(1, int(patience * 1000))
    options = url.query.get("options", ())
    own = [options] if isinstance(options, str) else options
    return create_engine(
        url,
        hide_parameters=True,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=patience,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "understudy",
            "options": " ".join(
                [*own, f"-c statement_timeout={milliseconds}", f"-c lock_timeout={milliseconds}"]
            ),
            # the server's time-outs are of no use where the server's machine is gone
            "tcp_user_timeout": milliseconds,
            "keepalives_idle": KEEPALIVE_SECONDS,
            "keepalives_interval": 1,
        },
    )


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
