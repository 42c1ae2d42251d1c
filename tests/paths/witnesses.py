"""A witness of one candidate with its casebook, fed by hand; and the rows to feed it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.comparison import Comparison, compare
from service.domain.conditions import Compare
from service.domain.disagreement.measure import Compared, Pair
from service.domain.evidence.books import BINS, LEFT_OUT, Books, Page
from service.domain.evidence.measures import DISAGREEMENT
from service.domain.evidence.redaction import Rule, redaction
from service.domain.evidence.sheet import sheet
from service.domain.observation import Parts, ShadowBatch
from service.domain.schema import FeatureBatch, Scores
from service.domain.slices import Slice
from service.errors import DeadlineError
from service.paths.casebook import Casebook, CaseLimits
from service.paths.witness import AnswerLimits, Witness
from tests.domain.models import spec

PAIR = Pair(spec(), spec("new"))
SHEET = sheet(PAIR, DISAGREEMENT)
SLICES = (Slice("renters", Compare(1, "==", 1.0)), Slice("old", Compare(0, ">=", 60.0)))
NAMES = tuple(part.name for part in SLICES)


def scores(*positive: float) -> Scores:
    """Of the second class, and what is left for the first."""
    column = np.array(positive, np.float64)
    return np.stack([1 - column, column], axis=1).astype(np.float32)


def batch(
    *names: str,
    ages: Any = 30.0,
    homes: Any = 0.0,
    answered: float = 0.25,
    rows: int = 1,
    canary: bool = False,
    received: float = 1_000.0,
) -> ShadowBatch:
    """Requests of ``rows`` each, of people aged ``ages`` in ``homes``."""
    counts = np.full(len(names), rows)
    total = rows * len(names)
    values = np.zeros((total, 3), np.float32)
    values[:, 0], values[:, 1], values[:, 2] = ages, homes, 7.0
    return ShadowBatch(
        values,
        scores(*[answered] * total),
        np.full(total, canary, np.uint8),
        np.zeros(total, np.int16),
        received,
        Parts(names, counts, counts * 0, counts).origin(),
    )


class FakeBins:
    """Counts rows, one bin for all; may be broken."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.seen: list[tuple[int, int, float]] = []

    def tally(
        self, rows: FeatureBatch, before: Scores, flipped: NDArray[np.bool_], gaps: NDArray[np.float64]
    ) -> Books:
        if self.error is not None:
            raise self.error
        self.seen.append((len(before), int(flipped.sum()), float(gaps.sum())))
        return {Page(BINS, "score"): np.array([len(rows), flipped.sum(), gaps.sum(), (gaps**2).sum()])}

    def left_out(self, rows: FeatureBatch, before: Scores) -> Books:
        assert len(rows) == len(before)
        return {Page(LEFT_OUT, "score"): np.array([float(len(rows))])}


class FakeCaseReasons:
    """Says where each row stands; may fail, or come too late."""

    def __init__(self, world: WitnessWorld) -> None:
        self.world = world
        self.asked: list[float] = []
        self.due: list[float] = []
        self.takes = 0.0
        self.late = False
        self.error: Exception | None = None

    def __call__(self, rows: FeatureBatch, scores: Scores, due: float) -> Mapping[str, Any] | None:
        assert (rows.shape, scores.shape) == ((1, 3), (1, 2))
        assert self.world.running[-1] is True
        self.asked.append(float(rows[0, 0]))
        self.due.append(due)
        self.world.now += self.takes
        if self.error is not None:
            raise self.error
        return None if self.late else {"production": {"values": {"age": 0.5}}, "candidate": {"values": {}}}


class WitnessWorld:
    """A witness with a clock that is set by hand."""

    def __init__(self, rules: Mapping[str, Rule] | None = None, **parts: Any) -> None:
        self.now = 1_000.0
        self.running: list[bool] = []
        case_limits = parts.pop("cases", CaseLimits(worst=3, sample=2))
        self.bins = FakeBins()
        self.casebook = Casebook(
            "m:new",
            redaction(PAIR.production.schema, rules or {}, b"secret"),
            case_limits,
            set_running=self.running.append,
            clock=lambda: self.now,
            now=self.wall,
        )
        self.witness = Witness(
            "m:new",
            SHEET,
            NAMES,
            self.casebook,
            bins=self.bins,
            limits=parts.pop("answers", AnswerLimits()),
            clock=lambda: self.now,
            now=self.wall,
            **parts,
        )

    def wall(self) -> float:
        return self.now + 1e9

    def reasons(self) -> FakeCaseReasons:
        """Lets cases be explained."""
        fake = FakeCaseReasons(self)
        self.casebook.reasons = fake
        return fake

    def compare(self, rows: ShadowBatch, *after: float) -> Comparison:
        """The candidate answered ``after`` to rows that production answered as the batch says."""
        compared = self.witness.regard(rows.rows, rows.scores, scores(*after))
        found = compare(SHEET, rows.rows, compared, 1e-6, SLICES)
        self.witness.compared(rows, compared, found)
        return found

    def regard(self, rows: ShadowBatch) -> Compared:
        return self.witness.regard(rows.rows, rows.scores, rows.scores)


def too_late(rows: FeatureBatch, due: float) -> Scores:
    """A model that never answers in time."""
    raise DeadlineError(f"{len(rows)} rows until {due}")
