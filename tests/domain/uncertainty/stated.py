"""Models that state probabilities, and labels drawn from the true ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin

from service.domain.schema import Feature, ModelSpec, Schema, Scores
from service.domain.uncertainty.measure import Asked, Columns, Material, Measure


def spec(classes: int) -> ModelSpec:
    """A model of one column; of one class means a regression."""
    schema = Schema((Feature("x", "float"),), "tensor")
    if classes == 1:
        return ModelSpec("m", "1", "regression", schema)
    names = tuple("abcdefghij"[:classes])
    return ModelSpec("m", "1", "binary" if classes == 2 else "multiclass", schema, names)


def drawn(
    rows: int, classes: int = 2, times: float = 1.0, seed: int = 0, decimals: int | None = None
) -> Material:
    """Calibration rows of a model that states the true log-odds ``times`` over.

    Args:
        rows: how many.
        classes: two or more.
        times: above 1 the model is too sure of itself, below 1 not sure enough.
        seed: of the probabilities and labels.
        decimals: that probabilities are rounded to, as a forest's are: ties, zeros and ones.
    """
    rng = np.random.default_rng(seed)
    logs = 1.5 * rng.normal(size=(rows, classes))
    truth = softmax(logs, axis=1).cumsum(axis=1)
    labels = (rng.random((rows, 1)) > truth[:, :-1]).sum(axis=1)
    scores = softmax(times * logs, axis=1)
    if decimals is not None:
        scores = scores.round(decimals) / scores.round(decimals).sum(axis=1, keepdims=True)
    return material(spec(classes), scores.astype(np.float32), labels)


def material(model: ModelSpec, scores: Scores, labels: NDArray[np.intp]) -> Material:
    """Rows that only their scores tell apart."""
    rows = np.arange(len(scores), dtype=np.float32)[:, None]
    return Material(model, rows, scores, labels, rows)


def asked(scores: Scores, *extra: str) -> Asked:
    return Asked(np.zeros((len(scores), 1), np.float32), scores, extra=frozenset(extra))


def two(second: NDArray[np.floating]) -> Scores:
    """Scores of two classes from the second's, [rows, 2]."""
    return np.stack([1 - second, second], axis=1).astype(np.float32)


def answers(measure: Measure, of: Material, scores: Scores, *extra: str) -> Columns:
    """What a measure fitted to some rows says of others."""
    return measure.restore(of.spec, measure.fit(of).arrays).columns(asked(scores, *extra))


class Echo(ClassifierMixin, BaseEstimator):
    """A classifier for scikit-learn whose inputs are its own answers."""

    def __init__(self, classes: int = 2) -> None:
        self.classes = classes

    def fit(self, X: Scores, y: NDArray[np.intp]) -> Echo:
        self.classes_ = np.arange(self.classes)
        return self

    def predict(self, X: Scores) -> NDArray[np.intp]:
        return X.argmax(axis=1)

    def predict_proba(self, X: Scores) -> Scores:
        return X
