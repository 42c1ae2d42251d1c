"""Labels on their way in: filed before they are acknowledged."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import Connection, insert, select

from service.adapters.store.statements import chunks
from service.adapters.store.tables import ANSWERS, DELIVERIES, RECORDS, State
from service.domain.labels import Filed, Given, Label, LabelConflict, LabelCount, Labels, news

Outcome: TypeAlias = Filed | LabelConflict | LabelCount


class _Told(NamedTuple):
    """What was told of one request."""

    labels: Labels
    next: int
    """The number of its next delivery."""


def file(connection: Connection, given: Sequence[Given]) -> list[Outcome]:
    """Files labels of some requests in one transaction; what became of each, in order.

    Raises:
        IntegrityError: another process filed news of the same request at this moment; try again.
    """
    names = sorted({one.request_id for one in given})
    totals = _totals(connection, names)
    before = _before(connection, names)
    outcomes: list[Outcome] = []
    rows: list[dict[str, Any]] = []
    for one in given:
        told = before.get(one.request_id)
        total = totals.get(one.request_id)
        try:
            fresh = news(one.labels, [] if told is None else [told.labels], total)
        except (LabelConflict, LabelCount) as error:
            outcomes.append(error)
            continue
        outcomes.append(Filed(total is not None, fresh is not None))
        if fresh is not None:
            number = 0 if told is None else told.next
            rows.append(
                {
                    "request_id": one.request_id,
                    "number": number,
                    "labels": written(fresh),
                    "labelled_at": one.labelled_at,
                    "state": State.NEW,
                }
            )
            labels = fresh if told is None else _together(told.labels, dict(enumerate(fresh)))
            before[one.request_id] = _Told(labels, number + 1)
    if rows:
        connection.execute(insert(DELIVERIES), rows)
    return outcomes


def written(labels: Labels) -> str:
    """The labels as JSON: a list, or an object of those that are known where most are not.

    Whoever learns the truth of a large request row by row sends as many deliveries as it has rows.
    """
    known = {row: label for row, label in enumerate(labels) if label is not None}
    return json.dumps(labels if 2 * len(known) > len(labels) else {"total": len(labels), "known": known})


def read(text: str) -> tuple[int, dict[int, Label]]:
    """How many labels were ``written``, and those that are known by their row."""
    found = json.loads(text)
    if isinstance(found, dict):
        return found["total"], {int(row): label for row, label in found["known"].items()}
    return len(found), {row: label for row, label in enumerate(found) if label is not None}


def _totals(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    """Rows of each request whose answer is known; of its first one, where the id was used again.

    Where records are kept of some requests alone, there may be both models' answers to others.
    """
    found: dict[str, int] = {}
    for table in (RECORDS, ANSWERS):
        for some in chunks([name for name in names if name not in found]):
            query = select(table.c.request_id, table.c.total).where(table.c.request_id.in_(some))
            newest_first = connection.execute(query.order_by(table.c.id.desc()))
            found.update((name, total) for name, total in newest_first)
    return found


def _before(connection: Connection, names: Sequence[str]) -> dict[str, _Told]:
    """What was told before of each request of which anything was."""
    found: dict[str, _Told] = {}
    delivered = DELIVERIES.c
    for some in chunks(names):
        query = select(delivered.request_id, delivered.number, delivered.labels)
        chosen = query.where(delivered.request_id.in_(some)).order_by(delivered.number)
        gathered: dict[str, dict[int, Label]] = {}
        ends: dict[str, tuple[int, int]] = {}
        for name, number, text in connection.execute(chosen):
            total, known = read(text)
            gathered.setdefault(name, {}).update(known)
            ends[name] = total, number + 1
        for name, (total, after) in ends.items():
            found[name] = _Told(_together((None,) * total, gathered[name]), after)
    return found


def _together(before: Labels, more: Mapping[int, Label]) -> Labels:
    """Labels with those of ``more`` in the places that were open."""
    return tuple(more.get(row) if label is None else label for row, label in enumerate(before))
