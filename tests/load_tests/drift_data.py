"""A pool of rows for the tests of drift: numbers with missing values, words that follow them, and labels."""

from __future__ import annotations

import numpy as np

from load_tests.drift_streams import Pool
from service.domain.binning import Binning, labels, numbers, words

EDGES = (-1.0, -0.5, 0.0, 0.5, 1.0)
LEAST, MOST = -3.5, 3.5
ROWS = 20_000


def binning(random: np.random.Generator, rows: int = 5_000) -> Binning:
    """Bins, and reference counts of so many rows of the same kind as ``pool``'s."""
    x, word = values(rows, random)
    known = x[~np.isnan(x)]
    counts = np.bincount(np.searchsorted(EDGES, known, side="right"), minlength=len(EDGES) + 1)
    missing = int(np.isnan(x).sum())
    at_words = np.bincount(word.astype(np.intp), minlength=3)
    at_words[2] = 0  # never seen
    return Binning.of(
        [
            numbers("feature:x", counts.tolist(), missing, EDGES, LEAST, MOST),
            words("feature:word", at_words.tolist(), 0, ("a", "b", "new")),
            labels(("no", "yes"), (rows // 2, rows // 2)),
        ]
    )


def pool(
    bins: Binning, random: np.random.Generator, shift: float = 0.0, missing: float = 0.0, new: float = 0.0
) -> Pool:
    """Rows as the reference data's, but for what is planted."""
    x, word = values(ROWS, random)
    x += shift
    x[random.random(ROWS) < missing] = np.nan
    word[random.random(ROWS) < new] = 2
    label = (random.random(ROWS) < 0.5).astype(np.float64)
    return Pool.of(bins, {"feature:x": x, "feature:word": word, "label": label})


def values(rows: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    x = random.standard_normal(rows).clip(LEAST, MOST)
    word = (x > 0.3).astype(np.float64)
    x[random.random(rows) < 0.05] = np.nan
    return x, word
