"""A conformal measure that answers as labels have taught it to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.uncertainty.adaptation import Adaptation, thresholds
from service.domain.uncertainty.measure import Asked, Columns, Region

MOST_KNOWN = 64
"""Confidences come from callers, so what is known of them starts over at so many."""


@dataclass(frozen=True, slots=True, eq=False)
class AdaptedRegion:
    """A ``Region`` with the scores and the levels of an adaptation in place of the bundle's."""

    static: Region
    """As fitted at packaging."""
    adaptation: Adaptation
    _region: Region = field(init=False)
    _known: dict[float, NDArray[np.float64]] = field(default_factory=dict, init=False)
    """Thresholds by confidence, which take several microseconds to find."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_region", self.adaptation.region(self.static))

    @property
    def scores(self) -> NDArray[np.float64]:
        return self._region.scores

    def columns(self, asked: Asked) -> Columns:
        """``set`` or ``interval`` at the level in force; p-values are those of the scores in force."""
        found: Columns = {}
        if "p_values" in asked.extra:
            found["p_values"] = self._region.columns(asked)["p_values"]
        return self.regions(self.evidence(asked), self.thresholds(asked.confidence)) | found

    def evidence(self, asked: Asked) -> NDArray[np.float64]:
        return self._region.evidence(asked)

    def nonconformity(self, evidence: NDArray[np.float64], labels: NDArray[Any]) -> NDArray[np.float64]:
        return self._region.nonconformity(evidence, labels)

    def thresholds(self, confidence: float) -> NDArray[np.float64]:
        known = self._known.get(confidence)
        if known is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            known = self._known[confidence] = thresholds(self.adaptation, self._region, confidence)
        return known

    def regions(self, evidence: NDArray[np.float64], thresholds: NDArray[np.float64]) -> Columns:
        return self._region.regions(evidence, thresholds)

    def with_scores(self, scores: NDArray[np.float64]) -> Region:
        return self._region.with_scores(scores)
