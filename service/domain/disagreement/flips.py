"""Label flips: rows that production and candidate label differently."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import ModelSpec, Scores, label_indices


def flips(production: ModelSpec, candidate: ModelSpec, a: Scores, b: Scores) -> NDArray[np.intp]:
    """``from * classes + to`` for each row whose label flips, -1 where both agree; [rows].

    Each model labels by its own threshold. Regression has no labels, so no row flips.
    """
    if not production.classes:
        return np.full(len(a), -1)
    before = np.asarray(label_indices(production, a), dtype=np.intp)
    after = np.asarray(label_indices(candidate, b), dtype=np.intp)
    return np.where(before == after, -1, before * len(production.classes) + after)


def count_flips(codes: NDArray[np.intp], classes: tuple[str, ...]) -> Counter[tuple[str, str]]:
    """Rows by (from, to), for the codes of ``flips``."""
    values, rows = np.unique(codes[codes >= 0], return_counts=True)
    return Counter(
        {
            (classes[int(value) // len(classes)], classes[int(value) % len(classes)]): int(count)
            for value, count in zip(values, rows, strict=True)
        }
    )
