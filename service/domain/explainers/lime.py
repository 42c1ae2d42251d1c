"""LIME for tables: a small weighted linear model of which players keep their values (Ribeiro et al., arXiv
1602.04938).

Each made-up row keeps the explained row's values for a random set of players and takes the others from a
background row; rows that keep more weigh more. The attributions are the coefficients of a ridge regression
of the output on who was kept. They do not add up to anything, and how well the linear model fits where it
was fitted is in ``detail["fidelity_r2"]``. The standard errors are those of another draw of made-up rows
(a sandwich estimate, White 1980): they say how far LIME's answer may be from LIME's own answer with
unlimited rows, not from the truth.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.coalitions import (
    Case,
    Members,
    ground_of,
    in_time,
    mix,
    run_rows,
    shares_of_time,
    too_late,
)
from service.domain.explainers.game import Ask, Explanation, Method, Subject, Unsuitable, Values
from service.domain.explainers.manifold import LOOKED_AT, manifold_of, warning
from service.domain.schema import FeatureBatch
from service.errors import DeadlineError

WIDTH = 0.75
"""Kernel width by the square root of the number of players, as in the paper's own code."""
RIDGE = 1.0
"""Penalty of the coefficients; the intercept has none."""
SPARE = 10
"""Made-up rows beyond one for each coefficient, without which nothing is fitted."""


class Lime:
    """The method at work on one model."""

    def __init__(self, subject: Subject) -> None:
        self._ground = ground_of(subject)
        self._manifold = manifold_of(subject)
        self._owner = subject.players.owner()
        self._fewest = len(subject.players) + 1 + SPARE

    def __call__(self, rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
        """See ``game.Explainer``; ``rows_evaluated`` never exceeds ``ask.max_evals``."""
        subject = self._ground.subject
        samples = ask.max_evals - 1
        if samples < self._fewest:
            raise Unsuitable(f"max_evals {ask.max_evals} is too few for lime: needs {self._fewest + 1}")
        rng = np.random.default_rng(ask.seed)
        kept = rng.random((samples, len(subject.players))) < 0.5
        passes = -(-samples // len(subject.background))
        order = [rng.permutation(len(subject.background)) for _ in range(passes)]
        beside = np.concatenate(order)[:samples]
        cases = self._ground.cases(rows, ask)
        turns = zip(cases, shares_of_time(len(cases), due), strict=True)
        return [self._explain(case, kept, beside, turn) for case, turn in turns]

    def _explain(self, case: Case, kept: Members, beside: NDArray[np.intp], due: float) -> Explanation:
        background, samples = self._ground.subject.background, len(kept)
        answers: list[Values] = []
        looked_at = np.empty((0, background.shape[1]), dtype=background.dtype)
        for part in in_time(samples, run_rows(background), due, self._fewest):
            mixed = mix(case.row, background[beside[part]], kept[part], self._owner)
            answers.append(case.values(mixed))
            looked_at = np.concatenate([looked_at, mixed[: LOOKED_AT - len(looked_at)]])
        done = sum(map(len, answers))
        if done < self._fewest:
            raise DeadlineError(f"the deadline passed after {done} made-up rows")
        width = WIDTH * np.sqrt(kept.shape[1])
        coefficients, errors, fidelity = _fit(kept[:done], np.concatenate(answers), width)
        far = self._manifold.share(looked_at)
        return Explanation(
            method=LIME.name,
            exact=False,
            output=case.output,
            label=case.label,
            base_value=case.base,
            values=coefficients[1:],
            standard_errors=errors[1:],
            rows_evaluated=1 + done,
            off_manifold_share=far,
            degraded=None if done == samples else too_late(1 + done, 1 + samples),
            detail={
                "fidelity_r2": fidelity,
                "kernel_width": float(width),
                "intercept": float(coefficients[0]),
                "standard_errors_of": "what lime says with unlimited made-up rows",
                **warning(far),
            },
        )


def _fit(kept: Members, answers: Values, width: float) -> tuple[Values, Values, float]:
    """Coefficients (intercept first), their standard errors, and the weighted R^2 of the fit."""
    weights = np.exp(-(~kept).sum(axis=1) / width**2)  # the squared distance is the number of players let go
    design = np.column_stack([np.ones(len(kept)), kept])
    weighted = design * weights[:, None]
    penalty = RIDGE * np.eye(design.shape[1])
    penalty[0, 0] = 0
    inverse = np.linalg.inv(design.T @ weighted + penalty)
    coefficients = inverse @ (weighted.T @ answers)
    residuals = answers - design @ coefficients
    scores = weighted * residuals[:, None]
    errors = np.sqrt(np.diag(inverse @ (scores.T @ scores) @ inverse))
    around = answers - np.average(answers, weights=weights)
    spread = float(weights @ around**2)
    fidelity = 1.0 if spread == 0 else 1 - float(weights @ residuals**2) / spread
    return coefficients, errors, fidelity


LIME = Method("lime", Lime, additive=False)
