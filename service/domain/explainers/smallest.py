"""The search for the smallest change of a row that flips its decision.

Fewest columns first: all changes of one column to values on a quantile grid; then of two; then the nearest
background rows that get the other decision, thinned out (native counterfactuals: Keane & Smyth, ICCBR 2020),
and a beam that adds one column at a time. Whatever flips is made minimal: needless changes are undone,
numbers are moved back by bisection as far as the decision allows. Undoing any one change of the result
returns the old decision. It is a search, not a proof: a smaller change may hide between the grid's values.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.flips import Trials, differs
from service.domain.explainers.moves import Moves
from service.domain.schema import FeatureBatch

BEAM = 8
"""Rows that are carried from one number of changed columns to the next."""

BISECTIONS = 16
"""A number ends within 2**-16 of its first change from the border."""

_PAIR_SHARE = 0.4
"""Share of the remaining budget that changes of two columns may take."""

_SEEDS, _NATIVES = 64, 3
"""Background rows that are tried, and of those that flip the nearest, which are thinned out."""

_THINNED, _MOVED = 16, 16
"""Flips that lose their needless changes, and of these, that are moved back."""


def search(trials: Trials, moves: Moves, unlike: FeatureBatch) -> None:
    """Leaves the smallest flip found in ``trials.best``.

    Args:
        trials: evaluates candidates of one row.
        moves: what may change.
        unlike: background rows that get the wanted decision, nearest first, [rows, width].

    Raises:
        Spent: the budget ran out before the search was through.
    """
    singles = _Singles(trials, moves, moves.changeable(trials.row))
    found = singles.flips()
    if not len(found):
        pairs, leads = _pairs(trials, singles)
        found = pairs[trials.flipped(leads)]
        if not len(found):
            natives = _natives(trials, moves.towards(trials.row, unlike[:_SEEDS]))
            found = _beam(trials, singles, pairs, leads)
            found = found if len(found) else natives
    if len(found):
        _minimise(trials, moves, found)


class _Singles:
    """Every change of one column, and how far each gets."""

    def __init__(self, trials: Trials, moves: Moves, columns: list[int]) -> None:
        options = {column: moves.options(column, trials.row[column]) for column in columns}
        at = np.repeat(np.array(columns, dtype=np.intp), [len(own) for own in options.values()])
        to = np.concatenate([np.empty(0), *options.values()])
        self._trials, self._at = trials, at
        self._rows = _changed(_copies(trials.row, len(at)), at, to)
        self._leads = trials.leads(self._rows)
        self._flipped = trials.flipped(self._leads)
        own = {column: np.flatnonzero(at == column) for column in columns}
        self.columns = sorted(columns, key=lambda column: -float(self._leads[own[column]].max()))
        """Those that get nearest to a flip first."""
        self._own, self._to = own, to

    def flips(self) -> FeatureBatch:
        """The changes that flip: of each column and direction the smallest."""
        nearest: dict[tuple[int, bool], int] = {}
        flips = np.flatnonzero(self._flipped)
        sizes = self._trials.sizes(self._rows[flips])
        for _, index in sorted(zip(sizes, flips.tolist(), strict=True)):
            column = int(self._at[index])
            nearest.setdefault((column, bool(self._to[index] > self._trials.row[column])), index)
        return self._rows[list(nearest.values())]

    def spread(self, column: int, most: int) -> NDArray[np.float64]:
        """At most ``most`` values of a column: the one that gets nearest to a flip, some evenly spread."""
        own = self._own[column]
        furthest = int(self._leads[own].argmax())
        even = np.linspace(0, len(own) - 1, most - 1).astype(np.intp)
        spread: NDArray[np.float64] = self._to[own[np.unique([furthest, *even])]]
        return spread


def _pairs(trials: Trials, singles: _Singles) -> tuple[FeatureBatch, NDArray[np.float64]]:
    """Changes of two columns over coarse grids, and how far each gets."""
    columns, most = _fitting(singles.columns, int(trials.left * _PAIR_SHARE))
    values = {column: singles.spread(column, most) for column in columns}
    parts = [_copies(trials.row, 0)]
    for first, second in combinations(columns, 2):
        grid = _copies(trials.row, len(values[first]) * len(values[second]))
        grid[:, first] = np.repeat(values[first], len(values[second]))
        grid[:, second] = np.tile(values[second], len(values[first]))
        parts.append(grid)
    rows = np.concatenate(parts)
    return rows, trials.leads(rows)


def _fitting(columns: list[int], rows: int) -> tuple[list[int], int]:
    """The columns, and values of each, whose pairs fit into so many rows."""
    count = len(columns)
    for most in (8, 6, 5, 4, 3):
        if count * (count - 1) // 2 * most**2 <= rows:
            return columns, most
    return columns[: max(2, int(np.sqrt(rows / 2)))], 2


def _natives(trials: Trials, seeds: FeatureBatch) -> FeatureBatch:
    """The nearest of these rows that flip, without what they do not need, [rows <= _NATIVES, width]."""
    nearest = seeds[trials.flips(seeds)][:_NATIVES]
    return np.array([_without_needless(trials, row) for row in nearest]).reshape(-1, len(trials.row))


def _beam(trials: Trials, singles: _Singles, rows: FeatureBatch, leads: NDArray[np.float64]) -> FeatureBatch:
    """Adds a column at a time to the rows that got furthest, up to the first flips that beat the best."""
    most = 3 if 3 * BEAM * len(singles.columns) <= trials.left // 2 else 1
    values = {column: singles.spread(column, most) for column in singles.columns}
    for count in range(3, len(singles.columns) + 1):
        if trials.best is not None and trials.best.size[0] < count:
            break
        parts = [_copies(trials.row, 0)]
        for row in _furthest(rows, leads, trials.row):
            for column in np.flatnonzero(~differs(row, trials.row)).tolist():
                to = values.get(column, np.empty(0))
                grid = _copies(row, len(to))
                grid[:, column] = to
                parts.append(grid)
        rows = np.concatenate(parts)
        leads = trials.leads(rows)
        flipped = trials.flipped(leads)
        if flipped.any():
            return rows[flipped]
    return _copies(trials.row, 0)


def _furthest(rows: FeatureBatch, leads: NDArray[np.float64], row: FeatureBatch) -> FeatureBatch:
    """The ``BEAM`` best rows that change different columns."""
    chosen: dict[bytes, int] = {}
    for index in np.argsort(-leads, kind="stable").tolist():
        chosen.setdefault(differs(rows[index], row).tobytes(), index)
        if len(chosen) == BEAM:
            break
    return rows[list(chosen.values())]


def _minimise(trials: Trials, moves: Moves, flips: FeatureBatch) -> None:
    """Makes the smallest of these flips [rows >= 1, width] minimal; the result is ``trials.best``."""
    ranked = sorted(zip(trials.sizes(flips), range(len(flips)), strict=True))
    tried = [_without_needless(trials, flips[index]) for _, index in ranked[:_THINNED]]
    while True:
        assert trials.best is not None
        _move_back(trials, moves, np.stack([trials.best.row, *tried]))
        smallest = trials.best.row
        if not differs(_without_needless(trials, smallest), smallest).any():
            return
        tried = []


def _without_needless(trials: Trials, row: FeatureBatch) -> FeatureBatch:
    """A flip [width] without its needless changes: undoing any one that is left returns the old decision."""
    while True:
        columns = np.flatnonzero(differs(row, trials.row))
        if len(columns) == 1:
            return row
        leads = trials.leads(_changed(_copies(row, len(columns)), columns, trials.row[columns]))
        needless = columns[np.argsort(-leads, kind="stable")][: int(trials.flipped(leads).sum())]
        if not len(needless):
            return row
        undone = _copies(row, len(needless))  # the first needless change, the first two, and so on
        for place, column in enumerate(needless):
            undone[place:, column] = trials.row[column]
        row = undone[np.flatnonzero(trials.flips(undone)).max(initial=0)]


def _move_back(trials: Trials, moves: Moves, flips: FeatureBatch) -> None:
    """Moves changed numbers back, one column after the other, as far as the row still flips.

    Of the flips, those with fewest changes are taken, the first first. The order of the columns decides which
    of them moves furthest; many starts matter more than every order of one.
    """
    changes = differs(flips, trials.row)
    counts = changes.sum(axis=1)
    fewest = np.flatnonzero(counts == counts.min())[:_MOVED]
    rows = flips[fewest]
    columns = np.nonzero(changes[fewest])[1].reshape(len(fewest), -1)  # row by row the same number
    for turn in range(columns.shape[1]):
        at = columns[:, turn]
        numbers = moves.ordered[at] & ~np.isnan(rows[np.arange(len(rows)), at]) & ~np.isnan(trials.row[at])
        rows[numbers] = _bisected(trials, moves, rows[numbers], at[numbers])


def _bisected(trials: Trials, moves: Moves, rows: FeatureBatch, columns: NDArray[np.intp]) -> FeatureBatch:
    """Each row with its one column moved back towards the old value as far as it still flips."""
    far = rows[np.arange(len(rows)), columns].astype(np.float64)
    near = np.clip(trials.row[columns].astype(np.float64), moves.low[columns], moves.high[columns])
    for _ in range(BISECTIONS):
        middle = (near + far) / 2
        middle = np.where(moves.whole[columns], np.rint(middle), middle)
        middle = middle.astype(rows.dtype).astype(np.float64)
        open_ = np.flatnonzero((middle != near) & (middle != far))
        if not len(open_):
            break
        flips = trials.flips(_changed(rows[open_], columns[open_], middle[open_]))
        far[open_[flips]] = middle[open_[flips]]
        near[open_[~flips]] = middle[open_[~flips]]
    return _changed(rows.copy(), columns, far)


def _changed(rows: FeatureBatch, columns: NDArray[np.intp], values: NDArray[np.floating]) -> FeatureBatch:
    """``rows``, which are overwritten, each with one column's value."""
    rows[np.arange(len(rows)), columns] = values
    return rows


def _copies(row: FeatureBatch, count: int) -> FeatureBatch:
    return np.repeat(row[None], count, axis=0)
