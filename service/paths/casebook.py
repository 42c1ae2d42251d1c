"""The rows that people will look at: found among all compared rows, explained, and handed over one by one.

Nearly every row is seen at once not to be among the worst or in a sample: of n rows about K ln(n) ever are.
Those that are wait to be explained in the candidate's thread, which has little time for it; a case that has
waited too long goes without. What leaves this file is redacted.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.domain.comparison import Comparison
from service.domain.disagreement.measure import Compared
from service.domain.evidence.cases import Case, Shelf, Sort, answer, draws, severity, shelf
from service.domain.evidence.redaction import Redaction
from service.domain.observation import ShadowBatch, Stretch
from service.domain.schema import FeatureBatch, Scores
from service.domain.slices import ALL

log = logging.getLogger("understudy.shadow")

WORST = Sort("worst", ALL)
TRIES = 2
"""A case that could not be explained in time so often is not tried again."""


class CaseReasons(Protocol):
    """Both models' reasons for one row."""

    def __call__(self, rows: FeatureBatch, scores: Scores, due: float) -> Mapping[str, Any] | None:
        """Ready for JSON, or None where ``due`` (seconds of ``time.monotonic()``) came first.

        ``rows`` [1, width] are production's, ``scores`` [1, outputs] what it answered.
        """


@dataclass(frozen=True, slots=True)
class CaseLimits:
    """How many cases there are, and what explaining them may take."""

    worst: int = 20
    sample: int = 20
    """Of each slice."""
    waiting: int = 5_000
    """Cases that may wait here; more are lost."""
    nbytes: int = 64 << 20
    """Of the rows that wait to be explained; a case beyond goes without, as a large image may be 1 MB."""
    patience: float = 30.0
    """Seconds that a case waits for its reasons; 0 where cases are not explained."""
    share: float = 0.05
    """Of the candidate's time, that explaining cases may take."""
    burst: float = 0.5
    """Seconds of it that may be saved up."""
    seconds: float = 2.0
    """That one explanation may take."""


@dataclass(slots=True, eq=False)
class _Found:
    """A row on its way to become one case or several."""

    request_id: str
    row: int
    at: float
    since: float
    severity: float
    document: dict[str, Any]
    rows: FeatureBatch
    scores: Scores
    ranks: list[tuple[Sort, float]] = field(default_factory=list)
    tries: int = 0
    settled: bool = False

    def settle(self) -> None:
        """Nothing more is found out about it, so its row is not needed."""
        self.settled = True
        self.rows = self.rows[:0].copy()


@dataclass(slots=True)
class Casebook:
    """One candidate's cases: ``pick`` and ``explain`` in its thread, ``take`` and ``knows`` in the keeper's.

    Args:
        tag: the candidate's.
        redaction: of production's columns.
        set_running: marks the begin and the end of a run on made-up rows, so that a crash has a name.
    """

    tag: str
    redaction: Redaction
    limits: CaseLimits = field(default_factory=CaseLimits)
    set_running: Callable[[bool], None] = lambda running: None  # noqa: ARG005 - nobody is told
    reasons: CaseReasons | None = None
    """Set from outside once it is prepared."""
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    _shelves: dict[Sort, Shelf] = field(default_factory=dict)
    _waiting: list[_Found] = field(default_factory=list)
    _lost: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _saved: float = math.inf
    """Seconds that explaining may take now; what it took too much is owed."""
    _saved_at: float = 0.0
    _complaints: set[str] = field(default_factory=set)

    def pick(
        self, batch: ShadowBatch, stretches: Sequence[Stretch], compared: Compared, found: Comparison
    ) -> None:
        """Finds the cases among compared rows.

        Args:
            batch: the rows.
            stretches: ``batch.origin.stretches()``.
            compared: both models' answers to them.
            found: how far they differ.
        """
        severities = severity(found.flipped, found.spreads)
        with self._lock:
            picked = [(WORST, index, -severities[index]) for index in self._worst(severities)]
            if self.limits.sample:
                picked += self._samples(draws(batch.origin, stretches), found)
        if not picked:
            return
        rows: dict[int, _Found] = {}
        for sort, index, rank in picked:
            if index not in rows:
                rows[index] = self._found(batch, compared, found, index, float(severities[index]))
            rows[index].ranks.append((sort, float(rank)))
        with self._lock:
            room = max(0, self.limits.waiting - len(self._waiting))
            fresh = list(rows.values())
            left = self.limits.nbytes - sum(each.rows.nbytes for each in self._waiting)
            for each in fresh[:room]:
                left -= each.rows.nbytes
                if left < 0:
                    left += each.rows.nbytes
                    each.settle()
            self._waiting += fresh[:room]
            self._lost += len(fresh[room:])

    def explain(self, left: float) -> None:
        """Explains what waits, worst first, within ``left`` seconds and its share of the time."""
        began = self.clock()
        self._saved = min(self.limits.burst, self._saved + self.limits.share * (began - self._saved_at))
        self._saved_at = began
        reasons = self.reasons
        if reasons is None or left <= 0 or self._saved <= 0:
            return
        with self._lock:
            unsettled = [each for each in self._waiting if not each.settled]
        until = began + min(left, self._saved)
        for each in sorted(unsettled, key=lambda each: -each.severity):
            if self.clock() >= until:
                break
            self._explain(each, reasons, min(began + left, self.clock() + self.limits.seconds))
        self._saved -= self.clock() - began

    def take(self, everything: bool = False) -> tuple[tuple[Case, ...], int]:
        """Cases that are explained or have waited enough, and how many were lost since the last call.

        Args:
            everything: whether also those that still wait.
        """
        overdue = math.inf if everything else self.clock() - self.limits.patience
        with self._lock:
            ready = [each for each in self._waiting if each.settled or each.since <= overdue]
            if ready:
                gone = set(map(id, ready))
                self._waiting = [each for each in self._waiting if id(each) not in gone]
            lost, self._lost = self._lost, 0
        return tuple(case for each in ready for case in _cases(each)), lost

    def knows(self, cases: Iterable[Case]) -> None:
        """What is kept already, by whomever; from now on only better ones are cases."""
        ranks: dict[Sort, list[float]] = {}
        for case in cases:
            ranks.setdefault(Sort(case.kind, case.slice), []).append(case.rank)
        with self._lock:
            for each in self._waiting:
                for sort, rank in each.ranks:
                    ranks.setdefault(sort, []).append(rank)
            self._shelves = {sort: shelf(found, self._most(sort)) for sort, found in ranks.items()}

    def _worst(self, severities: NDArray[np.float64]) -> list[int]:
        ranks = np.where(severities > 0, -severities, math.inf)  # who agrees is never among the worst
        return self._shelf(WORST).pick(ranks, once=False)

    def _samples(self, drawn: NDArray[np.float64], found: Comparison) -> list[tuple[Sort, int, float]]:
        least = drawn.min(initial=math.inf)
        picked: list[tuple[Sort, int, float]] = []
        for name in found.tallies:
            sort = Sort("sample", name)
            shelf = self._shelf(sort)
            if least < shelf.limit:
                ranks = np.where(found.masks[name], drawn, math.inf)
                picked += [(sort, index, drawn[index]) for index in shelf.pick(ranks, once=True)]
        return picked

    def _shelf(self, sort: Sort) -> Shelf:
        if sort not in self._shelves:
            self._shelves[sort] = Shelf(self._most(sort))
        return self._shelves[sort]

    def _most(self, sort: Sort) -> int:
        return self.limits.worst if sort.kind == "worst" else self.limits.sample

    def _found(
        self, batch: ShadowBatch, compared: Compared, found: Comparison, index: int, severity: float
    ) -> _Found:
        origin, pair = batch.origin, found.sheet.pair
        document = {
            "severity": severity,
            "inputs": self.redaction.inputs(batch.rows[index]),
            "redacted": list(self.redaction.redacted),
            "production": answer(pair.production, compared.before[index]),
            "candidate": answer(pair.candidate, compared.after[index]),
            "slices": [name for name, mask in found.masks.items() if name != ALL and mask[index]],
            "explanations": None,
        }
        return _Found(
            request_id=origin.request_ids[int(origin.requests[index])],
            row=int(origin.places[index]),
            at=self.now() - max(0.0, self.clock() - batch.received),
            since=self.clock(),
            severity=severity,
            document=document,
            rows=batch.rows[index : index + 1].copy(),  # a view would keep the whole batch
            scores=compared.before[index : index + 1].copy(),
        )

    def _explain(self, each: _Found, reasons: CaseReasons, due: float) -> None:
        each.tries += 1
        self.set_running(True)
        try:
            found = reasons(each.rows, each.scores, due)
        except Exception as error:  # a candidate may do anything on rows that were made up
            kind = type(error).__name__
            if kind not in self._complaints:
                self._complaints.add(kind)
                log.warning("%s: cases have no reasons (%s is logged once)", self.tag, kind, exc_info=error)
            each.settle()
            return
        finally:
            self.set_running(False)
        if found is not None:
            each.document["explanations"] = {
                role: self.redaction.reasons(told) for role, told in found.items()
            }
        if found is not None or each.tries >= TRIES:
            each.settle()


def _cases(each: _Found) -> list[Case]:
    return [
        Case(sort.kind, sort.slice, rank, each.request_id, each.row, each.at, each.document)
        for sort, rank in each.ranks
    ]
