"""When a change is worth somebody's time: it is large, it is sure, and it is seen in enough rows.

No one of the three will do. PSI of few rows is large by chance; a z of many rows is sure of changes that do
not matter, and of rows that a caller sends again and again. The alert rules take their numbers from here.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from service.domain.drift.measure import Sample
from service.domain.drift.psi_excess import PsiExcess
from service.domain.drift.psi_z import PsiZ
from service.domain.drift.two_sample import CHANCE

EXCESS = 0.1
"""Of ``psi_excess``: a change of this size is worth a look; the customary bound of PSI."""
PAGE_EXCESS = 0.25
"""A change of this size is worth getting up for."""
SLOW_EXCESS = 0.05
"""Over a day alone: a service of few rows hears of a change, and others hear of one that is small and lasts.
Where nothing changed, but rows are another sample of people than the demo's reference data, it is passed for
an hour 0.007 times a day at 50 rows an hour, and never in 1,000 days at 500 an hour."""
SURE = 4.0
"""Of ``psi_z``: of samples without a change one in 30,000 is above, and where numbers are binned by the
reference rows themselves one in some 10,000, since few rows say where the ends are. Not so where less than
some 1,000 reference rows are to show a long-tailed vocabulary: words that none of them happens to have are a
change, in one of three samples of 120 rows and 47 words. Of the two-sample test as well."""
LEAST_ROWS = 500
"""Live rows; fewer say nothing about drift."""
ACCURACY = 0.5 + SURE * CHANCE
"""Of the two-sample test: no number of live rows makes less than this sure, since there are only so many
reference rows. A single number that moves by a quarter of its deviation can be told so well."""

State: TypeAlias = Literal["quiet", "ticket", "page"]


def moved(sample: Sample, excess: float = EXCESS, least_rows: int = LEAST_ROWS) -> bool:
    """Whether one window shows a change."""
    return sample.rows >= least_rows and PsiExcess().value(sample) > excess and PsiZ().value(sample) > SURE


def state(hour: Sample, six_hours: Sample) -> State:
    """What an alert would say, were both windows like this for long enough; either must show the change."""
    both = (hour, six_hours)
    if all(moved(each, PAGE_EXCESS) for each in both):
        return "page"
    return "ticket" if all(moved(each) for each in both) else "quiet"


def told_apart(right: float, rows: float) -> bool:
    """Whether a two-sample test that was right so often tells live rows from reference rows."""
    return rows >= LEAST_ROWS and deviations(right / rows, rows) > SURE


def deviations(accuracy: float, rows: float) -> float:
    """How far an accuracy is above that of guessing, in standard deviations of what chance does.

    Chance tells some rows rightly, and it chose the reference rows that are tested, the same ones all along.
    """
    return (accuracy - 0.5) / math.sqrt(0.25 / rows + CHANCE**2)
