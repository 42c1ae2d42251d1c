"""Both models' answers on their way in, and out again where their labels have come.

Unlike a record, they may come long after labels that were joined already: a candidate is slow, or is asked
again. So whoever writes some has all labels of those requests looked at once more. On PostgreSQL labels are
not joined at the moment in which some are written, or the two might miss each other.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, bindparam, select, text, update

from service.adapters.store.statements import chunks, insert_many, insertion
from service.adapters.store.tables import ANSWERS, DELIVERIES, PAIRINGS, State
from service.domain.evidence.books import Key
from service.domain.evidence.paired import Answers, Kept, Pairing, Settle

ANSWERS_LOCK = 0x7576
"""PostgreSQL's advisory lock of whoever writes answers, which many may do at once, or joins them."""


def keep_out_joiners(connection: Connection) -> None:
    """Has labels wait until this transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock_shared(:lock)"), {"lock": ANSWERS_LOCK})


def keep_out_writers(connection: Connection) -> None:
    """Has answers wait until this transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ANSWERS_LOCK})


def write(connection: Connection, pairing: int, answers: Sequence[Answers]) -> None:
    """Writes answers whose (request id, first row) is new; the others stay as they are."""
    if not answers:
        return
    # two that write the same requests in different orders would wait for each other
    rows = [_row(pairing, one) for one in sorted(answers, key=lambda one: (one.request_id, one.first))]
    insert_many(connection, insertion(connection, ANSWERS).on_conflict_do_nothing(), rows)
    _wake(connection, sorted({one.request_id for one in answers}))


def known(connection: Connection, settle: Settle) -> dict[int, Pairing]:
    """The pairings that ``settle`` knows, by their number."""
    pairings = {row.id: pairing_of(row) for row in connection.execute(select(PAIRINGS))}
    return {number: pairing for number, pairing in pairings.items() if settle.knows(pairing.key)}


def read(connection: Connection, names: Sequence[str], settle: Settle) -> dict[int, list[Kept]]:
    """All answers to some requests that ``settle`` can judge, by number of the pairing."""
    pairings = known(connection, settle)
    found: dict[int, list[Kept]] = defaultdict(list)
    for some in chunks(names):
        mine = ANSWERS.c.request_id.in_(some), ANSWERS.c.pairing.in_(pairings)
        for row in connection.execute(select(ANSWERS).where(*mine)):
            found[row.pairing].append(_kept(pairings[row.pairing], row))
    return found


def mark(connection: Connection, seen: Mapping[int, int]) -> None:
    """Writes down which answers were joined with all deliveries below which number."""
    if seen:
        statement = update(ANSWERS).where(ANSWERS.c.id == bindparam("which"))
        rows = [{"which": name, "joined": count} for name, count in seen.items()]
        connection.execute(statement.values(joined=bindparam("joined")), rows)


def description_of(pairing: Pairing) -> str:
    """What the store keeps of a pairing beside its key."""
    return json.dumps({"task": pairing.task, "classes": pairing.classes, "slices": pairing.slices})


def pairing_of(row: Row[Any]) -> Pairing:
    """The pairing of an entry of its table."""
    found = json.loads(row.description)
    key = Key(row.production, row.candidate, row.digest)
    return Pairing(key, found["task"], tuple(found["classes"]), tuple(found["slices"]))


def _row(pairing: int, one: Answers) -> dict[str, Any]:
    return {
        "request_id": one.request_id,
        "pairing": pairing,
        "first": one.first,
        "total": one.total,
        "rows": len(one.before),
        "answered_at": one.answered_at,
        "joined": 0,
        "scores": one.before.tobytes() + one.after.tobytes(),
        "slices": None if one.slices is None else one.slices.tobytes(),
    }


def _kept(pairing: Pairing, row: Row[Any]) -> Kept:
    before, after = np.frombuffer(row.scores, "<f4").reshape(2, row.rows, pairing.outputs)
    slices = None if row.slices is None else np.frombuffer(row.slices, "<u4")
    answers = Answers(row.request_id, row.first, row.total, row.answered_at, before, after, slices)
    return Kept(pairing, answers, row.joined, row.id)


def _wake(connection: Connection, names: Sequence[str]) -> None:
    """Has all labels of these requests looked at again, those that were joined with a record as well."""
    if connection.execute(select(DELIVERIES.c.id).limit(1)).first() is None:
        return
    for some in chunks(names):
        chosen = update(DELIVERIES).where(DELIVERIES.c.request_id.in_(some), DELIVERIES.c.state != State.NEW)
        connection.execute(chosen.values(state=State.NEW))
