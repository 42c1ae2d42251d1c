"""Whether anything tells the rows that arrive from the reference data, be it only how columns go together.

A classifier two-sample test (Lopez-Paz & Oquab, ICLR 2017): where a classifier is right more often than one
that guesses, the two samples differ. It is tested on rows before it learns from them, so that each row is new
to it; what it was right about are counts that add up over time and over replicas.

The classifier is Fisher's linear discriminant (1936) of the columns themselves and of random waves over pairs
of columns (Rahimi & Recht, NIPS 2007), which see what two columns do together. It learns from one part of the
reference rows and is tested on the other. Of live rows it remembers some ``MEMORY_ROWS``.

Guarantee: without a change it is right about half of the rows. How far from half is a matter of two chances:
``right`` of ``told`` rows is a binomial share, and the tested reference rows, some hundreds used again and
again, are a sample themselves, which no number of live rows makes up for. The latter's standard deviation
is at most ``CHANCE``: an accuracy of ``alerting.ACCURACY`` is four of them away. Where there are fewer than
``TESTED_ROWS`` to test on, a share of rows is told by lot to keep it so, and the test sees less.

Cost: some 1 ms per 100 rows on one core, and 3 MB, whatever arrives; 1 kB more for a column beyond 128.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import FeatureBatch, ModelSpec
from service.domain.variables import variable_columns

MEMORY_ROWS = 2_000
"""Of live rows; the weight of a row is 1/e after so many others."""
CHANCE = 0.0125
"""Standard deviation of an accuracy by the chance of which reference rows there are to test on, at most."""
TESTED_ROWS = round(0.25 * 0.5**2 / CHANCE**2)
"""Reference rows whose chance is that: half of what is told is a share of them."""
TESTED_SHARE = 0.4
"""Of the reference rows; the rest is learnt from."""
FEWEST_ROWS = 20
"""Reference rows without which nothing is told."""
WAVES = 160
"""Random waves over pairs of columns."""
MOST_COLUMNS = 128
"""Of a wider model, so many random sums of columns."""
MOST_WORDS = 30
"""Of one feature that are told from one another."""
FARTHEST = 4.0
"""Spreads; what is farther out counts as this far."""
RIDGE = 0.03
"""Added to the variance of every column and wave, in spreads squared."""
BETWEEN_QUARTILES = 1.349
"""Standard deviations of a normal distribution."""

Matrix: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What the classifier sees of a row: its columns in usual spreads, then waves over pairs of them."""

    spec: ModelSpec
    numbers: NDArray[np.intp]
    """Which columns."""
    centres: Matrix
    """Medians, [numbers]."""
    spreads: Matrix
    """Standard deviations, or what is less, [numbers]."""
    worded: NDArray[np.intp]
    """Columns that are compared with ``words``, [words]."""
    words: Matrix
    """Places in a vocabulary; NaN asks whether the value is missing."""
    mixing: Matrix | None
    """[columns, MOST_COLUMNS] where there are more columns than that."""
    pairs: NDArray[np.intp]
    """[2, waves]"""
    slopes: Matrix
    """[2, waves]"""
    phases: Matrix
    """[waves]"""

    @classmethod
    def of(cls, spec: ModelSpec, rows: FeatureBatch, random: np.random.Generator) -> Sight:
        """What there is to see, by reference rows [rows, width]."""
        columns = _columns(spec, rows)
        features = () if spec.schema.layout == "image" else spec.schema.features
        asked: list[tuple[int, float]] = []
        for place, feature in enumerate(features):
            asked += [(place, float(word)) for word in range(min(len(feature.categories), MOST_WORDS))]
            asked += [(place, math.nan)] * feature.missing
        numbers = [
            place
            for place in range(columns.shape[1])
            if not (features and features[place].categories) and not np.isnan(columns[:, place]).all()
        ]
        known = columns[:, numbers]
        width = len(numbers) + len(asked)
        mixing = None
        if width > MOST_COLUMNS:
            mixing = random.standard_normal((width, MOST_COLUMNS)) / math.sqrt(MOST_COLUMNS)
        seen = min(width, MOST_COLUMNS)
        waves = WAVES if seen else 0
        return cls(
            spec,
            np.array(numbers, np.intp),
            np.nanmedian(known, axis=0),
            _spreads(known),
            np.array([place for place, _ in asked], np.intp),
            np.array([word for _, word in asked]),
            mixing,
            random.integers(max(1, seen), size=(2, waves)),
            random.standard_normal((2, waves)),
            random.uniform(0, 2 * math.pi, waves),
        )

    def __call__(self, rows: FeatureBatch) -> Matrix:
        """[rows, width] to [rows, seen]."""
        columns = _columns(self.spec, rows)
        far = (columns[:, self.numbers] - self.centres) / self.spreads
        near = np.nan_to_num(far.clip(-FARTHEST, FARTHEST), nan=0.0)
        values = columns[:, self.worded]
        same = np.where(np.isnan(self.words), np.isnan(values), values == self.words)
        plain = np.concatenate([near, 2.0 * same], axis=1)  # at even odds that has a spread of 1
        if self.mixing is not None:
            plain = plain @ self.mixing
        one, other = self.pairs
        waves = np.cos(plain[:, one] * self.slopes[0] + plain[:, other] * self.slopes[1] + self.phases)
        return np.concatenate([plain, waves], axis=1)


class TwoSample:
    """Learns to tell live rows from reference rows; made by ``of``, and belongs to one thread."""

    def __init__(self, sight: Sight, reference: Matrix, random: np.random.Generator) -> None:
        """``reference``: what is seen of the reference rows, in random order, [rows, seen]."""
        size = len(reference)
        tested = max(1, round(TESTED_SHARE * size)) if size >= FEWEST_ROWS else 0
        learnt = reference[tested:]
        self._sight = sight
        self._random = random
        self._tested = reference[:tested]
        self._sure = min(1.0, math.sqrt(tested / TESTED_ROWS))
        self._next = 0
        self._mean = learnt.mean(axis=0)
        self._covariance = _covariance(learnt - self._mean)
        self._live_rows = 0.0
        self._live_sum = np.zeros_like(self._mean)
        self._live_squares = np.zeros_like(self._covariance)
        self._weights = np.zeros_like(self._mean)
        self._threshold = 0.0

    @classmethod
    def of(cls, spec: ModelSpec, reference: FeatureBatch, seed: int) -> TwoSample:
        """Knows nothing of live rows as yet, so that it guesses.

        Args:
            spec: the model.
            reference: canonical rows of the reference data, [rows >= 1, width].
            seed: of the division of the rows, of the waves and of the lots.
        """
        random = np.random.default_rng(seed)
        sight = Sight.of(spec, reference, random)
        return cls(sight, random.permutation(sight(reference)), random)

    def look(self, rows: FeatureBatch) -> tuple[int, int]:
        """Tells these rows and as many reference rows apart, then learns from them.

        Args:
            rows: canonical rows that arrived, [rows, width]; hundreds of them, not thousands, at once.

        Returns:
            How many it was right about, and how many it was asked about.
        """
        if not len(self._tested) or not len(rows):
            return 0, 0
        live = self._sight(rows)
        places = (self._next + np.arange(len(rows))) % len(self._tested)
        self._next = int(places[-1]) + 1
        right = self._told(live).sum() + (~self._told(self._tested[places])).sum()
        self._learn(live)
        return int(right), 2 * len(rows)

    def _told(self, seen: Matrix) -> NDArray[np.bool_]:
        """Which rows it takes for live ones, [rows]."""
        sums = seen @ self._weights - self._threshold
        by_lot = (sums == 0.0) | (self._random.random(len(seen)) >= self._sure)
        return np.where(by_lot, self._random.random(len(seen)) < 0.5, sums > 0.0)

    def _learn(self, live: Matrix) -> None:
        kept = math.exp(-len(live) / MEMORY_ROWS)
        self._live_rows = kept * self._live_rows + len(live)
        self._live_sum = kept * self._live_sum + live.sum(axis=0)
        centred = live - self._mean  # so that little is lost in the difference of squares
        self._live_squares = kept * self._live_squares + centred.T @ centred
        mean = self._live_sum / self._live_rows
        apart = mean - self._mean
        spread = self._live_squares / self._live_rows - np.outer(apart, apart)
        both = (self._covariance + spread) / 2.0
        both[np.diag_indices_from(both)] += RIDGE
        self._weights = np.linalg.solve(both, apart)
        self._threshold = float(self._weights @ (mean + self._mean)) / 2.0


def _columns(spec: ModelSpec, rows: FeatureBatch) -> Matrix:
    """What is watched of rows, [rows, variables]."""
    if spec.schema.layout != "image":
        return rows.astype(np.float64)
    return np.stack([values for _, values in variable_columns(spec, rows)], axis=1).astype(np.float64)


def _spreads(known: Matrix) -> Matrix:
    """Of each column: the standard deviation, or what the quartiles make of it where that is less."""
    deviations = np.nanstd(known, axis=0)
    quartiles = [np.nanquantile(column, (0.25, 0.75)) for column in known.T]
    usual = np.array([upper - lower for lower, upper in quartiles]) / BETWEEN_QUARTILES
    spreads = np.where(usual > 0.0, np.minimum(usual, deviations), deviations)
    return np.where(spreads > 0.0, spreads, 1.0)


def _covariance(centred: Matrix) -> Matrix:
    found: Matrix = centred.T @ centred / len(centred)
    return found
