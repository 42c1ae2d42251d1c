"""Nearest evidence: what became of the reference rows that are most like a row.

Exact: every reference row is compared, in one vectorised pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.distance import learn_distance
from service.domain.schema import FeatureBatch, ModelSpec
from service.domain.words import row_in_words


class Neighbours:
    """Reference rows with their outcomes, ready to be asked.

    Args:
        rows: canonical reference rows, [rows, width].
        outcomes: what was true of each, [rows]: indices into ``spec.classes``, or values for regression.
        spec: the model that takes such rows.

    Raises:
        ValueError: there is no row, or not one outcome for each.
    """

    def __init__(self, rows: FeatureBatch, outcomes: NDArray[Any], spec: ModelSpec) -> None:
        if len(rows) == 0 or len(rows) != len(outcomes):
            raise ValueError(f"{len(rows)} reference rows with {len(outcomes)} outcomes")
        self._rows, self._outcomes, self._spec = rows, outcomes, spec
        self._distance = learn_distance(spec.schema, rows)
        self._points = self._distance.scaled(rows)

    def nearest(self, row: NDArray[np.floating[Any]], k: int) -> list[dict[str, Any]]:
        """The ``k`` reference rows nearest to a canonical row [width], nearest first; all if there are fewer.

        Of rows equally far the one that stands first in the reference data comes first. Each is
        ``{"distance", "data", "label"}``, ready for JSON: distance in typical spreads
        (``service.domain.distance``), data in the caller's words; a regression's has ``value`` for ``label``.
        """
        distances = self._distance.between(self._points, self._distance.scaled(row))
        return [self._record(index, float(distances[index])) for index in _smallest(distances, k)]

    def _record(self, index: int, distance: float) -> dict[str, Any]:
        outcome = self._outcomes[index]
        classes = self._spec.classes
        told = {"label": classes[int(outcome)]} if classes else {"value": float(outcome)}
        return {"distance": distance, "data": row_in_words(self._spec.schema, self._rows[index]), **told}


def _smallest(values: NDArray[np.float64], k: int) -> list[int]:
    """Indices of the ``k`` smallest values in ascending order, equal ones by index."""
    if k <= 0:
        return []
    if k < len(values):
        within = np.flatnonzero(values <= np.partition(values, k - 1)[k - 1])
    else:
        within = np.arange(len(values))
    order: list[int] = within[np.argsort(values[within], kind="stable")][:k].tolist()
    return order
