"""How a model answers to its columns: permutation importance, partial dependence and single curves.

Permutation importance (Breiman 2001, Random Forests, section 10): how much worse the served answers fit
the labels when one player's columns are shuffled between rows. Its 95% interval is over rows: the measures
are means over rows, AUC by its placement values (DeLong et al. 1988), and differences are paired.
Partial dependence (Friedman 2001) averages, and ICE (Goldstein et al., arXiv 1309.6392) shows one by one, the
answers for background rows whose column is set to each value of a grid in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from models.canonical import Labels
from service.domain.explainers.game import OutputKind, Subject, explained
from service.domain.schema import Feature, FeatureBatch, ModelSpec, Scores, label_indices

Document = dict[str, Any]
Quality = NDArray[np.float64]

_CELLS = 20_000_000
"""Numbers in one batch, at most: 80 MB of float32."""
_MOST_CLASSES = 10
_Z = 1.959964


@dataclass(frozen=True, slots=True)
class Measure:
    """How well scores fit labels; larger ``parts`` are better."""

    name: str
    parts: Callable[[Scores], tuple[Quality, ...]]
    """Scores [repeats, rows, outputs] to groups of rows' own shares, [repeats, rows of the group].

    The mean of the first group is the measure.
    """
    sign: float = 1.0
    """-1 where the measure's name counts losses."""


def permutation_importance(
    subject: Subject, rows: FeatureBatch, labels: Labels, *, repeats: int = 5, most: int = 500, seed: int = 0
) -> Document:
    """How much each player matters for being right, most important first.

    Args:
        rows: calibration rows, [rows, width].
        labels: of ``rows``.
        repeats: shuffles of each player.
        most: rows used, at most.
    """
    rng = np.random.default_rng([seed, 1])
    most = min(most, max(20, _CELLS // (repeats * rows.shape[1])))
    chosen = np.sort(rng.choice(len(rows), min(most, len(rows)), replace=False))
    rows, labels = rows[chosen], labels[chosen]
    measure = measure_of(subject.spec, labels)
    whole = measure.parts(subject.predict(rows)[None])
    found = []
    for name, columns in zip(subject.players.names, subject.players.columns, strict=True):
        mixed = np.tile(rows, (repeats, 1, 1))
        for repeat in mixed:
            repeat[:, columns] = rows[rng.permutation(len(rows))][:, columns]
        scores = subject.predict(mixed.reshape(-1, rows.shape[1]))
        parts = measure.parts(scores.reshape(repeats, len(rows), -1))
        losses = [(before - after).mean(axis=0) for before, after in zip(whole, parts, strict=True)]
        drop = float(losses[0].mean())
        error = float(np.sqrt(sum(loss.var(ddof=1) / len(loss) for loss in losses if len(loss) > 1)))
        found.append({"feature": name, "drop": tidy(drop), **interval(drop, error)})
    return {
        "measure": measure.name,
        "score": tidy(measure.sign * float(whole[0].mean())),
        "rows": len(rows),
        "repeats": repeats,
        "features": sorted(found, key=lambda entry: -entry["drop"]),
    }


def measure_of(spec: ModelSpec, labels: Labels) -> Measure:
    """AUC for binary models, log-loss for others with classes or where only one class is seen, else R2."""
    if spec.task == "regression":
        spread = float(labels.var()) or 1.0

        def fit(scores: Scores) -> tuple[Quality, ...]:
            missed: Quality = scores[:, :, 0].astype(np.float64) - labels
            return (1 - missed**2 / spread,)

        return Measure("r2", fit)
    if spec.task == "binary" and 0 < labels.sum() < len(labels):
        return Measure("auc", lambda scores: _placements(scores[:, :, 1], labels == 1))
    tiny = float(np.finfo(np.float32).tiny)

    def likelihood(scores: Scores) -> tuple[Quality, ...]:
        own = scores[:, np.arange(len(labels)), labels].astype(np.float64)
        return (np.log(np.maximum(own, tiny)),)

    return Measure("log_loss", likelihood, sign=-1.0)


def partial_dependence(
    subject: Subject, *, points: int = 20, most: int = 100, curves: int = 20, seed: int = 0
) -> Document:
    """Average answers along each column's grid, and ``curves`` single rows' answers.

    Args:
        points: values of a grid, at most; quantiles of the background, or its most frequent categories.
        most: background rows that are averaged.
        curves: rows whose own curve is kept, at most.
    """
    spec = subject.spec
    if spec.schema.layout == "image":
        return {"skipped": "a pixel has no meaning of its own, so none is varied alone"}
    rng = np.random.default_rng([seed, 2])
    chosen = np.sort(rng.choice(len(subject.background), min(most, len(subject.background)), replace=False))
    rows = subject.background[chosen]
    answers = subject.predict(rows)
    classes = _shown_classes(spec, answers)
    own = (
        np.array(label_indices(spec, answers))
        if spec.task == "multiclass"
        else np.full(len(rows), classes[0])
    )
    found = []
    for index, feature in enumerate(spec.schema.features):
        grid = _grid(feature, subject.background[:, index], points)
        mixed = np.repeat(rows[None], len(grid), axis=0)
        mixed[:, :, index] = grid[:, None]
        scores = subject.predict(mixed.reshape(-1, rows.shape[1]))
        averages = [
            {
                **_named(spec, output, label),
                "values": _tidied(_along(scores, output, label, grid).mean(axis=1)),
            }
            for label in classes
            for output in _outputs(spec)
        ]
        main = _outputs(spec)[0]
        single = [_along(scores, main, int(own[row]), grid)[:, row] for row in range(min(curves, len(rows)))]
        found.append(
            {
                "feature": feature.name,
                "grid": [_word(feature, value) for value in grid],
                "averages": averages,
                "curves": {
                    "output": main,
                    "labels": [spec.classes[own[row]] for row in range(len(single))]
                    if spec.classes
                    else None,
                    "values": [_tidied(curve) for curve in single],
                },
            }
        )
    return {"rows": len(rows), "features": found}


def interval(mean: float, error: float) -> Document:
    """The ends of a normal 95% interval."""
    return {"low": tidy(mean - _Z * error), "high": tidy(mean + _Z * error)}


def tidy(value: float) -> float:
    """Five significant digits: enough to look at, short to store."""
    return float(f"{value:.5g}")


def _tidied(values: Quality) -> list[float | None]:
    """Four significant digits; null where the graph answers no number, as some do for a missing value."""
    return [float(f"{value:.4g}") if np.isfinite(value) else None for value in values]


def _placements(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> tuple[Quality, Quality]:
    """Share of the other class each row is on the right side of, ties half; their means are the AUC."""
    wins, losses = positive.sum(), (~positive).sum()
    ranks = stats.rankdata(scores, axis=1)
    above = (ranks[:, positive] - stats.rankdata(scores[:, positive], axis=1)) / losses
    below = 1 - (ranks[:, ~positive] - stats.rankdata(scores[:, ~positive], axis=1)) / wins
    return above, below


def _grid(feature: Feature, column: NDArray[np.floating[Any]], points: int) -> Quality:
    """Values to try, ascending, then NaN where the feature may be missing."""
    present = column[~np.isnan(column)]
    if feature.categories:
        counts = np.bincount(present.astype(np.intp), minlength=len(feature.categories))
        grid = np.sort(np.argsort(-counts, kind="stable")[: points - 1]).astype(np.float64)
    elif len(present):
        quantiles = np.linspace(0.01, 0.99, points - 1)
        grid = np.unique(np.quantile(present, quantiles, method="inverted_cdf")).astype(np.float64)
    else:
        grid = np.empty(0)
    return np.append(grid, np.nan) if feature.missing or not len(grid) else grid


def _along(scores: Scores, output: OutputKind, label: int, grid: Quality) -> Quality:
    """The explained number, [points, rows]."""
    return explained(scores, output, label).reshape(len(grid), -1)


def _outputs(spec: ModelSpec) -> tuple[OutputKind, ...]:
    return ("margin", "probability") if spec.classes else ("value",)


def _shown_classes(spec: ModelSpec, answers: Scores) -> list[int]:
    """The second class of a binary model, else the classes that are answered most; [0] for regression."""
    if spec.task != "multiclass":
        return [1] if spec.task == "binary" else [0]
    return sorted(int(label) for label in np.argsort(-answers.sum(axis=0), kind="stable")[:_MOST_CLASSES])


def _named(spec: ModelSpec, output: OutputKind, label: int) -> Document:
    return {"output": output, "label": spec.classes[label] if spec.classes else None}


def _word(feature: Feature, value: float) -> str | float | int | None:
    """A canonical value as the caller would write it."""
    if np.isnan(value):
        return None
    if feature.categories:
        return feature.categories[int(value)]
    return int(value) if feature.type == "int64" else float(f"{value:.6g}")
