"""Pairs of models and answers of theirs, of every kind that a measure may meet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.disagreement.measure import Compared, Pair, Region, Tolerance
from tests.domain.models import spec

ROWS = 240


@dataclass(frozen=True, eq=False)
class Posed:
    """Two models and what they answered to the same rows, whose truth is known."""

    pair: Pair
    compared: Compared

    def swapped(self) -> Posed:
        """The candidate in production, production as the candidate."""
        pair, seen = self.pair, self.compared
        return Posed(
            replace(pair, production=pair.candidate, candidate=pair.production),
            replace(
                seen,
                before=seen.after,
                after=seen.before,
                before_region=seen.after_region,
                after_region=seen.before_region,
            ),
        )

    def itself(self) -> Posed:
        """Production beside itself."""
        seen = self.compared
        return Posed(
            replace(self.pair, candidate=self.pair.production),
            replace(seen, after=seen.before, after_region=seen.before_region),
        )

    def take(self, rows: NDArray[Any] | slice) -> Posed:
        """The selected rows."""
        return Posed(self.pair, take(self.compared, rows))


def take(compared: Compared, rows: NDArray[Any] | slice) -> Compared:
    """The selected rows of what was compared."""
    regions = [
        None if each is None else each[rows] for each in (compared.before_region, compared.after_region)
    ]
    labels = None if compared.labels is None else compared.labels[rows]
    return Compared(compared.before[rows], compared.after[rows], *regions, labels, compared.expected)


def _near(rng: np.random.Generator, scores: NDArray[np.float32], amount: float) -> NDArray[np.float32]:
    """Like ``scores``, but for a third of the rows that are the same to the bit."""
    if scores.shape[1] == 1:
        moved = scores + rng.normal(0, amount, scores.shape)
    else:
        moved = np.abs(scores + rng.normal(0, amount, scores.shape)) + 1e-3
        moved /= moved.sum(axis=1, keepdims=True)
    return np.where(rng.random((len(scores), 1)) < 1 / 3, scores, moved).astype(np.float32)


def _classes(task: Any, thresholds: tuple[float, float], regions: bool, **other: Any) -> Posed:
    rng = np.random.default_rng(5)
    production, candidate = (
        spec(version, task=task, threshold=threshold)
        for version, threshold in zip(("prod", "new"), thresholds, strict=True)
    )
    width = production.outputs
    before = rng.dirichlet(np.ones(width), ROWS).astype(np.float32)
    after = _near(rng, before, 0.2)
    sets: list[Region | None] = [None, None]
    if regions:
        sets = [scores >= 0.2 + 0.4 * rng.random((ROWS, 1)) for scores in (before, after)]
    labels = np.array([rng.choice(width, p=row / row.sum()) for row in before.astype(np.float64)])
    pair = Pair(production, candidate, Tolerance(0.05), cuts=(0.1, 0.3, 0.5, 0.8), **other)
    return Posed(pair, Compared(before, after, *sets, labels, {"gap": 0.05, "loss": -0.01}))


def _values(intervals: bool, **other: Any) -> Posed:
    rng = np.random.default_rng(6)
    before = rng.normal(10, 40, (ROWS, 1)).astype(np.float32)
    before[:3] = 0
    after = _near(rng, before, 60)
    labels = before[:, 0] + rng.normal(0, 80, ROWS)
    regions: list[Region | None] = [None, None]
    if intervals:
        half = rng.uniform(0, 20, (ROWS, 1)) * [[-1, 1]]
        half[:5] = 0
        half[5:8] = [-np.inf, np.inf]
        half[8:11] *= -1  # nothing conforms
        regions = [before + half, np.roll(half, 1, axis=0) + after]
    pair = Pair(spec(task="regression"), spec("new", task="regression"), Tolerance(2.0), spread=40.0, **other)
    return Posed(pair, Compared(before, after, *regions, labels, {"gap": 0.5, "loss": 0.02}))


@cache
def posed(name: str) -> Posed:
    """One of ``PAIRS``; its arrays cannot be written to."""
    made = {
        "binary": lambda: _classes("binary", (0.5, 0.5), regions=True),
        "binary, two thresholds, costs": lambda: _classes(
            "binary", (0.3, 0.6), regions=False, costs=np.array([[0.0, 1.0], [0.2, 0.0]])
        ),
        "multiclass": lambda: _classes("multiclass", (0.5, 0.5), regions=True),
        "multiclass, costs": lambda: _classes(
            "multiclass", (0.5, 0.5), regions=False, costs=np.array([[0, 0.5, 1], [0.1, 0, 1], [1, 1, 0]])
        ),
        "regression": lambda: _values(intervals=True, cuts=(-20.0, 0.0, 10.0, 35.0)),
        "regression without bins": lambda: _values(intervals=False),
    }[name]()
    seen = made.compared
    for array in (seen.before, seen.after, seen.before_region, seen.after_region, seen.labels):
        if array is not None:
            array.setflags(write=False)
    return made


PAIRS = (
    "binary",
    "binary, two thresholds, costs",
    "multiclass",
    "multiclass, costs",
    "regression",
    "regression without bins",
)
