"""The journey of recorded traffic: asked anew of production, held against what it answered then, asked of the
candidate, compared as the shadow compares, and judged where the truth is known.

Nothing is kept but sums and a few rows worth a look, so a file of any length takes the same memory.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.comparison import Comparison, compare
from service.domain.disagreement.measure import Compared
from service.domain.evidence.books import LABELLED, OUTCOMES, Books, Page, add
from service.domain.evidence.cases import Case, answer, best
from service.domain.evidence.sheet import Sheet
from service.domain.observation import OUTCOMES as OUTCOME_NAMES
from service.domain.observation import Origin, Outcome, ShadowBatch
from service.domain.projection import Projection
from service.domain.schema import FeatureBatch, ModelSpec, Scores, label_indices
from service.domain.slices import ALL, Slice
from service.errors import InferenceError
from service.paths.traffic import Traffic
from service.paths.witness import Drained

Infer: TypeAlias = Callable[[FeatureBatch], Scores]

MOST_EXAMPLES = 20
"""Rows that are named of those whose recorded answer is not given again."""


@dataclass(frozen=True, slots=True)
class Models:
    """The two models, ready to be asked."""

    production: ModelSpec
    candidate: ModelSpec
    infer: Infer
    """Production's answers, [rows, outputs]."""
    infer_candidate: Infer
    """The candidate's, for its own canonical rows."""
    project: Projection
    absolute: float
    """Recorded answers are given again where |now - then| <= absolute + relative * |then| for each score."""
    relative: float


class Witness(Protocol):
    """The shadow's; see ``service.paths.witness``."""

    def regard(self, rows: FeatureBatch, before: Scores, after: Scores) -> Compared: ...

    def compared(self, batch: ShadowBatch, compared: Compared, found: Comparison) -> None: ...

    def repeat(self, batch: ShadowBatch, before: Scores, seconds: float, left: float) -> None: ...

    def drain(self, everything: bool = False) -> Drained: ...


@dataclass(slots=True)
class Inconsistent:
    """Recorded answers that production does not give again: offline and online are not the same."""

    checked: int = 0
    """Rows whose recorded answer was production's."""
    rows: int = 0
    """Those of them that it does not give again."""
    flipped: int = 0
    """Those of them with another label."""
    by_others: int = 0
    """Rows whose recorded answer was another model's, which are not checked."""
    largest: float = 0.0
    """Absolute difference of a score."""
    examples: list[dict[str, Any]] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Ready for JSON; the largest differences first."""
        return {
            "rows": self.rows,
            "checked": self.checked,
            "share": self.rows / self.checked if self.checked else None,
            "flipped": self.flipped,
            "by_other_models": self.by_others,
            "largest_difference": self.largest,
            "examples": self.examples,
        }


class _Rows(NamedTuple):
    """Some rows of the traffic, out of one or many records."""

    parts: tuple[Traffic, ...]
    """Oldest first; some may have no row here any more."""
    rows: FeatureBatch
    recorded: NDArray[np.float64]
    labels: NDArray[np.float64]
    record: NDArray[np.int32]
    """Index into ``parts``, [rows]."""
    number: NDArray[np.int64]
    """Of the row in its record, from 0."""


class Replay:
    """Adds up what a candidate would have been seen to do.

    Args:
        models: production and the candidate.
        slices: production's.
        agreement: what is measured of every compared row.
        judgement: what is measured of those whose truth is known.
        witness: keeps the sums of the former, and cases.
        cases: how many of the worst are kept, and how many of each slice.
        batch: rows that are asked at a time.
    """

    def __init__(
        self,
        models: Models,
        slices: tuple[Slice, ...],
        agreement: Sheet,
        judgement: Sheet,
        witness: Witness,
        *,
        cases: tuple[int, int] = (20, 20),
        batch: int = 512,
    ) -> None:
        self._models = models
        self._slices = slices
        self._agreement = agreement
        self._judgement = judgement
        self._witness = witness
        self._cases = cases
        self._batch = batch
        self._books: Books = {}
        self.cases: tuple[Case, ...] = ()
        self.outcomes: Counter[Outcome] = Counter()
        """Rows by what became of them."""
        self.inconsistent = Inconsistent()
        self.rows = 0
        """Rows that were taken."""
        self.unanswered = 0
        """Rows of them on which production itself failed, so that there is nothing to compare with."""
        self.labelled = 0
        self.picked = 0
        """Rows of records that were kept because they are unlike others."""

    def run(self, traffic: Iterable[Traffic], limit: int | None = None) -> Iterator[int]:
        """Works off the traffic, ``limit`` rows at most; yields the rows of each step."""
        for rows in _batches(traffic, self._batch, limit):
            self._work(rows)
            yield len(rows.rows)

    def books(self) -> Books:
        """All that was added up."""
        counts = np.array([self.outcomes[name] for name in OUTCOME_NAMES], dtype=np.float64)
        return add([self._books, {Page(OUTCOMES, ALL): counts}])

    def _work(self, rows: _Rows) -> None:
        models = self._models
        self.rows += len(rows.rows)
        self.picked += sum(rows.parts[index].picked for index in rows.record)
        before, _ = _answers(models.infer, rows.rows, models.production.outputs)
        known = _finite(before)
        self.unanswered += int((~known).sum())
        self._check(rows, before)
        rows, before = _take(rows, known), before[known]
        if not len(before):
            return
        after, seconds = _answers(
            lambda some: models.infer_candidate(models.project(some)), rows.rows, models.candidate.outputs
        )
        answered = _finite(after)
        self.outcomes["candidate_error"] += int((~answered).sum())
        self.outcomes["compared"] += int(answered.sum())
        if answered.any():
            self._compare(_take(rows, answered), before[answered], after[answered], seconds / len(rows.rows))

    def _compare(self, rows: _Rows, before: Scores, after: Scores, seconds: float) -> None:
        batch, compared = _shadow_batch(rows, before), self._witness.regard(rows.rows, before, after)
        found = compare(self._agreement, rows.rows, compared, seconds, self._slices)
        self._witness.compared(batch, compared, found)
        self._witness.repeat(batch, before, seconds, math.inf)
        drained = self._witness.drain(everything=True)
        self._add(drained.books)
        self.cases = best((*self.cases, *drained.cases), *self._cases)
        told = ~np.isnan(rows.labels)
        if told.any():
            masks = {name: mask[told] for name, mask in found.masks.items()}
            self._judge(rows.labels[told], before[told], after[told], masks)

    def _judge(
        self,
        truth: NDArray[np.float64],
        before: Scores,
        after: Scores,
        masks: Mapping[str, NDArray[np.bool_]],
    ) -> None:
        self.labelled += len(truth)
        labels = truth.astype(np.intp) if self._models.production.classes else truth
        compared = Compared(before, after, labels=labels, expected={"loss": 0.0})
        tallies = self._judgement.tally(compared, masks)
        self._add({Page(LABELLED, name): sums for name, sums in tallies.items()})

    def _add(self, books: Books) -> None:
        self._books = add([self._books, books])

    def _check(self, rows: _Rows, now: Scores) -> None:
        """Holds what production answers against what it is said to have answered."""
        found, models = self.inconsistent, self._models
        told = np.isfinite(rows.recorded).all(axis=1)
        if not told.any():
            return
        others = np.array([part.by_another for part in rows.parts])[rows.record]
        found.by_others += int((told & others).sum())
        checked = np.flatnonzero(told & ~others & _finite(now))
        then, again = rows.recorded[checked], now[checked].astype(np.float64)
        found.checked += len(checked)
        difference = np.abs(again - then)
        beyond = (difference > models.absolute + models.relative * np.abs(then)).any(axis=1)
        if not beyond.any():
            return
        wrong, largest = checked[beyond], difference[beyond].max(axis=1)
        found.rows += len(wrong)
        found.largest = max(found.largest, float(largest.max()))
        said, says = (label_indices(models.production, _as_served(some[beyond])) for some in (then, again))
        found.flipped += sum(one != other for one, other in zip(said, says, strict=True))
        for row, size in zip(wrong.tolist(), largest.tolist(), strict=True):
            part = rows.parts[rows.record[row]]
            found.examples.append(
                {
                    "place": part.place,
                    "request_id": part.request_id,
                    "row": int(rows.number[row]),
                    "recorded": answer(models.production, _as_served(rows.recorded[row])),
                    "now": answer(models.production, now[row]),
                    "difference": size,
                }
            )
        found.examples.sort(key=lambda example: -example["difference"])
        del found.examples[MOST_EXAMPLES:]


def _as_served(scores: NDArray[np.floating]) -> Scores:
    return scores.astype(np.float32)


def _finite(scores: Scores) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(scores).all(axis=1), dtype=np.bool_)


def _answers(infer: Infer, rows: FeatureBatch, outputs: int) -> tuple[Scores, float]:
    """The scores [rows, outputs], NaN where the model fails, and the CPU seconds that they took.

    A batch that fails is halved until the rows to blame stand alone.
    """
    start = time.thread_time()
    try:
        return infer(rows), time.thread_time() - start
    except InferenceError:
        if len(rows) == 1:
            return np.full((1, outputs), np.nan, dtype=np.float32), time.thread_time() - start
    half = len(rows) // 2
    first, second = _answers(infer, rows[:half], outputs), _answers(infer, rows[half:], outputs)
    return np.concatenate([first[0], second[0]]), first[1] + second[1]


def _shadow_batch(rows: _Rows, scores: Scores) -> ShadowBatch:
    """As the shadow would have received them: production answered, and there is one sender."""
    names = tuple(part.request_id or part.place for part in rows.parts)
    totals = np.array([len(part.rows) for part in rows.parts], dtype=np.int64)
    origin = Origin(names, totals, rows.record, rows.number)
    nobody = np.zeros(len(scores), dtype=np.uint8)
    return ShadowBatch(rows.rows, scores, nobody, nobody.astype(np.int16), time.monotonic(), origin)


def _take(rows: _Rows, which: NDArray[np.bool_]) -> _Rows:
    return rows._replace(
        rows=rows.rows[which],
        recorded=rows.recorded[which],
        labels=rows.labels[which],
        record=rows.record[which],
        number=rows.number[which],
    )


def _batches(traffic: Iterable[Traffic], size: int, limit: int | None) -> Iterator[_Rows]:
    """All rows in order, ``size`` at a time and ``limit`` at most."""
    left = limit
    held: list[tuple[Traffic, int, int]] = []
    room = size
    for part in traffic:
        first = 0
        while first < len(part.rows) and left != 0:
            last = min(len(part.rows), first + room, len(part.rows) if left is None else first + left)
            held.append((part, first, last))
            room, left = room - (last - first), None if left is None else left - (last - first)
            first = last
            if room == 0:
                yield _joined(held)
                held, room = [], size
        if left == 0:
            break
    if held:
        yield _joined(held)


def _joined(held: list[tuple[Traffic, int, int]]) -> _Rows:
    counts = [last - first for _, first, last in held]
    return _Rows(
        tuple(part for part, _, _ in held),
        np.concatenate([part.rows[first:last] for part, first, last in held]),
        np.concatenate([part.recorded[first:last] for part, first, last in held]),
        np.concatenate([part.labels[first:last] for part, first, last in held]),
        np.repeat(np.arange(len(held), dtype=np.int32), counts),
        np.concatenate([np.arange(first, last, dtype=np.int64) for _, first, last in held]),
    )
