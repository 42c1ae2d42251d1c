"""What two regions have in common: label sets, or closed intervals of a regression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.domain.disagreement.measure import Region
from service.domain.schema import LARGEST


def overlap(before: Region, after: Region) -> NDArray[np.float64]:
    """Size of what both hold as a share of what either holds, 0 to 1, [rows] (Jaccard 1912).

    Labels are counted, intervals measured. Two empty regions overlap wholly, so does a point with itself.
    An interval without an end reaches to the largest float32.
    """
    shared, either = _counts(before, after) if before.dtype == np.bool_ else _lengths(before, after)
    share = np.divide(shared, either, out=np.zeros(len(before)), where=either > 0)
    share[alike(before, after)] = 1.0
    return np.minimum(share, 1.0, out=share)


def alike(before: Region, after: Region) -> NDArray[np.bool_]:
    """Whether both are the same, or both are empty; [rows]."""
    if before.dtype == np.bool_:
        shared, either = _counts(before, after)
        return np.asarray(shared == either, dtype=np.bool_)
    same = (before[:, 0] == after[:, 0]) & (before[:, 1] == after[:, 1])
    return np.asarray(same | (_empty(before) & _empty(after)), dtype=np.bool_)


def apart(before: Region, after: Region) -> NDArray[np.bool_]:
    """Whether no answer is in both, although one is in at least one; [rows]."""
    if before.dtype == np.bool_:
        shared, either = _counts(before, after)
        return np.asarray((shared == 0) & (either > 0), dtype=np.bool_)
    disjoint = np.maximum(before[:, 0], after[:, 0]) > np.minimum(before[:, 1], after[:, 1])
    return np.asarray(disjoint & ~(_empty(before) & _empty(after)), dtype=np.bool_)


def _counts(before: Region, after: Region) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How many labels are in both sets, and how many in at least one; [rows] each."""
    first, second = before.astype(np.float64), after.astype(np.float64)
    shared = np.vecdot(first, second)
    return shared, np.vecdot(first, first) + np.vecdot(second, second) - shared


def _lengths(before: Region, after: Region) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same of intervals, in the value's unit."""
    ends = np.clip(np.stack([before, after]), -LARGEST, LARGEST, dtype=np.float64)
    low, high = ends[:, :, 0], ends[:, :, 1]
    shared = np.maximum(high.min(axis=0) - low.max(axis=0), 0.0)
    return shared, (high - low).sum(axis=0) - shared  # an empty one shares nothing, whatever its length


def _empty(interval: Region) -> NDArray[np.bool_]:
    return np.asarray(interval[:, 0] > interval[:, 1], dtype=np.bool_)
