"""Shapley values of any model by antithetic permutation sampling, with honest standard errors.

A pair walks from one background row to the explained row, one player after the other in a random order, and
back in the reverse order (Castro et al., Computers & OR 2009; Mitchell et al., arXiv 2104.12199). Background
rows are used equally often; scores known for all of them take most of the error away (see
``background_mean``). ``standard_errors`` are of the estimate for the exact Shapley values of the *whole*
background: at the default budget 1.96 of them cover those in 93 to 97% of cases on every demo model. With a
few dozen pairs they tend to be wide (up to 98%); where hardly any error is left because the model all but
adds up single columns, rare rows make them narrow (92% at 16,000 model rows and an error of 0.1%). How far
the background itself is from the data it was drawn from is in ``detail["background_standard_errors"]``.

Cost: 2 (players - 1) model rows for each pair. Rows of one request, and models of equally many players and
background rows, share permutations and background rows, so that their differences carry less noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.background_mean import average
from service.domain.explainers.coalitions import (
    Case,
    errors_in_words,
    ground_of,
    in_time,
    mix,
    run_rows,
    shares_of_time,
    too_late,
)
from service.domain.explainers.game import Ask, Explanation, Method, Subject, Unsuitable
from service.domain.explainers.manifold import LOOKED_AT, manifold_of, warning
from service.domain.schema import FeatureBatch
from service.errors import DeadlineError

FEWEST = 2
"""Pairs without which there is no error to state."""
REPEATED = 10
"""One in so many pairs uses a background row again, where the background is used up to an eighth or more."""


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """The coalitions to evaluate, whatever the model and the row."""

    drawn: NDArray[np.intp]
    """Background row of each pair, [pairs]."""
    ranks: NDArray[np.intp]
    """When each player enters, [pairs, players]."""


def design_of(pairs: int, players: int, rows: int, seed: int) -> Design:
    """Background rows equally often (but for one), each with permutations of its own."""
    rng = np.random.default_rng(seed)
    distinct = pairs
    if pairs > rows / 8:
        distinct = min(rows, pairs - max(pairs // REPEATED, min(REPEATED, pairs // 3)))
    drawn = np.resize(rng.permutation(rows)[:distinct], pairs)
    ranks = rng.permuted(np.tile(np.arange(players), (pairs, 1)), axis=1)
    return Design(drawn, ranks)


class Permutation:
    """The method at work on one model."""

    def __init__(self, subject: Subject) -> None:
        self._ground = ground_of(subject)
        self._manifold = manifold_of(subject)
        self._owner = subject.players.owner()

    def __call__(self, rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
        """See ``game.Explainer``; ``rows_evaluated`` never exceeds ``ask.max_evals``."""
        subject = self._ground.subject
        players = len(subject.players)
        cost = 2 * (players - 1)
        pairs = (ask.max_evals - 1) // max(cost, 1)
        if pairs < FEWEST:
            needed = FEWEST * cost + 1
            raise Unsuitable(f"max_evals {ask.max_evals} is too few for {players} players: needs {needed}")
        design = design_of(pairs, players, len(subject.background), ask.seed)
        cases = self._ground.cases(rows, ask)
        turns = zip(cases, shares_of_time(len(cases), due), strict=True)
        return [self._explain(case, design, ask, turn) for case, turn in turns]

    def _explain(self, case: Case, design: Design, ask: Ask, due: float) -> Explanation:
        planned, players = design.ranks.shape
        cost = 2 * (players - 1)
        most = max(1, run_rows(self._ground.subject.background) // max(cost, 1))
        walked = [
            self._walk(case, design.drawn[part], design.ranks[part])
            for part in in_time(planned, most, due, FEWEST)
        ]
        shares = np.concatenate([np.empty((0, players)), *walked])
        pairs = len(shares)
        if pairs < FEWEST:
            raise DeadlineError(f"the deadline passed after {pairs} pairs of permutations")
        found = average(shares, design.drawn[:pairs], self._ground.controls(case))
        far = self._manifold.share(self._some_rows(case, design, pairs, ask.seed))
        evaluated = 1 + pairs * cost
        return Explanation(
            method=PERMUTATION.name,
            exact=False,
            output=case.output,
            label=case.label,
            base_value=case.base,
            values=found.values,
            standard_errors=found.standard_errors,
            additivity_gap=case.additivity_gap(found.values),
            rows_evaluated=evaluated,
            off_manifold_share=far,
            degraded=None if pairs == planned else too_late(evaluated, 1 + planned * cost),
            detail={"pairs": pairs, **errors_in_words(found, len(case.background)), **warning(far)},
        )

    def _walk(self, case: Case, drawn: NDArray[np.intp], ranks: NDArray[np.intp]) -> NDArray[np.float64]:
        """What each player adds on the way there and back, averaged; [pairs, players]."""
        pairs, players = ranks.shape
        entered = ranks[:, None, :] < np.arange(1, players)[:, None]  # [pairs, steps, players]
        members = np.stack([entered, ~entered], axis=1)
        others = self._ground.subject.background[drawn][:, None, None, :]
        mixed = mix(case.row, others, members, self._owner)
        worth = np.empty((pairs, 2, players + 1))
        if players > 1:
            worth[:, :, 1:-1] = case.values(mixed.reshape(-1, mixed.shape[-1])).reshape(pairs, 2, -1)
        worth[:, 0, 0] = worth[:, 1, -1] = case.background[drawn]
        worth[:, 0, -1] = worth[:, 1, 0] = case.served
        steps = np.diff(worth, axis=2)
        return np.take_along_axis((steps[:, 0] - steps[:, 1]) / 2, ranks, axis=1)

    def _some_rows(self, case: Case, design: Design, pairs: int, seed: int) -> FeatureBatch:
        """Made-up rows of this explanation, drawn from all; [<= LOOKED_AT, width]."""
        rng = np.random.default_rng((seed, 1))
        players = design.ranks.shape[1]
        pair = rng.integers(pairs, size=LOOKED_AT if players > 1 else 0)
        entered = design.ranks[pair] < rng.integers(1, max(players, 2), size=len(pair))[:, None]
        members = entered ^ rng.integers(2, size=len(pair), dtype=bool)[:, None]
        return mix(case.row, self._ground.subject.background[design.drawn[pair]], members, self._owner)


PERMUTATION = Method("permutation", Permutation)
