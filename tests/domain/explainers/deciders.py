"""Models that decide by a formula over mixed columns, for the methods that explain decisions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.game import Mutability, Players, Subject
from service.domain.schema import Feature, FeatureBatch, ModelSpec, Schema, Scores

Formula = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""float64 rows [rows, width] to log-odds of yes [rows], or to raw scores [rows, classes]."""

HOMES = ("owner", "rent", "parents")
JOBS = ("fixed", "freelance", "partime", "none")
FEATURES = (
    Feature("age", "int64"),
    Feature("home", "string", HOMES, missing=True),
    Feature("income", "float", missing=True),
    Feature("job", "string", JOBS),
    Feature("debt", "float"),
)
AGE, HOME, INCOME, JOB, DEBT = range(5)


def applicants(rows: int = 400, seed: int = 0) -> FeatureBatch:
    """Rows of ``FEATURES`` in which a tenth of homes and incomes is missing."""
    rng = np.random.default_rng(seed)
    columns = [
        rng.integers(18, 70, rows),
        rng.integers(3, size=rows),
        rng.gamma(4, 30, rows),
        rng.integers(4, size=rows),
        rng.normal(0, 1, rows),
    ]
    made = np.column_stack(columns).astype(np.float32)
    made[rng.random(rows) < 0.1, HOME] = np.nan
    made[rng.random(rows) < 0.1, INCOME] = np.nan
    return made


def decider(
    formula: Formula,
    background: NDArray[Any],
    features: tuple[Feature, ...] = FEATURES,
    mutability: tuple[Mutability, ...] = (),
    **other: Any,
) -> Subject:
    """A binary model (no, yes) or, for a formula of several columns, one of as many classes."""
    width = len(formula(background[:1].astype(np.float64)).reshape(1, -1)[0])
    classes = ("no", "yes") if width == 1 else tuple("abcdefgh"[:width])
    schema = Schema(features, "tensor")
    spec = ModelSpec("m", "1", "binary" if width == 1 else "multiclass", schema, classes, **other)

    def predict(rows: FeatureBatch) -> Scores:
        raw = formula(rows.astype(np.float64)).reshape(len(rows), -1)
        raw = np.column_stack([np.zeros(len(rows)), raw]) if width == 1 else raw
        powers = np.exp(raw - raw.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)

    players = Players(schema.names(), tuple(np.array([column]) for column in range(len(features))))
    return Subject(spec, predict, background.astype(np.float32), players, mutability=mutability)


def numbers(width: int) -> tuple[Feature, ...]:
    """So many float features."""
    return tuple(Feature(f"x{column}", "float") for column in range(width))


def jagged(seed: int, width: int = len(FEATURES), outputs: int = 1) -> Formula:
    """A random model of steps and their products over ``applicants``; not monotone, not smooth."""
    rng = np.random.default_rng(seed)
    cuts = applicants(200, seed)[rng.integers(200, size=(12, width)), np.arange(width)].astype(np.float64)
    weights = rng.normal(size=(12, width, outputs))
    crossed = rng.normal(size=(12, outputs))

    def formula(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        above = rows[:, None] > cuts[None]  # False for what is missing
        pairs = above[:, :, 0] & ~above[:, :, 2]
        found: NDArray[np.float64] = np.einsum("ncw,cwo->no", above, weights) / 2 + 2 * pairs @ crossed
        return (found - weights.sum(axis=(0, 1)) / 4)[:, 0] if outputs == 1 else found

    return formula
