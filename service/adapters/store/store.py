"""The store as the edge and the shadow use it: each call is one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from service.adapters.store import labels, records, retention
from service.adapters.store.database import Database
from service.adapters.store.labels import Outcome
from service.adapters.store.tables import DELIVERIES, KNOWLEDGE, RECORDS
from service.domain.labels import Given, Joined, Learn, Record
from service.errors import StoreError

TRIES = 3
"""How often labels are filed that somebody else files at the same moment."""


class Store:
    """Answers and labels. Every method raises ``StoreError`` where nothing was done and a later try may help.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._register = records.Register()
        self._holdings = {table.name: retention.Holdings(table) for table in (RECORDS, DELIVERIES)}
        self._over = dict.fromkeys(self._holdings, 0)

    def file(self, given: Sequence[Given]) -> list[Outcome]:
        """Files labels; they are on the disk when this returns. What became of each, in order."""
        for _ in range(TRIES):
            try:
                with self._database.begin() as connection:
                    return labels.file(connection, given)
            except IntegrityError:
                continue
        raise StoreError("others file labels of the same requests without end")

    def write(self, answers: Sequence[Record]) -> set[tuple[str, int]]:
        """Writes records, and gives the (request id, first row) of those that were not there before."""
        try:
            with self._database.begin() as connection:
                return records.write(connection, self._register, answers)
        except Exception:
            self._register.forget()
            raise

    def join(self, learn: Learn) -> Joined:
        """Joins what labels and answers have come; what was joined and what was learnt are one step."""
        with self._database.look() as connection:  # which takes no lock
            if not records.news(connection):
                return Joined()
        try:
            with self._database.begin() as connection:
                return records.join(connection, self._register, learn)
        except Exception:
            self._register.forget()
            raise

    def learnt(self) -> dict[str, bytes]:
        """Everything that was learnt so far, by key."""
        with self._database.look() as connection:
            return {key: bytes(value) for key, value in connection.execute(select(KNOWLEDGE))}

    def measure(self, most_rows: int) -> None:
        """Finds out how much there is beyond ``most_rows`` of each kind, for the sweeps that follow."""
        with self._database.look() as connection:
            held = {name: each.count(connection) for name, each in self._holdings.items()}
        self._over = {name: max(0, rows - most_rows) for name, rows in held.items()}
        with self._database.begin() as connection:
            retention.heal(connection)

    def sweep(self, before: float) -> bool:
        """Deletes some of what is older than ``before`` (seconds since 1970) or too much; whether more is."""
        over = dict(self._over)
        with self._database.begin() as connection:
            gone = retention.sweep(connection, before, over)
        self._over = over
        return gone >= retention.STEP

    def close(self) -> None:
        """Hangs up."""
        self._database.close()
