"""Latency percentiles and paired ratios; pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

PERCENTILES = (50.0, 90.0, 99.0, 99.9)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest observed value that at least ``percent`` % of all values do not exceed (nearest rank).

    ``ordered`` is ascending. Raises ``ValueError`` when it is empty or ``percent`` is outside (0, 100].
    """
    if not ordered:
        raise ValueError("a percentile of no values")
    if not 0 < percent <= 100:
        raise ValueError(f"percent is in (0, 100], found {percent}")
    # -(-a // b) is the ceiling; thousandths keep 99.9 exact where a float product would round up
    rank = -(-round(percent * 1000) * len(ordered) // 100_000)
    return ordered[max(rank, 1) - 1]


@dataclass(frozen=True, slots=True)
class Summary:
    """One measured run."""

    answered: int
    """Right answers; only these have a latency."""
    failures: Mapping[str, int]
    """What went wrong to how often, for example ``{"status 503": 2}``."""
    per_second: float
    """Right answers per second."""
    milliseconds: Mapping[str, float]
    """``p50``, ``p90``, ``p99``, ``p99.9`` and ``max``; empty when nothing was answered."""

    @property
    def failed(self) -> int:
        return sum(self.failures.values())


def summarize(latencies: Sequence[float], seconds: float, failures: Mapping[str, int]) -> Summary:
    """``latencies`` are seconds in any order, ``seconds`` is how long the run took."""
    if seconds <= 0:
        raise ValueError(f"a run takes time, found {seconds} s")
    ordered = sorted(latencies)
    times = {f"p{percent:g}": 1e3 * percentile(ordered, percent) for percent in PERCENTILES if ordered}
    if ordered:
        times["max"] = 1e3 * ordered[-1]
    return Summary(len(ordered), dict(Counter(failures)), len(ordered) / seconds, times)


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of ``ours[i] / theirs[i]``: each pair was measured back to back, so machine drift cancels."""
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"pairs are needed, found {len(ours)} and {len(theirs)} values")
    return median(a / b for a, b in zip(ours, theirs, strict=True))
