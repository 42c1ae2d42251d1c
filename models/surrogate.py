"""A small regression tree that imitates a model: what it does, in a few readable rules.

CART (Breiman et al., 1984) on the caller's columns: each split takes the largest fall in the squared error
of all outputs together. A number splits at a threshold with missing values on the better side, or by being
missing; a category splits as itself against the rest. Fitting 1,000 rows of 30 columns takes about 20 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.floating[Any]]
Targets = NDArray[np.float64]  # [rows, outputs]


@dataclass(frozen=True, slots=True)
class Column:
    """One input of the tree; ``categories`` is empty for a number."""

    name: str
    categories: tuple[str, ...] = ()
    missing: bool = False
    """Whether it can be missing, so that the rules say where missing values go."""


@dataclass(frozen=True, slots=True)
class Split:
    """A question about one column. ``below``: value <= threshold; ``is``: value == threshold; ``missing``."""

    column: int
    kind: Literal["below", "is", "missing"]
    threshold: float = float("nan")
    missing_yes: bool = False
    """Only ``below``: whether a missing value goes the way of a yes."""

    def holds(self, rows: Rows) -> NDArray[np.bool_]:
        """Which rows answer yes, [rows]."""
        column = rows[:, self.column]
        if self.kind == "missing":
            return np.isnan(column)
        if self.kind == "is":
            return np.equal(column, self.threshold)
        yes: NDArray[np.bool_] = column <= self.threshold
        return yes | np.isnan(column) if self.missing_yes else yes


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """A leaf where ``split`` is None."""

    mean: Targets
    """Mean target of the rows that came here, [outputs]."""
    rows: int
    """Training rows that came here."""
    split: Split | None = None
    yes: Tree | None = None
    no: Tree | None = None

    def predict(self, rows: Rows) -> Targets:
        """Mean targets of each row's leaf, float64 [rows, outputs]."""
        if self.split is None or self.yes is None or self.no is None:
            return np.tile(self.mean, (len(rows), 1))
        found, holds = np.empty((len(rows), len(self.mean))), self.split.holds(rows)
        found[holds], found[~holds] = self.yes.predict(rows[holds]), self.no.predict(rows[~holds])
        return found

    def leaves(self) -> list[tuple[tuple[tuple[Split, bool], ...], Tree]]:
        """Every leaf with the questions and answers that lead to it."""
        if self.split is None or self.yes is None or self.no is None:
            return [((), self)]
        return [
            (((self.split, answer), *way), leaf)
            for answer, branch in ((True, self.yes), (False, self.no))
            for way, leaf in branch.leaves()
        ]


def fit(
    rows: Rows,
    targets: Targets,
    columns: Sequence[Column],
    *,
    depth: int = 4,
    smallest_leaf: int = 10,
    least_gain: float = 0.005,
) -> Tree:
    """Grows a tree.

    Args:
        rows: [rows, columns]; a category is its index, a missing value NaN.
        targets: [rows, outputs].
        columns: one for each column of ``rows``.
        depth: most questions on a way.
        smallest_leaf: fewest rows of a leaf.
        least_gain: a split lowers the squared error by at least this share of the whole.
    """
    spread = float(((targets - targets.mean(axis=0)) ** 2).sum())
    return _grow(rows, targets, columns, depth, smallest_leaf, least_gain * spread)


def rules(tree: Tree, columns: Sequence[Column]) -> list[tuple[str, Tree]]:
    """Each leaf with the condition that leads there, for example ``Income <= 120 and Home = rent``."""
    return [(_words(way, columns), leaf) for way, leaf in tree.leaves()]


def _grow(
    rows: Rows, targets: Targets, columns: Sequence[Column], depth: int, smallest: int, least: float
) -> Tree:
    leaf = Tree(targets.mean(axis=0), len(rows))
    if depth == 0 or len(rows) < 2 * smallest:
        return leaf
    gain, split = max(
        (
            _best_split(rows[:, index], targets, index, column, smallest)
            for index, column in enumerate(columns)
        ),
        key=lambda found: found[0],
    )
    if split is None or gain <= max(least, 1e-12):
        return leaf
    yes = split.holds(rows)
    branches = (_grow(rows[at], targets[at], columns, depth - 1, smallest, least) for at in (yes, ~yes))
    return Tree(leaf.mean, leaf.rows, split, *branches)


def _best_split(
    values: NDArray[np.floating[Any]], targets: Targets, index: int, column: Column, smallest: int
) -> tuple[float, Split | None]:
    """The fall in squared error of a column's best split, and the split."""
    total, missing = targets.sum(axis=0), np.isnan(values)
    found: tuple[float, Split | None] = (-1.0, None)
    if smallest <= missing.sum() <= len(values) - smallest:
        gain = _gains(targets[missing].sum(axis=0)[None], np.array([missing.sum()]), total, len(values))
        found = (float(gain[0]), Split(index, "missing"))
    if column.categories:
        codes = np.where(missing, len(column.categories), values).astype(np.intp)
        groups = np.zeros((len(column.categories) + 1, targets.shape[1]))
        np.add.at(groups, codes, targets)
        counts = np.bincount(codes, minlength=len(groups))
        gains = _gains(groups[:-1], counts[:-1], total, len(values), smallest)
        best = int(gains.argmax())
        return max(found, (float(gains[best]), Split(index, "is", float(best))), key=lambda pair: pair[0])
    present = np.flatnonzero(~missing)
    order = present[np.argsort(values[present], kind="stable")]
    ordered = values[order]
    ends = np.flatnonzero(ordered[1:] > ordered[:-1])  # the last row of each run of equal values
    if not len(ends):
        return found
    below, counts = targets[order].cumsum(axis=0)[ends], ends + 1
    lost = targets[missing].sum(axis=0)
    for missing_yes in (False, True) if missing.any() else (False,):
        sums, sizes = (below + lost, counts + missing.sum()) if missing_yes else (below, counts)
        gains = _gains(sums, sizes, total, len(values), smallest)
        best = int(gains.argmax())
        if gains[best] > found[0]:
            threshold = float(ordered[ends[best]] + ordered[ends[best] + 1]) / 2
            found = (float(gains[best]), Split(index, "below", threshold, missing_yes))
    return found


def _gains(
    sums: Targets, sizes: NDArray[np.integer[Any]], total: Targets, rows: int, smallest: int = 1
) -> Targets:
    """The fall in squared error when ``sizes`` rows of target sum ``sums`` part from the rest, [splits]."""
    allowed = (sizes >= smallest) & (rows - sizes >= smallest)
    inside, outside = np.maximum(sizes, 1), np.maximum(rows - sizes, 1)
    gains: Targets = (
        (sums**2).sum(axis=1) / inside + ((total - sums) ** 2).sum(axis=1) / outside - (total**2).sum() / rows
    )
    return np.where(allowed, gains, -1.0)


def _words(way: Sequence[tuple[Split, bool]], columns: Sequence[Column]) -> str:
    by_column: dict[int, list[tuple[Split, bool]]] = {}
    for split, answer in way:
        by_column.setdefault(split.column, []).append((split, answer))
    parts = [_condition(columns[index], steps) for index, steps in by_column.items()]
    return " and ".join(part for part in parts if part) or "always"


def _condition(column: Column, steps: Sequence[tuple[Split, bool]]) -> str:
    """What the answers about one column say together."""
    missing = column.missing and all(answer == _missing_answer(split) for split, answer in steps)
    if any(split.kind == "missing" and answer for split, answer in steps):
        return f"{column.name} is missing"
    if column.categories:
        chosen = [column.categories[int(s.threshold)] for s, answer in steps if s.kind == "is" and answer]
        if chosen:
            return f"{column.name} = {chosen[0]}"
        others = [column.categories[int(s.threshold)] for s, _ in steps if s.kind == "is"]
        said = [f"{column.name} is not {' or '.join(others)}"] if others else []
        given = any(s.kind == "missing" for s, _ in steps)
        return " and ".join([*said, *([f"{column.name} is given"] if given else [])])
    upper = min((s.threshold for s, answer in steps if s.kind == "below" and answer), default=None)
    lower = max((s.threshold for s, answer in steps if s.kind == "below" and not answer), default=None)
    if upper is None and lower is None:
        return f"{column.name} is given"
    if upper is None:
        text = f"{column.name} > {lower:.6g}"
    elif lower is None:
        text = f"{column.name} <= {upper:.6g}"
    else:
        text = f"{lower:.6g} < {column.name} <= {upper:.6g}"
    return f"({text} or missing)" if missing else text


def _missing_answer(split: Split) -> bool:
    return split.kind == "missing" or (split.kind == "below" and split.missing_yes)
