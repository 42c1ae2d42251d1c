"""``counterfactual``: the smallest change of the features that may change which flips the decision.

Smallest is fewest features changed, then fewest made missing, then least distance
(``service.domain.distance``): as in Wachter et al., arXiv 1711.00399, but with the number of features first.
Changes keep to what the background has seen and to the manifest's ``change:``. That none was found is an
answer; it says how many rows were tried. How it searches is told in ``service.domain.explainers.smallest``.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from service.domain.distance import learn_distance, nearest_distances
from service.domain.explainers.budget import Budget, Spent
from service.domain.explainers.coalitions import shares_of_time
from service.domain.explainers.flips import Flip, Goal, Trials, differs
from service.domain.explainers.game import (
    Ask,
    Explainer,
    Explanation,
    Method,
    OutputKind,
    Subject,
    Unsuitable,
    explained,
    label_of,
    value_function,
)
from service.domain.explainers.moves import learn_moves
from service.domain.explainers.smallest import search
from service.domain.schema import FeatureBatch, label_indices
from service.domain.words import word
from service.errors import DeadlineError

USUAL = 0.95
"""A counterfactual is plausible if it has a nearest background row as near as this share of them have."""

_OWN_ROWS = 2
"""Rows of the budget beside the candidates: the row itself first, and the answer alone at the end."""


class Counterfactual:
    """The method at work on one model; see the module.

    Args:
        subject: a model that decides between classes, on named columns.

    Raises:
        Unsuitable: there is no decision to flip, or nothing that may change.
    """

    def __init__(self, subject: Subject) -> None:
        spec = subject.spec
        if spec.task == "regression":
            raise Unsuitable("a regression makes no decision that a change could flip")
        if spec.schema.layout == "image":
            raise Unsuitable("an image has no features that someone could change; ask for occlusion")
        self._subject, self._spec = subject, spec
        self._moves = learn_moves(subject)
        self._distance = learn_distance(spec.schema, subject.background)
        self._points = self._distance.scaled(subject.background)
        self._usual = float(np.quantile(nearest_distances(self._distance, self._points), USUAL))
        self._scores = subject.predict(subject.background)
        self._answers = np.array(label_indices(spec, self._scores), dtype=np.intp)

    def __call__(self, rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
        """See ``game.Explainer``; ``ask.label`` is the wanted class where it differs from the answer."""
        output: OutputKind = ask.output or "probability"
        value_function(self._subject, output, label_of(self._spec, ask, 0))
        found: list[Explanation] = []
        for row, turn in zip(rows, shares_of_time(len(rows), due), strict=True):
            if time.monotonic() >= due:
                raise DeadlineError(f"the deadline came before row {len(found)} was looked at")
            found.append(self._one(row, ask, output, turn))
        return found

    def _one(self, row: FeatureBatch, ask: Ask, output: OutputKind, due: float) -> Explanation:
        answered = label_indices(self._spec, self._subject.predict(row[None]))[0]
        wanted = ask.label if ask.label != answered else None
        goal = Goal(self._spec, answered, wanted)
        budget = Budget(self._subject.predict, ask.max_evals - _OWN_ROWS, due)
        trials = Trials(budget, goal, row, self._distance)
        short = None
        try:
            search(trials, self._moves, self._unlike(row, answered, wanted))
        except Spent as spent:
            short = str(spent)
        rows_evaluated = budget.rows + 1
        if trials.best is None:
            detail = self._not_found(row, short)
        else:
            rows_evaluated += 1
            detail = self._found(row, trials, trials.best, goal)
        detail["searched"] = budget.rows
        return Explanation(
            method="counterfactual",
            exact=False,
            output=output,
            label=answered,
            base_value=float(explained(self._scores, output, answered).mean()),
            values=np.empty(0),
            rows_evaluated=rows_evaluated,
            degraded=short and f"the search stopped {short}: a smaller change may exist",
            detail=detail,
        )

    def _unlike(self, row: FeatureBatch, answered: int, wanted: int | None) -> FeatureBatch:
        """Background rows with the wanted answer, nearest first."""
        other = self._answers != answered if wanted is None else self._answers == wanted
        apart = self._distance.between(self._points[other], self._distance.scaled(row))
        nearest: FeatureBatch = self._subject.background[other][np.argsort(apart, kind="stable")]
        return nearest

    def _found(self, row: FeatureBatch, trials: Trials, best: Flip, goal: Goal) -> dict[str, Any]:
        scores = self._subject.predict(best.row[None])
        label = label_indices(self._spec, scores)[0]
        if not trials.flipped(goal.leads(scores))[0]:
            reason = "the model answers differently for a row alone than for the same row in a batch"
            return {"found": False, "reason": reason}
        features = self._spec.schema.features
        nearest = float(self._distance.between(self._points, self._distance.scaled(best.row)).min())
        return {
            "found": True,
            "changes": {
                features[column].name: {
                    "from": word(features[column], row[column]),
                    "to": word(features[column], best.row[column]),
                }
                for column in np.flatnonzero(differs(best.row, row)).tolist()
            },
            "label": self._spec.classes[label],
            "score": float(scores[0, label]),
            "features_changed": best.size[0],
            "distance": best.size[2],
            "plausible": nearest <= self._usual,
            "nearest_distance": nearest,
            "usual_distance": self._usual,
        }

    def _not_found(self, row: FeatureBatch, short: str | None) -> dict[str, Any]:
        if short is not None:
            reason = f"no flip was found before the search stopped {short}"
        elif not self._moves.changeable(row):
            reason = "no feature of this row may change to anything that the background has seen"
        else:
            reason = "no allowed change that was tried flips the decision"
        return {"found": False, "reason": reason}


def _build(subject: Subject) -> Explainer:
    return Counterfactual(subject)


COUNTERFACTUAL = Method("counterfactual", _build, additive=False)
