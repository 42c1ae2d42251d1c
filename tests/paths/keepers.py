"""A keeper with fakes around it, and a clock that is set by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from service.domain.disagreement.measure import Sums
from service.domain.evidence.books import AGREEMENT, Books, Key, Page, add
from service.domain.evidence.cases import Case, best
from service.domain.evidence.document import Seen
from service.domain.evidence.paired import Answers, Batch, Pairing
from service.errors import StoreError
from service.paths.dossier import Dossier, DossierLimits
from service.paths.keeper import Keeper
from service.paths.witness import Drained

ROWS = Page(AGREEMENT, "all")
WALL = 3_600.0 * 500_000


def pairing(candidate: str = "m:new") -> Pairing:
    return Pairing(Key("m:prod", candidate, "0" * 32), "binary", ("bad", "good"), ())


def answers(name: str, rows: int = 1) -> Answers:
    zeros = np.zeros((rows, 2), np.float32)
    return Answers(name, 0, rows, WALL, zeros, zeros)


def case(name: str, rank: float = -1.0) -> Case:
    return Case("worst", "all", rank, name, 0, WALL, {"severity": -rank})


class FakeSource:
    """A witness that hands over what a test put there."""

    def __init__(self) -> None:
        self.rows = 0.0
        self.cases: list[Case] = []
        self.answers: list[Answers] = []
        self.lost = (0, 0)
        self.known: list[Case] = []
        self.asked_for_everything = False
        self.error: Exception | None = None

    def drain(self, everything: bool = False) -> Drained:
        if self.error is not None:
            raise self.error
        self.asked_for_everything |= everything
        books: Books = {ROWS: np.array([self.rows])} if self.rows else {}
        found = Drained(books, tuple(self.cases), tuple(self.answers), *self.lost)
        self.rows, self.cases, self.answers, self.lost = 0.0, [], [], (0, 0)
        return found

    def knows(self, cases: Iterable[Case]) -> None:
        self.known = list(cases)


class FakeStore:
    """Keeps evidence in memory as the real one does; may fail before or after it has done its work."""

    def __init__(self) -> None:
        self.books: dict[Key, list[tuple[int, Books]]] = {}
        self.found: dict[Key, list[Case]] = {}
        self.answers: list[str] = []
        self.numbers: Counter[tuple[Key, str]] = Counter()
        self.batches: list[Batch] = []
        self.error: Exception | None = None
        self.fails_after = False
        self.poison: Callable[[Batch], bool] = lambda batch: False
        self.takes: Callable[[], None] = lambda: None
        self.trimmed: list[tuple[int, int, float]] = []
        self.forgotten: list[float] = []
        self.left = 0

    def add(self, batch: Batch) -> bool:
        self.takes()
        self._fail(not self.fails_after)
        if self.poison(batch):
            raise TypeError("not JSON")
        self.batches.append(batch)
        key = batch.pairing.key
        if batch.number <= self.numbers[key, batch.writer]:
            return False
        self.numbers[key, batch.writer] = batch.number
        self.books.setdefault(key, []).extend(batch.hours.items())
        self.found.setdefault(key, []).extend(batch.cases)
        self.answers += [each.request_id for each in batch.answers]
        self._fail(self.fails_after)
        return True

    def sums(self, key: Key) -> tuple[Books, float | None]:
        self._fail(True)
        parts = self.books.get(key, [])
        return add(books for _, books in parts), WALL - 1.0 if parts else None

    def hours(self, key: Key, page: Page) -> Sequence[tuple[int, Sums]]:
        found: dict[int, Books] = {}
        for hour, books in self.books.get(key, []):
            found[hour] = add([found.get(hour, {}), books])
        return [(hour, books[page]) for hour, books in sorted(found.items()) if page in books]

    def cases(self, key: Key) -> Sequence[Case]:
        return best(self.found.get(key, []), 3, 3)

    def keep_cases(self, key: Key, worst: int, sample: int, before: float) -> None:
        self.trimmed.append((worst, sample, before))

    def forget(self, before: float) -> bool:
        self.forgotten.append(before)
        self.left -= 1
        return self.left > 0

    def _fail(self, now: bool) -> None:
        if self.error is not None and now:
            raise self.error

    def rows(self, candidate: str = "m:new") -> float:
        books = add(books for _, books in self.books.get(pairing(candidate).key, []))
        return float(books[ROWS][0]) if ROWS in books else 0.0


class KeeperWorld:
    """One life of a shadow's keeper."""

    def __init__(
        self,
        store: FakeStore | None = None,
        *,
        accounted: Mapping[str, int] | None = None,
        writer: str = "w" * 32,
        now: float = 1_000.0,
        tags: Sequence[str] = ("m:new",),
        **limits: Any,
    ) -> None:
        self.now = now
        self.store = store or FakeStore()
        self.published: list[Mapping[str, Any]] = []
        self.remembered: list[Mapping[str, Mapping[str, int]]] = []
        self.ledger: dict[str, int] = {}
        self.lost: Counter[tuple[str, str]] = Counter()
        self.seen: list[Seen] = []
        self.bug: Exception | None = None
        self.sources = {tag: FakeSource() for tag in tags}
        dossiers = tuple(
            Dossier(
                tag,
                pairing(tag),
                source,
                lambda: self.ledger,
                self._judge,
                writer,
                DossierLimits(**{"worst": 3, "sample": 3, "batch": 10, **limits}),
                accounted or {},
            )
            for tag, source in self.sources.items()
        )
        self.keeper = Keeper(
            dossiers,
            lambda: self.store,
            self.published.append,
            remember=lambda counts: self.remembered.append({k: dict(v) for k, v in counts.items()}),
            lost=self._lose,
            clock=lambda: self.now,
            now=self.wall,
        )

    @property
    def source(self) -> FakeSource:
        return self.sources["m:new"]

    def wall(self) -> float:
        return self.now + WALL

    def turn(self, rows: float = 0.0, seconds: float = 1.0) -> Seen:
        self.now += seconds
        self.source.rows += rows
        self.keeper.run_once(wait=0.0)
        return self.seen[-1]

    def fail(self, reason: str = "the disk is full", after: bool = False) -> None:
        self.store.error, self.store.fails_after = StoreError(reason), after

    def recover(self) -> None:
        self.store.error = None

    def _judge(self, seen: Seen) -> dict[str, Any]:
        if self.bug is not None:
            raise self.bug
        self.seen.append(seen)
        return {"rows": rows_of(seen), "store": seen.store}

    def _lose(self, tag: str, what: str, count: int) -> None:
        self.lost[tag, what] += count


def rows_of(seen: Seen) -> float:
    """How many rows were seen in all."""
    return float(seen.books[ROWS][0]) if ROWS in seen.books else 0.0
