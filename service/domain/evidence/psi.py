"""The population stability index of two samples that are counted in the same bins, and what chance does.

With p and q the shares of a bin in both samples, half a row added to each bin so that none is empty,

    PSI = sum (p - q) * ln(p / q)

It is never negative, so two samples of one distribution have one above nought: about (B - 1) * (1/n + 1/m)
for B bins, n and m rows (a tenth less where bins have but 5 rows). ``excess`` is what is left without that;
under no change it is nought on average, whatever the sizes. PSI / (1/n + 1/m) then is chi-squared with B - 1
degrees of freedom (Yurdakul 2018), and its cube root nearly normal (Wilson & Hilferty 1931): that gives ``z``
by arithmetic that Prometheus has, too. Bins that are empty in both samples say nothing and are left out.

z takes rows for independent. Callers who send the same row again and again make it large, so that a change
counts only where its size, its certainty and the number of rows all say so: ``Shift.moved``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMOOTHING = 0.5
"""Rows added to each bin."""
EXCESS = 0.1
"""A change of this size is worth a look; the customary bound of PSI."""
SURE = 4.0
"""Of z: one in 30,000 samples without a change is above."""


@dataclass(frozen=True, slots=True)
class Shift:
    """How far two samples lie apart."""

    psi: float
    excess: float
    """PSI without what chance gives it; may be negative."""
    z: float
    """In standard deviations of what chance does."""
    rows: int
    """Of the smaller sample."""

    def moved(self, least_rows: int) -> bool:
        """Whether the change is large, sure, and seen in enough rows."""
        return self.excess > EXCESS and self.z > SURE and self.rows >= least_rows


def shift(one: NDArray[np.floating[Any]], other: NDArray[np.floating[Any]]) -> Shift:
    """How far the rows [bins] of one sample lie from the other's; the order of the two does not matter.

    A sample without a row, and samples that share their only bin, are not apart: all figures are 0.
    """
    n, m = float(one.sum()), float(other.sum())
    seen = (one + other) > 0
    freedom = int(seen.sum()) - 1
    if freedom < 1 or not n or not m:
        return Shift(0.0, 0.0, 0.0, int(min(n, m)))
    p, q = (_shares(sample[seen]) for sample in (one, other))
    psi = float(np.sum((p - q) * np.log(p / q)))
    unit = 1.0 / n + 1.0 / m
    return Shift(psi, psi - freedom * unit, wilson_hilferty(psi / unit, freedom), int(min(n, m)))


def wilson_hilferty(statistic: float, freedom: int) -> float:
    """The standard normal deviate that is as extreme as a chi-squared ``statistic``.

    To 0.1 between -1 and 3; beyond that it is too small rather than too large, at 6 by 0.6 at most.
    """
    spread = 2.0 / (9.0 * freedom)
    return (math.cbrt(statistic / freedom) - (1.0 - spread)) / math.sqrt(spread)


def _shares(counts: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    smoothed = counts.astype(np.float64) + SMOOTHING
    shares: NDArray[np.float64] = smoothed / smoothed.sum()
    return shares
