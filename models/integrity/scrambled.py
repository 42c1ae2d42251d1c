"""Models that have nothing left of what was learnt: an honest explanation of one has nothing of the model's.

After the model and data randomisation of Adebayo et al., Sanity Checks for Saliency Maps (arXiv 1810.03292).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from models.surrogate import Column, fit
from service.domain.explainers.game import Linear, Structure, Subject
from service.domain.schema import FeatureBatch, ModelSpec, Scores, label_indices
from service.domain.trees import TreeEnsemble

_HIDDEN = 16
_MOST_TREES = 40
_MOST_COLUMNS = 32
"""Columns that a tree of random labels reads, at most."""
_MOST_ROWS = 300


def shuffled_weights(subject: Subject, rng: np.random.Generator) -> Subject | None:
    """The same graph with its leaves or weights dealt out anew; None where the graph is not understood.

    Of many trees only the first are kept: a method prepares itself for every scrambled model.
    """
    structure = subject.structure
    if structure is None:
        return None
    if isinstance(structure.head, TreeEnsemble):
        trees = structure.head
        values = trees.leaf_values[rng.permutation(len(trees.leaf_values))]
        trees = replace(trees, roots=trees.roots[:_MOST_TREES], leaf_values=values)
        return _through(
            subject, replace(structure, head=trees), lambda head: trees.scores(trees.margins(head))
        )
    linear = structure.head
    if not isinstance(linear, Linear):
        return None
    spread = np.nan_to_num(np.asarray(structure.encode(subject.background), dtype=np.float64)).std(axis=0)
    size = linear.weights * spread[:, None]  # a column's influence, whatever its unit
    signs = rng.choice([-1.0, 1.0], size=len(spread))
    dealt = size[rng.permutation(len(spread))] * signs[:, None] / np.where(spread, spread, np.inf)[:, None]
    linear = replace(linear, weights=dealt)
    return _through(
        subject,
        replace(structure, head=linear),
        lambda head: _linear_scores(linear, head, subject.spec),
    )


def random_network(subject: Subject, rng: np.random.Generator) -> Subject:
    """A network of random weights in the model's place, with its derivative where the model has one."""
    network = _Network(subject, rng)
    return replace(
        subject,
        predict=network.predict,
        structure=None,
        why_no_structure="a network of random weights has no structure",
        gradient=None if subject.gradient is None else network,
    )


def random_labels(subject: Subject, rng: np.random.Generator) -> Subject:
    """A tree trained on the background's answers after they were dealt out anew among its rows."""
    spec, rows = subject.spec, subject.background[:_MOST_ROWS]
    scores = subject.predict(rows)
    answers = np.eye(spec.outputs)[label_indices(spec, scores)] if spec.classes else scores.astype(np.float64)
    targets = answers[rng.permutation(len(rows))]
    columns = [Column(feature.name, feature.categories) for feature in spec.schema.features]
    columns = columns or [Column(str(index)) for index in range(rows.shape[1])]
    read = np.sort(rng.permutation(rows.shape[1])[:_MOST_COLUMNS])
    tree = fit(rows[:, read], targets, [columns[at] for at in read], depth=5, smallest_leaf=3, least_gain=0.0)

    def predict(batch: FeatureBatch) -> Scores:
        means = tree.predict(batch[:, read])
        if spec.classes:  # a class that no row of a leaf has still has log-odds
            means = (means + 0.01) / (1 + 0.01 * spec.outputs)
        return means.astype(np.float32)

    return replace(subject, predict=predict, structure=None, gradient=None)


class _Network:
    """One hidden layer of tanh on standardised columns; categories have random places on a line."""

    def __init__(self, subject: Subject, rng: np.random.Generator) -> None:
        self._spec = subject.spec
        background = subject.background.astype(np.float64)
        self._codes = [
            (index, rng.normal(size=len(feature.categories)))
            for index, feature in enumerate(subject.spec.schema.features)
            if feature.categories
        ]
        self._mean, self._spread = np.zeros(background.shape[1]), np.ones(background.shape[1])
        placed = self._placed(background)
        known = np.maximum((~np.isnan(placed)).sum(axis=0), 1)
        self._mean = np.nansum(placed, axis=0) / known
        spread = np.sqrt(np.nansum((placed - self._mean) ** 2, axis=0) / known)
        self._spread = np.where(spread > 0, spread, np.inf)
        width = background.shape[1]
        self._inner = rng.normal(size=(width, _HIDDEN)) / np.sqrt(width)
        self._outer = rng.normal(size=(_HIDDEN, subject.spec.outputs))
        served = subject.predict(subject.background).astype(np.float64)
        self._middle, self._size = float(served.mean()), float(served.std()) or 1.0

    def predict(self, rows: FeatureBatch) -> Scores:
        raw = np.tanh(self._standard(rows) @ self._inner) @ self._outer
        if not self._spec.classes:
            return np.asarray(self._middle + self._size * raw, dtype=np.float32)
        return np.asarray(special.softmax(raw, axis=1), dtype=np.float32)

    def __call__(self, rows: FeatureBatch, label: int) -> NDArray[np.float32]:
        """The derivative of the log-odds of a class against all others, or of a regression's value."""
        inner = np.tanh(self._standard(rows) @ self._inner)
        outer = np.tile(self._size * self._outer[:, 0], (len(rows), 1))
        if self._spec.classes:
            others = inner @ self._outer
            others[:, label] = -np.inf
            outer = self._outer[:, label] - special.softmax(others, axis=1) @ self._outer.T
        return np.asarray(((1 - inner**2) * outer) @ self._inner.T / self._spread, dtype=np.float32)

    def maps(self, rows: FeatureBatch, label: int) -> None:  # noqa: ARG002 - the protocol's; nothing to map
        return None

    def _standard(self, rows: FeatureBatch) -> NDArray[np.float64]:
        standard: NDArray[np.float64] = (self._placed(rows) - self._mean) / self._spread
        return np.nan_to_num(standard)

    def _placed(self, rows: FeatureBatch) -> NDArray[np.float64]:
        placed = rows.astype(np.float64)
        for index, places in self._codes:
            known = ~np.isnan(placed[:, index])
            placed[known, index] = places[placed[known, index].astype(np.intp)]
        return placed


def _through(
    subject: Subject, structure: Structure, scores: Callable[[NDArray[np.floating[Any]]], Any]
) -> Subject:
    return replace(
        subject,
        structure=structure,
        predict=lambda rows: np.asarray(scores(structure.encode(rows)), dtype=np.float32),
        gradient=None,
    )


def _linear_scores(
    linear: Linear, encoded: NDArray[np.floating[Any]], spec: ModelSpec
) -> NDArray[np.float64]:
    margins: NDArray[np.float64] = encoded.astype(np.float64) @ linear.weights + linear.intercepts
    if linear.post == "softmax":
        return np.asarray(special.softmax(margins, axis=1))
    if linear.post == "logistic":
        margins = special.expit(margins)
    return np.hstack([1 - margins, margins]) if margins.shape[1] < spec.outputs else margins
