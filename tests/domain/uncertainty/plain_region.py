"""The plainest conformal region, by the protocol: a label's evidence is how far off each label would be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.uncertainty.measure import Asked, Columns, Region


@dataclass(frozen=True, eq=False)
class PlainRegion:
    """Evidence [rows, k] holds the nonconformity of each label; for a regression, [rows, 1], the value."""

    scores: NDArray[np.float64]
    classes: int = 0
    """0: a regression, whose nonconformity is the distance from the value."""
    offsets: tuple[float, ...] = ()
    """Added to each class's threshold, as a class-conditional region's differ."""

    def columns(self, asked: Asked) -> Columns:
        evidence = self.evidence(asked)
        return self.regions(evidence, self.thresholds(asked.confidence))

    def evidence(self, asked: Asked) -> NDArray[np.float64]:
        scores = asked.scores.astype(np.float64)
        return 1 - scores if self.classes else scores

    def nonconformity(self, evidence: NDArray[np.float64], labels: NDArray[Any]) -> NDArray[np.float64]:
        if self.classes:
            return evidence[np.arange(len(labels)), labels]
        return np.abs(evidence[:, 0] - labels)

    def thresholds(self, confidence: float) -> NDArray[np.float64]:
        size = len(self.scores)
        rank = math.ceil((size + 1) * confidence - 1e-9)
        limit = self.scores[max(rank, 1) - 1] if rank <= size else np.inf
        return np.full(max(self.classes, 1), limit) + np.array(self.offsets or 0.0)

    def regions(self, evidence: NDArray[np.float64], thresholds: NDArray[np.float64]) -> Columns:
        if self.classes:
            return {"set": evidence <= thresholds}
        return {"interval": evidence + thresholds * np.array([[-1.0, 1.0]])}

    def with_scores(self, scores: NDArray[np.float64]) -> Region:
        return PlainRegion(np.sort(scores), self.classes)


def calibrated(rows: int = 400, seed: int = 0) -> PlainRegion:
    """A regression whose calibration errors are folded normal."""
    return PlainRegion(np.sort(np.abs(np.random.default_rng(seed).normal(size=rows))))
