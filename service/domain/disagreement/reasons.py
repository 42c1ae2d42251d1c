"""Reasons: how far two models' explanations of the same rows differ.

An attribution is read as shares of influence, s = phi / sum|phi|, so that two models on different scales can
be compared. A row whose attributions are all nought has no reason at all: its whole share belongs to a
feature called nothing, which leads no list. With s and t the shares of the two models,

    distance    = sum|s - t| / 2     0 the same reasons, 1 nothing in common (or all signs opposite)
    moved       = |s - t|            of each feature
    top_overlap = features among both models' k most influential, as a share of the longer of the two lists

The distance is the total variation distance where no sign differs, and a metric on shares in any case. All
three are symmetric, and none changes when a model's attributions are multiplied by a positive number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

TOP = 3
"""Features in the lists of ``top_overlap``."""
NEGLIGIBLE = 1e-6
"""Shares up to this are rounding, not influence: such a feature is on no list."""
DISTANCE_BUCKETS: tuple[float, ...] = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
"""Upper bounds of the histogram; 0.0 counts rows with the same reasons to the bit."""

Attributions: TypeAlias = NDArray[np.float64]
"""Contributions of the features to one output, [rows, features], in that output's unit."""
Shares: TypeAlias = NDArray[np.float64]
"""Signed shares of influence, [rows, features]; a row's magnitudes add up to 1, without any reason to 0."""


@dataclass(frozen=True, slots=True, eq=False)
class ReasonsComparison:
    """How the reasons of two models for some rows differ, ready to be counted."""

    features: tuple[str, ...]
    distances: NDArray[np.float64]
    """[rows], 0 to 1."""
    overlaps: NDArray[np.float64]
    """[rows], 0 to 1."""
    moved: NDArray[np.float64]
    """[rows, features], 0 to 2."""

    def __len__(self) -> int:
        return len(self.distances)

    def take(self, which: NDArray[np.bool_]) -> ReasonsComparison:
        """The selected rows."""
        return ReasonsComparison(
            self.features, self.distances[which], self.overlaps[which], self.moved[which]
        )


def compare_reasons(features: Sequence[str], a: Attributions, b: Attributions) -> ReasonsComparison:
    """All three measures; a row whose attributions are no numbers has a distance that is none.

    ``a`` and ``b`` are [rows, features] over the same ``features``; see ``aligned``.
    """
    return ReasonsComparison(tuple(features), distance(a, b), top_overlap(a, b), moved(a, b))


def aligned(values: Attributions, names: Sequence[str], features: Sequence[str]) -> Attributions:
    """The columns of ``values`` [rows, names] in the order of ``features``; nought where a name is missing.

    Raises:
        ValueError: ``names`` holds what is not among ``features``.
    """
    position = {name: index for index, name in enumerate(features)}
    strange = [name for name in names if name not in position]
    if strange:
        raise ValueError(f"{strange[0]!r} is not among the features {list(features)}")
    found = np.zeros((len(values), len(features)))
    found[:, [position[name] for name in names]] = values
    return found


def shares(values: Attributions) -> Shares:
    """Each row divided by the sum of its magnitudes; a row of noughts stays one."""
    peak = np.abs(values).max(axis=1, keepdims=True, initial=0.0)  # first, so that no sum overflows
    with np.errstate(invalid="ignore"):  # an infinite one has no share: NaN
        scaled = np.divide(values, peak, out=np.zeros_like(values), where=peak != 0)
    total = np.abs(scaled).sum(axis=1, keepdims=True)
    found: Shares = np.divide(scaled, total, out=np.zeros_like(values), where=total != 0)
    return found


def distance(a: Attributions, b: Attributions) -> NDArray[np.float64]:
    """Half the L1 distance of the shares, that of nothing included; [rows], 0 to 1."""
    nothing = np.abs(_without_reason(a) - _without_reason(b))
    half: NDArray[np.float64] = (np.abs(shares(a) - shares(b)).sum(axis=1) + nothing) / 2
    return np.minimum(half, 1.0)


def moved(a: Attributions, b: Attributions) -> NDArray[np.float64]:
    """How far each feature's share moved; [rows, features], 0 to 2."""
    found: NDArray[np.float64] = np.abs(shares(a) - shares(b))
    return found


def top_overlap(a: Attributions, b: Attributions, k: int = TOP) -> NDArray[np.float64]:
    """Share of the ``k`` most influential features that both models name; [rows], 0 to 1.

    A list is shorter than ``k`` where fewer features have any influence; two empty ones are the same. Of
    equally influential features the first is taken, for both models alike.
    """
    first, second = _leaders(a, k), _leaders(b, k)
    longer = np.maximum(first.sum(axis=1), second.sum(axis=1))
    common = (first & second).sum(axis=1)
    found: NDArray[np.float64] = np.divide(common, longer, out=np.ones(len(a)), where=longer != 0)
    return found


def _leaders(values: Attributions, k: int) -> NDArray[np.bool_]:
    influence = np.abs(shares(values))
    order = np.argsort(-influence, axis=1, kind="stable")[:, :k]
    chosen = np.zeros(values.shape, dtype=np.bool_)
    np.put_along_axis(chosen, order, True, axis=1)
    return chosen & (influence > NEGLIGIBLE)


def _without_reason(values: Attributions) -> NDArray[np.float64]:
    return np.asarray(~values.any(axis=1), dtype=np.float64)
