"""Prototypes and criticisms: rows that stand for the reference data, and rows that these leave out.

MMD-critic (Kim, Khanna & Koyejo, NeurIPS 2016) with the kernel exp(-d / median d) of the mixed distance d of
``service.domain.distance``. Prototypes are chosen greedily so that the squared maximum mean discrepancy
between them and the data is least. Criticisms are chosen greedily by witness function plus log determinant,
with one departure: the witness is taken relative to the data's density, 1 - density of the prototypes /
density of the data. The paper's absolute one is greatest where data is dense and can never pick a lone
outlier. Memory and time grow with the square of the rows: 1,000 rows take 8 MB and about 0.1 s.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.distance import learn_distance
from service.domain.schema import FeatureBatch, ModelSpec
from service.domain.words import row_in_words

MOST_ROWS = 1000
"""Of more reference rows an even selection is looked at."""

_SAME = 1e-9
"""Added to the diagonal under the logarithm: a row has no room for its own double."""


def prototypes(
    spec: ModelSpec,
    rows: FeatureBatch,
    outcomes: NDArray[Any] | None = None,
    count: int = 5,
    criticisms: int = 5,
) -> dict[str, Any]:
    """What represents reference rows, and what is left out, ready for JSON; deterministic.

    Args:
        spec: the model that takes such rows. rows: canonical reference rows, [rows >= 1, width]. outcomes:
        what was true of each, [rows]: class indices, or values for regression; None leaves them out. count:
        prototypes wanted; fewer where there are fewer rows. criticisms: criticisms wanted, of the rows that
        are no prototypes.

    Returns:
        ``prototypes``: in the order they were chosen, each with ``data`` in the caller's words, ``label`` or
        ``value``, and ``share`` of the rows that are nearest to it. ``criticisms``: each with ``data``,
        ``label`` or ``value``, the ``nearest`` prototype's place in the list and the ``distance`` to it in
        typical spreads. ``rows``: how many were looked at. ``discrepancy``: what is left of the squared
        discrepancy.
    """
    even = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_ROWS)).astype(np.intp))
    rows = rows[even]
    outcomes = None if outcomes is None else outcomes[even]
    distance = learn_distance(spec.schema, rows)
    points = distance.scaled(rows)
    apart = distance.pairwise(points, points)
    between = apart[~np.eye(len(rows), dtype=np.bool_)]
    median = float(np.median(between)) if len(between) else 0.0
    kernel = np.exp(-apart / (median or float(between.mean() if len(between) else 0.0) or 1.0))
    chosen = choose_prototypes(kernel, count)
    critics = choose_criticisms(kernel, chosen, criticisms)
    nearest = apart[:, chosen].argmin(axis=1)

    def told(index: int) -> dict[str, Any]:
        return {"data": row_in_words(spec.schema, rows[index]), **_outcome(spec, outcomes, index)}

    return {
        "prototypes": [
            {**told(index), "share": float((nearest == place).mean())} for place, index in enumerate(chosen)
        ],
        "criticisms": [
            {
                **told(index),
                "nearest": int(nearest[index]),
                "distance": float(apart[index, chosen[int(nearest[index])]]),
            }
            for index in critics
        ],
        "rows": len(rows),
        "discrepancy": discrepancy(kernel, chosen),
    }


def choose_prototypes(kernel: NDArray[np.float64], count: int) -> list[int]:
    """Indices of rows whose mean embedding is nearest to all rows', the best first.

    Args:
        kernel: similarity of every pair of rows, [rows, rows].
        count: how many; all rows where there are fewer.
    """
    density = kernel.mean(axis=1)
    chosen: list[int] = []
    gained, among = 0.0, 0.0  # sums of density and of kernel over the chosen
    for size in range(1, min(count, len(kernel)) + 1):
        to_chosen = kernel[:, chosen].sum(axis=1)
        inside = among + 2 * to_chosen + np.diagonal(kernel)
        score = 2 * (gained + density) / size - inside / size**2
        score[chosen] = -np.inf
        best = int(score.argmax())
        gained, among = gained + float(density[best]), float(inside[best])
        chosen.append(best)
    return chosen


def choose_criticisms(kernel: NDArray[np.float64], chosen: list[int], count: int) -> list[int]:
    """Indices of rows that the chosen prototypes represent worst, and that differ from each other.

    Args:
        kernel: similarity of every pair of rows, [rows, rows].
        chosen: indices of the prototypes, at least one.
        count: how many; fewer where there are not so many other rows.
    """
    witness = 1 - kernel[:, chosen].mean(axis=1) / kernel.mean(axis=1)
    critics: list[int] = []
    room = np.diagonal(kernel).copy()  # of each row, its variance given the critics: what log det grows by
    factors = np.empty((0, len(kernel)))
    for _ in range(min(count, len(kernel) - len(chosen))):
        score = witness + np.log(np.maximum(room, 0) + _SAME)
        score[[*chosen, *critics]] = -np.inf
        best = int(score.argmax())
        critics.append(best)
        # One more row of the Cholesky factor of the critics' kernel, extended to all rows.
        left = kernel[best] - factors[:, best] @ factors
        factor = left / np.sqrt(max(float(room[best]), _SAME))
        factors = np.concatenate([factors, factor[None]])
        room = room - factor**2
    return critics


def discrepancy(kernel: NDArray[np.float64], chosen: list[int]) -> float:
    """Squared maximum mean discrepancy between the chosen rows and all rows."""
    inside = kernel[np.ix_(chosen, chosen)].mean()
    return float(kernel.mean() - 2 * kernel[chosen].mean() + inside)


def _outcome(spec: ModelSpec, outcomes: NDArray[Any] | None, index: int) -> dict[str, Any]:
    if outcomes is None:
        return {}
    if spec.classes:
        return {"label": spec.classes[int(outcomes[index])]}
    return {"value": float(outcomes[index])}
