"""How far stated probabilities are from what happened: log-loss, Brier score, calibration error, a table.

Probabilities are float64 [rows, classes], labels intp [rows]. Of two classes the table is about the second,
of more about the likeliest one of each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Probabilities: TypeAlias = NDArray[np.float64]
"""[rows, classes]; rows add up to 1."""

FLOOR = 2.0**-24
"""Stands for a probability of 0 under a logarithm: what float32 cannot tell from 1 lies this near to it."""
BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows for which about the same probability was stated, in (low, high]; the first bin has 0 as well."""

    low: float
    high: float
    rows: int
    predicted: float
    """Mean stated probability."""
    observed: float
    """Share of rows for which it came true."""


def proper(scores: NDArray[np.floating[Any]]) -> Probabilities:
    """Served scores [rows, classes] divided by their sum, in float64; a row of zeros becomes uniform."""
    if len(scores) == 1:  # numpy's overhead would be most of a one-row request's cost here
        row = scores.ravel().tolist()
        whole = sum(row)
        return np.array([[score / whole if whole > 0 else 1 / len(row) for score in row]])
    exact = scores.astype(np.float64)
    total = exact.sum(axis=1, keepdims=True)
    shares: Probabilities = np.full_like(exact, 1 / exact.shape[1])
    np.divide(exact, total, out=shares, where=total > 0)
    return shares


def log_losses(probabilities: Probabilities, labels: NDArray[np.intp]) -> NDArray[np.float64]:
    """-ln of the true label's probability, in nats, [rows]; at most -ln ``FLOOR``, 16.6."""
    stated = probabilities[np.arange(len(labels)), labels]
    losses: NDArray[np.float64] = -np.log(np.maximum(stated, FLOOR))
    return losses


def brier(probabilities: Probabilities, labels: NDArray[np.intp]) -> float:
    """Mean squared error (Brier 1950), 0 to 1: over both or all classes and halved, as usual for two."""
    came_true = np.eye(probabilities.shape[1])[labels]
    return float(np.square(probabilities - came_true).sum(axis=1).mean() / 2)


def reliability(probabilities: Probabilities, labels: NDArray[np.intp], bins: int = BINS) -> tuple[Bin, ...]:
    """Bins of equal width in ascending order; empty ones are left out."""
    stated, came_true = _claims(probabilities, labels)
    place = np.clip(np.ceil(stated * bins).astype(np.intp) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    predicted = np.bincount(place, stated, bins)
    observed = np.bincount(place, came_true, bins)
    return tuple(
        Bin(
            low=index / bins,
            high=(index + 1) / bins,
            rows=int(counts[index]),
            predicted=float(predicted[index] / counts[index]),
            observed=float(observed[index] / counts[index]),
        )
        for index in np.flatnonzero(counts)
    )


def calibration_error(table: Sequence[Bin]) -> float:
    """Expected calibration error, 0 to 1: mean gap between predicted and observed, by rows (Naeini 2015).

    Chance alone makes it greater than 0, the more so the fewer rows a bin has: compare it with its like.
    """
    rows = sum(each.rows for each in table)
    return sum(each.rows * abs(each.predicted - each.observed) for each in table) / rows


def _claims(
    probabilities: Probabilities, labels: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """What was claimed of each row, and whether it came true."""
    if probabilities.shape[1] == 2:
        return probabilities[:, 1], labels == 1
    likeliest = probabilities.argmax(axis=1)
    return probabilities[np.arange(len(labels)), likeliest], labels == likeliest
