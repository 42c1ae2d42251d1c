"""Every measure of disagreement: a new one needs its own file, its line here, and its test."""

from __future__ import annotations

from service.domain.disagreement.accuracy import Accuracy
from service.domain.disagreement.beyond import BeyondUncertainty
from service.domain.disagreement.calibration import Calibration
from service.domain.disagreement.cost import Cost
from service.domain.disagreement.flips import Flips
from service.domain.disagreement.gap import Gap
from service.domain.disagreement.kl import KullbackLeibler
from service.domain.disagreement.loss import Loss
from service.domain.disagreement.measure import Measure
from service.domain.disagreement.nearer import Nearer
from service.domain.disagreement.numeric_gap import NumericGap
from service.domain.disagreement.rank import Rank
from service.domain.disagreement.region_overlap import RegionOverlap
from service.domain.disagreement.tolerance import WithinTolerance
from service.domain.disagreement.total_variation import TotalVariation

DISAGREEMENT: tuple[Measure, ...] = (
    Flips(),
    Gap(),
    TotalVariation(),
    KullbackLeibler(),
    WithinTolerance(),
    NumericGap(),
    Rank(),
    RegionOverlap(),
    BeyondUncertainty(),
)
"""Of every compared row."""
JUDGEMENT: tuple[Measure, ...] = (
    Accuracy(),
    Nearer(),
    Loss(),
    Cost(),
    Calibration(),
)
"""Of rows whose truth is known."""
