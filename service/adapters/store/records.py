"""Answers on their way in, and out again where their labels have come."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, Table, bindparam, func, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from service.adapters.store.labels import chunks, read
from service.adapters.store.tables import ANSWERERS, DELIVERIES, KNOWLEDGE, OPEN, RECORDS, State
from service.domain.joining import Matched, labelled, match
from service.domain.labels import Answerer, Delivery, Joined, Learn, Record

TURN = 500
"""Deliveries that are joined in one transaction."""
TURN_CHARACTERS = 32_000
"""As JSON, all together, but for the last: on SQLite labels on their way in wait for that transaction."""
JOIN_LOCK = 0x7574
"""PostgreSQL's advisory lock of whoever joins, so that replicas learn one after the other."""


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
            connection.execute(_insert(connection, ANSWERERS).values(values).on_conflict_do_nothing())
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


def _insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An insert that leaves alone what is there already: the two dialects spell it alike, each for itself."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def write(connection: Connection, register: Register, records: Sequence[Record]) -> set[tuple[str, int]]:
    """Writes records whose (request id, first row) is new, and gives those; the others stay as they are."""
    rows = [_row(register.number(connection, record.answerer), record) for record in records]
    new = _insert(connection, RECORDS).on_conflict_do_nothing()
    found = connection.execute(new.returning(RECORDS.c.request_id, RECORDS.c.first), rows)
    written = {(name, first) for name, first in found}
    _wake(connection, sorted({name for name, _ in written}))
    return written


def news(connection: Connection) -> bool:
    """Whether there are labels that nobody has looked at."""
    query = select(DELIVERIES.c.id).where(OPEN, DELIVERIES.c.state == State.NEW).limit(1)
    return connection.execute(query).first() is not None


def join(connection: Connection, register: Register, learn: Learn) -> Joined:
    """Joins new labels with what is known of their requests, and lets ``learn`` learn from it."""
    if connection.dialect.name == "postgresql":
        mine = connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": JOIN_LOCK})
        if not mine.scalar_one():
            return Joined()
    names, more = _turn(connection)
    if not names:
        return Joined()
    found = match(_records(connection, register, names), _deliveries(connection, names))
    batches = labelled(found.matches)
    if batches:
        before = {key: bytes(value) for key, value in connection.execute(select(KNOWLEDGE))}
        remember(connection, before, learn(batches, before))
    _mark(connection, found)
    return Joined(batches, len(found.misfits), more)


def _turn(connection: Connection) -> tuple[list[str], bool]:
    """The requests whose labels are joined next, and whether there are more."""
    query = select(DELIVERIES.c.request_id, func.length(DELIVERIES.c.labels))
    chosen = query.where(OPEN, DELIVERIES.c.state == State.NEW).order_by(DELIVERIES.c.id).limit(TURN)
    names: set[str] = set()
    left, count = TURN_CHARACTERS, 0
    for name, characters in connection.execute(chosen).all():
        if left <= 0:
            return sorted(names), True
        names.add(name)
        left, count = left - characters, count + 1
    return sorted(names), count == TURN


def remember(connection: Connection, before: Iterable[str], learnt: Mapping[str, bytes]) -> None:
    """Writes what was learnt over what was known ``before``."""
    known = set(before)
    changed = [{"name": key, "value": value} for key, value in learnt.items() if key in known]
    if changed:
        statement = update(KNOWLEDGE).where(KNOWLEDGE.c.key == bindparam("name"))
        connection.execute(statement.values(value=bindparam("value")), changed)
    new = [{"key": key, "value": value} for key, value in learnt.items() if key not in known]
    if new:
        connection.execute(insert(KNOWLEDGE), new)


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


def _records(connection: Connection, register: Register, names: Sequence[str]) -> list[Record]:
    found: list[Record] = []
    for some in chunks(names):
        rows = connection.execute(select(RECORDS).where(RECORDS.c.request_id.in_(some))).all()
        found += [_record(register.answerer(connection, row.answerer), row) for row in rows]
    return found


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


def _deliveries(connection: Connection, names: Sequence[str]) -> list[Delivery]:
    found: list[Delivery] = []
    for some in chunks(names):
        query = select(DELIVERIES).where(OPEN, DELIVERIES.c.request_id.in_(some))
        found += [
            Delivery(row.id, row.request_id, row.number, *read(row.labels), row.labelled_at)
            for row in connection.execute(query)
        ]
    return found


def _mark(connection: Connection, found: Matched) -> None:
    states = [(name, State.DONE) for name in found.done] + [(name, State.WAITING) for name in found.waiting]
    if states:
        statement = update(DELIVERIES).where(DELIVERIES.c.id == bindparam("which"))
        rows = [{"which": name, "state": state} for name, state in states]
        connection.execute(statement.values(state=bindparam("state")), rows)
    if found.seen:
        statement = update(RECORDS).where(RECORDS.c.id == bindparam("which"))
        rows = [{"which": name, "joined": count} for name, count in found.seen.items()]
        connection.execute(statement.values(joined=bindparam("joined")), rows)
