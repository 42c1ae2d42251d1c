"""Every measure of uncertainty there is. A new one needs its own file, a line here, and its test."""

from __future__ import annotations

from collections.abc import Mapping

from service.domain.uncertainty.absolute import ABSOLUTE
from service.domain.uncertainty.aps import APS, APS_BY_CLASS
from service.domain.uncertainty.isotonic import ISOTONIC
from service.domain.uncertainty.knn import KNN
from service.domain.uncertainty.lac import LAC, LAC_BY_CLASS
from service.domain.uncertainty.mahalanobis import MAHALANOBIS
from service.domain.uncertainty.measure import Kind, Measure
from service.domain.uncertainty.normalised import NORMALISED
from service.domain.uncertainty.quantile import QUANTILE
from service.domain.uncertainty.reconstruction import RECONSTRUCTION
from service.domain.uncertainty.spread import SPREAD
from service.domain.uncertainty.temperature import TEMPERATURE
from service.domain.uncertainty.uncalibrated import UNCALIBRATED
from service.domain.uncertainty.venn_abers import VENN_ABERS

MEASURES: tuple[Measure, ...] = (
    LAC,
    APS,
    LAC_BY_CLASS,
    APS_BY_CLASS,
    ABSOLUTE,
    NORMALISED,
    QUANTILE,
    UNCALIBRATED,
    TEMPERATURE,
    VENN_ABERS,
    ISOTONIC,
    RECONSTRUCTION,
    MAHALANOBIS,
    KNN,
    SPREAD,
)
"""The best first, within each kind: where no measure did better, ``auto`` takes the first that fits."""

BY_NAME: Mapping[str, Measure] = {measure.name: measure for measure in MEASURES}


def of_kind(kind: Kind) -> tuple[Measure, ...]:
    """The measures of one kind, in the registry's order."""
    return tuple(measure for measure in MEASURES if measure.kind == kind)
