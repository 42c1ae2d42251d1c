"""The Jensen-Shannon divergence (Lin 1991): how much a row says about which of the two samples it is from.

It is the mutual information of a row's bin and its sample, both samples equally likely: 0 bits where the
shares are alike, 1 bit where no bin has rows of both. Shares are smoothed as for PSI, so it stays below 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.domain.drift.measure import Sample


@dataclass(frozen=True, slots=True)
class JensenShannon:
    """Bounded, unlike PSI; the order of the two samples does not matter."""

    name: str = "jensen_shannon"
    unit: str = "bits"

    def value(self, sample: Sample) -> float:
        p, q = sample.seen.reference_shares, sample.seen.live_shares
        middle = (p + q) / 2
        bits = np.dot(p, np.log2(p / middle)) + np.dot(q, np.log2(q / middle))
        return max(0.0, float(bits) / 2)
