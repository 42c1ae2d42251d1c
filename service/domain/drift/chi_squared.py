"""How far out a chi-squared statistic is, by arithmetic that Prometheus has, too."""

from __future__ import annotations

import math


def deviate(statistic: float, freedom: int) -> float:
    """The standard normal deviate that is as extreme as a chi-squared statistic (Wilson & Hilferty 1931).

    To 0.1 between -1 and 3; beyond that it is too small rather than too large, at 6 by 0.6 at most. Without a
    degree of freedom nothing can be out of the ordinary, and it is 0.
    """
    if not freedom:
        return 0.0
    spread = 2.0 / (9.0 * freedom)
    return (math.cbrt(statistic / freedom) - (1.0 - spread)) / math.sqrt(spread)
