"""The evidence as vectors that add up: over batches, hours and replicas.

A *book* is one kind of sums with named columns; each *page* of it is a vector. Of ``agreement`` there is one
page for each slice, of ``bins`` one for each variable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

AGREEMENT = "agreement"
"""Compared rows, by slice; columns of ``service.domain.evidence.sheet`` over the measures of disagreement."""
LABELLED = "labelled"
"""The same of rows whose truth became known, over the measures that need it."""
NOISE = "noise"
"""Production against itself, on the page of each way in which it was run again; columns as ``AGREEMENT``."""
OUTCOMES = "outcomes"
"""What became of rows that were to be compared, page ``all``; columns ``observation.OUTCOMES``."""
SPEED = "speed"
"""CPU seconds of both models for the same rows, page ``all``; columns ``service.domain.evidence.speed``."""
BINS = "bins"
"""Compared rows by bin of the reference data, one page per variable; see ``service.domain.evidence.bins``."""
LEFT_OUT = "left_out"
"""Rows that arrived and were not compared, by bin, pages as ``BINS``."""


class Page(NamedTuple):
    """Where one vector belongs."""

    book: str
    name: str
    """The slice, the variable, or ``all``."""


Books: TypeAlias = dict[Page, NDArray[np.float64]]
"""Sums, [columns of the book] each."""


def add(parts: Iterable[Mapping[Page, NDArray[np.float64]]]) -> Books:
    """The sums over all parts; a page that a part lacks is nought there."""
    total: Books = {}
    for part in parts:
        for page, sums in part.items():
            total[page] = total[page] + sums if page in total else sums.copy()
    return total


@dataclass(frozen=True, slots=True)
class Key:
    """Whose evidence it is: that of another build, slice or measure is not added to it."""

    production: str
    """``NAME:VERSION``."""
    candidate: str
    digest: str
    """Of both bundles and of everything that decides what columns mean, 32 hexadecimal digits."""
