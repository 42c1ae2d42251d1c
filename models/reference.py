"""What training looked like, one variable at a time: bins, how many rows fell into each, and the range.

Numeric bins are cut halfway between distinct values, near the deciles, so that rounding moves no value of
the reference across an edge. A value x belongs to bin ``searchsorted(edges, x, side="right")``: bin 0 is
everything below the first edge, the last bin everything from the last edge on. A missing value is in no bin.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import FeatureBatch, ModelSpec, Scores
from service.domain.variables import score_columns, variable_columns

BINS = 10


@dataclass(frozen=True, slots=True)
class ReferenceVariable:
    """One variable's distribution over the reference rows; ``sum(counts) + missing`` is their number."""

    name: str
    """``score``, ``score:CLASS`` or ``feature:NAME``."""
    counts: tuple[int, ...]
    missing: int
    edges: tuple[float, ...] = ()
    """Numeric: len(counts) - 1 increasing inner edges."""
    categories: tuple[str, ...] = ()
    """Categorical: one per count, in schema order."""
    minimum: float | None = None
    """Smallest value seen; None for categories and where every value is missing."""
    maximum: float | None = None

    @property
    def rows(self) -> int:
        return sum(self.counts) + self.missing


def summarise(
    spec: ModelSpec, rows: FeatureBatch, scores: Scores, bins: int = BINS
) -> dict[str, ReferenceVariable]:
    """The reference of every variable.

    Args:
        spec: the model.
        rows: canonical rows as training saw them, for the features.
        scores: [rows', outputs] served scores of rows NOT used in training; a model is surer of rows
            it has learnt, so their scores would look like drift against any live traffic.
        bins: most bins of a numeric variable.
    """
    words = {f"feature:{feature.name}": feature.categories for feature in spec.schema.features}
    found: dict[str, ReferenceVariable] = {}
    for name, column in (*score_columns(spec, scores), *variable_columns(spec, rows)):
        categories = words.get(name, ())
        found[name] = _categorical(name, column, categories) if categories else _numeric(name, column, bins)
    return found


def write_reference(variables: Mapping[str, ReferenceVariable], path: Path) -> None:
    """Writes ``reference.json``."""
    document = {"variables": [asdict(variable) for variable in variables.values()]}
    path.write_text(json.dumps(document, indent=1, allow_nan=False), encoding="utf-8")


def read_reference(path: Path) -> dict[str, ReferenceVariable]:
    """The variables in ``reference.json``.

    Raises:
        ValueError, KeyError, TypeError: the file is not one that ``write_reference`` wrote.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    return {item["name"]: _variable(item) for item in document["variables"]}


def cut_points(values: NDArray[np.floating], bins: int = BINS) -> tuple[float, ...]:
    """At most ``bins - 1`` edges between distinct values, each near a quantile; few values, fewer edges."""
    distinct, counts = np.unique(values.astype(np.float64), return_counts=True)
    if len(distinct) < 2:
        return ()
    if len(distinct) <= bins:
        last = np.arange(len(distinct) - 1)
    else:
        share = np.cumsum(counts) / counts.sum()
        wanted = np.arange(1, bins) / bins
        last = np.unique([int(np.abs(share[:-1] - target).argmin()) for target in wanted])
    below, above = distinct[last], distinct[last + 1]
    middle = below + (above - below) / 2
    edges = np.where(middle > below, middle, above)  # between neighbouring floats there is no middle
    return tuple(float(edge) for edge in edges)


def _numeric(name: str, column: NDArray[np.floating], bins: int) -> ReferenceVariable:
    present = column[~np.isnan(column)].astype(np.float64)
    edges = cut_points(present, bins)
    where = np.searchsorted(np.array(edges), present, side="right")
    counts = np.bincount(where, minlength=len(edges) + 1)
    return ReferenceVariable(
        name,
        counts=tuple(int(count) for count in counts),
        missing=len(column) - len(present),
        edges=edges,
        minimum=float(present.min()) if len(present) else None,
        maximum=float(present.max()) if len(present) else None,
    )


def _categorical(name: str, column: NDArray[np.floating], categories: tuple[str, ...]) -> ReferenceVariable:
    present = column[~np.isnan(column)].astype(np.intp)
    counts = np.bincount(present, minlength=len(categories))
    return ReferenceVariable(
        name,
        counts=tuple(int(count) for count in counts),
        missing=len(column) - len(present),
        categories=categories,
    )


def _variable(item: Mapping[str, Any]) -> ReferenceVariable:
    return ReferenceVariable(
        name=str(item["name"]),
        counts=tuple(int(count) for count in item["counts"]),
        missing=int(item["missing"]),
        edges=tuple(float(edge) for edge in item["edges"]),
        categories=tuple(str(word) for word in item["categories"]),
        minimum=item["minimum"],
        maximum=item["maximum"],
    )
