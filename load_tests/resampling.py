"""How sure a ratio of percentiles is that was measured in turns on a machine that is never quite quiet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

DRAWS = 400
CONFIDENCE = 0.9
BINS = np.geomspace(1e-6, 1e3, 4_145)
"""Latencies are told apart to 0.5 % where cycles are drawn; the value itself is exact."""

Latencies: TypeAlias = NDArray[np.float64]
"""[answers] of one run."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio with the interval that holds it with probability ``CONFIDENCE``."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f}-{self.high:.2f})"


def pooled_ratio(
    ours: Sequence[Latencies], theirs: Sequence[Latencies], percent: float = 99.0, seed: int = 0
) -> Ratio:
    """The percentile of all of ``ours`` over that of all of ``theirs``.

    Percentile bootstrap (Efron 1979) over cycles, not over answers: a disturbance of the machine lasts for
    many answers, and ``ours[i]`` and ``theirs[i]`` were measured right after one another, so they are drawn
    together.

    Raises:
        ValueError: there are no cycles, or not as many on both sides.
    """
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"cycles are needed, found {len(ours)} and {len(theirs)}")
    draw = np.random.default_rng(seed)
    cycles = len(ours)
    times = draw.multinomial(cycles, np.full(cycles, 1 / cycles), size=DRAWS)
    ratios = _drawn_percentiles(ours, times, percent) / _drawn_percentiles(theirs, times, percent)
    outside = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(ratios, (outside, 100 - outside))
    return Ratio(_percentile(ours, percent) / _percentile(theirs, percent), float(low), float(high))


def _percentile(runs: Sequence[Latencies], percent: float) -> float:
    """Nearest rank, as everywhere here."""
    return float(np.percentile(np.concatenate(runs), percent, method="inverted_cdf"))


def _drawn_percentiles(
    runs: Sequence[Latencies], times: NDArray[np.int64], percent: float
) -> NDArray[np.float64]:
    """The percentile of each drawing [draws]; ``times`` [draws, cycles] is how often it has each run."""
    counts = np.array([np.histogram(each, BINS)[0] for each in runs])
    below = np.cumsum(times @ counts, axis=1)
    ranks = percent / 100 * below[:, -1:]
    found: NDArray[np.float64] = BINS[1:][np.argmax(below >= ranks, axis=1)]
    return found
