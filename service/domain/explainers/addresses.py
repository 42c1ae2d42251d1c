"""Where each group's table is read for a row: a sum of one number per column.

A group's address rises or falls by a fixed step wherever its class of a column changes: it is a sum over
columns of step functions of the bin. *Dense*, all of them lie in a matrix [bins, groups] of which one row per
column is added up: fastest, but its size is bins times groups. *Sparse*, only the steps are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.bins import Bins, Located

DENSE_BYTES = 1 << 24


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """From ``bins[i]`` of its column on, the address of ``groups[i]`` is ``rises[i]`` higher."""

    bins: NDArray[np.intp]
    groups: NDArray[np.intp]
    rises: NDArray[np.intp]
    base: NDArray[np.intp]
    """Address of a row in every column's first bin, [groups]."""


class Addresses(Protocol):
    """Bins to addresses."""

    @property
    def nbytes(self) -> int: ...

    def of(self, located: Located) -> NDArray[np.intp]:
        """Addresses of rows given by their bins [rows, columns]; [rows, groups]."""


def addresses(steps: Steps, bins: Bins) -> Addresses:
    """The faster way that fits into ``DENSE_BYTES``."""
    if len(bins) * len(steps.base) * np.dtype(np.intp).itemsize <= DENSE_BYTES:
        return dense(steps, bins)
    return Sparse(bins, steps)


def dense(steps: Steps, bins: Bins) -> Dense:
    """The step functions, summed up."""
    matrix = np.zeros((len(bins), len(steps.base)), dtype=np.intp)
    np.add.at(matrix, (steps.bins, steps.groups), steps.rises)
    for first, last in zip(bins.first, bins.last, strict=True):
        np.cumsum(matrix[first : last + 1], axis=0, out=matrix[first : last + 1])
    if len(steps.base):
        matrix[bins.first[0] : bins.last[0] + 1] += steps.base
    return Dense(matrix)


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """One row per bin."""

    matrix: NDArray[np.intp]
    """[bins, groups]"""

    @property
    def nbytes(self) -> int:
        return self.matrix.nbytes

    def of(self, located: Located) -> NDArray[np.intp]:
        if len(located) == 1:
            total: NDArray[np.intp] = np.add.reduce(self.matrix.take(located[0], axis=0), axis=0)
            return total[None, :]
        total = self.matrix.take(located[:, 0], axis=0)
        for column in located.T[1:]:
            total += self.matrix.take(column, axis=0)
        return total


class Sparse:
    """The steps alone; each row adds up those that it has passed."""

    def __init__(self, bins: Bins, steps: Steps) -> None:
        from scipy import sparse  # 30 MB that few models need

        shape = (len(steps.base), len(bins))
        self._matrix = sparse.csr_array((steps.rises, (steps.groups, steps.bins)), shape=shape)
        self._base, self._first = steps.base, bins.first
        self._column = np.repeat(np.arange(len(bins.first)), bins.last - bins.first + 1)
        self._bins = np.arange(len(bins))

    @property
    def nbytes(self) -> int:
        return int(self._matrix.data.nbytes + self._matrix.indices.nbytes)

    def of(self, located: Located) -> NDArray[np.intp]:
        reached = self._bins <= located.take(self._column, axis=1)
        found: NDArray[np.intp] = self._matrix @ reached.T.astype(np.intp)
        return found.T + self._base
