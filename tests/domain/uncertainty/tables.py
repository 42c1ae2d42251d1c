"""Rows of mixed columns to learn a domain from."""

from __future__ import annotations

import numpy as np

from service.domain.schema import Feature, FeatureBatch, ModelSpec, Schema
from service.domain.uncertainty.measure import Asked, Columns, Fitted, Material, Measure

HOMES = ("rent", "owner", "parents", "never seen")


def numbers(width: int) -> ModelSpec:
    """A regression on so many numbers."""
    features = tuple(Feature(f"x{column}", "float") for column in range(width))
    return ModelSpec("toy", "1", "regression", Schema(features, "tensor"))


def images(*shape: int) -> ModelSpec:
    return ModelSpec("toy", "1", "regression", Schema((), "image", shape))


def mixed() -> ModelSpec:
    """Two numbers, of which the second may be missing, a category and a count that is always 3."""
    features = (
        Feature("age", "float"),
        Feature("income", "float", missing=True),
        Feature("home", "string", HOMES, missing=True),
        Feature("wheels", "int64"),
    )
    return ModelSpec("toy", "1", "regression", Schema(features, "columns"))


def mixed_rows(rng: np.random.Generator, count: int) -> FeatureBatch:
    """Rows for ``mixed``: income grows with age, one in ten is missing, and nobody lives in the last home."""
    age = rng.normal(40, 10, count)
    income = np.exp(age / 20 + rng.normal(0, 0.3, count))
    income[rng.random(count) < 0.1] = np.nan
    home = rng.choice(3, count, p=[0.6, 0.3, 0.1]).astype(np.float64)
    home[rng.random(count) < 0.05] = np.nan
    return np.stack([age, income, home, np.full(count, 3.0)], axis=1)


def correlated(rng: np.random.Generator, count: int, width: int = 5) -> FeatureBatch:
    """Numbers that all go up and down together."""
    common = rng.normal(size=(count, 1))
    rows: FeatureBatch = (common + 0.5 * rng.normal(size=(count, width))).astype(np.float32)
    return rows


def material(
    spec: ModelSpec, reference: FeatureBatch, calibration: FeatureBatch, percentile: float = 99.0
) -> Material:
    """What a domain measure is fitted to; the model's answers do not matter to it."""
    scores = np.zeros((len(calibration), 1), np.float32)
    return Material(spec, calibration, scores, np.zeros(len(calibration)), reference, percentile=percentile)


def judged(measure: Measure, spec: ModelSpec, fitted: Fitted, rows: FeatureBatch) -> Columns:
    """A fitted measure's results."""
    quantity = measure.restore(spec, fitted.arrays)
    return quantity.columns(Asked(rows, np.zeros((len(rows), 1), np.float32)))
