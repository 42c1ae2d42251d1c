"""Calibration: whether answers given with probability p turn out right in a share p of cases, of both models.

Rows are put into ten bins by the probability that the model gave to the label it answered. The expected
calibration error is the mean distance, by rows, of a bin's mean probability from its share of right answers
(Naeini, Cooper & Hauskrecht, AAAI 2015). Chance alone makes it greater than 0, the more so the fewer the
rows: compare it only between the two models, whose rows are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.disagreement.measure import Compared, Contributions, Pair, Sums, truth
from service.domain.schema import ModelSpec, Scores, label_indices
from service.domain.uncertainty.reliability import BINS, Bin, calibration_error

_MODELS = ("production", "candidate")
_KEPT = ("rows", "confidence", "right")


@dataclass(frozen=True, slots=True)
class Calibration:
    """Columns ``MODEL:QUANTITY:BIN``: rows, sum of stated probabilities, and right answers of each bin."""

    name: str = "calibration"

    def columns(self, pair: Pair) -> tuple[str, ...]:
        if not pair.production.classes:
            return ()
        return tuple(
            f"{model}:{kept}:{place}" for model in _MODELS for kept in _KEPT for place in range(BINS)
        )

    def contributions(self, pair: Pair, compared: Compared) -> Contributions:
        labels = truth(compared)
        before = _binned(pair.production, compared.before, labels)
        after = _binned(pair.candidate, compared.after, labels)
        return np.concatenate([before, after], axis=1)

    def show(self, pair: Pair, sums: Sums, rows: int) -> dict[str, Any]:  # noqa: ARG002 - the bins have theirs
        by_model = sums.reshape(len(_MODELS), len(_KEPT), BINS)
        return {model: _document(table) for model, table in zip(_MODELS, by_model, strict=True)}


def _binned(spec: ModelSpec, scores: Scores, labels: NDArray[Any]) -> Contributions:
    """[rows, 3 * BINS]; a bin is (low, high], the first one has 0 as well."""
    every = np.arange(len(scores))
    answered = np.asarray(label_indices(spec, scores), dtype=np.intp)
    stated = np.clip(scores[every, answered], 0.0, 1.0, dtype=np.float64)
    place = np.maximum(np.ceil(stated * BINS).astype(np.intp) - 1, 0)
    found = np.zeros((len(scores), len(_KEPT), BINS))
    found[every, 0, place] = 1.0
    found[every, 1, place] = stated
    found[every, 2, place] = answered == labels
    return found.reshape(len(scores), len(_KEPT) * BINS)


def _document(table: NDArray[np.float64]) -> dict[str, Any]:
    bins = tuple(
        Bin(place / BINS, (place + 1) / BINS, int(rows), stated / rows, right / rows)
        for place, (rows, stated, right) in enumerate(table.T.tolist())
        if rows
    )
    return {
        "ece": calibration_error(bins) if bins else None,
        "bins": [
            {
                "from": each.low,
                "to": each.high,
                "rows": each.rows,
                "confidence": each.predicted,
                "accuracy": each.observed,
            }
            for each in bins
        ],
    }
