"""A candidate's shadow with fakes around it and a clock that is set by hand."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from service.domain.breaker import Breaker
from service.domain.comparison import Comparison
from service.domain.conditions import Compare
from service.domain.disagreement.measure import Pair
from service.domain.disagreement.reasons import ReasonsComparison
from service.domain.evidence.measures import DISAGREEMENT
from service.domain.evidence.sheet import sheet
from service.domain.observation import (
    COUNT_OUTCOMES,
    OUTCOMES,
    RECORD_OUTCOMES,
    Origin,
    Outcome,
    Parts,
    ShadowBatch,
)
from service.domain.schema import FeatureBatch, Scores
from service.domain.slices import Slice
from service.errors import DeadlineError, InferenceError
from service.paths.reasons import Explaining, Reasons, Unexplained
from service.paths.shadow import CandidateShadow, ShadowLimits
from tests.domain.models import spec

POISON, NOT_A_NUMBER, LATE, BUG = 101.0, 102.0, 103.0, 104.0
"""A row that starts with one of these makes the fake candidate misbehave."""
UNFOUNDED = 105.0
"""A row that starts with this has attributions that are no numbers."""


def origin_of(*names: str, rows: int = 1) -> Origin:
    """Whole requests of ``rows`` each."""
    each = np.full(len(names), rows)
    return Parts(names, each, each * 0, each).origin()


class FakeAccount:
    """A page of a ledger, in memory."""

    def __init__(self, crashes: int = 0) -> None:
        self.rows: Counter[str] = Counter()
        self.by_sender: Counter[int] = Counter()
        self.states: list[tuple[str, bool]] = []
        self.buried: list[tuple[int, int]] = []
        self.in_a_row = crashes

    def count(self, outcome: Outcome, senders: NDArray[np.int16]) -> None:
        assert outcome in OUTCOMES + RECORD_OUTCOMES + COUNT_OUTCOMES
        self.rows[outcome] += len(senders)
        self.by_sender.update(senders.tolist())

    def bury(self, sender: int, handed: int) -> None:
        self.buried.append((sender, handed))

    def set_running(self, running: bool) -> None:
        self.states.append(("running", running))

    def set_breaker_open(self, is_open: bool) -> None:
        self.states.append(("open", is_open))

    def crashes(self) -> int:
        return self.in_a_row

    def clear_crashes(self) -> None:
        self.in_a_row = 0

    def shown(self, name: str) -> list[bool]:
        return [value for key, value in self.states if key == name]


class FakeSink:
    def __init__(self) -> None:
        self.comparisons: list[Comparison] = []
        self.reasons: list[ReasonsComparison] = []
        self.lost: Counter[str] = Counter()

    def compared(self, comparison: Comparison) -> None:
        self.comparisons.append(comparison)

    def explained(self, reasons: ReasonsComparison) -> None:
        self.reasons.append(reasons)

    def unexplained(self, reason: Unexplained, rows: int) -> None:
        assert reason in get_args(Unexplained)
        self.lost[reason] += rows

    @property
    def explained_rows(self) -> int:
        return sum(len(reasons) for reasons in self.reasons)


class FakeReasons:
    """Finds a distance of a quarter everywhere; may be short of time, fail, or find no number."""

    def __init__(self) -> None:
        self.rows: list[list[float]] = []
        self.scores: list[Scores] = []
        self.due: list[float] = []
        self.at_most = 1_000_000
        self.error: Exception | None = None

    def __call__(self, rows: FeatureBatch, scores: Scores, due: float) -> ReasonsComparison:
        self.rows.append(rows[:, 0].tolist())
        self.scores.append(scores)
        self.due.append(due)
        if self.error is not None:
            raise self.error
        done = min(len(rows), self.at_most)
        distances = np.where(rows[:done, 0] == UNFOUNDED, np.nan, 0.25)
        return ReasonsComparison(("age", "home", "income"), distances, np.ones(done), np.zeros((done, 3)))


class World:
    """One candidate with a manual clock; its answers and faults depend on each row's first value."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, account: FakeAccount | None = None, **limits: Any
    ) -> None:
        self.now = 1_000.0
        self.cpu = 0.0
        self.cpu_of_a_late_run = 0.0
        self.account = account or FakeAccount()
        self.sink = FakeSink()
        self.runs: list[int] = []
        self.due: list[float] = []
        self.production_runs: list[list[float]] = []
        self.production_fails = False
        monkeypatch.setattr(time, "thread_time", lambda: self.cpu)
        self.shadow = CandidateShadow(
            sheet=sheet(Pair(spec(), spec("new")), DISAGREEMENT),
            project=lambda rows: rows,
            infer=self.infer,
            answer_as_production=self.answer_as_production,
            slices=(Slice("renters", Compare(1, "==", 1.0)),),
            account=self.account,
            sink=self.sink,
            limits=ShadowLimits(**{"deadline": 2.0, "queue_rows": 1_000, "batch_rows": 64, **limits}),
            breaker=Breaker(limit=3, pause=10.0, longest=80.0),
            clock=lambda: self.now,
        )

    def explain(self, reasons: Reasons | None = None, rate: float = 1.0, seconds: float = 2.0) -> FakeReasons:
        """Lets the shadow explain what it compared, by a fake unless ``reasons`` are given."""
        fake = FakeReasons()
        self.shadow.explaining = Explaining(
            "m:new", reasons or fake, self.sink, self.account.set_running, rate, seconds
        )
        return fake

    def infer(self, batch: FeatureBatch, due: float) -> Scores:
        self.runs.append(len(batch))
        self.due.append(due)
        kinds = set(batch[:, 0].tolist())
        if LATE in kinds:
            self.cpu += self.cpu_of_a_late_run
            self.now = max(self.now, due)
            raise DeadlineError("stopped")
        if POISON in kinds:
            raise InferenceError("poison")
        if BUG in kinds:
            raise ZeroDivisionError
        self.cpu += 0.001 * len(batch)
        scores = np.tile(np.array([0.25, 0.75], np.float32), (len(batch), 1))
        scores[batch[:, 0] == NOT_A_NUMBER, 0] = np.nan
        return scores

    def answer_as_production(self, batch: FeatureBatch, due: float) -> Scores:
        self.production_runs.append(batch[:, 0].tolist())
        if self.production_fails:
            raise InferenceError("production is down")
        return np.where(batch[:, :1] == NOT_A_NUMBER, np.nan, np.array([[1.0, 0.0]])).astype(np.float32)

    def offer(self, *firsts: float, canary: bool = False, age: float = 0.0, sender: int = 3) -> None:
        """Rows that begin with ``firsts``; production answered that the first class is certain."""
        rows = np.array([[first, 1, 0] for first in firsts], np.float32).reshape(-1, 3)
        said = [0.0, 1.0] if canary else [1.0, 0.0]
        batch = ShadowBatch(
            rows,
            np.tile(np.array(said, np.float32), (len(rows), 1)),
            np.full(len(rows), canary, np.uint8),
            np.full(len(rows), sender, np.int16),
            self.now - age,
            origin_of("id", rows=len(rows)),
        )
        self.shadow.offer(batch)

    def work(self) -> None:
        while self.shadow.run_once(wait=0.0):
            pass

    @property
    def outcomes(self) -> dict[str, int]:
        return dict(self.account.rows)


def scenario(world: World, seed: int) -> None:
    """Weathers all kinds of rows and faults, the same for the same seed."""
    draw = random.Random(seed)
    kinds = [1.0] * draw.choice([100, 300, 3_000]) + [POISON, NOT_A_NUMBER, LATE, BUG, UNFOUNDED]
    for _ in range(60):
        world.cpu_of_a_late_run = draw.choice([0.0, 1.5])
        world.production_fails = draw.random() < 0.2
        world.now += draw.choice([0.0, 0.0, 0.1, 1.2])
        firsts = draw.choices(kinds, k=draw.randrange(1, 30))
        world.offer(*firsts, canary=draw.random() < 0.3, age=draw.choice([0, 0, 0, 3]))
        for _ in range(draw.randrange(40)):
            world.shadow.run_once(wait=0.0)
    world.work()
