"""shap's own KernelExplainer, for those who want the standard name (Lundberg & Lee, arXiv 1705.07874).

``permutation`` gives the same Shapley values many times cheaper and with standard errors; KernelExplainer has
none. It evaluates every coalition beside every background row, so at most 100 rows, drawn with the request's
seed, stand for the background, and the answer is relative to those. Importing shap takes about 5 s and
200 MB, which happens at the first call.
"""

from __future__ import annotations

import logging
import threading
import time
import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.coalitions import Case, ground_of, run_rows
from service.domain.explainers.game import Ask, Explanation, Method, Subject, Unsuitable, Values
from service.domain.explainers.manifold import LOOKED_AT, manifold_of, warning
from service.domain.schema import FeatureBatch
from service.errors import DeadlineError

MOST_BACKGROUND = 100
OWN_ROWS = 2
"""The explained row is evaluated once to know its class, and once by shap."""
CHUNK = 512
"""Rows evaluated between two looks at the clock."""
COALITIONS_PER_PLAYER = 8
"""Coalitions worth having for each player before another background row is."""

_one_at_a_time = threading.Lock()
"""shap draws from numpy's global generator, so whoever runs it owns that."""


class Kernel:
    """The method at work on one model."""

    def __init__(self, subject: Subject) -> None:
        self._ground = ground_of(subject)
        self._manifold = manifold_of(subject)
        self._owner = subject.players.owner()

    def __call__(self, rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
        """See ``game.Explainer``; never stops early: what does not fit before ``due`` raises."""
        subject, players = self._ground.subject, len(self._ground.subject.players)
        most = min(MOST_BACKGROUND, len(subject.background))
        kept = int(np.clip(ask.max_evals // (COALITIONS_PER_PLAYER * players), 1, most))
        samples = (ask.max_evals - OWN_ROWS) // kept - 1
        if samples < 2 * players:
            needed = OWN_ROWS + kept * (2 * players + 1)
            raise Unsuitable(f"max_evals {ask.max_evals} is too few for kernel: needs {needed}")
        drawn = np.random.default_rng(ask.seed).permutation(len(subject.background))[:kept]
        cases = self._ground.cases(rows, ask)
        return [self._explain(case, np.sort(drawn), samples, ask.seed, due) for case in cases]

    def _explain(
        self, case: Case, drawn: NDArray[np.intp], samples: int, seed: int, due: float
    ) -> Explanation:
        trial = Trial(case, self._ground.subject.background[drawn], self._owner, due)
        players = len(self._ground.subject.players)
        base, values = shap_values(trial, players, samples, seed)
        far = self._manifold.share(trial.looked_at())
        return Explanation(
            method=KERNEL.name,
            exact=False,
            output=case.output,
            label=case.label,
            base_value=base,
            values=values,
            additivity_gap=case.additivity_gap(values, base),
            rows_evaluated=1 + trial.evaluated,
            off_manifold_share=far,
            detail={
                "background_rows": len(drawn),
                "background": f"{len(drawn)} of {len(case.background)} rows; base_value is their average",
                "coalitions": samples,
                "errors": "KernelExplainer does not say how far off it is; permutation does",
                **warning(far),
            },
        )


class Trial:
    """One row's game as shap sees it: a column for each player that holds where the player's value is from.

    The number is the place in ``sources``: a background row's, or the last, the explained row's. So missing
    values, categories and players of several columns are all the same to shap.
    """

    def __init__(self, case: Case, background: FeatureBatch, owner: NDArray[np.intp], due: float) -> None:
        self.case = case
        self.sources = np.concatenate([background, case.row[None]])
        self.owner = owner
        self.due = due
        self.evaluated = 0
        self._made: list[FeatureBatch] = []

    def values(self, codes: NDArray[np.float64]) -> Values:
        """The explained number of coded rows, [rows]."""
        step = min(CHUNK, run_rows(self.sources))
        found = [self._run(codes[start : start + step]) for start in range(0, len(codes), step)]
        return np.concatenate(found)

    def _run(self, codes: NDArray[np.float64]) -> Values:
        if time.monotonic() > self.due:
            raise DeadlineError(f"the deadline passed after {self.evaluated} model rows of kernel")
        if (codes == codes[:, :1]).all():  # whole rows, whose outputs are known or about to be
            rows = self.sources[codes[:, 0].astype(np.intp)]
        else:
            rows = self.sources[codes[:, self.owner].astype(np.intp), np.arange(len(self.owner))]
            self._made.append(rows[:: max(1, len(rows) // LOOKED_AT)])
        self.evaluated += len(rows)
        return self.case.values(rows)

    def looked_at(self) -> FeatureBatch:
        """Made-up rows, evenly spaced; [<= LOOKED_AT, width]."""
        made = np.concatenate([self.sources[:0], *self._made])
        return made[:: max(1, -(-len(made) // LOOKED_AT))]


def shap_values(
    trial: Trial, players: int, samples: int | Literal["auto"], seed: int
) -> tuple[float, Values]:
    """The base value and attributions that shap computes; leaves the global generator as it was.

    ``samples`` is shap's ``nsamples``: coalitions to evaluate.
    """
    background = len(trial.sources) - 1
    codes = np.repeat(np.arange(background, dtype=np.float64)[:, None], players, axis=1)
    with _one_at_a_time:
        shap = _shap()
        state = np.random.get_state()  # noqa: NPY002 - shap draws from the global generator
        np.random.seed(seed % 2**32)  # noqa: NPY002 - as above
        try:
            explainer = shap.KernelExplainer(trial.values, codes)
            own = np.full((1, players), float(background))
            values = explainer.shap_values(own, nsamples=samples, l1_reg=False, silent=True)
        finally:
            np.random.set_state(state)  # noqa: NPY002 - as above
    return float(explainer.expected_value), np.asarray(values, dtype=np.float64).reshape(players)


def _shap() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what shap imports
        import shap
    logging.getLogger("shap").setLevel(logging.ERROR)  # it logs every explained row
    return shap


KERNEL = Method("kernel", Kernel)
