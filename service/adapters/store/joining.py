"""Labels meet the answers that they belong to, and what follows from it is written in the same step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, bindparam, func, insert, select, text, update

from service.adapters.store import evidence, paired, records
from service.adapters.store.labels import read
from service.adapters.store.records import Register
from service.adapters.store.statements import chunks
from service.adapters.store.tables import DELIVERIES, KNOWLEDGE, OPEN, State
from service.domain.evidence.books import Key
from service.domain.evidence.paired import LabelledAnswers, Settle, Settled
from service.domain.joining import Matched, labelled, labelled_answers, match
from service.domain.labels import Delivery, Joined, Learn

TURN = 500
"""Deliveries that are joined in one transaction."""
TURN_CHARACTERS = 32_000
"""As JSON, all together, but for the last: on SQLite labels on their way in wait for that transaction."""
JOIN_LOCK = 0x7574
"""PostgreSQL's advisory lock of whoever joins, so that replicas learn one after the other."""


def news(connection: Connection) -> bool:
    """Whether there are labels that nobody has looked at."""
    query = select(DELIVERIES.c.id).where(OPEN, DELIVERIES.c.state == State.NEW).limit(1)
    return connection.execute(query).first() is not None


def join(
    connection: Connection, register: Register, learn: Learn, settle: Settle | None, now: float
) -> Joined:
    """Joins new labels with what is known of their requests, and adds what follows from it.

    Args:
        learn: learns from the rows of records.
        settle: judges both models' answers; without it those stay as they are.
        now: seconds since 1970.
    """
    if connection.dialect.name == "postgresql":
        mine = connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": JOIN_LOCK})
        if not mine.scalar_one():
            return Joined()
    names, more = _turn(connection)
    if not names:
        return Joined()
    if settle is not None:
        paired.keep_out_writers(connection)
    kept = {} if settle is None else paired.read(connection, names)
    answers = records.read(connection, register, names)
    found = match(answers, _deliveries(connection, names), [one for each in kept.values() for one in each])
    batches, both = labelled(found.matches), labelled_answers(found.pairs)
    if batches:
        before = {key: bytes(value) for key, value in connection.execute(select(KNOWLEDGE))}
        remember(connection, before, learn(batches, before))
    if both and settle is not None:
        numbers = {each[0].pairing.key: number for number, each in kept.items()}
        _add(connection, numbers, settle(both), now)
    _mark(connection, found)
    return Joined(batches, len(found.misfits), _rows(both), more)


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


def _deliveries(connection: Connection, names: Sequence[str]) -> list[Delivery]:
    """Those that some part of their request has not met; whoever writes a new part opens them all again."""
    found: list[Delivery] = []
    for some in chunks(names):
        query = select(DELIVERIES).where(OPEN, DELIVERIES.c.request_id.in_(some))
        found += [
            Delivery(row.id, row.request_id, row.number, *read(row.labels), row.labelled_at)
            for row in connection.execute(query)
        ]
    return found


def _add(connection: Connection, numbers: Mapping[Key, int], settled: Sequence[Settled], now: float) -> None:
    """Adds what labels say about candidates; of several always in the same order, as each is locked."""
    by_pairing: dict[int, list[Settled]] = defaultdict(list)
    for one in settled:
        by_pairing[numbers[one.key]].append(one)
    for number, mine in sorted(by_pairing.items()):
        if evidence.touch(connection, number, now):
            for one in mine:
                evidence.add_sums(connection, number, {one.hour: one.books})


def _mark(connection: Connection, found: Matched) -> None:
    states = [(name, State.DONE) for name in found.done] + [(name, State.WAITING) for name in found.waiting]
    if states:
        statement = update(DELIVERIES).where(DELIVERIES.c.id == bindparam("which"))
        rows = [{"which": name, "state": state} for name, state in states]
        connection.execute(statement.values(state=bindparam("state")), rows)
    records.mark(connection, found.seen)
    paired.mark(connection, found.seen_pairs)


def _rows(both: Sequence[LabelledAnswers]) -> int:
    return sum(len(one.labels) for one in both)
