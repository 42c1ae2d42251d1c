"""The version of the tables, and how older ones become new."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from string import Template
from typing import TypeAlias

from sqlalchemy import Connection, insert, inspect, select, text, update

from service.adapters.store import postgres
from service.adapters.store.tables import METADATA, SCHEMA
from service.errors import StoreError

Step: TypeAlias = Callable[[Connection], None]


def _keep_evidence(connection: Connection) -> None:
    """Version 2: what shadows saw."""
    _run(connection, EVIDENCE)


def _keep_distributions(connection: Connection) -> None:
    """Version 3: rows by bin."""
    _run(connection, DISTRIBUTIONS)


def _say_who_may_go_on(connection: Connection) -> None:
    """Version 4: the oldest service that may use the tables."""
    _run(connection, "ALTER TABLE understudy_schema ADD COLUMN usable_from INTEGER NOT NULL DEFAULT 4")


def _run(connection: Connection, statements: str) -> None:
    words = {
        "sqlite": {"ID": "INTEGER", "NUMBER": "INTEGER", "REAL": "DOUBLE", "BYTES": "BLOB"},
        "postgresql": {"ID": "BIGSERIAL", "NUMBER": "SERIAL", "REAL": "DOUBLE PRECISION", "BYTES": "BYTEA"},
    }[connection.dialect.name]
    for statement in statements.split(";"):
        connection.exec_driver_sql(Template(statement).substitute(words))


EVIDENCE = """
CREATE TABLE pairings (
    id $NUMBER NOT NULL PRIMARY KEY,
    production VARCHAR(255) NOT NULL,
    candidate VARCHAR(255) NOT NULL,
    digest VARCHAR(32) NOT NULL,
    description TEXT NOT NULL,
    since $REAL NOT NULL,
    written_at $REAL NOT NULL,
    UNIQUE (digest, production, candidate)
);
CREATE TABLE writers (
    pairing INTEGER NOT NULL,
    writer VARCHAR(32) NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (pairing, writer)
);
CREATE TABLE totals (
    pairing INTEGER NOT NULL,
    book VARCHAR(32) NOT NULL,
    page TEXT NOT NULL,
    sums $BYTES NOT NULL,
    PRIMARY KEY (pairing, book, page)
);
CREATE TABLE hours (
    pairing INTEGER NOT NULL,
    book VARCHAR(32) NOT NULL,
    page TEXT NOT NULL,
    hour INTEGER NOT NULL,
    sums $BYTES NOT NULL,
    PRIMARY KEY (pairing, book, page, hour)
);
CREATE INDEX hours_by_hour ON hours (hour, pairing);
CREATE TABLE cases (
    id $ID NOT NULL PRIMARY KEY,
    pairing INTEGER NOT NULL,
    kind VARCHAR(16) NOT NULL,
    slice TEXT NOT NULL,
    rank $REAL NOT NULL,
    request_id VARCHAR(128) NOT NULL,
    row INTEGER NOT NULL,
    at $REAL NOT NULL,
    document TEXT NOT NULL,
    UNIQUE (pairing, kind, slice, request_id, row)
);
CREATE INDEX cases_by_rank ON cases (pairing, kind, slice, rank);
CREATE INDEX cases_by_age ON cases (at);
CREATE TABLE paired_answers (
    id $ID NOT NULL PRIMARY KEY,
    request_id VARCHAR(128) NOT NULL,
    pairing INTEGER NOT NULL,
    first INTEGER NOT NULL,
    total INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    answered_at $REAL NOT NULL,
    joined INTEGER NOT NULL,
    scores $BYTES NOT NULL,
    slices $BYTES,
    UNIQUE (request_id, pairing, first)
)
"""

DISTRIBUTIONS = """
CREATE TABLE distributions (
    id $NUMBER NOT NULL PRIMARY KEY,
    tag VARCHAR(255) NOT NULL,
    role VARCHAR(16) NOT NULL,
    digest VARCHAR(32) NOT NULL,
    since $REAL NOT NULL,
    written_at $REAL NOT NULL,
    UNIQUE (digest, tag, role)
);
CREATE TABLE distribution_writers (
    distribution INTEGER NOT NULL,
    writer VARCHAR(32) NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (distribution, writer)
);
CREATE TABLE distribution_slots (
    distribution INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    counts $BYTES NOT NULL,
    PRIMARY KEY (distribution, slot)
)
"""

STEPS: tuple[Step, ...] = (_keep_evidence, _keep_distributions, _say_who_may_go_on)
"""The i-th makes version i + 2 out of version i + 1, by statements that never change afterwards."""
NEWEST = len(STEPS) + 1
"""The version of the tables that this service makes."""
USABLE_FROM = 4
"""The oldest service that may go on with those tables, so that an upgrade can be rolled back.

A step that takes something away from older services writes its own version there.
"""
LOCK = 0x7573
"""PostgreSQL's advisory lock of whoever upgrades; any number that is the same everywhere."""
UPGRADE_SECONDS = 600.0
"""How long PostgreSQL may take for one statement of a step. Whoever waits for it does not wait that long."""


def is_right(connection: Connection) -> bool:
    """Whether this service can go on with the tables as they are; waits for nobody. Raises ``StoreError``."""
    version = _version(connection, NEWEST)
    return version is not None and version >= NEWEST


def upgrade(connection: Connection, steps: Sequence[Step] = STEPS) -> None:
    """Makes the tables what this service needs, inside the connection's transaction.

    A new store gets the present tables at once, an older one every step that it lacks. One of several
    replicas does it; who comes meanwhile fails as at any lock, and asks again.

    Raises:
        StoreError: a newer service has upgraded the store, and older ones cannot go on with it.
    """
    newest = len(steps) + 1
    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time anyway
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    version = _version(connection, newest)
    if version is None:
        METADATA.create_all(connection)
        connection.execute(insert(SCHEMA).values(version=newest, usable_from=USABLE_FROM))
    elif version < newest:
        if connection.dialect.name == "postgresql":
            postgres.give_time(connection, UPGRADE_SECONDS)
        for step in steps[version - 1 :]:
            step(connection)
        connection.execute(update(SCHEMA).values(version=newest))


def refuse_newer(version: int, usable_from: int, known: int) -> None:
    """Raises ``StoreError`` where a service that has tables up to version ``known`` must not use these."""
    if version > known and usable_from > known:
        raise StoreError(
            f"the store has tables of version {version}, this service knows them up to {known}: "
            f"one that knows those of version {usable_from} has upgraded them"
        )


def _version(connection: Connection, known: int) -> int | None:
    """The version of tables that are there; raises ``StoreError``."""
    if not inspect(connection).has_table(SCHEMA.name):
        return None
    version = connection.execute(select(SCHEMA.c.version)).scalar_one()
    if version > known:
        refuse_newer(version, connection.execute(select(SCHEMA.c.usable_from)).scalar_one(), known)
    return int(version)
