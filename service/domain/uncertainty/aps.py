"""Adaptive prediction sets: labels in the order of their probability, until enough probability is gathered.

A label's nonconformity is the probability of all labels that stand before it, the likelier ones (Romano,
Sesia & Candès, NeurIPS 2020, with their random number fixed at 1, so that equal rows get equal answers).
The likeliest label's is 0, so no set is empty; where it is right more often than the confidence asks, sets
cover more often, too. Sets are a little larger than LAC's, and cover sure and unsure rows more evenly.

Counting the label's own probability as well, which the random number 0 would do, is as valid and of little
use without randomness: a sure model's threshold is then so near 1 that unsure rows get nearly all labels,
and the surest rows none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import Scores
from service.domain.uncertainty.label_sets import SetMeasure


def likelier_mass(scores: Scores) -> NDArray[np.float64]:
    """The probability of the labels before each one, [rows, classes]; of equal ones the first is before."""
    order = np.argsort(-scores, axis=1, kind="stable")
    descending = np.take_along_axis(scores, order, axis=1)
    before = np.zeros(scores.shape)
    np.cumsum(descending[:, :-1], axis=1, dtype=np.float64, out=before[:, 1:])
    found = np.empty(scores.shape)
    np.put_along_axis(found, order, before, axis=1)
    return found


APS = SetMeasure("aps", likelier_mass)
APS_BY_CLASS = SetMeasure("aps-by-class", likelier_mass, by_class=True)
