"""The Kolmogorov-Smirnov distance on bins: the largest difference between the cumulative shares.

Only the bins that have an order count; rows in others, missing values for one, are left out of both samples.
It is never more than the distance of the values themselves, which may lie apart most within a bin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.domain.drift.measure import Sample


@dataclass(frozen=True, slots=True)
class KS:
    """0 where the shares are alike, 1 where the samples do not overlap; None of words."""

    name: str = "ks"
    unit: str = "share"

    def value(self, sample: Sample) -> float | None:
        steps = sample.steps
        return None if steps is None else float(np.abs(steps.gaps).max())
