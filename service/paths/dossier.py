"""All that the keeper has of one candidate: what the store had, what came since, and what is to be written.

Sums are never let go: while the store is away newer ones are added behind those that wait. Paired answers and
cases are, beyond a bound, and counted. A batch that was once offered to the store stays as it is until the
store has it, because a store that failed in the act may have it already.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import numpy as np

from service.domain.disagreement.measure import Sums
from service.domain.evidence.books import OUTCOMES as OUTCOMES_BOOK
from service.domain.evidence.books import Books, Page, add
from service.domain.evidence.cases import Case, best
from service.domain.evidence.document import Seen
from service.domain.evidence.paired import Answers, Batch, Pairing
from service.domain.evidence.timeline import PAGES
from service.domain.observation import OUTCOMES
from service.domain.slices import ALL
from service.paths.witness import FOUND, Drained

MOST_HOURS = 72
"""Hours that sums wait under their own name; older ones are added to the next."""

ROWS_BY_OUTCOME = Page(OUTCOMES_BOOK, ALL)


class Source(Protocol):
    """Where rows are witnessed."""

    def drain(self, everything: bool = False) -> Drained: ...

    def knows(self, cases: Iterable[Case]) -> None: ...


class Lost(NamedTuple):
    """What found no room."""

    cases: int = 0
    answers: int = 0
    """Rows."""


class Stored(NamedTuple):
    """What the store has of one candidate, by all replicas."""

    books: Books
    since: float | None
    """Seconds since 1970."""
    hours: Mapping[Page, Sequence[tuple[int, Sums]]]
    """Of ``timeline.PAGES``."""
    cases: Sequence[Case]


@dataclass(frozen=True, slots=True)
class DossierLimits:
    """What is kept of one candidate, and what may wait for the store."""

    worst: int = 20
    sample: int = 20
    """Of each slice."""
    answers_rows: int = 100_000
    """Rows of paired answers."""
    answers_bytes: int = 64 << 20
    cases: int = 2_000
    batch: int = 500
    """Paired answers of one transaction, which holds up labels on their way in."""


@dataclass(slots=True, eq=False)
class Dossier:
    """One candidate's; belongs to the keeper's thread.

    Args:
        pairing: whose it is.
        witness: where rows come from.
        outcomes: the ledger's counts of rows of this candidate, which only ever grow.
        judge: what there is to say about all that was seen, ready for JSON.
        writer: this life of this process, 32 hexadecimal digits.
        accounted: what of the ledger's counts an earlier life has written.
    """

    tag: str
    pairing: Pairing
    witness: Source
    outcomes: Callable[[], Mapping[str, int]]
    judge: Callable[[Seen], dict[str, object]]
    writer: str
    limits: DossierLimits = field(default_factory=DossierLimits)
    accounted: Mapping[str, int] = field(default_factory=dict)
    _stored: Stored = field(default_factory=lambda: Stored({}, None, {}, ()))
    _since: float | None = None
    """When the first rows of this life came."""
    _own: dict[int, Books] = field(default_factory=dict)
    """By hours: what came since the store was read, or is not written."""
    _own_cases: tuple[Case, ...] = ()
    _hours: dict[int, Books] = field(default_factory=dict)
    """By hours: what is in no batch yet."""
    _cases: tuple[Case, ...] = ()
    _answers: deque[Answers] = field(default_factory=deque)
    _answer_rows: int = 0
    _answer_bytes: int = 0
    _batch: Batch | None = None
    """Offered to the store, which may have it or not."""
    _offered: Mapping[str, int] = field(default_factory=dict)
    """The ledger's counts as of the sums in that batch."""
    _written: Mapping[str, int] = field(default_factory=dict)
    _number: int = 0

    def __post_init__(self) -> None:
        self._written = self.accounted

    def collect(self, now: float, everything: bool = False) -> Lost:
        """Takes what the witness has, and what the ledger has counted; says what found no room.

        Args:
            now: seconds since 1970.
            everything: whether also cases that still wait for their reasons.
        """
        found = self.witness.drain(everything)
        books = add([found.books, self._news_of_outcomes()])
        if books:
            hour = int(now // 3600)
            self._since = now if self._since is None else self._since
            for hours in (self._own, self._hours):
                hours[hour] = add([hours.get(hour, {}), books])
                _shorten(hours)
        self._own_cases = self._best([*self._own_cases, *found.cases])
        waiting = self._best([*self._cases, *found.cases])
        self._cases = waiting[: self.limits.cases]
        lost = sum(len(each.before) for each in found.answers if not self._keep(each))
        return Lost(found.lost_cases + len(waiting) - len(self._cases), found.lost_answers + lost)

    def batch(self) -> Batch | None:
        """What is to be written next, the same until ``wrote`` or ``lighten``; None where nothing is."""
        if self._batch is None and (self._hours or self._cases or self._answers):
            answers = [self._answers.popleft() for _ in range(min(self.limits.batch, len(self._answers)))]
            self._number += 1
            self._batch = Batch(
                self.writer, self._number, self.pairing, self._hours, self._cases, tuple(answers)
            )
            self._hours, self._cases = {}, ()
            self._offered = self.accounted
        return self._batch

    def wrote(self) -> None:
        """The store has the batch."""
        assert self._batch is not None, "nothing was offered"
        for each in self._batch.answers:
            self._answer_rows -= len(each.before)
            self._answer_bytes -= _size(each)
        self._batch = None
        self._written = self._offered

    def lighten(self) -> Lost | None:
        """Takes single rows out of a batch that no store can take; None where it has none."""
        batch = self._batch
        if batch is None or not (batch.cases or batch.answers):
            return None
        self._batch = replace(batch, cases=(), answers=())
        rows = sum(len(each.before) for each in batch.answers)
        self._answer_rows -= rows
        self._answer_bytes -= sum(map(_size, batch.answers))
        return Lost(len(batch.cases), rows)

    @property
    def behind(self) -> bool:
        """Whether there is more to write than goes into one batch."""
        return self._batch is not None or len(self._answers) >= self.limits.batch

    @property
    def settled(self) -> bool:
        """Whether it is known what the store has of all this."""
        return self._batch is None

    @property
    def written(self) -> Mapping[str, int]:
        """The ledger's counts that the store has for sure."""
        return self._written

    def take_up(self, stored: Stored) -> None:
        """What the store has by now, this life's own batches among it; call it where this is settled."""
        self._stored = stored
        self._own = {hour: add([books]) for hour, books in self._hours.items()}
        self._own_cases = self._cases
        self.witness.knows([*stored.cases, *self._cases])

    def seen(self, now: float, store: str) -> Seen:
        """All that is known of the candidate, at ``now`` (seconds since 1970)."""
        stored = self._stored
        return Seen(
            books=add([stored.books, *self._own.values()]),
            hours={page: _together(stored.hours.get(page, ()), self._own, page) for page in PAGES},
            cases=self._best([*stored.cases, *self._own_cases]),
            since=self._since if stored.since is None else stored.since,
            now=now,
            store=store,
        )

    def abandon(self) -> Lost:
        """Lets go of what can no longer be written, and counts it."""
        offered = () if self._batch is None else self._batch.cases
        lost = Lost(len(offered) + len(self._cases), self._answer_rows)
        self._batch, self._hours, self._cases = None, {}, ()
        self._answers.clear()
        self._answer_rows = self._answer_bytes = 0
        return lost

    def _news_of_outcomes(self) -> Books:
        ledger = self.outcomes()
        counts: dict[str, int] = {name: int(ledger.get(name, 0)) for name in OUTCOMES}
        before = self.accounted
        if any(counts[name] < before.get(name, 0) for name in OUTCOMES):  # another ledger: it began anew
            before = {}
        self.accounted = counts
        news = np.array([counts[name] - before.get(name, 0) for name in OUTCOMES], dtype=np.float64)
        return {ROWS_BY_OUTCOME: news} if news.any() else {}

    def _keep(self, answers: Answers) -> bool:
        rows, size = self._answer_rows + len(answers.before), self._answer_bytes + _size(answers)
        if rows > self.limits.answers_rows or size > self.limits.answers_bytes:
            return False
        self._answers.append(answers)
        self._answer_rows, self._answer_bytes = rows, size
        return True

    def _best(self, cases: Iterable[Case]) -> tuple[Case, ...]:
        return best(cases, self.limits.worst, self.limits.sample)


def _size(answers: Answers) -> int:
    return answers.before.nbytes + answers.after.nbytes + FOUND


def _shorten(hours: dict[int, Books]) -> None:
    """Adds the oldest hour to the next where there are too many."""
    if len(hours) > MOST_HOURS:
        oldest, following = sorted(hours)[:2]
        hours[following] = add([hours[following], hours.pop(oldest)])


def _together(
    stored: Sequence[tuple[int, Sums]], own: Mapping[int, Books], page: Page
) -> list[tuple[int, Sums]]:
    """One page by hours, ascending."""
    found = dict(stored)
    for hour, books in own.items():
        if page in books:
            found[hour] = found[hour] + books[page] if hour in found else books[page]
    return sorted(found.items(), key=lambda entry: entry[0])
