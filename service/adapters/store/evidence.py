"""What a shadow saw of a candidate: batches that are written once, sums that add up, and cases."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    Connection,
    Table,
    case,
    delete,
    func,
    select,
    text,
    update,
)

from service.adapters.store import paired
from service.adapters.store.statements import insertion
from service.adapters.store.tables import CASES, HOURS, PAIRINGS, TOTALS, WRITERS
from service.domain.evidence import books
from service.domain.evidence.books import Books, Key, Page
from service.domain.evidence.cases import Case
from service.domain.evidence.paired import Batch, Pairing

PAIRING_LOCKS = 0x556E6472
"""Which of PostgreSQL's advisory locks of two numbers are ours; the other number is the pairing's."""


def add(connection: Connection, batch: Batch, now: float) -> bool:
    """Adds a batch; False where it is there already.

    What replicas do together comes first, what they do one after the other last: the lock of a pairing is
    only held for its sums and cases.

    Raises:
        ValueError: the same key was used for a pairing with other classes, slices or columns.
    """
    paired.keep_out_joiners(connection)
    number = _register(connection, batch.pairing, now)
    if not _is_next(connection, number, batch):
        return False
    paired.write(connection, number, batch.answers)
    touch(connection, number, now)
    add_sums(connection, number, batch.hours)
    _add_cases(connection, number, batch.cases)
    return True


def number_of(connection: Connection, key: Key) -> int | None:
    """The store's number of a pairing, or None where it has none."""
    return connection.execute(select(PAIRINGS.c.id).where(*_is(key))).scalar()


def touch(connection: Connection, pairing: int, now: float) -> bool:
    """Notes that evidence of it is written, and has whoever else does so wait; False where it is gone.

    PostgreSQL hands a row's lock to any of those who wait, and each looks through all that was written
    meanwhile: 64 replicas that wait for one another wrote less than half of what 8 did. Its advisory locks
    are queues.
    """
    if connection.dialect.name == "postgresql":
        queue = text("SELECT pg_advisory_xact_lock(:kind, :pairing)")
        connection.execute(queue, {"kind": PAIRING_LOCKS, "pairing": pairing})
    chosen = update(PAIRINGS).where(PAIRINGS.c.id == pairing).values(written_at=now)
    return connection.execute(chosen).rowcount > 0


def add_sums(connection: Connection, pairing: int, hours: Mapping[int, Books]) -> None:
    """Adds to the sums of a pairing that this transaction has touched."""
    known = select(TOTALS.c.book, TOTALS.c.page, TOTALS.c.sums).where(TOTALS.c.pairing == pairing)
    before = {Page(book, page): sums for book, page, sums in connection.execute(known)}
    _write(connection, TOTALS, {"pairing": pairing}, before, books.add(hours.values()))
    for hour, news in hours.items():
        place = {"pairing": pairing, "hour": hour}
        known = select(HOURS.c.book, HOURS.c.page, HOURS.c.sums)
        chosen = known.where(HOURS.c.pairing == pairing, HOURS.c.hour == hour)
        before = {Page(book, page): sums for book, page, sums in connection.execute(chosen)}
        _write(connection, HOURS, place, before, news)


def sums(connection: Connection, key: Key) -> tuple[Books, float | None]:
    """Everything that was ever seen, and since when in seconds since 1970; None where nothing was."""
    query = select(PAIRINGS.c.since, TOTALS.c.book, TOTALS.c.page, TOTALS.c.sums)
    both = PAIRINGS.outerjoin(TOTALS, TOTALS.c.pairing == PAIRINGS.c.id)
    found: Books = {}
    since = None
    for at, book, page, value in connection.execute(query.select_from(both).where(*_is(key))):
        since = at
        if book is not None:
            found[Page(book, page)] = _vector(value)
    return found, since


def hours(connection: Connection, key: Key, page: Page) -> list[tuple[int, NDArray[np.float64]]]:
    """The sums of one page by hours since 1970, the oldest first."""
    mine = HOURS.join(PAIRINGS, PAIRINGS.c.id == HOURS.c.pairing)
    query = select(HOURS.c.hour, HOURS.c.sums).select_from(mine)
    chosen = query.where(*_is(key), HOURS.c.book == page.book, HOURS.c.page == page.name)
    return [(hour, _vector(value)) for hour, value in connection.execute(chosen.order_by(HOURS.c.hour))]


def keys(connection: Connection, production: str) -> list[Key]:
    """Every pairing of a production model, the one that was written to last first."""
    columns = (PAIRINGS.c.production, PAIRINGS.c.candidate, PAIRINGS.c.digest)
    chosen = select(*columns).where(PAIRINGS.c.production == production)
    return [Key(*row) for row in connection.execute(chosen.order_by(PAIRINGS.c.written_at.desc()))]


def cases(connection: Connection, key: Key) -> list[Case]:
    """All cases of a pairing, by kind and slice, the best rank first."""
    mine = CASES.join(PAIRINGS, PAIRINGS.c.id == CASES.c.pairing)
    chosen = select(CASES).select_from(mine).where(*_is(key))
    rows = connection.execute(chosen.order_by(CASES.c.kind, CASES.c.slice, CASES.c.rank, CASES.c.id))
    return [
        Case(row.kind, row.slice, row.rank, row.request_id, row.row, row.at, json.loads(row.document))
        for row in rows
    ]


def trim(connection: Connection, pairing: int, worst: int, sample: int, before: float) -> None:
    """Keeps the best ``worst``, and the best ``sample`` of each slice, of cases no older than ``before``."""
    lock = select(PAIRINGS.c.id).where(PAIRINGS.c.id == pairing).with_for_update(key_share=True)
    connection.execute(lock)
    mine = CASES.c.pairing == pairing
    connection.execute(delete(CASES).where(mine, CASES.c.at < before))
    place = func.row_number().over(
        partition_by=(CASES.c.kind, CASES.c.slice), order_by=(CASES.c.rank, CASES.c.id)
    )
    ranked = select(CASES.c.id, CASES.c.kind, place.label("place")).where(mine).subquery()
    most = case((ranked.c.kind == "worst", worst), else_=sample)
    connection.execute(delete(CASES).where(CASES.c.id.in_(select(ranked.c.id).where(ranked.c.place > most))))


def _register(connection: Connection, pairing: Pairing, now: float) -> int:
    """The number of a pairing, which gets one where it has none, and stays while this transaction lasts."""
    description = paired.description_of(pairing)
    known = select(PAIRINGS.c.id, PAIRINGS.c.description).where(*_is(pairing.key))
    chosen = known.with_for_update(read=True, key_share=True)
    found = connection.execute(chosen).first()
    while found is None:  # whoever deletes an old one may be faster, once
        values = {
            "production": pairing.key.production,
            "candidate": pairing.key.candidate,
            "digest": pairing.key.digest,
            "description": description,
            "since": now,
            "written_at": now,
        }
        connection.execute(insertion(connection, PAIRINGS).values(values).on_conflict_do_nothing())
        found = connection.execute(chosen).first()
    if found.description != description:
        raise ValueError(f"evidence of {pairing.key} has other classes or slices in the store")
    return int(found.id)


def _is_next(connection: Connection, pairing: int, batch: Batch) -> bool:
    """Whether this batch is not there yet; whoever writes the same at this moment is waited for."""
    new = insertion(connection, WRITERS)
    place = {"pairing": pairing, "writer": batch.writer, "number": batch.number}
    newer = new.values(place).on_conflict_do_update(
        index_elements=[WRITERS.c.pairing, WRITERS.c.writer],
        set_={"number": new.excluded.number},
        where=WRITERS.c.number < new.excluded.number,
    )
    return connection.execute(newer.returning(WRITERS.c.number)).first() is not None


def _write(
    connection: Connection, table: Table, place: Mapping[str, int], before: Mapping[Page, bytes], news: Books
) -> None:
    """Writes news over what was there before, added up."""
    if not news:
        return
    rows = []
    for page, value in news.items():
        if page in before:
            value = _together(page, _vector(before[page]), value)
        rows.append({**place, "book": page.book, "page": page.name, "sums": value.astype("<f8").tobytes()})
    new = insertion(connection, table)
    over = new.on_conflict_do_update(index_elements=list(table.primary_key), set_={"sums": new.excluded.sums})
    connection.execute(over, rows)


def _add_cases(connection: Connection, pairing: int, found: Sequence[Case]) -> None:
    """Adds cases; of a row that is there already the better one stays."""
    if not found:
        return
    new = insertion(connection, CASES)
    columns = ("rank", "at", "document")
    better = new.on_conflict_do_update(
        index_elements=[CASES.c[name] for name in ("pairing", "kind", "slice", "request_id", "row")],
        set_={name: new.excluded[name] for name in columns},
        where=new.excluded.rank < CASES.c.rank,
    )
    connection.execute(better, [_case_row(pairing, one) for one in found])


def _case_row(pairing: int, one: Case) -> dict[str, Any]:
    return {
        "pairing": pairing,
        "kind": one.kind,
        "slice": one.slice,
        "rank": one.rank,
        "request_id": one.request_id,
        "row": one.row,
        "at": one.at,
        "document": json.dumps(one.document, allow_nan=False),
    }


def _is(key: Key) -> tuple[Any, ...]:
    pairing = PAIRINGS.c
    return (
        pairing.digest == key.digest,
        pairing.production == key.production,
        pairing.candidate == key.candidate,
    )


def _vector(value: bytes) -> NDArray[np.float64]:
    return np.frombuffer(value, "<f8").astype(np.float64)


def _together(page: Page, before: NDArray[np.float64], news: NDArray[np.float64]) -> NDArray[np.float64]:
    if before.shape != news.shape:
        raise ValueError(f"{page} has {len(before)} columns in the store, not {len(news)}")
    return before + news
