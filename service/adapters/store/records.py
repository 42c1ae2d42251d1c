"""Answers on their way in, and out again where their labels have come."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, bindparam, select, update

from service.adapters.store.statements import chunks, insertion
from service.adapters.store.tables import ANSWERERS, DELIVERIES, OPEN, RECORDS, State
from service.domain.labels import Answerer, Record


class Register:
    """The store's numbers of answerers, remembered."""

    def __init__(self) -> None:
        self._ids: dict[Answerer, int] = {}
        self._answerers: dict[int, Answerer] = {}

    def number(self, connection: Connection, who: Answerer) -> int:
        """The number of ``who``, which gets one where it has none."""
        if who not in self._ids:
            description = json.dumps(asdict(who), sort_keys=True)
            digest = hashlib.sha256(description.encode()).hexdigest()
            values = {"digest": digest, "description": description}
            connection.execute(insertion(connection, ANSWERERS).values(values).on_conflict_do_nothing())
            query = select(ANSWERERS.c.id).where(ANSWERERS.c.digest == digest)
            self._ids[who] = connection.execute(query).scalar_one()
        return self._ids[who]

    def answerer(self, connection: Connection, number: int) -> Answerer:
        """Who has this number."""
        if number not in self._answerers:
            query = select(ANSWERERS.c.description).where(ANSWERERS.c.id == number)
            found = json.loads(connection.execute(query).scalar_one())
            lists = {"classes": tuple(found["classes"]), "slices": tuple(found["slices"])}
            self._answerers[number] = Answerer(**(found | lists))
        return self._answerers[number]

    def forget(self) -> None:
        """Forgets numbers that a transaction gave out which then failed, or that another store gave out."""
        self._ids.clear()
        self._answerers.clear()


def write(connection: Connection, register: Register, records: Sequence[Record]) -> set[tuple[str, int]]:
    """Writes records whose (request id, first row) is new, and gives those; the others stay as they are."""
    rows = [_row(register.number(connection, record.answerer), record) for record in records]
    new = insertion(connection, RECORDS).on_conflict_do_nothing()
    found = connection.execute(new.returning(RECORDS.c.request_id, RECORDS.c.first), rows)
    written = {(name, first) for name, first in found}
    _wake(connection, sorted({name for name, _ in written}))
    return written


def read(connection: Connection, register: Register, names: Sequence[str]) -> list[Record]:
    """All that is known of some requests."""
    found: list[Record] = []
    for some in chunks(names):
        rows = connection.execute(select(RECORDS).where(RECORDS.c.request_id.in_(some))).all()
        found += [_record(register.answerer(connection, row.answerer), row) for row in rows]
    return found


def mark(connection: Connection, seen: Mapping[int, int]) -> None:
    """Writes down which records were joined with all deliveries below which number."""
    if seen:
        statement = update(RECORDS).where(RECORDS.c.id == bindparam("which"))
        rows = [{"which": name, "joined": count} for name, count in seen.items()]
        connection.execute(statement.values(joined=bindparam("joined")), rows)


def _row(answerer: int, record: Record) -> dict[str, Any]:
    return {
        "request_id": record.request_id,
        "first": record.first,
        "total": record.total,
        "rows": len(record.scores),
        "answered_at": record.answered_at,
        "answerer": answerer,
        "joined": 0,
        "scores": record.scores.tobytes(),
        "evidence": None if record.evidence is None else record.evidence.tobytes(),
        "slices": None if record.slices is None else record.slices.tobytes(),
    }


def _wake(connection: Connection, names: Sequence[str]) -> None:
    """Has labels looked at again that waited for the records just written."""
    waiting = DELIVERIES.c.state == State.WAITING
    if connection.execute(select(DELIVERIES.c.id).where(OPEN, waiting).limit(1)).first() is None:
        return
    for some in chunks(names):
        chosen = update(DELIVERIES).where(waiting, DELIVERIES.c.request_id.in_(some))
        connection.execute(chosen.values(state=State.NEW))


def _record(who: Answerer, row: Row[Any]) -> Record:
    evidence = None if row.evidence is None else np.frombuffer(row.evidence, "<f8").reshape(row.rows, -1)
    return Record(
        row.request_id,
        row.first,
        row.total,
        row.answered_at,
        who,
        np.frombuffer(row.scores, "<f4").reshape(row.rows, who.outputs),
        evidence,
        None if row.slices is None else np.frombuffer(row.slices, "<u4"),
        row.joined,
        row.id,
    )
