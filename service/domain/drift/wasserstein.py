"""The Wasserstein distance on bins (Kantorovich 1942): over how many bins a row was moved, on average.

It is the area between the cumulative shares, with the bins one apart whatever values they hold: so it needs
no unit of the variable, and a few wild values do not outweigh the rest. Only ordered bins count, as for ks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.domain.drift.measure import Sample


@dataclass(frozen=True, slots=True)
class Wasserstein:
    """0 to the number of ordered bins but one; None of words."""

    name: str = "wasserstein"
    unit: str = "bins"

    def value(self, sample: Sample) -> float | None:
        steps = sample.steps
        return None if steps is None else float(np.abs(steps.gaps).sum())
