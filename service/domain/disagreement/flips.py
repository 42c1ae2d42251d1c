"""Label flips: rows that production and candidate label differently.

Columns for every pair of classes may be many: of 400 classes 512 rows would take 1.4 GB and seconds. Where
there are more than ``MOST_CLASSES`` only the label that a row lost is told.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.disagreement.measure import Compared, Contributions, Pair, Sums
from service.domain.schema import ModelSpec, Scores, label_indices

ARROW = " -> "
MOST_CLASSES = 20
"""Of so many classes every change has its column: 380."""
OTHER = "(other)"
"""Stands for the new label where there are more."""


@dataclass(frozen=True, slots=True)
class Flips:
    """One column for each change of label, ``FROM -> TO``: how many rows made it; see ``changes``."""

    name: str = "flips"

    def columns(self, pair: Pair) -> tuple[str, ...]:
        return tuple(_quoted(before) + ARROW + _quoted(after) for before, after in changes(pair))

    def contributions(self, pair: Pair, compared: Compared) -> Contributions:
        classes = len(pair.production.classes)
        found = flips(pair.production, pair.candidate, compared.before, compared.after)
        if classes > MOST_CLASSES:
            return np.asarray(found[:, None] // classes == np.arange(classes), dtype=np.float64)
        return np.asarray(found[:, None] == _codes(classes), dtype=np.float64)

    def show(self, pair: Pair, sums: Sums, rows: int) -> dict[str, Any]:
        flipped = int(sums.sum())
        return {
            "flipped": flipped,
            "rate": flipped / rows if rows else None,
            "matrix": [
                {"from": before, "to": after, "rows": int(count)}
                for (before, after), count in zip(changes(pair), sums, strict=True)
                if count
            ],
        }


def changes(pair: Pair) -> list[tuple[str, str]]:
    """Every (from, to) that is told apart, in the order of the columns; none for a regression."""
    classes = pair.production.classes
    if len(classes) > MOST_CLASSES:
        return [(before, OTHER) for before in classes]
    return [(before, after) for before in classes for after in classes if before != after]


def flips(production: ModelSpec, candidate: ModelSpec, a: Scores, b: Scores) -> NDArray[np.intp]:
    """``from * classes + to`` for each row whose label flips, -1 where both agree; [rows].

    Each model labels by its own threshold. Regression has no labels, so no row flips.
    """
    if not production.classes:
        return np.full(len(a), -1)
    before = np.asarray(label_indices(production, a), dtype=np.intp)
    after = np.asarray(label_indices(candidate, b), dtype=np.intp)
    return np.where(before == after, -1, before * len(production.classes) + after)


def _codes(classes: int) -> NDArray[np.intp]:
    """The code of each column."""
    every = np.arange(classes * classes)
    changed: NDArray[np.intp] = every[every // classes != every % classes]
    return changed


def _quoted(name: str) -> str:
    """A class whose own name has an arrow in it is quoted, or two columns might share a name."""
    return json.dumps(name) if ARROW in name else name
