"""Every measure of uncertainty there is. A new one needs its own file, a line here, and its test."""

from __future__ import annotations

from collections.abc import Mapping

from service.domain.uncertainty.measure import Kind, Measure

MEASURES: tuple[Measure, ...] = ()
"""The best first, within each kind: where no measure did better, ``auto`` takes the first that fits."""

BY_NAME: Mapping[str, Measure] = {measure.name: measure for measure in MEASURES}


def of_kind(kind: Kind) -> tuple[Measure, ...]:
    """The measures of one kind, in the registry's order."""
    return tuple(measure for measure in MEASURES if measure.kind == kind)
