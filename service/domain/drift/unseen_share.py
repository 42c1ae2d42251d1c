"""What share of the live rows has a value that the reference data never had.

Words of the vocabulary without a reference row, and numbers below the least or above the largest of the
reference data. Of healthy traffic about 1 row in m is beyond either end of m reference rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from service.domain.drift.measure import Sample


@dataclass(frozen=True, slots=True)
class UnseenShare:
    """0 to 1."""

    name: str = "unseen_share"
    unit: str = "share"

    def value(self, sample: Sample) -> float:
        return sum(float(sample.live[each]) for each in sample.strange) / sample.rows
