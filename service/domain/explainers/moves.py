"""What a counterfactual may change a row's columns to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.game import Mutability, Subject, Unsuitable
from service.domain.schema import Feature, FeatureBatch

GRID = 32
"""At most so many of a numeric column's values are tried, evenly spread over its background quantiles."""

_DIRECTION = {"increase": 1.0, "decrease": -1.0}


@dataclass(frozen=True, slots=True, eq=False)
class Moves:
    """The values each column may take: none that the background has not seen.

    A column that may only increase or decrease neither becomes missing nor is filled in where it was missing,
    since neither is a move in its direction.
    """

    mutability: tuple[Mutability, ...]
    values: tuple[NDArray[np.float64], ...]
    """Of each column what the background has seen: numbers ascending and thinned to ``GRID``, categories most
    common first, NaN last."""
    ordered: NDArray[np.bool_]
    """[width]: numbers, which can be changed by a little more or less."""
    whole: NDArray[np.bool_]
    """[width]: numbers that the background knows only as whole ones, and which stay so."""
    low: NDArray[np.float64]
    """[width]: smallest value seen, NaN where none was."""
    high: NDArray[np.float64]
    """[width]: largest value seen."""

    def changeable(self, row: FeatureBatch) -> list[int]:
        """The columns of a row [width] that have somewhere to go."""
        return [column for column in range(len(self.values)) if len(self.options(column, row[column]))]

    def options(self, column: int, own: float) -> NDArray[np.float64]:
        """What a column that holds ``own`` may be changed to, in the order of ``values``.

        All numbers are equally far from a missing one: there the middle of the background's comes first.
        """
        values = self.values[column]
        allowed = values[self._allowed(column, own, values)]
        if self.ordered[column] and np.isnan(own):
            return allowed[np.argsort(np.abs(np.arange(len(allowed)) - len(allowed) // 2), kind="stable")]
        return allowed

    def towards(self, row: FeatureBatch, others: FeatureBatch) -> FeatureBatch:
        """Rows [others, width]: ``others`` where a change of ``row`` to them is allowed, else ``row``."""
        mixed = np.repeat(row[None], len(others), axis=0)
        for column, seen in enumerate(self.values):
            wanted = others[:, column]
            allowed = self._allowed(column, row[column], wanted)
            if not np.isnan(seen).any():
                allowed &= ~np.isnan(wanted)
            mixed[allowed, column] = wanted[allowed]
        return mixed

    def _allowed(self, column: int, own: float, wanted: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        how = self.mutability[column]
        if how == "free":
            different: NDArray[np.bool_] = (wanted != own) & ~(np.isnan(wanted) & np.isnan(own))
            return different
        if how == "fixed":
            return np.zeros(len(wanted), dtype=np.bool_)
        further: NDArray[np.bool_] = (wanted - own) * _DIRECTION[how] > 0  # False where either is missing
        return further


def learn_moves(subject: Subject) -> Moves:
    """What the background and the manifest allow.

    Raises:
        Unsuitable: no column may change at all.
    """
    features, background = subject.spec.schema.features, subject.background.astype(np.float64)
    free: Mutability = "free"
    mutability = subject.mutability or (free,) * len(features)
    if all(how == "fixed" for how in mutability):
        raise Unsuitable("no feature of this model may change")
    values, whole = [], []
    low, high = np.full(len(features), np.nan), np.full(len(features), np.nan)
    for column, feature in enumerate(features):
        seen = background[:, column]
        known = seen[~np.isnan(seen)]
        if len(known):
            low[column], high[column] = known.min(), known.max()
        values.append(_seen(feature, known, bool(np.isnan(seen).any())))
        whole.append(feature.type == "int64" or bool((known == np.rint(known)).all()))
    ordered = np.array([not feature.categories for feature in features])
    return Moves(mutability, tuple(values), ordered, np.array(whole), low, high)


def _seen(feature: Feature, known: NDArray[np.float64], missing: bool) -> NDArray[np.float64]:
    distinct, counts = np.unique(known, return_counts=True)
    if feature.categories:
        distinct = distinct[np.argsort(-counts, kind="stable")]
    elif len(distinct) > GRID:
        distinct = np.unique(np.quantile(known, np.linspace(0, 1, GRID), method="nearest"))
    return np.append(distinct, np.nan) if missing and feature.missing else distinct
