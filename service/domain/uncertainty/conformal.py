"""What conformal regions share: the ranks that thresholds are taken from, and how regions are tried out.

Where calibration rows and a new row are exchangeable, the new row's true label is as likely to have any rank
among their nonconformities as any other. So at most the k-th smallest of n is exceeded with probability
1 - k / (n + 1) at most, and k = ceil((n + 1) confidence) is enough (Vovk, Gammerman & Shafer, Algorithmic
Learning in a Random World, 2005; Papadopoulos et al., ECML 2002, for calibration rows set apart).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import ceil, inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.uncertainty.measure import Asked, Columns, Material, Region

FOLDS = 5
"""Parts of the calibration rows that take turns at being new."""
REPORTED = (0.8, 0.9, 0.95)
"""Confidences at which regions are tried out."""

_ROUNDING = 1e-9
"""(n + 1) confidence is off by less than this for a million rows: 100 * 0.55 is a little above 55."""


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Nonconformities of true labels that a new row's is one more of."""

    ascending: NDArray[np.float64]
    """[n], read-only."""
    slack: float = 0.0
    """A new row's nonconformity may be greater by so much and still counts as equal."""

    def threshold(self, confidence: float) -> float:
        """The ceil((n + 1) confidence)-th smallest, and the slack; infinite where there are fewer.

        Args:
            confidence: above 0, below 1.
        """
        rank = ceil((len(self.ascending) + 1) * confidence - _ROUNDING)
        return float(self.ascending[rank - 1]) + self.slack if rank <= len(self.ascending) else inf

    def p_values(self, nonconformity: NDArray[np.float64]) -> NDArray[np.float64]:
        """(1 + how many are at least as large, with the slack) / (n + 1), for each of any shape.

        Above 1 - confidence exactly where the nonconformity is up to ``threshold(confidence)``.
        """
        n = len(self.ascending)
        reach = self.ascending + self.slack
        found: NDArray[np.float64] = (n + 1 - reach.searchsorted(nonconformity)) / (n + 1)
        return found

    @property
    def most_confidence(self) -> float:
        """Up to which a threshold is finite."""
        return len(self.ascending) / (len(self.ascending) + 1)


def pool(scores: NDArray[Any], slack: float = 0.0) -> Pool:
    """A pool of scores in any order, [n]."""
    ascending = np.sort(scores.astype(np.float64))
    ascending.flags.writeable = False
    return Pool(ascending, slack)


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """A region that was learnt without some calibration rows, and those rows."""

    region: Region
    unseen: Material

    def columns(self, confidence: float) -> Columns:
        """What the region says of the rows it has not seen."""
        rows = self.unseen
        return self.region.columns(Asked(rows.rows, rows.scores, confidence, run=rows.run))


def trials(material: Material, learn: Callable[[Material], Region]) -> Iterator[Trial]:
    """Every calibration row is unseen once, in one of ``FOLDS`` parts; none of them is empty."""
    fold = np.random.default_rng(material.seed).permutation(len(material.rows)) % FOLDS
    for number in np.unique(fold):
        yield Trial(learn(part(material, fold != number)), part(material, fold == number))


def part(material: Material, which: NDArray[Any]) -> Material:
    """The same with some of the calibration rows, by a mask or by indices."""
    return replace(
        material, rows=material.rows[which], scores=material.scores[which], labels=material.labels[which]
    )
