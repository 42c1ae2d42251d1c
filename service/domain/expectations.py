"""What rows are expected to look like: as those that training saw.

The schema says what a model can take; an expectation says what it has met. A value that breaks one is still
answered, unless the manifest says otherwise, but no longer without a word.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from service.domain.schema import LARGEST, WHOLE, Feature, Schema

Reaction: TypeAlias = Literal["warn", "refuse", "ignore"]
Kind: TypeAlias = Literal["missing", "range", "category", "type"]

PIXEL = "pixel"
"""What stands for the feature's name where an image is strange."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What training saw of one feature, or of all pixels; None where nothing is expected."""

    on_violation: Reaction = "warn"
    range: tuple[float, float] | None = None
    """Least and greatest number, both expected."""
    categories: tuple[str, ...] | None = None
    """Words that training saw, out of the feature's categories."""
    missing_rate: float | None = None
    """Share of missing values, 0 to 1."""
    whole: bool = False
    """Whether every number was whole."""


Expectations: TypeAlias = tuple[Expectation, ...]
"""One for each feature in schema order; an image has one for all its pixels; none at all expects nothing."""


def active(schema: Schema, expectations: Expectations) -> Expectations:
    """One expectation for each feature, or for all pixels; one that is ignored expects nothing."""
    nothing = Expectation()
    if not expectations:
        return (nothing,) * (len(schema.features) or 1)
    return tuple(nothing if each.on_violation == "ignore" else each for each in expectations)


def posted_limits(feature: Feature, expected: Expectation) -> tuple[float, float]:
    """Least and greatest number that is expected of a caller, who writes decimals.

    A number that is no integer reaches the graph as float32, so these are the float64 values that round to
    the range's own float32 values: 0.1 is within 0.1 to 0.2, though float32 holds more than a tenth.
    """
    if feature.type == "int64":
        low, high = expected.range or (-WHOLE, WHOLE)
        return max(math.ceil(low), -WHOLE), min(math.floor(high), WHOLE)
    if expected.range is None:
        return -LARGEST, LARGEST
    low, high = expected.range
    return -_greatest_rounding_to(-low), _greatest_rounding_to(high)


def canonical_limits(
    feature: Feature, expected: Expectation, dtype: np.dtype[np.floating]
) -> tuple[float, float]:
    """The same for canonical values, a category's being its index."""
    if feature.type == "string":
        return 0, len(feature.categories) - 1
    if dtype == np.float64 or feature.type == "int64" or expected.range is None:
        return posted_limits(feature, expected)
    low, high = expected.range
    return _within_float32(low), _within_float32(high)


def _within_float32(value: float) -> float:
    return min(max(value, -LARGEST), LARGEST)


def _greatest_rounding_to(value: float) -> float:
    """The greatest float64 that is rounded to the same float32 as ``value`` is."""
    here = np.float32(_within_float32(value))
    if here == LARGEST:
        return LARGEST
    above = np.nextafter(here, np.float32(np.inf))
    middle = (float(here) + float(above)) / 2
    return middle if np.float32(middle) == here else math.nextafter(middle, -math.inf)
