"""How likely chance alone makes a Kolmogorov-Smirnov distance as large, at most.

With x = ks * sqrt(n * m / (n + m)) it is the tail of Kolmogorov's distribution (1933; Smirnov 1948), by the
first terms of its two series, each where it is right to 1e-12:

    x >= 1:  2 * (exp(-2 x^2) - exp(-8 x^2) + exp(-18 x^2))
    x < 1:   1 - sqrt(2 pi) / x * (exp(-pi^2 / (8 x^2)) + exp(-9 pi^2 / (8 x^2)))

It holds for values counted one by one. Bins can only make the distance smaller, hence the probability larger:
at most a share p of healthy samples is below any p.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from service.domain.drift.ks import KS
from service.domain.drift.measure import Sample

NOUGHT = 0.1
"""Below, the probability is 1 to the last digit."""


@dataclass(frozen=True, slots=True)
class KSP:
    """0 to 1, small where the samples are surely apart; None of words."""

    name: str = "ks_p"
    unit: str = "probability"

    def value(self, sample: Sample) -> float | None:
        distance, steps = KS().value(sample), sample.steps
        return None if distance is None or steps is None else tail(distance * math.sqrt(steps.rows))


def tail(x: float) -> float:
    """The probability that Kolmogorov's distribution is above x."""
    if x >= 1.0:
        return 2.0 * (math.exp(-2.0 * x * x) - math.exp(-8.0 * x * x) + math.exp(-18.0 * x * x))
    if x < NOUGHT:
        return 1.0
    first = -(math.pi**2) / (8.0 * x * x)
    return 1.0 - math.sqrt(2.0 * math.pi) / x * (math.exp(first) + math.exp(9.0 * first))
