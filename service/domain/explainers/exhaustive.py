"""Shapley values of any model with few players, by trying every coalition beside every background row.

Exact, but for the rounding of float32 scores: 2^players model rows for each background row (Shapley 1953).
It does not look at ``max_evals``, because less than all would not be exact; only the deadline and
``MOST_ROWS`` stop it. Then the background rows that were done, drawn at random, stand for all, ``exact`` is
false and the standard errors are those of that sample of rows (see ``background_mean``).
"""

from __future__ import annotations

from math import factorial

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

MOST_PLAYERS = 10
MOST_ROWS = 1 << 20
"""Model rows for one explained row."""
FEWEST = 2
"""Background rows without which there is no error to state."""


class Exhaustive:
    """The method at work on one model."""

    def __init__(self, subject: Subject) -> None:
        players = len(subject.players)
        if players > MOST_PLAYERS:
            raise Unsuitable(
                f"{players} players have 2^{players} coalitions; exhaustive takes {MOST_PLAYERS}"
            )
        self._ground = ground_of(subject)
        self._manifold = manifold_of(subject)
        self._owner = subject.players.owner()
        every = (np.arange(2**players)[:, None] >> np.arange(players)) & 1 == 1
        self._members, self._weights = every, _shapley_weights(every)

    def __call__(self, rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
        """See ``game.Explainer``."""
        rng = np.random.default_rng(ask.seed)
        order = rng.permutation(len(self._ground.subject.background))
        order = order[: max(MOST_ROWS // max(len(self._members) - 2, 1), FEWEST)]
        cases = self._ground.cases(rows, ask)
        turns = zip(cases, shares_of_time(len(cases), due), strict=True)
        return [self._explain(case, order, ask, turn) for case, turn in turns]

    def _explain(self, case: Case, order: NDArray[np.intp], ask: Ask, due: float) -> Explanation:
        cost = len(self._members) - 2
        most = max(1, run_rows(self._ground.subject.background) // max(cost, 1))
        tried = [self._shares(case, order[part]) for part in in_time(len(order), most, due, least=1)]
        shares = np.concatenate([np.empty((0, self._members.shape[1])), *tried])
        done, total = len(shares), len(case.background)
        if done < min(FEWEST, total):
            raise DeadlineError(f"the deadline passed after {done} background rows")
        exact = done == total
        values, errors = shares.mean(axis=0), None
        detail: dict[str, object] = {"background_rows": done}
        if done >= FEWEST:
            found = average(shares, order[:done], self._ground.controls(case), noiseless=True)
            detail["background_standard_errors"] = found.background_standard_errors.tolist()
            if not exact:
                values, errors = found.values, found.standard_errors
                detail |= errors_in_words(found, total)
        far = self._manifold.share(self._some_rows(case, order[:done], ask.seed))
        evaluated = 1 + done * cost
        return Explanation(
            method=EXHAUSTIVE.name,
            exact=exact,
            output=case.output,
            label=case.label,
            base_value=case.base,
            values=values,
            standard_errors=errors,
            additivity_gap=case.additivity_gap(values),
            rows_evaluated=evaluated,
            off_manifold_share=far,
            degraded=self._shortfall(done, order, evaluated, total),
            detail=detail | warning(far),
        )

    def _shares(self, case: Case, drawn: NDArray[np.intp]) -> NDArray[np.float64]:
        """Shapley values beside each drawn background row, [rows, players]."""
        worth = np.empty((len(drawn), len(self._members)))
        if len(self._members) > 2:
            others = self._ground.subject.background[drawn][:, None, :]
            mixed = mix(case.row, others, self._members[1:-1], self._owner)
            worth[:, 1:-1] = case.values(mixed.reshape(-1, mixed.shape[-1])).reshape(len(drawn), -1)
        worth[:, 0], worth[:, -1] = case.background[drawn], case.served
        shares: NDArray[np.float64] = worth @ self._weights
        return shares

    def _some_rows(self, case: Case, drawn: NDArray[np.intp], seed: int) -> FeatureBatch:
        """Made-up rows of this explanation, drawn from all; [<= LOOKED_AT, width]."""
        rng = np.random.default_rng((seed, 1))
        beside = rng.choice(drawn, size=LOOKED_AT if len(self._members) > 2 else 0)
        coalition = rng.integers(1, max(len(self._members) - 1, 2), size=len(beside))
        others = self._ground.subject.background[beside]
        return mix(case.row, others, self._members[coalition], self._owner)

    def _shortfall(self, done: int, order: NDArray[np.intp], evaluated: int, total: int) -> str | None:
        if done < len(order):
            return too_late(evaluated, 1 + len(order) * (len(self._members) - 2))
        if done < total:
            return f"took {done} of {total} background rows: all would be more than {MOST_ROWS} model rows"
        return None


def _shapley_weights(members: NDArray[np.bool_]) -> NDArray[np.float64]:
    """What a coalition's worth counts in each player's Shapley value, [coalitions, players]."""
    players = members.shape[1]
    ways = [factorial(size) * factorial(players - size - 1) / factorial(players) for size in range(players)]
    size = members.sum(axis=1)[:, None]
    joined, joining = np.array([0.0, *ways])[size], np.array([*ways, 0.0])[size]
    weights: NDArray[np.float64] = np.where(members, joined, -joining)
    return weights


EXHAUSTIVE = Method("exhaustive", Exhaustive)
