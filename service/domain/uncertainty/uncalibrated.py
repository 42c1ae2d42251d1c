"""The served probabilities as they are: what every calibration has to be better than."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import ModelSpec, Scores
from service.domain.uncertainty.held_out import fitted
from service.domain.uncertainty.measure import Arrays, Asked, Columns, Fitted, Kind, Material
from service.domain.uncertainty.reliability import proper


class AsServed:
    """Gives ``calibrated``: the served scores in float64, divided by their sum."""

    def columns(self, asked: Asked) -> Columns:
        return {"calibrated": proper(asked.scores)}


class Uncalibrated:
    """Learns nothing."""

    name = "none"
    kind: Kind = "probability"

    def fit(self, material: Material) -> Fitted:
        return fitted(material, _nothing, self.restore)

    def restore(self, spec: ModelSpec, arrays: Arrays) -> AsServed:  # noqa: ARG002 - nothing was learnt
        return AsServed()


def _nothing(scores: Scores, labels: NDArray[np.intp]) -> Arrays:  # noqa: ARG001 - as the name says
    return {}


UNCALIBRATED = Uncalibrated()
