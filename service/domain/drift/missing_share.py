"""What share of the live rows has no value; to be held against that of the reference data."""

from __future__ import annotations

from dataclasses import dataclass

from service.domain.drift.measure import Sample


@dataclass(frozen=True, slots=True)
class MissingShare:
    """0 to 1."""

    name: str = "missing_share"
    unit: str = "share"

    def value(self, sample: Sample) -> float:
        return float(sample.live[sample.missing]) / sample.rows
