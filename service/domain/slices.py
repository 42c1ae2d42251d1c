"""Named parts of the traffic, told apart by one column's value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import FeatureBatch

ALL = "all"
"""The slice that every row is in."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows whose canonical ``column`` equals ``value`` (a category's index, or a number)."""

    name: str
    column: int
    value: float


def members(slices: tuple[Slice, ...], rows: FeatureBatch) -> dict[str, NDArray[np.bool_]]:
    """Which rows are in which slice: one mask [rows] per slice, ``all`` first."""
    masks = {ALL: np.ones(len(rows), dtype=np.bool_)}
    for part in slices:
        masks[part.name] = rows[:, part.column] == part.value
    return masks
