"""What a model does as a whole, measured once at packaging and kept in the bundle as ``global.json``.

The same model, rows and seed give the same document. For the demo's bundles it takes about a second; for 30
columns it stays below 300 KB.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.canonical import Labels
from models.effects import interval, partial_dependence, permutation_importance, tidy
from models.surrogate import Column, Tree, fit, rules
from service.domain.explainers.game import Ask, Explainer, Explanation, Subject, Unsuitable
from service.domain.schema import FeatureBatch, label_indices
from service.errors import UnderstudyError

Document = dict[str, Any]

FORMAT = 1
GLOBAL = "global.json"


@dataclass(frozen=True, slots=True)
class Budget:
    """How much work the views may be; all figures are upper bounds."""

    explained: int = 200
    """Calibration rows that are explained for the mean contributions."""
    evals: int = 1_000
    """Model rows for each of them, where the method can be told."""
    total_evals: int = 400_000
    """Model rows for all of them: a method that takes more for each explains fewer rows, never under 10."""
    scored: int = 500
    """Calibration rows for permutation importance."""
    repeats: int = 5
    points: int = 20
    averaged: int = 100
    """Background rows of a partial dependence."""
    curves: int = 20
    depth: int = 4
    seconds: float = 60.0
    """Until a method at work is stopped; reached only by what is far too slow to package with."""


def global_views(
    subject: Subject,
    explain: Explainer | None,
    method: str,
    rows: FeatureBatch,
    labels: Labels,
    *,
    seed: int = 0,
    budget: Budget | None = None,
    prototypes: Document | None = None,
    activation: Document | None = None,
) -> Document:
    """Every global view of one model, ready for JSON.

    Args:
        subject: the model.
        explain: its preferred additive method at work; None leaves mean contributions out.
        method: the name of that method.
        rows: calibration rows, [rows, width].
        labels: of ``rows``; see ``models.canonical.Labels``.
        prototypes: of the reference data, as they are to be shown; None where there are none.
        activation: of an image model's classes, likewise.
    """
    budget = budget or Budget()
    return {
        "format": FORMAT,
        "model": subject.spec.tag,
        "seed": seed,
        "contributions": contributions(subject, explain, method, rows, seed, budget),
        "permutation_importance": permutation_importance(
            subject, rows, labels, repeats=budget.repeats, most=budget.scored, seed=seed
        ),
        "partial_dependence": partial_dependence(
            subject, points=budget.points, most=budget.averaged, curves=budget.curves, seed=seed
        ),
        "surrogate": surrogate(subject, rows, budget.depth),
        "prototypes": prototypes,
        "activation": activation,
    }


def contributions(
    subject: Subject, explain: Explainer | None, method: str, rows: FeatureBatch, seed: int, budget: Budget
) -> Document:
    """Mean |contribution| of each player with its 95% interval over rows, largest first.

    Sampled contributions are larger in the mean than true ones, because noise has a size too: where the
    method gives standard errors, their mean stands beside each figure.
    """
    if explain is None:
        return {"skipped": "no method divides this model's output among its features"}
    if len(rows) < 2:
        return {"skipped": "one row says nothing about a mean"}
    chosen = np.random.default_rng([seed, 0]).permutation(len(rows))[: budget.explained]
    ask = Ask(method, max_evals=budget.evals, seed=seed)
    due = time.monotonic() + budget.seconds
    try:
        told = explain(rows[chosen[:1]], ask, due)
        affordable = max(10, budget.total_evals // max(1, told[0].rows_evaluated))
        told += explain(rows[chosen[1:affordable]], ask, due)
    except (Unsuitable, UnderstudyError) as reason:
        return {"skipped": f"{method} does not explain this model: {reason}"}
    sizes = np.abs(np.array([explanation.values for explanation in told]))
    noise = _noise(told)
    errors = sizes.std(axis=0, ddof=1) / np.sqrt(len(sizes))
    found = [
        {"feature": name, "mean_abs": tidy(mean), **interval(mean, error)}
        | ({} if noise is None else {"mean_standard_error": tidy(noise[player])})
        for player, (name, mean, error) in enumerate(
            zip(subject.players.names, sizes.mean(axis=0), errors, strict=True)
        )
    ]
    return {
        "method": method,
        "exact": all(explanation.exact for explanation in told),
        "output": told[0].output,
        "label": _explained_label(subject),
        "rows": len(told),
        "features": sorted(found, key=lambda entry: -entry["mean_abs"]),
    }


def surrogate(subject: Subject, held_out: FeatureBatch, depth: int = 4) -> Document:
    """A tree fitted to the served scores of the background, and how faithful it is on ``held_out`` rows.

    An image model's tree reads the mean of each player's pixels.
    """
    spec = subject.spec
    columns, fitted, checked = _table(subject, subject.background, held_out)
    served, truth = subject.predict(subject.background).astype(np.float64), subject.predict(held_out)
    tree = fit(fitted, served, columns, depth=depth, smallest_leaf=max(5, len(fitted) // 50))
    imitated = tree.predict(checked)
    missed = ((truth - imitated) ** 2).sum()
    spread = ((truth - truth.mean(axis=0)) ** 2).sum()
    fidelity: Document = {"rows": len(held_out), "r2": tidy(float(1 - missed / spread)) if spread else None}
    if spec.classes:
        same = np.equal(label_indices(spec, truth), label_indices(spec, imitated.astype(np.float32)))
        fidelity["agreement"] = tidy(float(same.mean()))
    return {
        "depth": depth,
        "fidelity": fidelity,
        "rules": [
            {"if": condition, "share": tidy(leaf.rows / len(fitted)), **_answer(subject, leaf)}
            for condition, leaf in rules(tree, columns)
        ],
    }


def _answer(subject: Subject, leaf: Tree) -> Document:
    spec = subject.spec
    if not spec.classes:
        return {"value": tidy(float(leaf.mean[0]))}
    label = label_indices(spec, leaf.mean[None].astype(np.float32))[0]
    return {
        "label": spec.classes[label],
        "probabilities": {
            name: tidy(float(share)) for name, share in zip(spec.classes, leaf.mean, strict=True)
        },
    }


def _table(
    subject: Subject, *tables: FeatureBatch
) -> tuple[list[Column], NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
    """What the surrogate reads: columns as they are, or for an image the mean of each player."""
    schema = subject.spec.schema
    first, second = tables
    if schema.layout != "image":
        return (
            [Column(feature.name, feature.categories, feature.missing) for feature in schema.features],
            first,
            second,
        )
    columns = [Column(name) for name in subject.players.names]
    means = [
        np.column_stack([rows[:, own].mean(axis=1) for own in subject.players.columns]) for rows in tables
    ]
    return columns, means[0], means[1]


def _explained_label(subject: Subject) -> str | None:
    """What the contributions are contributions to; null for regression."""
    if not subject.spec.classes:
        return None
    return subject.spec.classes[1] if subject.spec.task == "binary" else "each row's own answer"


def _noise(told: list[Explanation]) -> NDArray[np.float64] | None:
    """Mean standard error of each player, where every explanation has them."""
    errors = [one.standard_errors for one in told if one.standard_errors is not None]
    return np.mean(errors, axis=0) if len(errors) == len(told) else None
