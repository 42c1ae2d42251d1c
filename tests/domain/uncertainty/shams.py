"""Models whose answers are right on average, with rows and true labels drawn as from a live stream.

Rows have missing cells and categories. Every draw is made of independent rows, so any two draws are
exchangeable, and any number of them can be made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import FeatureBatch, ModelSpec
from service.domain.uncertainty.measure import Graph, Material
from tests.domain import models

Draw = Callable[[int, int], Material]
"""A number of rows and a seed to calibration rows."""


def rows_of(rng: np.random.Generator, count: int) -> FeatureBatch:
    """Age 0 to 1, one of three homes, income; every tenth home or income is missing."""
    rows = np.empty((count, 3), dtype=np.float32)
    rows[:, 0] = rng.uniform(size=count)
    rows[:, 1] = np.where(rng.uniform(size=count) < 0.1, np.nan, rng.integers(3, size=count))
    rows[:, 2] = np.where(rng.uniform(size=count) < 0.1, np.nan, rng.normal(size=count))
    return rows


def classes(count: int, seed: int, *, task: Any = "multiclass", digits: int = 7) -> Material:
    """Probabilities that the labels follow, but for being rounded to some digits, as a small tree's are."""
    rng = np.random.default_rng(seed)
    spec, rows = models.spec(task=task), rows_of(np.random.default_rng(seed + 1), count)
    raw = rng.dirichlet(np.full(len(spec.classes), 0.6), count)
    rounded = raw.round(digits)
    scores = (rounded / rounded.sum(axis=1, keepdims=True)).astype(np.float32)
    labels = (rng.uniform(size=count)[:, None] > raw.cumsum(axis=1)[:, :-1]).sum(axis=1)
    return Material(spec, rows, scores, labels.astype(np.intp), reference())


def values(count: int, seed: int, *, graphs: frozenset[Graph] = frozenset()) -> Material:
    """A value whose noise grows tenfold with age; graphs know about it."""
    rng = np.random.default_rng(seed)
    spec, rows = models.spec(task="regression"), rows_of(np.random.default_rng(seed + 1), count)
    labels = served(rows) + noise(rows) * rng.normal(size=count)
    scores = served(rows)[:, None].astype(np.float32)
    return Material(spec, rows, scores, labels, reference(), graphs, run)


def served(rows: FeatureBatch) -> NDArray[np.float64]:
    return 3 * rows[:, 0].astype(np.float64) + np.nan_to_num(rows[:, 2].astype(np.float64))


def noise(rows: FeatureBatch) -> NDArray[np.float64]:
    """Standard deviation, [rows]."""
    return 0.2 + 1.8 * rows[:, 0].astype(np.float64)


def run(graph: Graph, rows: FeatureBatch) -> NDArray[np.floating[Any]]:
    """Five members that disagree as much as there is noise, or the quartiles of a too narrow guess."""
    around = {"members": np.linspace(-1, 1, 5), "quantiles": np.array([-0.5, 0.7])}[graph]
    found = served(rows)[:, None] + noise(rows)[:, None] * around
    return (found[:, :, None] if graph == "members" else found).astype(np.float32)


def reference() -> FeatureBatch:
    return rows_of(np.random.default_rng(99), 200)


EVERY_GRAPH: frozenset[Graph] = frozenset({"members", "quantiles"})
CLASSES: Mapping[str, Draw] = {
    "two classes": lambda count, seed: classes(count, seed, task="binary"),
    "three classes": classes,
    "three classes, few different scores": lambda count, seed: classes(count, seed, digits=1),
}
VALUES: Mapping[str, Draw] = {
    "values": values,
    "values and graphs": lambda count, seed: values(count, seed, graphs=EVERY_GRAPH),
}


def spec_of(draw: Draw) -> ModelSpec:
    return draw(1, 0).spec
