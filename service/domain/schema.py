"""What a model takes and what it answers, as frozen records.

Inside the service a request's rows are one matrix in *canonical form*: one column per feature in
schema order, a category held as its index in ``Feature.categories``, a missing value as NaN.
An image model has one feature per pixel, in C order of the tensor's shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

FeatureBatch: TypeAlias = NDArray[np.floating]
"""Canonical rows: C-contiguous [rows, width]; dtype is ``Schema.dtype``."""

Scores: TypeAlias = NDArray[np.float32]
"""Model outputs: [rows, classes] probabilities, or [rows, 1] values for regression."""

FeatureType: TypeAlias = Literal["float", "int64", "string"]
Task: TypeAlias = Literal["binary", "multiclass", "regression"]
Layout: TypeAlias = Literal["tensor", "columns", "image"]

LARGEST = float(np.finfo(np.float32).max)
"""Whatever is neither whole nor a word reaches the graph as float32."""
WHOLE = 2**53
"""Integers up to here are exact in float64."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One named input column. ``categories`` is non-empty exactly for ``string`` features."""

    name: str
    type: FeatureType
    categories: tuple[str, ...] = ()
    missing: bool = False
    """Whether a caller may leave the value null or NaN."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The inputs of one model.

    ``layout`` says how canonical rows reach ONNX: ``tensor`` is one float32 tensor [rows, features],
    ``columns`` one [rows, 1] tensor per feature of that feature's own type, ``image`` one float32
    tensor [rows, *shape].
    """

    features: tuple[Feature, ...]
    layout: Layout
    shape: tuple[int, ...] = ()
    """Shape of one row's tensor; only for ``image``."""

    @property
    def width(self) -> int:
        """Columns of the canonical matrix."""
        return int(np.prod(self.shape)) if self.layout == "image" else len(self.features)

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """float32 where the graph takes float32 anyway, else float64, which holds int64 to 2**53."""
        return np.dtype(np.float64 if self.layout == "columns" else np.float32)

    def names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Who a model is and what it takes and answers."""

    name: str
    version: str
    task: Task
    schema: Schema
    classes: tuple[str, ...] = ()
    """Class names in output order; empty for regression."""
    threshold: float = 0.5
    """Binary only: the positive class (the second) is answered at or above this probability."""

    @property
    def tag(self) -> str:
        return f"{self.name}:{self.version}"

    @property
    def outputs(self) -> int:
        """Columns of this model's ``Scores``."""
        return len(self.classes) or 1


@dataclass(frozen=True, slots=True)
class Binding:
    """How canonical rows and scores map to the names of an ONNX graph.

    ``output_kind``: ``probabilities`` is [rows, classes]; ``positive_probability`` is the second
    class's alone, [rows] or [rows, 1]; ``value`` is the regression value, [rows] or [rows, 1].
    """

    inputs: tuple[str, ...]
    """Graph input names: one, or for layout ``columns`` one per feature in schema order."""
    output: str
    output_kind: Literal["probabilities", "positive_probability", "value"]


class Decides(Protocol):
    """What a label depends on beside the scores; a ``ModelSpec`` is one."""

    @property
    def task(self) -> Task: ...

    @property
    def threshold(self) -> float: ...


def as_posted(feature: Feature, value: float) -> str | float | int | None:
    """A canonical value as a caller would post it."""
    if math.isnan(value):
        return None
    if feature.type == "string":
        return feature.categories[int(value)]
    return int(value) if feature.type == "int64" else value


def label_indices(spec: Decides, scores: Scores) -> list[int]:
    """The answered class of each row, as an index into the model's classes; length rows.

    Binary models answer the second class at or above the threshold; multi-class models answer the
    first of the largest probabilities; regression answers no class, so every index is 0.
    """
    if spec.task == "regression":
        return [0] * len(scores)
    if spec.task == "binary":
        if len(scores) == 1:  # numpy's overhead would be most of a one-row request's cost here
            return [int(scores.item(1) >= np.float32(spec.threshold))]
        positive: list[int] = (scores[:, 1] >= np.float32(spec.threshold)).astype(np.intp).tolist()
        return positive
    largest: list[int] = scores.argmax(axis=1).tolist()
    return largest


def all_finite(scores: Scores) -> bool:
    """Whether every score is a number."""
    if len(scores) == 1:  # as above; a sum of float32 values cannot leave Python's floats
        return math.isfinite(sum(scores.ravel().tolist()))
    return bool(np.isfinite(scores).all())
