"""Labels meet the answers that they belong to, and what follows from it is written in the same step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set

from sqlalchemy import Connection, bindparam, func, insert, select, text, true, update

from service.adapters.store import evidence, paired, records
from service.adapters.store.labels import read
from service.adapters.store.records import Register
from service.adapters.store.statements import chunks
from service.adapters.store.tables import ANSWERS, DELIVERIES, KNOWLEDGE, OPEN, State
from service.domain.evidence.books import Key
from service.domain.evidence.paired import LabelledAnswers, Settle, Settled
from service.domain.joining import Matched, labelled, labelled_answers, match
from service.domain.labels import Delivery, Joined, Learn

TURN = 500
"""Deliveries that are joined in one transaction."""
LATELY = 100_000
"""Deliveries that may have been joined by who did not know the pairing, at most."""
MOST_OVERLOOKED = 5_000
"""Of them that are looked for at once."""
TURN_CHARACTERS = 32_000
"""As JSON, all together, but for the last: on SQLite labels on their way in wait for that transaction."""
JOIN_LOCK = 0x7574
"""PostgreSQL's advisory lock of whoever joins, so that replicas learn one after the other."""


def news(connection: Connection) -> bool:
    """Whether there are labels that nobody has looked at."""
    query = select(DELIVERIES.c.id).where(OPEN, DELIVERIES.c.state == State.NEW).limit(1)
    return connection.execute(query).first() is not None


def overlooked(connection: Connection, settle: Settle) -> list[str]:
    """Requests whose labels were joined by somebody who could not judge answers that ``settle`` can.

    While a candidate is rolled out, or after it was left out for a while, replicas compare different ones.
    """
    mine = list(paired.known(connection, settle))
    newest = connection.execute(select(func.max(DELIVERIES.c.id))).scalar() or 0
    unmet = ANSWERS.c.pairing.in_(mine) & (ANSWERS.c.joined <= DELIVERIES.c.number)
    both = DELIVERIES.join(ANSWERS, ANSWERS.c.request_id == DELIVERIES.c.request_id)
    query = select(DELIVERIES.c.request_id).distinct().select_from(both)
    lately = (DELIVERIES.c.id > newest - LATELY) & (DELIVERIES.c.state != State.NEW)
    return list(connection.execute(query.where(lately, unmet).limit(MOST_OVERLOOKED)).scalars())


def join(
    connection: Connection,
    register: Register,
    learn: Learn,
    settle: Settle | None,
    now: float,
    again: Sequence[str] = (),
) -> Joined | None:
    """Joins new labels with what is known of their requests, and adds what follows from it.

    Both models' answers of pairings that ``settle`` does not know are left to whoever does.

    Args:
        learn: learns from the rows of records.
        settle: judges both models' answers; without it those stay as they are.
        now: seconds since 1970.
        again: requests that were joined and are to be looked at once more, see ``overlooked``.

    Returns:
        None where another replica joins at this moment.
    """
    if connection.dialect.name == "postgresql":
        mine = connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": JOIN_LOCK})
        if not mine.scalar_one():
            return None
    names, more = _turn(connection)
    names = sorted({*names, *again})
    if not names:
        return Joined()
    if settle is not None:
        paired.keep_out_writers(connection)
    kept = {} if settle is None else paired.read(connection, names, settle)
    answers = records.read(connection, register, names)
    deliveries = _deliveries(connection, names, frozenset(again))
    found = match(answers, deliveries, [one for each in kept.values() for one in each])
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


def _deliveries(connection: Connection, names: Sequence[str], again: Set[str]) -> list[Delivery]:
    """Those that some part of their request has not met; whoever writes a new part opens them all again.

    Of requests that are looked at ``again``, all.
    """
    queries = [
        select(DELIVERIES).where(wanted, DELIVERIES.c.request_id.in_(some))
        for wanted, chosen in (
            (OPEN, [name for name in names if name not in again]),
            (true(), sorted(again)),
        )
        for some in chunks(chosen)
    ]
    return [
        Delivery(row.id, row.request_id, row.number, *read(row.labels), row.labelled_at)
        for query in queries
        for row in connection.execute(query)
    ]


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
