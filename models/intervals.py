"""How far measures on labelled rows may be off by chance: exact, score and bootstrap intervals.

Rows are taken for independent draws from what the models will meet. Each interval covers the truth with its
confidence on its own; of many that are looked at together, some miss it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES, LEAST_RESAMPLES = 2000, 200
MOST_DRAWS = 50_000_000
"""Rows drawn for one bootstrap: more than 25,000 rows get fewer than ``RESAMPLES``, a million the least."""
CELLS = 4_000_000
"""Rows drawn at once; bounds the memory to about 100 MB."""
FEWEST = 20
"""Rows below which a bootstrap says nothing."""

Weights: TypeAlias = NDArray[np.float64]
"""How often each row was drawn, [resamples, rows]."""
Statistic: TypeAlias = Callable[[Weights], NDArray[np.float64]]
"""From weights to the statistic of each resample, [resamples]; NaN where one has none."""


class Interval(NamedTuple):
    """An estimate with its bounds; None where the rows are too few to give them."""

    value: float
    low: float | None
    high: float | None

    @property
    def sign(self) -> int:
        """1 or -1 where the whole interval is on that side of nought, else 0."""
        if self.low is None or self.high is None:
            return 0
        return int(self.low > 0) - int(self.high < 0)


def share(successes: int, rows: int, confidence: float) -> Interval:
    """A proportion and its exact interval (Clopper & Pearson, Biometrika 26, 1934)."""
    exact = stats.binomtest(successes, rows).proportion_ci(confidence, method="exact")
    return Interval(successes / rows, float(exact.low), float(exact.high))


def paired_difference(candidate_only: int, production_only: int, rows: int, confidence: float) -> Interval:
    """The candidate's share of right answers minus production's on the same rows, with the score interval.

    Tango, Statistics in Medicine 17, 1998: bounds are where a score test of that difference turns. Unlike
    the usual ones they keep their width where hardly any row tells the two models apart.
    """
    limit = float(stats.norm.ppf(0.5 + confidence / 2))

    def bound(goal: float) -> float:
        low, high = -1.0, 1.0
        for _ in range(60):  # the score falls as the difference grows; 60 halvings reach 2e-18
            middle = (low + high) / 2
            if _score(candidate_only, production_only, rows, middle) > goal:
                low = middle
            else:
                high = middle
        return (low + high) / 2

    return Interval((candidate_only - production_only) / rows, bound(limit), bound(-limit))


def _score(candidate_only: int, production_only: int, rows: int, difference: float) -> float:
    """How many standard errors the counts lie above what ``difference`` would make them."""
    linear = (2 * rows - candidate_only + production_only) * difference - candidate_only - production_only
    constant = -production_only * difference * (1 - difference)
    root = math.sqrt(max(linear**2 - 8 * rows * constant, 0.0))
    production_share = (root - linear) / (4 * rows)  # most likely, given the difference
    variance = rows * (2 * production_share + difference * (1 - difference))
    surplus = candidate_only - production_only - rows * difference
    if surplus == 0:
        return 0.0
    return surplus / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, surplus)


def mcnemar(candidate_only: int, production_only: int) -> float:
    """Exact two-sided p-value that neither model is right more often (McNemar, Psychometrika 12, 1947)."""
    discordant = candidate_only + production_only
    return float(stats.binomtest(candidate_only, discordant).pvalue) if discordant else 1.0


def bootstrap(
    pairs: Mapping[str, tuple[Statistic, Statistic]], rows: int, confidence: float, seed: int
) -> dict[str, tuple[Interval, Interval, Interval]]:
    """Both statistics of each pair over all rows, and the second minus the first, with percentile intervals.

    Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13. All are computed on the same
    resamples, so the difference is a paired one. Bounds are None below ``FEWEST`` rows, and where more than
    half of the resamples have no such statistic.
    """
    once = np.ones((1, rows))
    values = {name: _together(pair, once)[:, 0] for name, pair in pairs.items()}
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in pairs}
    rng = np.random.default_rng(seed)
    left = min(RESAMPLES, max(LEAST_RESAMPLES, MOST_DRAWS // rows)) if rows >= FEWEST else 0
    while left > 0:
        count = min(left, max(1, CELLS // rows))
        weights = _drawn(rng, count, rows)
        for name, pair in pairs.items():
            found[name].append(_together(pair, weights))
        left -= count
    return {name: _intervals(values[name], found[name], confidence) for name in pairs}


def _together(pair: tuple[Statistic, Statistic], weights: Weights) -> NDArray[np.float64]:
    """First, second, and second minus first; [3, resamples]."""
    first, second = (statistic(weights) for statistic in pair)
    return np.stack([first, second, second - first])


def _intervals(
    values: NDArray[np.float64], found: list[NDArray[np.float64]], confidence: float
) -> tuple[Interval, Interval, Interval]:
    drawn = np.concatenate(found, axis=1) if found else np.full((3, 0), np.nan)
    first, second, difference = (
        Interval(float(value), *_percentiles(row, confidence))
        for value, row in zip(values, drawn, strict=True)
    )
    return first, second, difference


def _drawn(rng: np.random.Generator, count: int, rows: int) -> Weights:
    places = rng.integers(0, rows, (count, rows)) + np.arange(count)[:, None] * rows
    return np.bincount(places.ravel(), minlength=count * rows).reshape(count, rows).astype(np.float64)


def _percentiles(found: NDArray[np.float64], confidence: float) -> tuple[float | None, float | None]:
    known = found[np.isfinite(found)]
    if 2 * len(known) <= len(found):
        return None, None
    low, high = np.quantile(known, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def mean_of(values: NDArray[np.float64]) -> Statistic:
    """The weighted mean of [rows] values."""

    def statistic(weights: Weights) -> NDArray[np.float64]:
        means: NDArray[np.float64] = weights @ values / weights.sum(axis=1)
        return means

    return statistic


def auc_of(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> Statistic:
    """The chance that a positive row scores above a negative one, ties counted half; both [rows]."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    yes, no = positive[order].astype(np.float64), (~positive[order]).astype(np.float64)

    def statistic(weights: Weights) -> NDArray[np.float64]:
        drawn = weights[:, order]
        above = np.add.reduceat(drawn * yes, starts, axis=1)
        below = np.add.reduceat(drawn * no, starts, axis=1)
        won = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
        pairs = above.sum(axis=1) * below.sum(axis=1)
        found = np.full(len(weights), np.nan)
        np.divide(won, pairs, out=found, where=pairs > 0)
        return found

    return statistic
