"""Named parts of the traffic: rows that a condition holds of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.domain.conditions import Condition
from service.domain.schema import FeatureBatch

ALL = "all"
"""The slice that every row is in."""
MOST = 20
"""Slices of one model: each is a label's value in Prometheus, a bit in a record and a page of evidence."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows that ``where`` holds of; a row may be in several slices."""

    name: str
    where: Condition


def members(slices: Sequence[Slice], rows: FeatureBatch) -> dict[str, NDArray[np.bool_]]:
    """Which rows are in which slice: one mask [rows] per slice, ``all`` first."""
    masks = {ALL: np.ones(len(rows), dtype=np.bool_)}
    for part in slices:
        masks[part.name] = part.where.mask(rows)
    return masks
