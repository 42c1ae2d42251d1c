"""Integrated gradients (Sundararajan, Taly & Yan, arXiv 1703.01365), averaged over the background.

From one background row b the values (x - b) * (mean gradient on the straight line from b to x) add up to
f(x) - f(b); their mean over all background rows (expected gradients: Erion et al., arXiv 1906.10670) adds up
to f(x) minus the base value, as Shapley values do. They agree with those for linear models and differ for
others: these are Aumann-Shapley values, of a game in which columns come and go little by little.

Two errors are left, and ``standard_errors`` hold both: not every background row is used where ``max_evals``
does not allow it (see ``background_mean``), and a line is seen at some places only. Those are two sets of
evenly spaced places, each moved along by another offset on each line so that errors of single lines cancel;
the difference between the sets tells the error. What is then missing from the sum, the completeness gap, is
in ``detail``; it goes to the players in proportion to their error's variance, so that values add up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.background_mean import average
from service.domain.explainers.coalitions import Case, in_time, run_rows, shares_of_time, too_late
from service.domain.explainers.game import Ask, Explanation, Method, Subject, Unsuitable, Values
from service.domain.explainers.slopes import pixels, slopes_of
from service.domain.schema import FeatureBatch
from service.errors import DeadlineError

PLACES, MOST_PLACES = 4, 64
"""On one line: at least where rows are many, and at most where they are few."""
FEWEST = 2
"""Lines without which there is no error to state."""
BELIEVABLE = 6.0
"""A gap of more than so many of its standard errors is not sampling noise, and is left for all to see."""

_EVEN = np.array([0.7548776662466927, 0.5698402909980532])
"""Multiples of these fill the unit square evenly, however many: powers of the plastic number's inverse."""


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Which lines are walked, and where each is looked at."""

    drawn: NDArray[np.intp]
    """Background row at the start of each line, [lines]."""
    places: NDArray[np.float64]
    """Shares of the way to the explained row, one set and then the other, [lines, places]."""


class IntegratedGradients:
    """The method at work on one model."""

    def __init__(self, subject: Subject) -> None:
        if subject.own_output() == "probability":
            raise Unsuitable(
                "the model is often so certain that there are no log-odds for gradients to add up to"
            )
        self._slopes = slopes_of(subject)

    def __call__(self, rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
        """See ``game.Explainer``; ``rows_evaluated`` never exceeds ``ask.max_evals``."""
        if ask.max_evals < 2 * FEWEST + 1:
            raise Unsuitable(f"max_evals {ask.max_evals} is too few: needs {2 * FEWEST + 1}")
        lines = _lines(self._slopes.baselines, ask.max_evals - 1, ask.seed)
        cases = self._slopes.cases(rows, ask)
        turns = zip(cases, shares_of_time(len(cases), due), strict=True)
        return [self._explain(case, lines, turn) for case, turn in turns]

    def _explain(self, case: Case, lines: Lines, due: float) -> Explanation:
        subject = self._slopes.subject
        planned, places = lines.places.shape
        most = max(1, run_rows(subject.background) // places)
        total = np.zeros(len(case.row))
        walked: list[NDArray[np.float64]] = []
        for part in in_time(planned, most, due, FEWEST):
            columns = self._walk(case, lines.drawn[part], lines.places[part])
            total += columns.mean(axis=1).sum(axis=0)
            walked.append(self._slopes.shared(columns))
        halves = np.concatenate([np.empty((0, 2, len(subject.players))), *walked])
        done = len(halves)
        if done < FEWEST:
            raise DeadlineError(f"the deadline passed after {done} lines of gradients")
        found = average(
            halves.mean(axis=1), lines.drawn[:done], self._slopes.ground.controls(case), noiseless=True
        )
        noise = (np.diff(halves, axis=1)[:, 0] ** 2).sum(axis=0) / (4 * done**2)
        values, gap = _completed(found.values, case, noise)
        evaluated = 1 + done * places
        return Explanation(
            method=INTEGRATED_GRADIENTS.name,
            exact=False,
            output=case.output,
            label=case.label,
            base_value=case.base,
            values=values,
            standard_errors=np.sqrt(found.standard_errors**2 + noise),
            additivity_gap=case.additivity_gap(values),
            rows_evaluated=evaluated,
            degraded=None if done == planned else too_late(evaluated, 1 + planned * places),
            detail={
                "baselines": done,
                "completeness_gap": gap,
                "background_standard_errors": found.background_standard_errors.tolist(),
                **pixels(subject, total / done),
            },
        )

    def _walk(self, case: Case, drawn: NDArray[np.intp], places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Integrated gradients of each line by either set of places; [lines, 2, width]."""
        starts = self._slopes.subject.background[drawn].astype(np.float64)
        ways = case.row.astype(np.float64) - starts
        points = starts[:, None] + places[:, :, None] * ways[:, None]
        gradients = self._slopes.at(points.reshape(-1, points.shape[-1]), case)
        halves = gradients.reshape(len(drawn), 2, -1, points.shape[-1]).mean(axis=2)
        columns: NDArray[np.float64] = halves * ways[:, None]
        return columns


def _lines(baselines: NDArray[np.intp], evaluations: int, seed: int) -> Lines:
    """Every background row once, in random order, or as many of them as ``evaluations`` allow."""
    rng = np.random.default_rng(seed)
    count = max(FEWEST, min(len(baselines), evaluations // PLACES))
    half = min(MOST_PLACES, evaluations // count) // 2
    offsets = (rng.random(2) + _EVEN * np.arange(count)[:, None]) % 1  # [lines, sets]
    places = (np.arange(half) + offsets[:, :, None]) / half
    return Lines(np.resize(rng.permutation(baselines), count), places.reshape(count, 2 * half))


def _completed(values: Values, case: Case, noise: Values) -> tuple[Values, float]:
    """The values with what is missing from their sum shared out, and how much that was."""
    gap, spread = case.served - case.base - float(values.sum()), float(noise.sum())
    if spread <= 0 or abs(gap) > BELIEVABLE * np.sqrt(len(noise) * spread):
        return values, gap
    return values + gap * noise / spread, gap


INTEGRATED_GRADIENTS = Method("integrated-gradients", IntegratedGradients)
