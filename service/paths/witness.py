"""What one candidate's shadow keeps of the rows it compared, until the keeper comes for it.

Sums of all of them, which cost the same however many they are; a few rows as cases; and both models' answers
until labels come, as many as there is room for. Nothing here waits for a disk, and nothing that fails here is
raised into the comparison: it is logged once, and the rest goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.comparison import Comparison
from service.domain.disagreement.gap import Gap
from service.domain.disagreement.measure import Compared, Region
from service.domain.evidence.books import AGREEMENT, Books, Page
from service.domain.evidence.cases import Case
from service.domain.evidence.paired import Answers
from service.domain.evidence.sheet import ROWS, Sheet
from service.domain.observation import ShadowBatch, Stretch, share_of
from service.domain.schema import FeatureBatch, Scores
from service.domain.slices import ALL, slice_bits
from service.paths.casebook import Casebook
from service.paths.repeats import Repeats

log = logging.getLogger("understudy.shadow")

FOUND = 200
"""Bytes that one request's paired answers take beside its scores."""

Regions: TypeAlias = Callable[[FeatureBatch, Scores], Region | None]
"""What a model holds possible, of production's canonical rows and the model's own scores."""


class Bins(Protocol):
    """Counts rows by the reference data's bins, see ``service.domain.evidence.bins``."""

    def tally(
        self,
        rows: FeatureBatch,
        before: Scores,
        flipped: NDArray[np.bool_],
        gaps: NDArray[np.float64],
    ) -> Books: ...

    def left_out(self, rows: FeatureBatch, before: Scores) -> Books: ...


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """Which paired answers are kept, and how many may wait for the keeper."""

    share: float = 1.0
    """Of the requests, 0 to 1; a request id always falls on the same side, see ``share_of``."""
    rows: int = 100_000
    nbytes: int = 64 << 20
    """Of their scores and what holds them."""


class Drained(NamedTuple):
    """What has come together since the keeper was here last."""

    books: Books
    cases: tuple[Case, ...]
    answers: tuple[Answers, ...]
    lost_cases: int
    lost_answers: int
    """Rows whose paired answers found no room."""


@dataclass(slots=True)
class Witness:
    """One candidate's: ``drain`` and ``knows`` belong to the keeper's thread, ``left_out`` to any.

    All else is called in the candidate's own thread. Nothing raises.

    Args:
        tag: the candidate's.
        sheet: the measures, of production and this candidate.
        slices: names of the slices whose membership is kept with paired answers, as bits in this order.
        casebook: what becomes of single rows.
        bins: counts rows by bin; None where the bundle has no reference data.
        before_regions: production's label sets or intervals; None where it has none.
        after_regions: the candidate's.
        repeats: runs production again; None where nobody asks for it.
    """

    tag: str
    sheet: Sheet
    slices: tuple[str, ...]
    casebook: Casebook
    bins: Bins | None = None
    before_regions: Regions | None = None
    after_regions: Regions | None = None
    repeats: Repeats | None = None
    limits: AnswerLimits = AnswerLimits()
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    _books: Books = field(default_factory=dict)
    _answers: list[Answers] = field(default_factory=list)
    _answer_rows: int = 0
    _answer_bytes: int = 0
    _lost_answers: int = 0
    _rows: float = 0.0
    """Compared in this life, and the sum of their capped gaps: the guess of what comes next."""
    _gap: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _complaints: set[tuple[str, str]] = field(default_factory=set)

    def regard(self, rows: FeatureBatch, before: Scores, after: Scores) -> Compared:
        """Both models' answers with all that the measures want to know about them."""
        regions: list[Region | None] = [None, None]
        for index, (find, scores) in enumerate(((self.before_regions, before), (self.after_regions, after))):
            if find is not None:
                with self._unharmed("regions"):
                    regions[index] = find(rows, scores)
        expected = {Gap().name: self._gap / self._rows} if self._rows else {}
        return Compared(before, after, regions[0], regions[1], expected=expected)

    def compared(self, batch: ShadowBatch, compared: Compared, found: Comparison) -> None:
        """Takes in rows that were compared."""
        with self._unharmed("sums"):
            self._add_sums(found)
        if self.bins is not None:
            with self._unharmed("bins"):
                self._add(self.bins.tally(batch.rows, compared.before, found.flipped, found.spreads))
        stretches: list[Stretch] = []
        with self._unharmed("answers"):
            stretches = batch.origin.stretches()
            self._keep(batch, stretches, compared, found)
        with self._unharmed("cases"):
            self.casebook.pick(batch, stretches, compared, found)

    def left_out(self, batch: ShadowBatch) -> None:
        """Takes note of rows that arrived and were not compared.

        Those that a canary answered are passed over: production's score of them is not known, and who is
        answered by a canary was drawn by lot.
        """
        if self.bins is None:
            return
        with self._unharmed("bins"):
            asked = ~batch.canary
            self._add(self.bins.left_out(batch.rows[asked], batch.scores[asked]))

    def repeat(self, batch: ShadowBatch, before: Scores, seconds: float, left: float) -> None:
        """Now and then has production answer a compared batch again.

        Args:
            batch: the rows.
            before: what production answered, [rows, outputs].
            seconds: CPU seconds that the candidate took for each row.
            left: seconds until the candidate is needed.
        """
        if self.repeats is None or not self.repeats.wanted() or left <= 0:
            return
        with self._unharmed("noise"):
            took = seconds * len(batch)
            self._add(self.repeats.run(batch.rows, before, ~batch.canary, took, left))

    def explain(self, left: float) -> None:
        """Finds reasons for cases within ``left`` seconds."""
        with self._unharmed("reasons"):
            self.casebook.explain(left)

    def drain(self, everything: bool = False) -> Drained:
        """Hands over what has come together, and starts anew.

        Args:
            everything: whether also cases that still wait for their reasons.
        """
        cases, lost_cases = self.casebook.take(everything)
        with self._lock:
            found = Drained(self._books, cases, tuple(self._answers), lost_cases, self._lost_answers)
            self._books, self._answers = {}, []
            self._answer_rows = self._answer_bytes = self._lost_answers = 0
        return found

    def knows(self, cases: Iterable[Case]) -> None:
        """What cases are kept already; from now on only better ones are handed over."""
        self.casebook.knows(cases)

    def _add_sums(self, found: Comparison) -> None:
        self._add({Page(AGREEMENT, name): sums for name, sums in found.tallies.items()})
        everything = found.tallies[ALL]
        self._rows += self.sheet.column(ROWS, everything)
        self._gap += self.sheet.column(f"{Gap().name}/capped", everything)

    def _add(self, books: Mapping[Page, NDArray[np.float64]]) -> None:
        with self._lock:
            for page, sums in books.items():
                if page in self._books:
                    self._books[page] += sums
                else:
                    self._books[page] = sums.copy()

    def _keep(
        self, batch: ShadowBatch, stretches: Sequence[Stretch], compared: Compared, found: Comparison
    ) -> None:
        if self.limits.share < 1.0:
            stretches = [each for each in stretches if share_of(each.request_id) < self.limits.share]
        if not stretches:
            return
        before, after = compared.before, compared.after
        bits = slice_bits([found.masks[name] for name in self.slices])
        rows = sum(each.end - each.start for each in stretches)
        size = before.nbytes + after.nbytes + (0 if bits is None else bits.nbytes) + FOUND * len(stretches)
        with self._lock:
            if self._answer_rows + rows > self.limits.rows or self._answer_bytes + size > self.limits.nbytes:
                self._lost_answers += rows
                return
        answered_at = self.now() - max(0.0, self.clock() - batch.received)
        kept = [
            Answers(
                name,
                first,
                total,
                answered_at,
                before[start:end],
                after[start:end],
                None if bits is None else bits[start:end],
            )
            for name, first, total, start, end in stretches
        ]
        with self._lock:
            self._answers += kept
            self._answer_rows += rows
            self._answer_bytes += size

    @contextmanager
    def _unharmed(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a bug of ours, or a model that fails: the comparison goes on
            complaint = (what, type(error).__name__)
            if complaint not in self._complaints:  # a batch may come every few milliseconds
                self._complaints.add(complaint)
                log.exception("%s: %s are incomplete (%s is logged once)", self.tag, what, complaint[1])
