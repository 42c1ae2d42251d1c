"""Rows by bin in slots of five minutes: what replicas add up, and what windows of time are made of.

A window of some seconds is every slot that begins in it or up to one slot before, so it is as long as it says
or up to five minutes longer; its beginning is told with it. What no window reaches any more is one sum, under
``OLDER``, so that "since the start" stays right for ever at the cost of 302 vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Role: TypeAlias = Literal["production", "candidate"]

SLOT_SECONDS = 300
OLDER = 0
"""The slot of everything that is too old for a window; no other slot has this number."""
KEPT_SECONDS = 25 * 3_600
"""For so long a slot is kept by itself; longer than the longest window and a slot."""
WINDOWS: Mapping[str, int | None] = {"1h": 3_600, "6h": 6 * 3_600, "24h": 24 * 3_600, "start": None}
"""Seconds of each window; None is everything."""

TOLD_RIGHT, TOLD_WRONG = -2, -1
"""The last cells of a model's vector, after its bins: rows that the two-sample test told right, and wrong."""
TOLD_CELLS = 2

Slots: TypeAlias = Mapping[int, NDArray[np.float64]]
"""Vectors, float64 [cells], by slots since 1970."""


class ModelKey(NamedTuple):
    """Whose rows are counted, and in which bins."""

    tag: str
    role: Role
    digest: str
    """32 hexadecimal digits of the bundle and its bins: what differs in them does not add up."""


@dataclass(frozen=True, slots=True, eq=False)
class SlotBatch:
    """What one process counted of one model since it last wrote; written whole, and once.

    Where a store dies in the act nobody knows whether a batch was written. Then it is written again under the
    same number, and the store leaves it alone if it has it.
    """

    writer: str
    """One process, 32 hexadecimal digits."""
    number: int
    """Among this writer's batches of this model, from 1 without gaps."""
    model: ModelKey
    slots: Slots
    """May be empty: then it says that the model is served."""


class Window(NamedTuple):
    """The rows of some slots."""

    begin: float
    """Seconds since 1970 from which on rows are in it."""
    counts: NDArray[np.float64]
    """[cells]"""


def slot_of(now: float) -> int:
    """The slot of a moment in seconds since 1970."""
    return max(OLDER + 1, int(now // SLOT_SECONDS))


def oldest_kept(now: float) -> int:
    """The first slot that is still kept by itself."""
    return slot_of(now - KEPT_SECONDS)


def together(parts: Iterable[Slots]) -> dict[int, NDArray[np.float64]]:
    """All parts added up; none of them is changed."""
    found: dict[int, NDArray[np.float64]] = {}
    for part in parts:
        for slot, counts in part.items():
            found[slot] = found[slot] + counts if slot in found else counts
    return found


def merged(slots: Slots, now: float) -> dict[int, NDArray[np.float64]]:
    """The same rows with everything that is too old for a window as one sum under ``OLDER``."""
    oldest = oldest_kept(now)
    return together({slot if slot >= oldest else OLDER: counts} for slot, counts in slots.items())


def windows(slots: Slots, since: float, now: float, cells: int) -> dict[str, Window]:
    """The rows of every window.

    Args:
        slots: everything that was counted.
        since: when counting began, in seconds since 1970; no window begins earlier.
        now: the moment that windows reach back from.
        cells: length of the vectors, for windows without a row.
    """
    found = {}
    for name, seconds in WINDOWS.items():
        first = OLDER if seconds is None else slot_of(now - seconds)
        counts = sum((part for slot, part in slots.items() if slot >= first), np.zeros(cells))
        found[name] = Window(max(since, float(first * SLOT_SECONDS)), np.asarray(counts, np.float64))
    return found
