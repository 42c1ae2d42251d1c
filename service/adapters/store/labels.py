"""Labels on their way in: filed before they are acknowledged."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection, insert, select

from service.adapters.store.tables import DELIVERIES, RECORDS, State
from service.domain.labels import Filed, Given, LabelConflict, LabelCount, Labels, news

CHUNK = 500
"""Names in one IN: SQLite's statements take no endless lists."""

Outcome: TypeAlias = Filed | LabelConflict | LabelCount

T = TypeVar("T")


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
        told = before[one.request_id]
        total = totals.get(one.request_id)
        try:
            fresh = news(one.labels, told, total)
        except (LabelConflict, LabelCount) as error:
            outcomes.append(error)
            continue
        outcomes.append(Filed(total is not None, fresh is not None))
        if fresh is not None:
            rows.append(
                {
                    "request_id": one.request_id,
                    "number": len(told),
                    "labels": json.dumps(fresh),
                    "labelled_at": one.labelled_at,
                    "state": State.NEW,
                }
            )
            told.append(fresh)
    if rows:
        connection.execute(insert(DELIVERIES), rows)
    return outcomes


def chunks(items: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """The items, ``size`` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _totals(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    """Rows of each request that has a record; of its first answer, where the id was used again."""
    found: dict[str, int] = {}
    for some in chunks(names):
        query = select(RECORDS.c.request_id, RECORDS.c.total).where(RECORDS.c.request_id.in_(some))
        newest_first = connection.execute(query.order_by(RECORDS.c.id.desc()))
        found.update((name, total) for name, total in newest_first)
    return found


def _before(connection: Connection, names: Sequence[str]) -> dict[str, list[Labels]]:
    """What was told before of each request, oldest first."""
    found: dict[str, list[Labels]] = defaultdict(list)
    for some in chunks(names):
        query = select(DELIVERIES.c.request_id, DELIVERIES.c.labels).where(DELIVERIES.c.request_id.in_(some))
        for name, labels in connection.execute(query.order_by(DELIVERIES.c.number)):
            found[name].append(tuple(json.loads(labels)))
    return found
