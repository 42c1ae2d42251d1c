"""Rows of mixed columns as points, among which the measures of kind ``domain`` look for strangers.

A number becomes arcsinh((value - median) / deviation), with the mean absolute deviation from the median. Near
the middle that is a scaled number; far out it grows with the logarithm (Johnson, Biometrika 36, 1949: his
unbounded system), so long tails of money do not hide what is odd elsewhere, and still nothing far is near.
The unit of a column does not matter. A category becomes one indicator for each category, a number that is
constant in the reference rows one for being that number, and a column that may be missing one more for
being so, with the median in its place. What an indicator is worth beside a number is up to the measure.

Every coordinate is a finite number, whatever the row holds. Cost: 3 µs for one row of 30 numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import FeatureBatch, Schema
from service.domain.uncertainty.measure import Arrays, Unfitting

Points: TypeAlias = NDArray[np.float64]
"""Encoded rows, [rows, coordinates]."""

LEAST_REFERENCE = 20
"""Fewer reference rows than this do not show what is usual."""

_FAR = 1000.0
"""Where an infinite value lies; arcsinh of the largest float64 is 710."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """Where the coordinates come from: numbers, then indicators of values, then of missing ones."""

    numbers: NDArray[np.intp]
    """Columns that vary in the reference rows."""
    centre: NDArray[np.float64]
    """Median of each, in its own unit."""
    deviation: NDArray[np.float64]
    """Mean absolute deviation from the median, in the same unit; above 0."""
    valued: NDArray[np.intp]
    """The column of each indicator of a value."""
    values: NDArray[np.float64]
    """The value that the indicator is for."""
    missing: NDArray[np.intp]
    """Columns with an indicator of missing values."""
    worth: NDArray[np.float64]
    """Of an indicator that is set, [1]."""

    @property
    def coordinates(self) -> int:
        return len(self.numbers) + len(self.valued) + len(self.missing)

    def points(self, rows: FeatureBatch) -> Points:
        """Canonical rows [rows, width] as points [rows, coordinates]."""
        numbers, indicators = len(self.numbers), len(self.numbers) + len(self.valued)
        points = np.empty((len(rows), indicators + len(self.missing)))
        scaled = points[:, :numbers]
        known = rows if numbers == rows.shape[1] else rows.take(self.numbers, axis=1)
        np.subtract(known, self.centre, scaled)
        np.divide(scaled, self.deviation, scaled)
        np.arcsinh(scaled, scaled)
        if not math.isfinite(np.vdot(scaled, scaled)):  # the cheapest way to see whether all are
            np.nan_to_num(scaled, copy=False, nan=0.0, posinf=_FAR, neginf=-_FAR)
        if len(self.valued):
            np.equal(rows.take(self.valued, axis=1), self.values, points[:, numbers:indicators])
        if len(self.missing):
            np.isnan(rows.take(self.missing, axis=1), points[:, indicators:])
        if self.worth[0] != 1 and indicators + len(self.missing) > numbers:
            points[:, numbers:] *= self.worth
        return points

    def flagged(self, matrix: NDArray[np.float64]) -> tuple[Encoding, NDArray[np.float64]]:
        """Indicators of 1, and a matrix [coordinates, any] that makes the same of them: a step less."""
        scaled = matrix.copy()
        scaled[len(self.numbers) :] *= self.worth
        return replace(self, worth=np.ones(1)), scaled

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All there is to it, for ``encoding_from``."""
        return {f"encoding.{name}": array for name, array in asdict(self).items()}


def encoding_from(arrays: Arrays) -> Encoding:
    """The encoding whose ``arrays`` are among these."""
    own: Mapping[str, NDArray[Any]] = {
        name.removeprefix("encoding."): array
        for name, array in arrays.items()
        if name.startswith("encoding.")
    }
    return Encoding(**own)


def learn_encoding(schema: Schema, rows: FeatureBatch, worth: float) -> Encoding:
    """The encoding for rows like these reference rows [rows, schema.width]; ``worth`` is an indicator's.

    Raises:
        Unfitting: there are fewer than ``LEAST_REFERENCE``, or they are all the same.
    """
    if len(rows) < LEAST_REFERENCE:
        raise Unfitting(f"{len(rows)} reference rows are too few to learn from; give {LEAST_REFERENCE}")
    exact = rows.astype(np.float64)
    numbers: list[tuple[int, float, float]] = []
    valued: list[tuple[int, float]] = []
    missing: list[int] = []
    for column in range(schema.width):
        feature = schema.features[column] if schema.features else None
        unknown = np.isnan(exact[:, column])
        if unknown.any() or (feature is not None and feature.missing):
            missing.append(column)
        known = exact[~unknown, column]
        if feature is not None and feature.categories:
            valued += [(column, float(code)) for code in range(len(feature.categories))]
        elif len(known):
            centre = float(np.median(known))
            deviation = float(np.abs(known - centre).mean())
            if deviation > 0:
                numbers.append((column, centre, deviation))
            else:
                valued.append((column, centre))
    encoding = Encoding(
        numbers=np.array([column for column, _, _ in numbers], np.intp),
        centre=np.array([centre for _, centre, _ in numbers], np.float64),
        deviation=np.array([deviation for _, _, deviation in numbers], np.float64),
        valued=np.array([column for column, _ in valued], np.intp),
        values=np.array([value for _, value in valued], np.float64),
        missing=np.array(missing, np.intp),
        worth=np.array([worth]),
    )
    points = encoding.points(rows)
    if (points == points[0]).all():
        raise Unfitting("the reference rows are all the same, so every other row would be strange")
    return encoding
