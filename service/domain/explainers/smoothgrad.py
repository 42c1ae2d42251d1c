"""SmoothGrad (Smilkov et al., arXiv 1706.03825): the gradient averaged over noisy copies of the row.

The noise is normal, with 0.15 of each column's range over the background as standard deviation, and comes in
pairs of opposite signs. Values are as for ``saliency``; ``standard_errors`` are of the mean over pairs as an
estimate of the mean over all such noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.coalitions import Case, in_time, run_rows, shares_of_time, too_late
from service.domain.explainers.game import Ask, Explanation, Method, Subject, Unsuitable
from service.domain.explainers.slopes import pixels, slopes_of
from service.domain.schema import FeatureBatch
from service.errors import DeadlineError

NOISE = 0.15
"""Standard deviation as a share of the range."""
MOST_PAIRS = 128
"""The paper sees no change beyond 50 copies."""
FEWEST_PAIRS = 2
"""Without which there is no error to state."""


class SmoothGrad:
    """The method at work on one model."""

    def __init__(self, subject: Subject) -> None:
        self._slopes = slopes_of(subject)
        self._spread = self._slopes.spread()
        whole = subject.background[self._slopes.baselines].astype(np.float64)
        ranges = whole.max(axis=0) - whole.min(axis=0)
        image = subject.spec.schema.layout == "image"
        self._noise = NOISE * (np.full_like(ranges, whole.max() - whole.min()) if image else ranges)

    def __call__(self, rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
        """See ``game.Explainer``; ``rows_evaluated`` never exceeds ``ask.max_evals``."""
        pairs = min(MOST_PAIRS, (ask.max_evals - 1) // 2)
        if pairs < FEWEST_PAIRS:
            raise Unsuitable(f"max_evals {ask.max_evals} is too few: needs {2 * FEWEST_PAIRS + 1}")
        cases = self._slopes.cases(rows, ask)
        turns = zip(cases, shares_of_time(len(cases), due), strict=True)
        return [self._explain(case, pairs, ask.seed, turn) for case, turn in turns]

    def _explain(self, case: Case, planned: int, seed: int, due: float) -> Explanation:
        subject, rng = self._slopes.subject, np.random.default_rng(seed)
        most = max(1, run_rows(subject.background) // 2)
        total = np.zeros(len(case.row))
        found: list[NDArray[np.float64]] = []
        for part in in_time(planned, most, due, FEWEST_PAIRS):
            steps = self._pairs(case, rng.standard_normal((part.stop - part.start, len(case.row))))
            total += steps.sum(axis=0)
            found.append(self._slopes.shared(steps))
        shares = np.concatenate([np.empty((0, len(subject.players))), *found])
        pairs = len(shares)
        if pairs < FEWEST_PAIRS:
            raise DeadlineError(f"the deadline passed after {pairs} pairs of noisy rows")
        evaluated = 1 + 2 * pairs
        return Explanation(
            method=SMOOTHGRAD.name,
            exact=False,
            output=case.output,
            label=case.label,
            base_value=case.base,
            values=shares.mean(axis=0),
            standard_errors=shares.std(axis=0, ddof=1) / np.sqrt(pairs),
            rows_evaluated=evaluated,
            degraded=None if pairs == planned else too_late(evaluated, 1 + 2 * planned),
            detail=pixels(subject, np.abs(total / pairs)),
        )

    def _pairs(self, case: Case, noise: NDArray[np.float64]) -> NDArray[np.float64]:
        """Each pair's mean derivative per standard deviation, [pairs, width]."""
        moved = noise * self._noise
        both = self._slopes.at(np.concatenate([case.row + moved, case.row - moved]), case)
        pairs: NDArray[np.float64] = both.reshape(2, *noise.shape).mean(axis=0) * self._spread
        return pairs


SMOOTHGRAD = Method("smoothgrad", SmoothGrad, additive=False)
