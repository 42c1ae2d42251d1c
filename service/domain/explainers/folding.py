"""Interventional SHAP of trees, exactly, by looking up: the background is folded into tables once, at load.

Each group of leaves (see ``grouping``) has a table with one row for each combination of classes in which its
columns can fall; the row holds what every player contributes to the group's leaves, averaged over the whole
background. Explaining a row then is: find the bin of each column, the cell of each group, add up what lies
there. The cost does not depend on the size of the background. Error: table entries are rounded to float32,
less than 1e-7 of the sum of their magnitudes; adding up is float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.addresses import Addresses, Steps, addresses
from service.domain.explainers.bins import Bins, answers, cut
from service.domain.explainers.game import Unsuitable
from service.domain.explainers.grouping import Size, chosen, distinct_tests, live, parts_of, size_of
from service.domain.explainers.tabulating import Ground, Group, leaf_tables, tabulated
from service.domain.trees import Rows, TreeEnsemble

MAX_PLAYERS = 12
"""On one path: a leaf's table has 2**players rows."""
MAX_CONTRIBUTIONS = 1 << 25
"""In all leaves' tables, which are made on the way; 8 bytes each."""
MAX_CONDITIONS = 1 << 22
"""On all paths together; more would take minutes to fold."""
BUDGET = 1 << 25
"""Bytes of tables for one output."""
_CHUNK = 1 << 18  # numbers in flight while many rows are explained


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """One output of an ensemble with its background, ready to be looked up."""

    bins: Bins
    addresses: Addresses
    entries: NDArray[np.float32]
    """All tables one behind the other."""
    slot_group: NDArray[np.intp]
    """A slot is one player in one group, ordered by player: the group, [slots]."""
    slot_offset: NDArray[np.intp]
    """Position in a row of the group's table, [slots]."""
    starts: NDArray[np.intp]
    """First slot of each player that is tested at all."""
    touched: NDArray[np.intp]
    """Those players."""
    players: int

    @property
    def nbytes(self) -> int:
        return self.entries.nbytes + self.addresses.nbytes

    def contributions(self, rows: Rows) -> NDArray[np.float64]:
        """Shapley values of the head's input rows [rows, columns]; float64 [rows, players]."""
        found = np.zeros((len(rows), self.players))
        if not len(self.touched):
            return found
        step = max(1, _CHUNK // (len(self.slot_group) + 1))
        for start in range(0, len(rows), step):
            located = self.bins.locate(rows[start : start + step])
            places = self.addresses.of(located).take(self.slot_group, axis=1)
            places += self.slot_offset
            values = self.entries.take(places)
            found[start : start + step, self.touched] = np.add.reduceat(
                values, self.starts, axis=1, dtype=np.float64
            )
        return found


class Folding:
    """An ensemble and its background, of which outputs can be folded.

    Args:
        trees: added up or averaged.
        background: rows of the head's input, [rows, columns].
        owner: the player of each column of the head's input, [columns].
        players: how many there are.

    Raises:
        Unsuitable: the trees are not added up.
    """

    def __init__(self, trees: TreeEnsemble, background: Rows, owner: NDArray[np.intp], players: int) -> None:
        if trees.aggregate not in ("sum", "average"):
            raise Unsuitable(f"the trees' {trees.aggregate} is no sum of trees")
        bins = cut(trees)
        found = answers(trees, bins)
        self._ground = Ground(
            trees, bins, found, distinct_tests(found), owner[trees.columns].tolist(), bins.locate(background)
        )
        self._players = players

    def fold(self, output: int, budget: int = BUDGET) -> Fold:
        """The tables of one output, of at most about ``budget`` bytes.

        Raises:
            Unsuitable: too many players on one path, or tables too large.
        """
        ground = self._ground
        values = ground.trees.leaf_values[:, output]
        if ground.trees.aggregate == "average":
            values = values / len(ground.trees.roots)
        counting = live(ground.trees, values)
        _check(size_of(ground.trees, counting, np.array(ground.owner, dtype=np.intp)))
        parts = parts_of(ground.trees, counting, ground.tests, ground.owner)
        groups = [part for part in chosen(parts, budget) if part.players]
        size = sum(part.bytes for part in groups)
        if size > budget:
            raise Unsuitable(f"tables of {size >> 20} MiB, more than {budget >> 20} MiB")
        leaves = leaf_tables(ground, values, counting)
        return _assembled(
            ground.bins, [tabulated(part, ground, leaves, counting) for part in groups], self._players
        )


def _check(size: Size) -> None:
    if size.players > MAX_PLAYERS:
        raise Unsuitable(f"{size.players} players on one path of a tree, more than {MAX_PLAYERS}")
    if size.contributions > MAX_CONTRIBUTIONS or size.conditions > MAX_CONDITIONS:
        raise Unsuitable(
            f"leaves with {size.contributions:,} contributions under {size.conditions:,} conditions, "
            f"more than {MAX_CONTRIBUTIONS:,} or {MAX_CONDITIONS:,}"
        )


def _assembled(bins: Bins, groups: list[Group], players: int) -> Fold:
    rows = [group.table.ravel() for group in groups]
    base = np.cumsum([0, *(len(each) for each in rows)])[:-1]
    risings = [
        (edge, at, rise * len(group.players)) for at, group in enumerate(groups) for edge, rise in group.steps
    ]
    edges, owners, rises = np.array(risings, dtype=np.intp).reshape(-1, 3).T
    slots = sorted(
        (player, at, offset) for at, group in enumerate(groups) for offset, player in enumerate(group.players)
    )
    slot_player, slot_group, slot_offset = np.array(slots, dtype=np.intp).reshape(-1, 3).T
    touched, starts = np.unique(slot_player, return_index=True)
    return Fold(
        bins=bins,
        addresses=addresses(Steps(edges, owners, rises, base), bins),
        entries=np.concatenate([np.empty(0, np.float32), *rows]),
        slot_group=np.ascontiguousarray(slot_group),
        slot_offset=np.ascontiguousarray(slot_offset),
        starts=starts,
        touched=touched,
        players=players,
    )
