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


def slice_bits(masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.uint32] | None:
    """Bit i of each row: it is in the i-th of at most 32 slices, [rows]; None where there is no slice."""
    if not masks:
        return None
    packed = np.packbits(np.array(masks), axis=0, bitorder="little")
    found = np.zeros((packed.shape[1], 4), dtype=np.uint8)
    found[:, : len(packed)] = packed.T
    return found.view("<u4")[:, 0].astype(np.uint32, copy=False)
