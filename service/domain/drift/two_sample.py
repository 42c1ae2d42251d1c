"""Whether anything tells the rows that arrive from the reference data, be it only how columns go together.

A classifier two-sample test (Lopez-Paz & Oquab, ICLR 2017): where a classifier is right more often than one
that guesses, the two samples differ. What it was right about are counts, which add up over time and over
replicas. The classifier is Fisher's linear discriminant (1936) of the columns themselves and of random waves
over pairs of columns (Rahimi & Recht, NIPS 2007), which see what two columns do together.

It learns from some rows and is tested on others, live and reference alike. Which ones is a matter of their
values (Dietzfelbinger et al., J. Algorithms 25, 1997), so that a row that is sent again and again is learnt
or told, never both; else it would be told by heart. Of live rows it remembers some ``MEMORY_ROWS``.

Guarantee: without a change it is right about half of the rows. How far from half is a matter of two chances:
``right`` of ``told`` rows is a binomial share, and the tested reference rows, some hundreds used again and
again, are a sample themselves, which no number of live rows makes up for. The latter's standard deviation
is at most ``CHANCE``: an accuracy of ``alerting.ACCURACY`` is four of them away. Where there are fewer than
``TESTED_ROWS`` to test on, a share of rows is told by lot to keep it so, and the test sees less. A few live
rows that are sent many times are a small sample, too; that is not counted.

Cost: some 0.6 ms per 100 rows on one core, and 3 MB, whatever arrives; 1 kB more for a column beyond 128.
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
"""Of those learnt from; the weight of a live row is 1/e after so many others."""
CHANCE = 0.0125
"""Standard deviation of an accuracy by the chance of which reference rows there are to test on, at most."""
TESTED_ROWS = round(0.25 * 0.5**2 / CHANCE**2)
"""Reference rows whose chance is that: half of what is told is a share of them."""
TESTED_SHARE = 0.4
"""Of all different rows; the rest is learnt from."""
FEWEST_ROWS = 10
"""Reference rows to learn from and to test on, without which nothing is told."""
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
    def of(cls, spec: ModelSpec, columns: Matrix, random: np.random.Generator) -> Sight:
        """What there is to see, by the reference rows' columns."""
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

    def __call__(self, columns: Matrix) -> Matrix:
        """[rows, columns] to [rows, seen]."""
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

    def __init__(self, spec: ModelSpec, reference: FeatureBatch, random: np.random.Generator) -> None:
        columns = _columns(spec, reference)
        self._spec = spec
        self._random = random
        self._factors = random.integers(2**64, size=2 * columns.shape[1] + 1, dtype=np.uint64)
        self._sight = Sight.of(spec, columns, random)
        tested, seen = self._is_tested(columns), self._sight(columns)
        self._tested = random.permutation(seen[tested])
        learnt = seen[~tested]
        self._knows = min(len(self._tested), len(learnt)) >= FEWEST_ROWS
        self._sure = min(1.0, math.sqrt(len(self._tested) / TESTED_ROWS))
        self._next = 0
        self._mean = learnt.mean(axis=0) if self._knows else np.zeros(seen.shape[1])
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
        return cls(spec, reference, np.random.default_rng(seed))

    def look(self, rows: FeatureBatch) -> tuple[int, int]:
        """Tells some of these rows and as many reference rows apart, then learns from the others.

        Args:
            rows: canonical rows that arrived, [rows, width]; hundreds of them, not thousands, at once.

        Returns:
            How many it was right about, and how many it was asked about.
        """
        if not self._knows or not len(rows):
            return 0, 0
        columns = _columns(self._spec, rows)
        live, tested = self._sight(columns), self._is_tested(columns)
        asked = int(tested.sum())
        places = (self._next + np.arange(asked)) % len(self._tested)
        self._next = (self._next + asked) % len(self._tested)
        right = self._told(live[tested]).sum() + (~self._told(self._tested[places])).sum()
        if asked < len(rows):
            self._learn(live[~tested])
        return int(right), 2 * asked

    def _is_tested(self, columns: Matrix) -> NDArray[np.bool_]:
        """Whether rows are there to be told or to be learnt from; the same of equal rows, [rows]."""
        words = np.ascontiguousarray(columns).view(np.uint32).astype(np.uint64)
        drawn = words @ self._factors[1:] + self._factors[0]
        return np.asarray(drawn < np.uint64(TESTED_SHARE * 2.0**64))

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
    found: Matrix = centred.T @ centred / max(1, len(centred))
    return found
