"""Columns cut where some node's answer changes: inside a bin every node of an ensemble answers the same.

A bin is named by the value it starts at, so a bin's first value stands for all of it, with every comparison
(membership included) and NaN treated alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.domain.trees import Mode, Rows, TreeEnsemble

Located = NDArray[np.intp]
"""Bins of rows, numbered through all columns, [rows, tested columns]."""

_CHANGES_AT = {Mode.LT, Mode.GTE, Mode.EQ, Mode.NEQ}
_CHANGES_AFTER = {Mode.LEQ, Mode.GT, Mode.EQ, Mode.NEQ}


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """The bins of the columns that some node tests."""

    columns: NDArray[np.intp]
    """Tested columns of the head's input, ascending, [tested]."""
    first: NDArray[np.intp]
    """Each tested column's first bin, which starts at minus infinity, [tested]."""
    last: NDArray[np.intp]
    """Each tested column's last bin, which holds NaN alone, [tested]."""
    samples: Rows
    """The value that each bin starts at, in the thresholds' dtype, [bins]."""
    keys: NDArray[np.complex128]
    """Position of the bin's column + i * start, ascending: complex numbers sort by column, then by value."""
    blank: NDArray[np.complex128]
    """Position of each tested column, without a value, [tested]."""

    def __len__(self) -> int:
        return len(self.samples)

    def locate(self, rows: Rows) -> Located:
        """Bins of the head's input rows [rows, columns]."""
        wanted = np.repeat(self.blank[None, :], len(rows), axis=0)
        wanted.imag = rows.take(self.columns, axis=1).astype(self.samples.dtype, copy=False)
        found = self.keys.searchsorted(wanted.ravel(), side="right") - 1
        bins: Located = np.minimum(found.reshape(wanted.shape), self.last)  # NaN sorts behind everything
        return bins


def cut(trees: TreeEnsemble) -> Bins:
    """The coarsest bins that tell all answers of all nodes apart, but for neighbouring members of a set."""
    columns, position = np.unique(trees.columns, return_inverse=True)
    dtype = trees.thresholds.dtype
    limits = [trees.thresholds[trees.modes != Mode.MEMBER]]
    owners = [position[trees.modes != Mode.MEMBER]]
    at = [np.isin(trees.modes[trees.modes != Mode.MEMBER], list(_CHANGES_AT))]
    after = [np.isin(trees.modes[trees.modes != Mode.MEMBER], list(_CHANGES_AFTER))]
    for node, values in trees.members.items():
        limits.append(values.astype(dtype))
        owners.append(np.full(len(values), position[node]))
        at.append(np.ones(len(values), dtype=bool))
        after.append(np.ones(len(values), dtype=bool))
    limit, owner = np.concatenate(limits), np.concatenate(owners)
    here, above = np.concatenate(at), np.concatenate(after)
    starts, samples, first = [], [], []
    count = 0
    for place in range(len(columns)):
        mine = owner == place
        edges = [limit[mine & here], np.nextafter(limit[mine & above], dtype.type(np.inf))]
        values = np.unique(np.concatenate([np.array([-np.inf], dtype), *edges]))
        values = np.append(values[~np.isnan(values)], dtype.type(np.nan))
        key = np.full(len(values), place, dtype=np.complex128)
        key.imag = values
        key[-1] = place + 0.5  # behind every value of this column, before the next column
        starts.append(key)
        samples.append(values)
        first.append(count)
        count += len(values)
    return Bins(
        columns=columns,
        first=np.array(first, dtype=np.intp),
        last=np.array([*first, count][1:], dtype=np.intp) - 1,
        samples=np.concatenate([np.empty(0, dtype), *samples]),
        keys=np.concatenate([np.empty(0, np.complex128), *starts]),
        blank=np.arange(len(columns)).astype(np.complex128),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Every node's answer as a function of the bin: ``at_first`` in the column's first bin, then it flips."""

    place: NDArray[np.intp]
    """Position of each node's column among the tested ones, [nodes]."""
    at_first: NDArray[np.bool_]
    """[nodes]"""
    flips: tuple[tuple[int, ...], ...]
    """Bins of the node's column from which on the answer is the other one, ascending, for each node."""

    def of(self, node: int, bins: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether ``bins``, of the node's column and of any shape, take its true branch."""
        answer = np.full(bins.shape, self.at_first[node])
        for flip in self.flips[node]:
            answer ^= bins >= flip
        return answer


def answers(trees: TreeEnsemble, bins: Bins) -> Answers:
    """When each node answers true, in bins."""
    nodes = np.arange(len(trees.columns))
    place = np.searchsorted(bins.columns, trees.columns)
    flips: list[tuple[int, ...]] = [()] * len(nodes)
    values = [trees.thresholds, np.nextafter(trees.thresholds, trees.thresholds.dtype.type(np.inf))]
    between = [np.minimum(_locate(bins, place, each), bins.last[place]) for each in values]
    suspects = np.sort(np.stack([bins.first[place], *between, bins.last[place]], axis=1), axis=1)
    for node in trees.members:
        own = np.arange(bins.first[place[node]], bins.last[place[node]] + 1)
        flips[node] = _flips(trees, bins, node, own)
    taken = trees.passes(nodes[:, None], bins.samples[suspects])
    changed = taken[:, 1:] != taken[:, :-1]
    for node in np.flatnonzero(changed.any(axis=1)).tolist():
        if node not in trees.members:
            flips[node] = tuple(suspects[node, 1:][changed[node]].tolist())
    return Answers(place, taken[:, 0], tuple(flips))


def _locate(bins: Bins, place: NDArray[np.intp], values: Rows) -> NDArray[np.intp]:
    wanted = place.astype(np.complex128)
    wanted.imag = values
    return np.asarray(bins.keys.searchsorted(wanted, side="right") - 1)


def _flips(trees: TreeEnsemble, bins: Bins, node: int, own: NDArray[np.intp]) -> tuple[int, ...]:
    taken = trees.passes(np.array(node), bins.samples[own])
    return tuple(own[1:][taken[1:] != taken[:-1]].tolist())
