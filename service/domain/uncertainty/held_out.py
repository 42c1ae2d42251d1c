"""Fits a calibration of probabilities, and finds out by cross-validation whether it is worth having.

Every calibration is judged on the same folds of the calibration rows: learnt from four fifths, it states the
probabilities of the last, and all of that again with other folds (Stone 1974). Its ``loss`` is the mean
log-loss of those rows plus one standard error of the difference to the served probabilities. So the least
loss is that of a calibration which does better than none by more than chance explains, if there is one
(the one-standard-error rule of Breiman et al. 1984). The standard error takes rows as independent; that
folds share rows to learn from is left out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from math import sqrt
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import ModelSpec, Scores
from service.domain.uncertainty.measure import Arrays, Asked, Fitted, Material, Quantity, Unfitting
from service.domain.uncertainty.reliability import (
    Probabilities,
    brier,
    calibration_error,
    log_losses,
    proper,
    reliability,
)

FOLDS, REPEATS = 5, 4
FEWEST = 20
"""Calibration rows that there is anything to learn from."""

Learn: TypeAlias = Callable[[Scores, NDArray[np.intp]], Arrays]
"""Served scores [n, classes] and labels [n] to what a calibration consists of."""
Restore: TypeAlias = Callable[[ModelSpec, Arrays], Quantity]


def fitted(material: Material, learn: Learn, restore: Restore, fewest: int = FEWEST) -> Fitted:
    """What ``learn`` makes of all calibration rows, with a report on how it does on rows it has not seen.

    The report is ready for JSON: ``loss`` as in the module; ``gain``, by how much the log-loss fell, with its
    ``standard_error``; ``before`` and ``after``, each with ``log_loss`` in nats, ``brier``, ``ece`` and the
    ``reliability`` table, the latter from the first of the repetitions; ``rows``, ``folds``, ``repeats``.

    Raises:
        Unfitting: the model is a regression, or its calibration rows are fewer than ``fewest`` or all of one
            label.
    """
    _check(material, fewest)
    scores, labels = material.scores, material.labels
    before = proper(scores)
    after = [_unseen(material, learn, restore, repeat) for repeat in range(REPEATS)]
    losses = np.mean([log_losses(each, labels) for each in after], axis=0)
    gains = log_losses(before, labels) - losses
    error = float(gains.std(ddof=1)) / sqrt(len(labels))
    report = {
        "loss": float(losses.mean()) + error,
        "gain": {"log_loss": float(gains.mean()), "standard_error": error},
        "before": _figures([before], labels),
        "after": _figures(after, labels),
        "rows": len(labels),
        "folds": FOLDS,
        "repeats": REPEATS,
    }
    return Fitted(learn(scores, labels), report)


def _check(material: Material, fewest: int) -> None:
    spec, labels = material.spec, material.labels
    if not spec.classes:
        raise Unfitting("a regression has no probabilities to calibrate")
    if len(labels) < fewest:
        raise Unfitting(f"{len(labels)} calibration rows are too few to calibrate by; {fewest} would do")
    if (labels == labels[0]).all():
        raise Unfitting(f"all calibration rows have the label {spec.classes[labels[0]]}")


def _unseen(material: Material, learn: Learn, restore: Restore, repeat: int) -> Probabilities:
    """Each row's calibrated probabilities, learnt from rows of other folds."""
    found = np.empty(material.scores.shape)
    for fold in _folds(material.labels, (material.seed, repeat)):
        quantity = restore(material.spec, learn(material.scores[~fold], material.labels[~fold]))
        found[fold] = quantity.columns(Asked(material.rows[fold], material.scores[fold]))["calibrated"]
    return found


def _folds(labels: NDArray[np.intp], seed: tuple[int, int]) -> Iterator[NDArray[np.bool_]]:
    """Masks [rows] of the folds; labels are shared out evenly."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
    turn = np.empty(len(labels), dtype=np.intp)
    turn[by_label] = np.arange(len(labels)) % FOLDS
    for fold in range(FOLDS):
        yield turn == fold


def _figures(repeats: list[Probabilities], labels: NDArray[np.intp]) -> dict[str, Any]:
    """Means over the repetitions, and the table of the first."""
    tables = [reliability(each, labels) for each in repeats]
    return {
        "log_loss": float(np.mean([log_losses(each, labels).mean() for each in repeats])),
        "brier": float(np.mean([brier(each, labels) for each in repeats])),
        "ece": float(np.mean([calibration_error(table) for table in tables])),
        "reliability": [asdict(each) for each in tables[0]],
    }
