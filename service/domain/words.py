"""Canonical rows in the words of the caller who sent them, ready for JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import Feature, Schema, as_posted


def word(feature: Feature, value: np.floating[Any]) -> str | float | int | None:
    """One canonical value as a caller would post it; None where it is missing.

    A float32 becomes the shortest number that rounds to it: 42.2, not 42.20000076293945.
    """
    return as_posted(feature, float(str(value)))


def shortest(row: NDArray[np.floating[Any]]) -> list[float]:
    """A row's values, each as the shortest number that rounds to it; see ``word``."""
    return [float(str(value)) for value in row]


def row_in_words(schema: Schema, row: NDArray[np.floating[Any]]) -> dict[str, Any] | list[Any]:
    """A canonical row [width] as an instance: values by feature name, or an image's nested lists."""
    if schema.layout == "image":
        nested: list[Any] = row.reshape(schema.shape).tolist()
        return nested
    return {feature.name: word(feature, value) for feature, value in zip(schema.features, row, strict=True)}
