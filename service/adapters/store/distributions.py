"""Rows by bin of every model that was served: batches that are written once, slots that add up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, select, update

from service.adapters.store.statements import insertion
from service.adapters.store.tables import DISTRIBUTION_SLOTS as SLOTS
from service.adapters.store.tables import DISTRIBUTION_WRITERS as WRITERS
from service.adapters.store.tables import DISTRIBUTIONS
from service.domain.drift.slots import OLDER, ModelKey, SlotBatch, Slots, merged, oldest_kept, together


def add(connection: Connection, batch: SlotBatch, now: float) -> bool:
    """Adds a batch, and what has become too old for a window to one sum; False where it is there already.

    Whoever else adds to the same model waits until the transaction ends.

    Raises:
        ValueError: there are rows of this model in vectors of another length.
    """
    number = _locked(connection, batch.model, now)
    if not _is_next(connection, number, batch):
        return False
    oldest = oldest_kept(now)
    mine = SLOTS.c.distribution == number
    touched = SLOTS.c.slot.in_(list(batch.slots)) | (SLOTS.c.slot < oldest)
    known = connection.execute(select(SLOTS.c.slot, SLOTS.c.counts).where(mine, touched))
    before = {slot: _vector(counts) for slot, counts in known}
    _check_lengths(batch, before)
    after = merged(together([before, batch.slots]), now)
    if before.keys() - after.keys():
        connection.execute(delete(SLOTS).where(mine, SLOTS.c.slot > OLDER, SLOTS.c.slot < oldest))
    news = {slot: counts for slot, counts in after.items() if counts is not before.get(slot)}
    _write(connection, number, news)
    return True


def read(connection: Connection, model: ModelKey) -> tuple[dict[int, NDArray[np.float64]], float | None]:
    """All rows of a model by slot, and since when in seconds since 1970; None where nobody wrote any."""
    query = select(DISTRIBUTIONS.c.since, SLOTS.c.slot, SLOTS.c.counts)
    both = DISTRIBUTIONS.outerjoin(SLOTS, SLOTS.c.distribution == DISTRIBUTIONS.c.id)
    found: dict[int, NDArray[np.float64]] = {}
    since = None
    for at, slot, counts in connection.execute(query.select_from(both).where(*_is(model))):
        since = at
        if slot is not None:
            found[slot] = _vector(counts)
    return found, since


def forget(connection: Connection, before: float) -> bool:
    """Deletes one model that nobody has written of since ``before``; whether there may be more."""
    unused = select(DISTRIBUTIONS.c.id).where(DISTRIBUTIONS.c.written_at < before).limit(1)
    # who writes of it meanwhile is waited for, and then it stays
    gone = delete(DISTRIBUTIONS).where(DISTRIBUTIONS.c.id.in_(unused), DISTRIBUTIONS.c.written_at < before)
    number = connection.execute(gone.returning(DISTRIBUTIONS.c.id)).scalar()
    if number is None:
        return False
    for table in (WRITERS, SLOTS):
        connection.execute(delete(table).where(table.c.distribution == number))
    return True


def _locked(connection: Connection, model: ModelKey, now: float) -> int:
    """The number of a model, which gets one where it has none, and is this transaction's until it ends."""
    touch = update(DISTRIBUTIONS).where(*_is(model)).values(written_at=now).returning(DISTRIBUTIONS.c.id)
    number = connection.execute(touch).scalar()
    while number is None:  # whoever deletes an old one may be faster, once
        values = {**model._asdict(), "since": now, "written_at": now}
        connection.execute(insertion(connection, DISTRIBUTIONS).values(values).on_conflict_do_nothing())
        number = connection.execute(touch).scalar()
    return int(number)


def _is_next(connection: Connection, number: int, batch: SlotBatch) -> bool:
    """Whether this batch is not there yet."""
    new = insertion(connection, WRITERS)
    newer = new.values(distribution=number, writer=batch.writer, number=batch.number).on_conflict_do_update(
        index_elements=[WRITERS.c.distribution, WRITERS.c.writer],
        set_={"number": new.excluded.number},
        where=WRITERS.c.number < new.excluded.number,
    )
    return connection.execute(newer.returning(WRITERS.c.number)).first() is not None


def _check_lengths(batch: SlotBatch, before: Slots) -> None:
    lengths = {len(counts) for counts in (*before.values(), *batch.slots.values())}
    if len(lengths) > 1:
        raise ValueError(f"rows of {batch.model} come in vectors of {sorted(lengths)} cells")


def _write(connection: Connection, number: int, slots: Mapping[int, NDArray[np.float64]]) -> None:
    if not slots:
        return
    rows = [
        {"distribution": number, "slot": slot, "counts": counts.astype("<f8").tobytes()}
        for slot, counts in slots.items()
    ]
    new = insertion(connection, SLOTS)
    over = new.on_conflict_do_update(
        index_elements=list(SLOTS.primary_key), set_={"counts": new.excluded.counts}
    )
    connection.execute(over, rows)


def _is(model: ModelKey) -> tuple[Any, ...]:
    known = DISTRIBUTIONS.c
    return known.digest == model.digest, known.tag == model.tag, known.role == model.role


def _vector(counts: bytes) -> NDArray[np.float64]:
    return np.frombuffer(counts, "<f8").astype(np.float64)
