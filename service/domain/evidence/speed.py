"""How much more CPU the candidate takes than production, for the same rows in the same batches.

Each run of a batch adds the seconds of both models, their squares and their product. The ratio of the totals
has an interval by the delta method on its logarithm (Casella & Berger 2002, 5.5.4), which takes runs as
independent: it is for people to read, no verdict depends on it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from service.domain.disagreement.measure import Sums

COLUMNS = (
    "rows",
    "runs",
    "production",  # CPU seconds
    "candidate",
    "production_squares",  # of the seconds of each run
    "candidate_squares",
    "products",
)
LEAST_RUNS = 10
"""Fewer say nothing about how much runs differ."""
NORMAL_95 = 1.96


def run(rows: int, production: float, candidate: float) -> Sums:
    """One batch of ``rows`` that both models answered, in CPU seconds each; by ``COLUMNS``."""
    squares = (production * production, candidate * candidate, production * candidate)
    return np.array([rows, 1, production, candidate, *squares], dtype=np.float64)


def show(sums: Sums) -> dict[str, Any]:
    """Seconds per row and their ratio, candidate to production, with 95% bounds; None where too few ran."""
    rows, runs, production, candidate, p_squares, c_squares, products = sums.tolist()
    ratio = candidate / production if production > 0 else None
    low = high = None
    if ratio and runs >= LEAST_RUNS:
        spread = (
            c_squares - 2 * ratio * products + ratio * ratio * p_squares
        )  # of candidate - ratio * production
        error = math.sqrt(max(0.0, spread) * runs / (runs - 1)) / candidate
        low, high = ratio * math.exp(-NORMAL_95 * error), ratio * math.exp(NORMAL_95 * error)
    return {
        "rows": int(rows),
        "production_seconds_per_row": production / rows if rows else None,
        "candidate_seconds_per_row": candidate / rows if rows else None,
        "ratio": ratio,
        "low": low,
        "high": high,
    }
