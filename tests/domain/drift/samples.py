"""Samples of one variable: numbers, words, and what healthy or changed traffic makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.reference import cut_points
from service.domain.binning import Binning, Cut, numbers
from service.domain.drift.measure import Sample


def ordered(reference: Sequence[float], live: Sequence[float]) -> Sample:
    """Numbers: the first bin is below the reference data, the last but one above it, the last missing."""
    size = len(reference) - 1
    return Sample(np.array(reference, float), np.array(live, float), size, size, (0, size - 1))


def words(reference: Sequence[float], live: Sequence[float]) -> Sample:
    """Words: the last two bins are missing and unseen."""
    size = len(reference)
    return Sample(np.array(reference, float), np.array(live, float), 0, size - 2, (size - 1,))


NAMED = {
    "alike": ordered([0, 100, 200, 300, 0, 50], [0, 10, 20, 30, 0, 5]),
    "moved": ordered([0, 88, 89, 88, 88, 89, 0, 0], [3, 20, 50, 100, 200, 300, 40, 12]),
    "few rows": ordered([0, 40, 60, 80, 0, 9], [0, 2, 0, 1, 1, 0]),
    "all missing": ordered([0, 40, 60, 80, 0, 9], [0, 0, 0, 0, 0, 25]),
    "apart": ordered([0, 500, 0, 0, 0], [0, 0, 0, 700, 0]),
    "fractions": ordered([0, 40, 60, 80, 0, 9], [0.25, 20.5, 10.125, 31, 0.5, 2.75]),
    "one bin": ordered([0, 70, 0, 0], [0, 9, 0, 0]),
    "words": words([5, 50, 500, 20, 3, 0], [50, 55, 480, 10, 40, 7]),
    "two classes": words([300, 700, 0, 0], [30, 170, 0, 0]),
    "only unseen words": words([5, 50, 0, 0], [0, 0, 0, 11]),
    "no reference values": words([60, 0], [3, 9]),
}


def healthy(
    rng: np.random.Generator, reference: int, live: int, shares: NDArray[np.float64], times: int
) -> list[Sample]:
    """So many samples of so many rows on either side, all from the same distribution over bins of words."""
    sides = [rng.multinomial(rows, shares, size=times).tolist() for rows in (reference, live)]
    return [words(*pair) for pair in zip(*sides, strict=True)]


def cut_by(values: NDArray[np.float64], bins: int = 10) -> Cut:
    """The bins that packaging makes of reference values."""
    edges = cut_points(values, bins)
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return numbers("score", counts.tolist(), 0, edges, float(values.min()), float(values.max()))


def sample_of(cut: Cut, values: NDArray[np.float64]) -> Sample:
    """Live values beside the reference values that made the bins."""
    return Sample.of(cut.variable, Binning.of([cut]).counts({cut.variable.name: values}))
