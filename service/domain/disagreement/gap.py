"""Score gap: how far the two models' scores for one row lie apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import Scores

PROBABILITY_BUCKETS: tuple[float, ...] = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
"""Upper bounds of the histogram for probabilities; 0.0 counts rows that agree to the bit."""


def gaps(a: Scores, b: Scores) -> NDArray[np.float32]:
    """Largest absolute difference over a row's outputs; [rows], in the outputs' own unit."""
    largest: NDArray[np.float32] = np.abs(a - b).max(axis=1)
    return largest


def gap_buckets(classification: bool, spread: float) -> tuple[float, ...]:
    """Histogram bounds: fixed for probabilities, multiples of the reference ``spread`` for values."""
    if classification:
        return PROBABILITY_BUCKETS
    return tuple(bound * spread for bound in PROBABILITY_BUCKETS)
