"""What is too old, or too much, leaves the store: a little at a time, so that nobody waits for it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Table,
    delete,
    exists,
    func,
    literal_column,
    select,
    update,
)

from service.adapters.store.tables import (
    ANSWERS,
    CASES,
    DELIVERIES,
    HOURS,
    OPEN,
    PAIRINGS,
    RECORDS,
    TOTALS,
    WRITERS,
    State,
)

HOUR = 3_600
"""Seconds."""
STEP = 500
"""Entries of a table that one transaction deletes."""
BLOCK = 10_000
"""Ids that are measured together."""
LATELY = 100_000
"""Records written since labels were last healed, at most, by all processes."""
CHARACTERS = 100
"""Labels as JSON count for one row more each time they are so long."""

SIZES: dict[Table, ColumnElement[int]] = {
    RECORDS: RECORDS.c.rows,
    ANSWERS: ANSWERS.c.rows,
    DELIVERIES: 1
    + func.length(DELIVERIES.c.labels, type_=Integer) // literal_column(str(CHARACTERS), Integer),
}
"""For how many rows an entry of each table counts."""


class Holdings:
    """How much one table holds. Entries never change and only the oldest go, so each is read about once.

    Args:
        table: with ids that grow with time.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._blocks: dict[int, int] = {}
        """Rows by block of ids, of blocks that neither grow nor shrink."""

    def count(self, connection: Connection) -> int:
        """Rows, as ``SIZES`` has them."""
        ids = self._table.c.id
        ends = (select(func.min(ids)).scalar_subquery(), select(func.max(ids)).scalar_subquery())
        first, last = connection.execute(select(*ends)).one()
        if first is None:
            self._blocks.clear()
            return 0
        oldest, newest = first // BLOCK, last // BLOCK
        if any(block > newest for block in self._blocks):  # it is another store
            self._blocks.clear()
        held = {
            block: self._blocks[block]
            if block in self._blocks and block > oldest
            else self._sum(connection, block)
            for block in range(oldest, newest + 1)
        }
        # the newest one's neighbour may still be written by somebody who is slow to commit
        self._blocks = {block: rows for block, rows in held.items() if block < newest - 1}
        return sum(held.values())

    def _sum(self, connection: Connection, block: int) -> int:
        ids = self._table.c.id
        query = select(func.sum(SIZES[self._table])).where(ids >= block * BLOCK, ids < (block + 1) * BLOCK)
        return int(connection.execute(query).scalar() or 0)


def sweep(connection: Connection, before: float, over: dict[str, int]) -> int:
    """Deletes some of what is older than ``before``, or the oldest where there is too much.

    Args:
        before: seconds since 1970.
        over: rows that are to go whatever their age, by table, as in ``SIZES``; counted down here.

    Returns:
        How many entries went; with as many as ``STEP`` there may be more.
    """
    times = {
        RECORDS: RECORDS.c.answered_at,
        ANSWERS: ANSWERS.c.answered_at,
        DELIVERIES: DELIVERIES.c.labelled_at,
    }
    return sum(_oldest(connection, table, time, before, over) for table, time in times.items())


def forget(connection: Connection, before: float) -> bool:
    """Deletes some of the hourly sums and cases older than ``before``, then pairings that nobody writes to.

    Args:
        before: seconds since 1970.

    Returns:
        Whether there may be more.
    """
    oldest = connection.execute(select(func.min(HOURS.c.hour))).scalar()
    if oldest is not None and (oldest + 1) * HOUR <= before:
        connection.execute(delete(HOURS).where(HOURS.c.hour == oldest))
        return True
    old = select(CASES.c.id).where(CASES.c.at < before).order_by(CASES.c.at).limit(STEP)
    if connection.execute(delete(CASES).where(CASES.c.id.in_(old))).rowcount:
        return True
    unused = select(PAIRINGS.c.id).where(PAIRINGS.c.written_at < before).limit(1)
    # who writes to it meanwhile is waited for, and then it stays
    gone = delete(PAIRINGS).where(PAIRINGS.c.id.in_(unused), PAIRINGS.c.written_at < before)
    number = connection.execute(gone.returning(PAIRINGS.c.id)).scalar()
    if number is None:
        return False
    for table in (WRITERS, TOTALS, HOURS, CASES):
        connection.execute(delete(table).where(table.c.pairing == number))
    return True


def heal(connection: Connection) -> None:
    """Wakes labels that were put to wait at the moment in which another process wrote their record.

    Only PostgreSQL lets two processes write at once.
    """
    if connection.dialect.name != "postgresql":
        return
    newest = connection.execute(select(func.max(RECORDS.c.id))).scalar() or 0
    missed = exists().where(
        RECORDS.c.id > newest - LATELY,
        RECORDS.c.request_id == DELIVERIES.c.request_id,
        RECORDS.c.joined <= DELIVERIES.c.number,
    )
    chosen = update(DELIVERIES).where(OPEN, DELIVERIES.c.state == State.WAITING, missed)
    connection.execute(chosen.values(state=State.NEW))


def _oldest(connection: Connection, table: Table, time: Any, before: float, over: dict[str, int]) -> int:
    """Ids grow with time, so the oldest come first, and the first young one ends the search."""
    columns = select(table.c.id, time, SIZES[table])
    last, gone = None, 0
    for name, at, rows in connection.execute(columns.order_by(table.c.id).limit(STEP)):
        if at >= before and over[table.name] <= 0:
            break
        over[table.name] -= rows
        last, gone = name, gone + 1
    if last is not None:
        connection.execute(delete(table).where(table.c.id <= last))
    return gone
