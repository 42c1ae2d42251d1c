"""How sure a PSI is of a change, in standard deviations of what chance does.

PSI / (1/n + 1/m) is chi-squared with B - 1 degrees of freedom for two samples of one distribution in B bins
(Yurdakul 2018), and its cube root nearly normal (Wilson & Hilferty 1931). Where bins have few rows it is too
small rather than too large, because of the half row that is added to each.

It takes rows for independent. Callers who send the same row again and again make it large, so that an alert
asks for the size of a change and for enough rows as well; see ``alerting``.
"""

from __future__ import annotations

from dataclasses import dataclass

from service.domain.drift.chi_squared import deviate
from service.domain.drift.measure import Sample
from service.domain.drift.psi import Psi


@dataclass(frozen=True, slots=True)
class PsiZ:
    """The certainty of a change; the order of the two samples does not matter."""

    name: str = "psi_z"
    unit: str = "standard deviations"

    def value(self, sample: Sample) -> float:
        return deviate(Psi().value(sample) / sample.unit, sample.freedom)
