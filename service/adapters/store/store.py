"""The store as the edge and the shadow use it: each call is one transaction."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from service.adapters.store import distributions, evidence, joining, labels, records, retention
from service.adapters.store.database import Database, Interrupted
from service.adapters.store.labels import Outcome
from service.adapters.store.tables import KNOWLEDGE
from service.domain.drift.slots import ModelKey, SlotBatch
from service.domain.evidence.books import Books, Key, Page
from service.domain.evidence.cases import Case
from service.domain.evidence.paired import Batch, Settle
from service.domain.labels import Given, Joined, Learn, Record
from service.errors import StoreError

TRIES = 3
"""How often labels are filed that somebody else files at the same moment, or that were interrupted."""
PAUSE_SECONDS = 0.05
"""Before such a further try, at most; drawn, so that two do not meet again."""


class Store:
    """Answers, labels, evidence and rows by bin. Every method raises ``StoreError`` where nothing was done
    and a later try may help.

    Args:
        database: where they are.
        now: seconds since 1970 by this machine's clock. What is old is told by the store's, where it has one:
            a replica whose clock is wrong deletes nothing of the others'.
    """

    def __init__(self, database: Database, *, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now
        self._register = records.Register()
        self._holdings = {table.name: retention.Holdings(table) for table in retention.SIZES}
        self._over = dict.fromkeys(self._holdings, 0)
        self._overlooked: list[str] = []

    def file(self, given: Sequence[Given]) -> list[Outcome]:
        """Files labels; they are on the disk when this returns. What became of each, in order."""
        trouble: Exception | None = None
        for number in range(TRIES):
            if number:
                time.sleep(random.uniform(0.0, PAUSE_SECONDS))
            try:
                with self._database.begin() as connection:
                    return labels.file(connection, given)
            except (IntegrityError, Interrupted) as error:  # labels that are there already are no news
                trouble = error
        if isinstance(trouble, Interrupted):
            raise trouble
        raise StoreError("others file labels of the same requests without end")

    def write(self, answers: Sequence[Record]) -> set[tuple[str, int]]:
        """Writes records, and gives the (request id, first row) of those that were not there before."""
        try:
            with self._database.begin() as connection:
                return records.write(connection, self._register, answers)
        except Exception:
            self._register.forget()
            raise

    def add(self, batch: Batch) -> bool:
        """Adds what a shadow saw of a candidate, whole; False where this batch is there already."""
        with self._database.begin() as connection:
            return evidence.add(connection, batch, self._moment())

    def sums(self, key: Key) -> tuple[Books, float | None]:
        """Everything seen of a candidate by all replicas, and since when (seconds since 1970)."""
        with self._database.look() as connection:
            return evidence.sums(connection, key)

    def hours(self, key: Key, page: Page) -> list[tuple[int, NDArray[np.float64]]]:
        """The sums of one page by hours since 1970, the oldest first."""
        with self._database.look() as connection:
            return evidence.hours(connection, key, page)

    def keys(self, production: str) -> list[Key]:
        """Every candidate of which there is evidence beside this production model, the newest first."""
        with self._database.look() as connection:
            return evidence.keys(connection, production)

    def cases(self, key: Key) -> list[Case]:
        """All cases that are kept of a candidate, by kind and slice, the best rank first."""
        with self._database.look() as connection:
            return evidence.cases(connection, key)

    def keep_cases(self, key: Key, worst: int, sample: int, before: float) -> None:
        """Keeps the best ``worst``, and the best ``sample`` of each slice, of cases since ``before``."""
        with self._database.begin() as connection:
            number = evidence.number_of(connection, key)
            if number is not None:
                evidence.trim(connection, number, worst, sample, before - self._database.ahead)

    def join(self, learn: Learn, settle: Settle | None = None) -> Joined:
        """Joins what labels and answers have come; what was joined and what follows from it are one step.

        Without ``settle`` both models' answers are left alone, and so are those that it does not know.
        """
        again = self._overlooked[: joining.TURN]
        with self._database.look() as connection:  # which takes no lock
            if not again and not joining.news(connection):
                return Joined()
        try:
            with self._database.begin() as connection:
                found = joining.join(connection, self._register, learn, settle, self._moment(), again)
        except Exception:
            self._register.forget()
            raise
        if found is None:
            return Joined()
        self._overlooked = self._overlooked[len(again) :]
        return found._replace(more=found.more or bool(self._overlooked))

    def look_again(self, settle: Settle) -> None:
        """Finds what others joined who did not know all that ``settle`` does; ``join`` does the rest."""
        with self._database.look() as connection:
            self._overlooked = joining.overlooked(connection, settle)

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
            gone = retention.sweep(connection, before - self._database.ahead, over)
        self._over = over
        return gone >= retention.STEP

    def forget(self, before: float) -> bool:
        """Deletes some of the evidence older than ``before`` (seconds since 1970); whether there may be more.

        What a candidate's rows add up to stays for as long as somebody writes evidence of it.
        """
        with self._database.begin() as connection:
            return retention.forget(connection, before - self._database.ahead)

    def add_rows(self, batch: SlotBatch) -> bool:
        """Adds what a shadow counted of a model, whole; False where this batch is there already."""
        with self._database.begin() as connection:
            return distributions.add(connection, batch, self._moment())

    def rows(self, model: ModelKey) -> tuple[dict[int, NDArray[np.float64]], float | None]:
        """All that replicas counted of a model by slot, and since when (seconds since 1970)."""
        with self._database.look() as connection:
            return distributions.read(connection, model)

    def forget_rows(self, before: float) -> bool:
        """Deletes one model whose rows nobody counts since ``before``; whether there may be more."""
        with self._database.begin() as connection:
            return distributions.forget(connection, before - self._database.ahead)

    def close(self) -> None:
        """Hangs up."""
        self._database.close()

    def _moment(self) -> float:
        """By the store's clock, as far as the last transaction was told it."""
        return self._now() - self._database.ahead
