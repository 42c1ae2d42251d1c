"""How good a demo model is, beside a model that ignores its inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.canonical import Labels

Measures = dict[str, float]


def classification(
    probabilities: NDArray[np.floating[Any]], labels: Labels, seen: Labels
) -> tuple[Measures, Measures]:
    """Accuracy, log loss and, for two classes, AUC; of the model and of the training class shares.

    Args:
        probabilities: [rows, classes] on held-out rows.
        labels: class indices of those rows.
        seen: class indices of the training rows.
    """
    classes = probabilities.shape[1]
    shares = np.bincount(seen, minlength=classes) / len(seen)
    constant = np.broadcast_to(shares, probabilities.shape)
    return _classification(probabilities, labels), _classification(constant, labels)


def regression(values: NDArray[np.floating[Any]], labels: Labels, seen: Labels) -> tuple[Measures, Measures]:
    """Root mean squared error and R2 on held-out rows; of the model and of the training mean."""
    return _regression(values, labels), _regression(np.full(len(labels), seen.mean()), labels)


def auc(scores: NDArray[np.floating[Any]], positive: NDArray[np.bool_]) -> float:
    """Chance that a positive row scores above a negative one, ties counted half (Mann-Whitney)."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    yes, no = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - yes * (yes + 1) / 2) / (yes * no))


def _classification(probabilities: NDArray[np.floating[Any]], labels: Labels) -> Measures:
    chosen = probabilities[np.arange(len(labels)), labels]
    measures = {
        "accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
        "log_loss": float(-np.log(np.clip(chosen, 1e-12, None)).mean()),
    }
    if probabilities.shape[1] == 2:
        measures["auc"] = auc(probabilities[:, 1], labels == 1)
    return {name: round(value, 4) for name, value in measures.items()}


def _regression(values: NDArray[np.floating[Any]], labels: Labels) -> Measures:
    squares = float(np.square(values - labels).mean())
    r2 = 1 - squares / float(np.square(labels - labels.mean()).mean())
    return {"rmse": round(squares**0.5, 4), "r2": round(r2, 4)}
