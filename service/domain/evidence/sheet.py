"""One vector for all measures: a column for the rows, then ``MEASURE/COLUMN`` for every column of each.

A batch becomes a matrix of what each row adds, and all slices are added up in one product with their masks.
512 rows of two classes under all measures of disagreement, in 20 slices, take 0.35 ms on one core.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.disagreement.measure import Compared, Contributions, Measure, Pair, Sums

ROWS = "rows"
"""The first column: how many rows the sums are over."""
AT_ONCE = 2**17
"""Multiplications in one product of matrices; for twice as many OpenBLAS wakes its other threads."""


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """The measures that say something about one pair of models, and where their sums are. See ``sheet``."""

    pair: Pair
    measures: tuple[Measure, ...]
    columns: tuple[str, ...]
    _parts: Mapping[str, slice] = field(repr=False)
    """Each measure's columns."""
    _places: Mapping[str, int] = field(repr=False)

    def contributions(self, compared: Compared) -> Contributions:
        """What each row adds to the sums, [len(compared), len(columns)]."""
        found = np.empty((len(compared), len(self.columns)))
        found[:, 0] = 1.0
        for measure in self.measures:
            found[:, self._parts[measure.name]] = measure.contributions(self.pair, compared)
        return found

    def fold(self, contributions: Contributions, masks: Mapping[str, NDArray[np.bool_]]) -> dict[str, Sums]:
        """The sums [columns] of each slice, by its mask [rows]; a slice without a row is left out."""
        members = np.array(list(masks.values()), dtype=np.float64).reshape(len(masks), len(contributions))
        sums = _product(members, contributions)
        return {name: row for name, row in zip(masks, sums, strict=True) if row[0] > 0}

    def tally(self, compared: Compared, masks: Mapping[str, NDArray[np.bool_]]) -> dict[str, Sums]:
        """Both at once."""
        return self.fold(self.contributions(compared), masks)

    def empty(self) -> Sums:
        """The sums over no rows."""
        return np.zeros(len(self.columns))

    def has(self, name: str) -> bool:
        """Whether there is a column of that name for this pair."""
        return name in self._places

    def place(self, name: str) -> int:
        """Where a column is; KeyError where the pair has no such column."""
        return self._places[name]

    def column(self, name: str, sums: Sums) -> float:
        """One of the sums; KeyError where the pair has no such column."""
        return float(sums[self._places[name]])

    def part(self, measure: str, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """One measure's sums, or its contributions of [rows, columns]; KeyError where it says nothing."""
        return sums[..., self._parts[measure]]

    def show(self, sums: Sums, only: str | None = None) -> dict[str, Any]:
        """What the sums say, by measure, ready for JSON; of one measure alone where it is named."""
        rows = int(sums[0])
        shown = {
            measure.name: measure.show(self.pair, self.part(measure.name, sums), rows)
            for measure in self.measures
            if only in (None, measure.name)
        }
        return {ROWS: rows, **shown}


def sheet(pair: Pair, measures: Sequence[Measure]) -> Sheet:
    """The sheet of those ``measures`` that have columns for the pair, in their order."""
    columns, parts = [ROWS], {}
    said = tuple(measure for measure in measures if measure.columns(pair))
    for measure in said:
        own = [f"{measure.name}/{column}" for column in measure.columns(pair)]
        parts[measure.name] = slice(len(columns), len(columns) + len(own))
        columns += own
    places = {name: place for place, name in enumerate(columns)}
    return Sheet(pair, said, tuple(columns), parts, places)


def _product(members: NDArray[np.float64], contributions: Contributions) -> NDArray[np.float64]:
    """``members @ contributions``, a few rows at a time.

    In one go it took 2 to 10 times the CPU on two busy cores: threads that wait for each other.
    """
    sums = np.zeros((len(members), contributions.shape[1]))
    step = max(1, AT_ONCE // max(1, sums.size))
    for start in range(0, len(contributions), step):
        sums += members[:, start : start + step] @ contributions[start : start + step]
    return sums
