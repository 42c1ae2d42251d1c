"""How sure Pearson's chi-square of two samples is of a change, in standard deviations of what chance does.

With r and l of m reference and n live rows in a bin,

    X2 = sum (l * sqrt(m / n) - r * sqrt(n / m))^2 / (l + r)

is chi-squared with B - 1 degrees of freedom for two samples of one distribution in B bins (Pearson 1911). It
needs no smoothing, and gives bins with few rows less weight than PSI does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from service.domain.drift.chi_squared import deviate
from service.domain.drift.measure import Sample


@dataclass(frozen=True, slots=True)
class ChiSquareZ:
    """The certainty of a change; the order of the two samples does not matter."""

    name: str = "chi_square_z"
    unit: str = "standard deviations"

    def value(self, sample: Sample) -> float:
        return deviate(chi_square(sample), sample.freedom)


def chi_square(sample: Sample) -> float:
    """The statistic itself."""
    reference, live = sample.seen.reference, sample.seen.live
    balance = math.sqrt(float(reference.sum()) / float(live.sum()))
    return float(np.sum((live * balance - reference / balance) ** 2 / (live + reference)))
