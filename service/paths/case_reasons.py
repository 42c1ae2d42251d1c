"""Why both models answered one row as they did, in a form that can be kept with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.domain.explainers.game import Explanation
from service.domain.explainers.pair import Pair
from service.domain.schema import FeatureBatch, Scores

MOST_FEATURES = 100
"""The most influential ones; a case is to be read by people."""


@dataclass(frozen=True, slots=True, eq=False)
class PairReasons:
    """Explains single rows by the two models' common method; a ``casebook.CaseReasons``."""

    pair: Pair

    def __call__(self, rows: FeatureBatch, scores: Scores, due: float) -> Mapping[str, Any] | None:
        """Both explanations of one row, or None where ``due`` came first.

        No value of the row is in them, but what a column contributes may tell its value.

        Raises:
            Unsuitable: one of the models cannot be explained for this row.
            InferenceError: one of the models fails on rows that were made up to explain it.
            ValueError: a contribution is no number.
        """
        first, second = self.pair.explain(rows, scores, due)
        if not first:
            return None
        return {
            "production": self._told(first[0], self.pair.production.players.names),
            "candidate": self._told(second[0], self.pair.candidate.players.names),
        }

    def _told(self, explanation: Explanation, names: Sequence[str]) -> dict[str, Any]:
        values = explanation.values
        if not (np.isfinite(values).all() and np.isfinite(explanation.base_value)):
            raise ValueError(f"{explanation.method} found contributions that are no numbers")
        largest = np.sort(np.argsort(-np.abs(values), kind="stable")[:MOST_FEATURES])
        return {
            "method": explanation.method,
            "output": explanation.output,
            "label": None if explanation.label is None else self.pair.spec.classes[explanation.label],
            "base_value": float(explanation.base_value),
            "values": {names[player]: float(values[player]) for player in largest},
        }
