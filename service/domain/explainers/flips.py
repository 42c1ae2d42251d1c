"""Candidate rows tried against the served model: which flip the decision, and which of them is smallest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.domain.distance import MixedDistance
from service.domain.explainers.budget import Budget
from service.domain.schema import FeatureBatch, ModelSpec, Scores

SLACK = 1e-5
"""By so much must a score pass the border, since a graph's float32 sums depend a little on the batch."""


@dataclass(frozen=True, slots=True)
class Goal:
    """Another decision than the present one."""

    spec: ModelSpec
    answered: int
    """Index of the class that the row gets now."""
    wanted: int | None
    """Index of the class it should get; None is any other. Never ``answered``."""

    def leads(self, scores: Scores) -> NDArray[np.float64]:
        """How far each row's score is beyond the border to the wanted decision, [rows].

        A row flips where that is more than ``slack``.
        """
        exact = scores.astype(np.float64)
        if self.spec.task == "binary":
            beyond = exact[:, 1] - float(np.float32(self.spec.threshold))
            return beyond if self.answered == 0 else -beyond
        wanted = [self.wanted] if self.wanted is not None else self._others(self.answered)
        rivals = self._others(self.wanted) if self.wanted is not None else [self.answered]
        lead: NDArray[np.float64] = exact[:, wanted].max(axis=1) - exact[:, rivals].max(axis=1)
        return lead

    @property
    def slack(self) -> float:
        """Less than ``SLACK`` where the threshold leaves less room."""
        if self.spec.task != "binary":
            return SLACK
        return min(SLACK, self.spec.threshold / 100, (1 - self.spec.threshold) / 100)

    def _others(self, label: int) -> list[int]:
        return [index for index in range(len(self.spec.classes)) if index != label]


@dataclass(frozen=True, slots=True, eq=False)
class Flip:
    """A row that gets the wanted decision."""

    row: FeatureBatch
    """[width]"""
    size: tuple[int, int, float]
    """Columns changed, columns made missing, distance: smaller is better in this order."""


class Trials:
    """Evaluates candidates for one row and keeps the smallest that flips.

    Args:
        budget: evaluates rows.
        goal: what counts as a flip.
        row: the canonical row that is changed, [width].
        distance: what smaller means.
    """

    def __init__(self, budget: Budget, goal: Goal, row: FeatureBatch, distance: MixedDistance) -> None:
        self.row = row
        self.best: Flip | None = None
        self._budget, self._goal, self._distance = budget, goal, distance
        self._point = distance.scaled(row)

    @property
    def left(self) -> int:
        """Candidates that may still be evaluated."""
        return self._budget.left

    def leads(self, rows: FeatureBatch) -> NDArray[np.float64]:
        """``Goal.leads`` of candidates, [rows].

        Raises:
            Spent: not all could be evaluated; those that could are remembered all the same.
        """
        leads = np.empty(len(rows))
        done = 0
        for scores in self._budget.chunks(rows):
            part = slice(done, done + len(scores))
            leads[part] = self._goal.leads(scores)
            self._remember(rows[part], leads[part])
            done += len(scores)
        return leads

    def flips(self, rows: FeatureBatch) -> NDArray[np.bool_]:
        """Which candidates flip, [rows]; raises as ``leads`` does."""
        return self.flipped(self.leads(rows))

    def flipped(self, leads: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of these leads is a flip."""
        return leads > self._goal.slack

    def sizes(self, rows: FeatureBatch) -> list[tuple[int, int, float]]:
        """``Flip.size`` of each row."""
        changed = differs(rows, self.row)
        withheld = np.isnan(rows) & ~np.isnan(self.row)
        apart = self._distance.between(self._distance.scaled(rows), self._point)
        counts = (changed.sum(axis=1).tolist(), withheld.sum(axis=1).tolist(), apart.tolist())
        return list(zip(*counts, strict=True))

    def _remember(self, rows: FeatureBatch, leads: NDArray[np.float64]) -> None:
        found = rows[self.flipped(leads)]
        for row, size in zip(found, self.sizes(found), strict=True):
            if self.best is None or size < self.best.size:
                self.best = Flip(row.copy(), size)


def differs(rows: FeatureBatch, row: FeatureBatch) -> NDArray[np.bool_]:
    """Where rows [..., width] hold another value than ``row`` [width]; missing equals missing."""
    different: NDArray[np.bool_] = (rows != row) & ~(np.isnan(rows) & np.isnan(row))
    return different
