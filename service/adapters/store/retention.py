"""What is too old, or too much, leaves the store: a little at a time, so that nobody waits for it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table, delete, exists, func, select, update

from service.adapters.store.tables import DELIVERIES, RECORDS, State

STEP = 500
"""Entries of a table that one transaction deletes."""


def excess(connection: Connection, most_rows: int) -> dict[str, int]:
    """Rows of answers, and deliveries of labels, beyond ``most_rows`` each, by table; reads all of them."""
    rows = connection.execute(select(func.sum(RECORDS.c.rows))).scalar() or 0
    labels = connection.execute(select(func.count()).select_from(DELIVERIES)).scalar_one()
    return {RECORDS.name: max(0, int(rows) - most_rows), DELIVERIES.name: max(0, labels - most_rows)}


def sweep(connection: Connection, before: float, over: dict[str, int]) -> int:
    """Deletes some of what is older than ``before``, or the oldest where there is too much.

    Args:
        before: seconds since 1970.
        over: what is to go whatever its age, by table, as ``excess`` gives it; counted down here.

    Returns:
        How many entries went; with as many as ``STEP`` there may be more.
    """
    records, deliveries = RECORDS.c, DELIVERIES.c
    return _oldest(connection, RECORDS, records.answered_at, records.rows, before, over) + _oldest(
        connection, DELIVERIES, deliveries.labelled_at, None, before, over
    )


def heal(connection: Connection) -> None:
    """Wakes labels that were put to wait at the moment in which another process wrote their record.

    Only PostgreSQL lets two processes write at once.
    """
    if connection.dialect.name != "postgresql":
        return
    missed = exists().where(
        RECORDS.c.request_id == DELIVERIES.c.request_id, RECORDS.c.joined <= DELIVERIES.c.number
    )
    chosen = update(DELIVERIES).where(DELIVERIES.c.state == State.WAITING, missed)
    connection.execute(chosen.values(state=State.NEW))


def _oldest(
    connection: Connection, table: Table, time: Any, size: Any, before: float, over: dict[str, int]
) -> int:
    """Ids grow with time, so the oldest come first, and the first young one ends the search."""
    columns = (table.c.id, time, size) if size is not None else (table.c.id, time)
    last, gone = None, 0
    for row in connection.execute(select(*columns).order_by(table.c.id).limit(STEP)):
        if row[1] >= before and over[table.name] <= 0:
            break
        over[table.name] -= row[2] if size is not None else 1
        last, gone = row[0], gone + 1
    if last is not None:
        connection.execute(delete(table).where(table.c.id <= last))
    return gone
