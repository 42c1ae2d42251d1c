"""What recorded answers and labels add to the store, SQLite or PostgreSQL."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from sqlalchemy import Engine, create_engine, inspect, text

from load_tests import metrics
from load_tests.generator import ask, open_loop
from load_tests.pacing import Schedule
from load_tests.server import Server
from load_tests.wire import Request, request, status_of

JSON = {"Content-Type": "application/json"}
SETTLE_SECONDS = 60.0
FIRST = 500
"""Answers before anything is measured."""
LABELLERS = 8
ACCEPTED = (200, 202)
SIZE = {
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    "postgresql": "SELECT pg_database_size(current_database())",
}
"""Bytes of tables and indexes. A log of what is not merged yet comes on top, and is bounded by itself."""
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'understudy'"


@dataclass(frozen=True, slots=True)
class Growth:
    """What requests of one row, compared with one candidate, left in a store."""

    store: str
    records: int
    """Answers with their scores, each beside both models' scores."""
    record_bytes: int
    labels: int
    label_bytes: int

    @property
    def per_million_records(self) -> float:
        """MiB."""
        return _per_million(self.record_bytes, self.records)

    @property
    def per_million_labels(self) -> float:
        """MiB."""
        return _per_million(self.label_bytes, self.labels)


class Store:
    """A server's store, looked at from outside."""

    def __init__(self, url: str) -> None:
        self._engine: Engine = create_engine(url)

    @property
    def kind(self) -> str:
        return self._engine.dialect.name

    def rows(self, table: str) -> int:
        """0 where there is no such table yet."""
        if not inspect(self._engine).has_table(table):
            return 0
        return self._number(f"SELECT count(*) FROM {table}")

    def size(self) -> int:
        return self._number(SIZE[self.kind])

    def sessions(self) -> int:
        """Connections that the service holds to PostgreSQL."""
        return self._number(SESSIONS)

    def close(self) -> None:
        self._engine.dispose()

    def _number(self, query: str) -> int:
        with self._engine.connect() as connection:
            return int(connection.execute(text(query)).scalar_one())


def growth(server: Server, url: str, instances: Sequence[Any], rate: float, seconds: float) -> Growth:
    """Asks at a rate at which nothing is dropped, then brings a label for each tenth answer.

    Raises:
        RuntimeError: not every answer was recorded and compared, or a label was refused.
    """
    store = Store(url)
    schedule = Schedule(rate, seconds)
    try:
        server.await_idle()  # its shadow is ready later than the edge
        # what is there once, however many come: tables, and pages of which there are few
        _record(server, store, instances, Schedule(rate, FIRST / rate), 0, FIRST)
        size = store.size()
        _record(server, store, instances, schedule, FIRST, FIRST + schedule.count)
        recorded = store.size()
        labels = schedule.count // 10
        _label(server, labels)
        _await_rows(store, "deliveries", labels)
        return Growth(store.kind, schedule.count, recorded - size, labels, store.size() - recorded)
    finally:
        store.close()


def _record(
    server: Server, store: Store, instances: Sequence[Any], schedule: Schedule, first: int, after: int
) -> None:
    """Asks, with names that count from ``first``, and waits until the store has ``after`` answers in all."""
    requests = [
        _post("/predict", {"instances": [instance], "request_id": _name(number)})
        for number, instance in enumerate(islice(cycle(instances), schedule.count), first)
    ]
    run = open_loop(server.address, requests, schedule)
    if run.failures:
        raise RuntimeError(f"answers failed: {dict(run.failures)}")
    for table in ("records", "paired_answers"):
        _await_rows(store, table, after)
    metrics.settled(server.address, SETTLE_SECONDS)


def _label(server: Server, count: int) -> None:
    def bring(number: int) -> int:
        return status_of(
            ask(server.address, _post("/feedback", {"request_id": _name(number), "labels": ["good"]}))
        )

    with ThreadPoolExecutor(LABELLERS) as callers:
        refused = [status for status in callers.map(bring, range(count)) if status not in ACCEPTED]
    if refused:
        raise RuntimeError(f"{len(refused)} labels were answered {sorted(set(refused))}")


def _await_rows(store: Store, table: str, wanted: int) -> None:
    end = time.monotonic() + SETTLE_SECONDS
    while (found := store.rows(table)) < wanted:
        if time.monotonic() > end:
            raise RuntimeError(f"{found} of {wanted} rows came into {table}")
        time.sleep(0.2)


def _name(number: int) -> str:
    """As long as the names that the service gives."""
    return f"{number:032x}"


def _post(path: str, document: dict[str, Any]) -> Request:
    return request("POST", path, json.dumps(document).encode(), JSON)


def _per_million(size: int, rows: int) -> float:
    return size / max(rows, 1) * 1e6 / (1 << 20)
