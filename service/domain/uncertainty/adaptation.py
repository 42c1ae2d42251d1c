"""What an edge needs for regions that follow the traffic: a pool of scores, and a level per confidence.

``adaptive`` learns both from labelled rows. A *level* is the share of rows that a region may miss; the
promise at confidence c is 1 - c, and labels move the level away from it until the promise is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.uncertainty.measure import Region

GRID = (0.5, 0.8, 0.9, 0.95, 0.99, 0.999)
"""Confidences with levels of their own; those between are interpolated on the scale of log-odds."""
PROMISED = 1.0 - np.array(GRID)
"""The share of rows that each may miss."""
POOL = 2000
"""Scores that an edge is handed at most."""
NOUGHT = 1e-9
"""The least level: there everything is possible."""

_ODDS = np.log(PROMISED / (1 - PROMISED))[::-1]  # ascending, as np.interp wants it


@dataclass(frozen=True, slots=True, eq=False)
class Adaptation:
    """How one model's regions are answered from now on."""

    scores: NDArray[np.float64]
    """Nonconformity that takes the calibration scores' place, [at most ``POOL``]; empty: it does not."""
    levels: tuple[float, ...]
    """One per confidence of ``GRID``, never rising; from ``NOUGHT`` to below 1."""
    labelled: int
    """Rows that it was learnt from."""
    delay: float = 0.0
    """Labelled rows that are answered between an answer and its label."""

    def region(self, static: Region) -> Region:
        """The measure with the scores in force; worth keeping for as long as this adaptation is."""
        return static.with_scores(self.scores) if len(self.scores) else static

    def level(self, confidence: float) -> float:
        """The share of rows that a region at this confidence now allows itself to miss."""
        if not self.labelled:
            return 1 - confidence
        found = np.array(self.levels[::-1])
        odds = np.interp(math.log((1 - confidence) / confidence), _ODDS, np.log(found / (1 - found)))
        return float(1 / (1 + np.exp(-odds)))

    def thresholds(self, static: Region, confidence: float) -> NDArray[np.float64]:
        """What stands in for ``static.thresholds(confidence)``, and equals it before the first label.

        Scores that were replaced are replaced for all classes alike: from then on the promise is about all
        rows together, even where the static region makes it for each class.
        """
        return thresholds(self, self.region(static), confidence)

    def to_document(self) -> dict[str, Any]:
        """Ready for JSON; ``adaptation_of`` reads it back exactly."""
        return {
            "scores": self.scores.tolist(),
            "levels": list(self.levels),
            "labelled": self.labelled,
            "delay": self.delay,
        }

    def shown(self, confidence: float) -> dict[str, Any]:
        """Its state for people, at the confidence that the model answers with; ready for JSON."""
        return {
            "confidence": 1 - self.level(confidence),
            "labelled": self.labelled,
            "scores": len(self.scores),
            "delay_rows": self.delay,
        }


def thresholds(adaptation: Adaptation, region: Region, confidence: float) -> NDArray[np.float64]:
    """The thresholds of ``adaptation.region(static)``, for callers that keep it.

    Returns:
        [classes], or [1]; infinite where the level is too low for the scores there are.
    """
    if not adaptation.labelled:
        return region.thresholds(confidence)
    level = adaptation.level(confidence)
    if level <= 2 * NOUGHT:  # twice: the way through log-odds may round up
        return np.full_like(region.thresholds(confidence), np.inf)
    return region.thresholds(1 - level)


def adaptation_of(document: Mapping[str, Any]) -> Adaptation:
    """An adaptation from its document.

    Raises:
        ValueError: it is damaged; the static region still stands.
    """
    try:
        scores = np.array(document["scores"], np.float64)
        levels = tuple(float(level) for level in document["levels"])
        found = Adaptation(scores, levels, int(document["labelled"]), float(document["delay"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"no adaptation: {error!r}") from error
    if scores.ndim != 1 or len(scores) > POOL or not np.isfinite(scores).all():
        raise ValueError(f"an adaptation has at most {POOL} scores, all of them numbers")
    if len(levels) != len(GRID) or not all(NOUGHT <= level < 1 for level in levels):
        raise ValueError(f"an adaptation has {len(GRID)} levels from {NOUGHT:g} to below 1, found {levels}")
    if any(later > earlier for earlier, later in pairwise(levels)):
        raise ValueError(f"an adaptation's levels never rise, found {levels}")
    return found
