"""PSI without what chance gives it.

Two samples of n and m rows of one distribution have a PSI of about (B - 1) * (1/n + 1/m) in B bins, a tenth
less where bins have but 5 rows (Yurdakul 2018). Less that, it is nought on average under no change, whatever
the sizes; it may be negative.
"""

from __future__ import annotations

from dataclasses import dataclass

from service.domain.drift.measure import Sample
from service.domain.drift.psi import Psi


@dataclass(frozen=True, slots=True)
class PsiExcess:
    """The size of a change; the order of the two samples does not matter."""

    name: str = "psi_excess"
    unit: str = "nats"

    def value(self, sample: Sample) -> float:
        return Psi().value(sample) - sample.freedom * sample.unit
