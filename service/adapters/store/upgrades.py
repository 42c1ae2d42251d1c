"""The version of the tables, and how older ones become new."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from sqlalchemy import Connection, insert, inspect, select, text, update

from service.adapters.store.tables import METADATA, SCHEMA
from service.errors import StoreError

Step: TypeAlias = Callable[[Connection], None]

STEPS: tuple[Step, ...] = ()
"""The i-th makes version i + 2 out of version i + 1, by statements that never change afterwards."""
LOCK = 0x7573
"""PostgreSQL's advisory lock of whoever upgrades; any number that is the same everywhere."""


def upgrade(connection: Connection, steps: Sequence[Step] = STEPS) -> None:
    """Makes the tables what this service needs, inside the connection's transaction.

    A new store gets the present tables at once, an older one every step that it lacks.

    Raises:
        StoreError: a newer service has upgraded the store already.
    """
    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time anyway
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    newest = len(steps) + 1
    if not inspect(connection).has_table(SCHEMA.name):
        METADATA.create_all(connection)
        connection.execute(insert(SCHEMA).values(version=newest))
        return
    version = connection.execute(select(SCHEMA.c.version)).scalar_one()
    if version > newest:
        raise StoreError(
            f"the store has tables of version {version}, this service knows them up to {newest}: "
            "a newer one has upgraded them"
        )
    for step in steps[version - 1 :]:
        step(connection)
    if version < newest:
        connection.execute(update(SCHEMA).values(version=newest))
