"""The served model with an end: so many rows, and a moment to stop at."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from service.domain.schema import FeatureBatch, Scores

CHUNK = 256
"""Rows evaluated between two looks at the clock."""


class Spent(Exception):
    """The rows or the time of a search are used up; says which, as the end of a sentence."""


class Budget:
    """Counts the rows that a search evaluates.

    Args:
        predict: the served model.
        most: rows that may be evaluated.
        due: ``time.monotonic()`` at which to stop.
    """

    def __init__(self, predict: Callable[[FeatureBatch], Scores], most: int, due: float) -> None:
        self.rows = 0
        """Rows evaluated so far."""
        self._predict, self._most, self._due = predict, max(0, most), due

    @property
    def left(self) -> int:
        """Rows that may still be evaluated."""
        return self._most - self.rows

    def chunks(self, rows: FeatureBatch) -> Iterator[Scores]:
        """Scores of rows in order, chunk by chunk, for a caller to whom a part is worth something.

        Raises:
            Spent: after the last row that the budget allowed.
        """
        done = 0
        while done < len(rows):
            if time.monotonic() >= self._due:
                raise Spent("at the deadline")
            if self.left == 0:
                raise Spent(f"after the {self.rows} rows that max_evals allows")
            part = rows[done : done + min(CHUNK, self.left)]
            scores = self._predict(part)
            self.rows += len(part)
            done += len(part)
            yield scores

    def scores(self, rows: FeatureBatch) -> Scores:
        """Scores of all rows >= 1; raises ``Spent`` where the budget does not allow them all."""
        return np.concatenate(list(self.chunks(rows)))
