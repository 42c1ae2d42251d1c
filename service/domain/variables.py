"""What is watched of a model, one variable at a time: each input, and each score."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import FeatureBatch, ModelSpec, Scores, label_indices

SCORE, LABEL, DOMAIN = "score", "label", "domain"
"""Names of the variables that are no inputs; those of several scores are ``score:CLASS``."""
PIXEL_STATISTICS = ("pixel_mean", "pixel_std", "pixel_min", "pixel_max")


def variable_columns(spec: ModelSpec, rows: FeatureBatch) -> Iterator[tuple[str, NDArray[np.floating]]]:
    """Each input variable's name, ``feature:NAME``, and its value in every row, float [rows].

    An image model's variables are the mean, standard deviation, least and largest pixel of a row.
    """
    if spec.schema.layout == "image":
        values = (rows.mean(axis=1), rows.std(axis=1), rows.min(axis=1), rows.max(axis=1))
        yield from zip((f"feature:{name}" for name in PIXEL_STATISTICS), values, strict=True)
        return
    for index, name in enumerate(spec.schema.names()):
        yield f"feature:{name}", rows[:, index]


def score_columns(spec: ModelSpec, scores: Scores) -> Iterator[tuple[str, NDArray[np.floating]]]:
    """Each score's name and values: ``score``, or ``score:CLASS`` for multi-class models."""
    if spec.task == "multiclass":
        yield from ((f"{SCORE}:{name}", scores[:, index]) for index, name in enumerate(spec.classes))
        return
    yield SCORE, scores[:, -1]  # binary: the positive class; regression: the value


def answer_columns(spec: ModelSpec, scores: Scores) -> Iterator[tuple[str, NDArray[np.floating]]]:
    """The scores, and for classes the ``label``: which of them is answered, float64 [rows]."""
    yield from score_columns(spec, scores)
    if spec.classes:
        yield LABEL, np.array(label_indices(spec, scores), np.float64)
