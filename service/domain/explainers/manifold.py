"""How many made-up rows look like nothing the model was trained on.

A model that answers differently off the data's manifold makes explanations by made-up rows say whatever its
author likes (Slack et al., arXiv 1911.02508), and an honest one is merely guessing there. A row is *off* when
it is farther from its third-nearest background row than 95% of background rows are from theirs, in whitened
coordinates: rows that break a strong correlation are far. Rows drawn like the background are therefore off
in about 5% of cases, and so are made-up rows where columns are independent.

One look costs about a millisecond.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from service.domain.explainers.game import Subject
from service.domain.schema import FeatureBatch

LOOKED_AT = 100
"""Made-up rows that are judged for one explanation."""
ALARMING = 0.5
"""Share above which an explanation carries a warning."""

_REFERENCE = 300
_COLUMNS = 256
_NEIGHBOUR = 3
_QUANTILE = 0.95
_FLOOR = 0.1
"""Added to each direction's variance, as a share of the mean one, so that rounding is not blown up."""
_CLIP = 5.0
"""Robust standard deviations beyond which a value is as far as it gets."""


@dataclass(frozen=True, slots=True, eq=False)
class _Scale:
    """One canonical column as coordinates."""

    column: int
    categories: int
    """0 for numbers."""
    middle: float
    spread: float
    may_miss: bool

    def coordinates(self, values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Two categories are 1 apart, as are a number and a missing value."""
        if self.categories:
            parts = [(values == code) * np.sqrt(0.5) for code in range(self.categories)]
        else:
            scaled = np.clip((values - self.middle) / self.spread, -_CLIP, _CLIP)
            parts = [np.where(np.isnan(values), 0.0, scaled)]
        if self.may_miss:
            parts.append(np.isnan(values).astype(np.float64))
        return parts


@dataclass(frozen=True, slots=True, eq=False)
class Manifold:
    """The background as points, and how far apart its rows usually are."""

    scales: tuple[_Scale, ...]
    whiten: NDArray[np.float64]
    """[coordinates, coordinates]"""
    points: NDArray[np.float64]
    """Whitened background rows, [points, coordinates]."""
    threshold: float

    def distances(self, rows: FeatureBatch) -> NDArray[np.float64]:
        """From each row to its third-nearest background row, [rows]."""
        found = _apart(_embed(self.scales, rows) @ self.whiten, self.points)
        return np.partition(found, _nearest(self.points) - 1, axis=1)[:, _nearest(self.points) - 1]

    def share(self, rows: FeatureBatch) -> float | None:
        """Share of the rows that are off the manifold; None for no rows."""
        return float((self.distances(rows) > self.threshold).mean()) if len(rows) else None


def manifold_of(subject: Subject) -> Manifold:
    """Judges by at most 300 background rows and, of wide rows, by 256 columns drawn with a fixed seed."""
    rng = np.random.default_rng(0)
    rows = subject.background[rng.permutation(len(subject.background))[:_REFERENCE]]
    columns = np.sort(rng.permutation(rows.shape[1])[:_COLUMNS])
    scales = tuple(_scale(subject, rows, int(column)) for column in columns)
    raw = _embed(scales, rows)
    covariance = np.atleast_2d(np.cov(raw.T)) if len(raw) > 1 else np.eye(raw.shape[1])
    variances, directions = np.linalg.eigh(covariance)
    floor = _FLOOR * max(float(variances.mean()), 1e-12)
    whiten = directions / np.sqrt(np.maximum(variances, 0) + floor)
    points = raw @ whiten
    apart = _apart(points, points)
    np.fill_diagonal(apart, np.inf)
    own = np.partition(apart, _nearest(points) - 1, axis=1)[:, _nearest(points) - 1]
    finite = own[np.isfinite(own)]
    threshold = float(np.quantile(finite, _QUANTILE)) if len(finite) else np.inf
    return Manifold(scales, whiten, points, threshold + 1e-9)


def warning(share: float | None) -> dict[str, str]:
    """What ``detail`` says where most made-up rows are off the manifold; else nothing."""
    if share is None or share <= ALARMING:
        return {}
    return {
        "warning": f"{share:.0%} of the rows made up for this explanation look like nothing in the"
        " background; what the model answers there says little about its answers to real rows, and can be"
        " made to mislead"
    }


def _nearest(points: NDArray[np.float64]) -> int:
    """Which neighbour counts: the third, or the last there is besides the row itself."""
    return max(1, min(_NEIGHBOUR, len(points) - 1))


def _scale(subject: Subject, rows: FeatureBatch, column: int) -> _Scale:
    values = rows[:, column].astype(np.float64)
    known = values[~np.isnan(values)]
    features = subject.spec.schema.features
    feature = features[column] if column < len(features) else None
    may_miss = len(known) < len(values) or (feature is not None and feature.missing)
    categories = len(feature.categories) if feature is not None else 0
    if not len(known):
        return _Scale(column, categories, 0.0, 1.0, may_miss)
    low, middle, high = np.quantile(known, [0.25, 0.5, 0.75])
    spread = next((s for s in ((high - low) / 1.349, known.std()) if s > 0), 1.0)
    return _Scale(column, categories, float(middle), float(spread), may_miss)


def _embed(scales: tuple[_Scale, ...], rows: FeatureBatch) -> NDArray[np.float64]:
    parts = [part for scale in scales for part in scale.coordinates(rows[:, scale.column].astype(np.float64))]
    return np.stack(parts, axis=1)


def _apart(rows: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Euclidean distances, [rows, points]."""
    distances: NDArray[np.float64] = cdist(rows, points)  # BLAS would wake threads for it
    return distances
