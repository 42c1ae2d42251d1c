"""The population stability index of two samples that are counted in the same bins.

With p and q the shares of a bin in both samples, half a row added to each seen bin so that none is empty,

    PSI = sum (q - p) * ln(q / p)

It is never negative, so two samples of one distribution have one above nought; ``psi_excess`` says what is
left without that, ``psi_z`` how sure it is. Above 0.2 is the customary alarm, whatever the number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.domain.drift.measure import Sample


@dataclass(frozen=True, slots=True)
class Psi:
    """PSI as it is; the order of the two samples does not matter."""

    name: str = "psi"
    unit: str = "nats"

    def value(self, sample: Sample) -> float:
        p, q = sample.seen.reference_shares, sample.seen.live_shares
        return float(np.dot(q - p, np.log(q / p)))
