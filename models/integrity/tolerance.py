"""How much a method may be wrong, in standard deviations of the explained output over the background."""

from __future__ import annotations

from collections.abc import Iterable

from scipy import stats

EXACT = 1e-4
"""An exact method's largest error, beyond what rounding of the served float32 scores excuses."""
ROUGH = 0.02
"""That of a method which approximates and says nothing of its error."""
_FALSE_ALARM = 1e-4
"""Chance that a sound sampled method fails a whole check by its own noise."""


def most_sigmas(comparisons: int) -> float:
    """Standard errors that as many sound values all stay within, but for ``_FALSE_ALARM``; at least 4."""
    return float(max(4.0, stats.norm.isf(_FALSE_ALARM / (2 * comparisons))))


def nearest_to_failing(figures: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """The (figure, bound) that is furthest beyond its bound, or nearest to it."""
    return max(figures, key=lambda pair: pair[0] - pair[1])
