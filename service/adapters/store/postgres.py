"""The way to PostgreSQL: nothing is waited for without end, and nothing is left behind in a session.

Time-outs are set for each transaction and no statement is prepared, so a pooler that gives every transaction
another session (PgBouncer's transaction mode) needs no settings. What the server cannot tell, because it is
stopped, its disk hangs or its machine is gone, this side gives up by itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import URL, Connection, Engine, create_engine, event, text

CONNECT_SECONDS = 3
"""How long each address may take to accept a connection; psycopg waits for 2 at least."""
ALL_SECONDS = 10.0
"""For the resolver, which has no time-out of its own, and all addresses that it gives."""
GRACE_SECONDS = 1.0
"""So much longer than the server may take for a statement this side waits for its answer."""
IDLE_SECONDS = 30.0
"""After such a silence in a transaction the server ends it: a frozen replica holds no lock for longer."""
KEEPALIVE_SECONDS = 5
"""After this silence it is seen whether PostgreSQL's machine is still there, by ``PROBES`` a second apart."""
PROBES = 3
ENCODING = "UTF8"
"""Of the database: in another one a slice of any name cannot be kept, or is told as bytes."""

PASSING = frozenset({"40001", "40P01", "57P01", "57P02", "08003", "08006"})
"""The same may succeed at once: serialisation failure, deadlock, a session that was ended."""
READ_ONLY = "25006"
NO_TABLE, NO_COLUMN = "42P01", "42703"

T = TypeVar("T")


class Greeting(NamedTuple):
    """What a transaction is told when it begins."""

    now: float
    """The server's clock, seconds since 1970."""
    version: int
    """Of the tables, and the oldest service that may use them; 0 where it was not asked."""
    usable_from: int


class NoAnswer(psycopg.OperationalError):
    """The server did not answer in time; nobody knows what became of the statement."""


class PatientConnection(psycopg.Connection[Any]):
    """Hangs up on a server that answers nothing.

    PostgreSQL's own time-outs are of no use where its processes are stopped, and TCP's where only they are.
    """

    seconds: float = 60.0
    """How long one statement is waited for."""

    def wait(self, gen: PQGen[T], *arguments: Any, **options: Any) -> T:
        """As psycopg's, but not for longer than ``seconds``; raises ``NoAnswer``."""
        return super().wait(self._in_time(gen), *arguments, **options)

    def _in_time(self, gen: PQGen[T]) -> PQGen[T]:
        due = time.monotonic() + self.seconds
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() >= due:
                    self.pgconn.finish()
                    raise NoAnswer(f"the server did not answer within {self.seconds:g} s")
                wanted = gen.send(ready)
        except StopIteration as end:
            result: T = end.value
            return result


def engine(url: URL, patience: float, connections: int) -> Engine:
    """A pool of at most ``connections``, see ``Database``. What the URL says wins."""
    wanted: dict[str, Any] = {
        "connect_timeout": max(2, min(CONNECT_SECONDS, round(patience))),
        "application_name": "understudy",
        "client_encoding": ENCODING,
        # while something is on its way to a machine that is gone, nobody sends keepalives
        "tcp_user_timeout": milliseconds(patience),
        "keepalives_idle": KEEPALIVE_SECONDS,
        "keepalives_interval": 1,
        "keepalives_count": PROBES,
    }
    made = create_engine(
        url,
        hide_parameters=True,  # what is kept of rows is no matter for logs
        pool_size=connections,
        max_overflow=0,
        pool_timeout=patience,
        pool_pre_ping=True,
        connect_args={name: value for name, value in wanted.items() if name not in url.query}
        | {"prepare_threshold": None},
    )

    def connect(_: object, __: object, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        def open_() -> PatientConnection:
            return PatientConnection.connect(*arguments, **options)

        made = in_time(open_, ALL_SECONDS, PatientConnection.close)
        if (found := made.info.parameter_status("server_encoding")) != ENCODING:
            made.close()
            raise psycopg.OperationalError(f"the database's encoding is {found}; it has to be {ENCODING}")
        made.seconds = patience + GRACE_SECONDS
        return made

    event.listen(made, "do_connect", connect)
    return made


def in_time(make: Callable[[], T], seconds: float, discard: Callable[[T], None]) -> T:
    """What ``make`` gives, from a thread of its own; what comes too late is discarded there.

    Raises:
        NoAnswer: nothing came within ``seconds``. The thread ends when ``make`` does.
    """
    coming: Future[T] = Future()

    def run() -> None:
        try:
            made = make()
        except BaseException as error:  # told to whoever waits
            if coming.set_running_or_notify_cancel():
                coming.set_exception(error)
            return
        if coming.set_running_or_notify_cancel():
            coming.set_result(made)
        else:
            discard(made)

    threading.Thread(target=run, name="connect", daemon=True).start()
    try:
        return coming.result(seconds)
    except TimeoutError:
        if not coming.cancel():  # it has come at this very moment
            return coming.result()
        raise NoAnswer(f"there was no connection within {seconds:g} s") from None


def greet(connection: Connection, patience: float, *, tables: bool = True) -> Greeting:
    """Begins a transaction: bounds what it may take, and sees whether the tables are still what they were.

    Args:
        patience: seconds for each statement, and for each lock.
        tables: whether there are some.
    """
    _wait_for(connection, patience)
    limits = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    chosen = ", ".join(f"set_config('{name}', :{name}, true)" for name in limits)
    ask = ", version, usable_from FROM understudy_schema" if tables else ", 0, 0"
    values = dict.fromkeys(limits, str(milliseconds(patience)))
    values["idle_in_transaction_session_timeout"] = str(milliseconds(max(IDLE_SECONDS, 2 * patience)))
    # nothing but names of ours is put together here
    query = text(f"SELECT {chosen}, extract(epoch FROM clock_timestamp()){ask}")  # noqa: S608 - see above
    *_, now, version, usable_from = connection.execute(query, values).one()
    return Greeting(float(now), version, usable_from)


def give_time(connection: Connection, seconds: float) -> None:
    """Lets each statement of the transaction take so long; locks are waited for as before."""
    connection.execute(
        text("SELECT set_config('statement_timeout', :time, true)"), {"time": str(milliseconds(seconds))}
    )
    _wait_for(connection, seconds)


def code_of(error: BaseException) -> str | None:
    """PostgreSQL's five characters for what went wrong."""
    found: str | None = getattr(getattr(error, "orig", None), "sqlstate", None)
    return found


def passing(error: BaseException) -> bool:
    """Whether the same may succeed at once. What was lost with a connection may have been done or not."""
    if isinstance(getattr(error, "orig", None), NoAnswer):
        return False  # and it would be waited for again
    return code_of(error) in PASSING or bool(getattr(error, "connection_invalidated", False))


def milliseconds(seconds: float) -> int:
    """As PostgreSQL's time-outs have them, of which 0 would be none."""
    return max(1, int(seconds * 1000))


def _wait_for(connection: Connection, seconds: float) -> None:
    driver = connection.connection.driver_connection
    if isinstance(driver, PatientConnection):
        driver.seconds = seconds + GRACE_SECONDS
