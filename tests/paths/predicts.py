"""A predict path whose models, mirror and tallies are fakes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from service.domain.breaker import Breaker
from service.domain.canary import Rollout
from service.domain.observation import Arm, Mirrored
from service.domain.passage import Fallback
from service.domain.schema import FeatureBatch, ModelSpec, Scores
from service.paths.canary import Canary, Split
from service.paths.predict import PredictPath
from service.paths.question import Answer, Question, Serving
from tests.domain.models import spec

ROWS = np.array([[30, 1, 0.5]], np.float32)
MANY = np.repeat(ROWS, 9, axis=0)
PRODUCTION, CANARY = 0.2, 0.9
"""The positive probability that each fake answers."""


@dataclass
class FakeTally:
    labels: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    seconds: list[float] = field(default_factory=list)
    domain: list[int] = field(default_factory=lambda: [0, 0])


class FakeMirror:
    def __init__(self) -> None:
        self.items: list[Mirrored] = []

    def offer(self, item: Mirrored) -> None:
        self.items.append(item)


@dataclass
class FakeModel:
    """Answers one probability for every row, or does what ``fault`` says."""

    spec: ModelSpec
    positive: float
    fault: Callable[[], Awaitable[None]] | None = None
    fault_here: Callable[[], None] | None = None
    """The same on the event loop."""
    inline: list[int] = field(default_factory=list)
    """Rows of each run on the event loop."""
    beside: list[int] = field(default_factory=list)
    """Rows of each run in a thread."""
    due: list[float] = field(default_factory=list)
    tally: FakeTally = field(default_factory=FakeTally)

    def scores(self, rows: FeatureBatch) -> Scores:
        return np.tile(np.array([1 - self.positive, self.positive], np.float32), (len(rows), 1))

    def infer(self, rows: FeatureBatch, due: float) -> Scores:
        self.inline.append(len(rows))
        self.due.append(due)
        if self.fault_here is not None:
            self.fault_here()
        return self.scores(rows)

    async def infer_in_thread(self, rows: FeatureBatch, due: float) -> Scores:
        self.beside.append(len(rows))
        self.due.append(due)
        if self.fault is not None:
            await self.fault()
        return self.scores(rows)

    def serving(self, inline_rows: int = 4) -> Serving:
        return Serving(self.spec, self.infer, self.infer_in_thread, inline_rows, self.tally)


class World:
    """A path with a production model, a canary for every request, and everything it tells others."""

    def __init__(self, share: int = 10_000, breaker: Breaker | None = None, deadline: float = 5.0) -> None:
        self.production = FakeModel(spec(), PRODUCTION)
        self.canary = FakeModel(spec("new"), CANARY)
        self.mirror = FakeMirror()
        self.fallbacks: list[Fallback] = []
        self.path = PredictPath(
            self.production.serving(),
            self.mirror,
            deadline=deadline,
            canary_deadline=0.02,
            fell_back=self.fallbacks.append,
            seed=4,
        )
        self.serving = replace(self.canary.serving(), answerer=1)
        self.arm = Canary(self.serving, lambda rows: rows, breaker or Breaker(limit=3, pause=60.0))
        self.path.split = Split(Rollout("m:new", share, "salt"), self.arm)

    @property
    def reasons(self) -> list[tuple[str, str]]:
        """Of each fallback, with its candidate."""
        return [(fallback.candidate, fallback.reason) for fallback in self.fallbacks]

    def ask(self, **changes: Any) -> Answer:
        return asyncio.run(self.path.answer(question(**changes)))


def question(rows: FeatureBatch = ROWS, key: str | None = None, arm: Arm | None = None) -> Question:
    return Question("id", rows, key, arm, time.monotonic())
