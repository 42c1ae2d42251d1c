"""The plain gradient (Simonyan, Vedaldi & Zisserman, arXiv 1312.6034): what a small change would do.

A player's value is the change of the margin per standard deviation of its columns: the signed derivative
times the column's standard deviation over the background, summed over the columns. Nothing adds up, and how
far a column is from usual plays no part. For a picture ``detail["pixels"]`` holds the size of each element's
share, unsigned as in the paper.
"""

from __future__ import annotations

import numpy as np

from service.domain.explainers.coalitions import Case
from service.domain.explainers.game import Ask, Explanation, Method, Subject
from service.domain.explainers.slopes import pixels, slopes_of
from service.domain.schema import FeatureBatch


class Saliency:
    """The method at work on one model; one gradient for each row."""

    def __init__(self, subject: Subject) -> None:
        self._slopes = slopes_of(subject)
        self._spread = self._slopes.spread()

    def __call__(self, rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
        """See ``game.Explainer``; one gradient takes so little that ``due`` is not looked at."""
        del due
        return [self._explain(case) for case in self._slopes.cases(rows, ask)]

    def _explain(self, case: Case) -> Explanation:
        steps = self._slopes.at(case.row[None], case)[0] * self._spread
        return Explanation(
            method=SALIENCY.name,
            exact=False,
            output=case.output,
            label=case.label,
            base_value=case.base,
            values=self._slopes.shared(steps),
            rows_evaluated=2,
            detail=pixels(self._slopes.subject, np.abs(steps)),
        )


SALIENCY = Method("saliency", Saliency, additive=False)
