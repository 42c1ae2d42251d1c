"""Finds the values of a request that are unlike those of training.

A request of many rows is also told where far more values are missing than were in training: a one-sided
exact binomial test on the count. Whoever sends rows like the training data's is told so in at most one of a
thousand requests, whatever the number of features (Bonferroni).
"""

from __future__ import annotations

import math
import sys
from functools import lru_cache
from operator import le
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.domain.expectations import PIXEL, Expectation, Expectations, Kind, active, canonical_limits
from service.domain.schema import WHOLE, Feature, FeatureBatch, Schema

MANY_ROWS = 20
"""From here on the share of missing values says something."""
FALSE_ALARMS = 0.001
"""Share of the requests with many rows as training saw them whose missing values are called too many."""
LEAST_RATE = 0.01
"""Rarer than this is taken as this: the reference rows cannot tell such rates apart."""
MOST_BREACHES = 50
"""So many breaches are described; all are counted."""

_KINDS: tuple[Kind, ...] = ("missing", "range", "category", "type")
_MISSING, _RANGE, _CATEGORY, _TYPE = range(1, 5)
_CODES = 5


class Breach(NamedTuple):
    """A value, or a request's share of missing values, that is unlike training's."""

    row: int | None
    """None for a share."""
    column: int
    """Index into the features; 0 for an image as a whole."""
    kind: Kind
    message: str


class Breaches(NamedTuple):
    """How one request's rows break the expectations."""

    counts: dict[tuple[int, Kind], int]
    """Values by column and kind; a share counts once."""
    refused: list[Breach]
    """Those that the manifest refuses, in the order of the rows, at most ``MOST_BREACHES``."""
    warned: list[Breach]
    """The others, in the same way."""


class _Check(NamedTuple):
    """What the canonical values of one column are held against."""

    low: float
    high: float
    may_miss: bool
    whole: bool
    unseen: frozenset[int]
    """Codes of categories that training never saw."""

    @classmethod
    def of(cls, feature: Feature, expected: Expectation, dtype: np.dtype[np.floating]) -> _Check:
        unseen = frozenset(
            code
            for code, word in enumerate(feature.categories)
            if expected.categories is not None and word not in expected.categories
        )
        low, high = np.array(canonical_limits(feature, expected, dtype), dtype).tolist()
        return cls(
            low,
            high,
            feature.missing and expected.missing_rate != 0,
            feature.type != "float" or expected.whole,
            unseen,
        )


class Watch:
    """Holds rows against expectations.

    A few microseconds for a request: 2 for one row, 4 for 100 rows of 30 numbers.

    Args:
        schema: of the rows.
        expectations: see ``Expectations``.
    """

    def __init__(self, schema: Schema, expectations: Expectations) -> None:
        self._image = schema.layout == "image"
        self._features = schema.features or (Feature(PIXEL, "float"),)
        self._expected = active(schema, expectations)
        pairs = list(zip(self._features, self._expected, strict=True))
        self._checks = [_Check.of(*pair, schema.dtype) for pair in pairs]
        self._lows = [check.low for check in self._checks]
        self._highs = [check.high for check in self._checks]
        self._low, self._high = np.array(self._lows, schema.dtype), np.array(self._highs, schema.dtype)
        self._picky = any(check.whole or check.unseen for check in self._checks)
        self._may_miss = np.array([check.may_miss for check in self._checks])
        self._some_may = bool(self._may_miss.any())
        self._whole = np.flatnonzero([check.whole for check in self._checks])
        self._unseen = [
            (column, np.array([code in check.unseen for code in range(int(check.high) + 1)] + [False]))
            for column, check in enumerate(self._checks)
            if check.unseen
        ]
        self._refusing = np.array([expected.on_violation == "refuse" for expected in self._expected])
        self._outside = [_outside(expected) for expected in self._expected]
        rates = [expected.missing_rate or 0.0 if f.missing else 0.0 for f, expected in pairs]
        self._shared = np.flatnonzero([rate > 0 for rate in rates])
        self._rates = [max(rates[column], LEAST_RATE) for column in self._shared]
        self._unsure_from = MANY_ROWS if self._shared.size else sys.maxsize

    def look(self, rows: FeatureBatch) -> Breaches | None:
        """How canonical rows that fit the schema break the expectations, or None where they do not."""
        if len(rows) == 1 and not self._image:
            row = rows.ravel().tolist()
            strange = self._strange_in(row)
            return self._breaches_of_one(row, strange) if strange else None
        return None if self.fits(rows) else self._breaches(rows)

    def fits(self, rows: FeatureBatch) -> bool:
        """Whether canonical rows are as expected, which they only are where they fit the schema too."""
        if len(rows) == 1 and not self._image:
            return not self._strange_in(rows.ravel().tolist())
        inside = (rows >= self._low) & (rows <= self._high)
        if np.count_nonzero(inside) != inside.size:
            if not self._some_may:
                return False
            inside |= np.isnan(rows) & self._may_miss
            if np.count_nonzero(inside) != inside.size:
                return False
        if self._whole.size:
            numbers = rows[:, self._whole]
            if np.count_nonzero(numbers > np.floor(numbers)):
                return False
        if any(_codes_in(unseen, rows[:, column]).any() for column, unseen in self._unseen):
            return False
        return self.fits_shares(rows)

    def fits_shares(self, rows: FeatureBatch) -> bool:
        """Whether no more values are missing than may be expected of so many rows."""
        return len(rows) < self._unsure_from or not self._shares(rows)

    def _breaches(self, rows: FeatureBatch) -> Breaches:
        if self._image:  # strange pixels come in crowds: one stands for all of its image
            least, greatest = rows.min(axis=1), rows.max(axis=1)
            rows = np.where(greatest > self._high, greatest, least)[:, None]
        kinds = self._kinds(rows)
        strange = np.flatnonzero(kinds)
        columns = strange % kinds.shape[1]
        codes = kinds.ravel()[strange]
        tally = np.bincount(columns * _CODES + codes)
        counts = {
            (place // _CODES, _KINDS[place % _CODES - 1]): tally.item(place)
            for place in np.flatnonzero(tally).tolist()
        }
        shares = self._shares(rows) if len(rows) >= self._unsure_from else []
        for share in shares:
            key = share.column, share.kind
            counts[key] = counts.get(key, 0) + 1
        refusing = self._refusing[columns]
        return Breaches(
            counts,
            self._described(rows, kinds, strange[refusing], shares, True),
            self._described(rows, kinds, strange[~refusing], shares, False),
        )

    def _kinds(self, rows: FeatureBatch) -> NDArray[np.uint8]:
        """The kind of each value's breach as its place in ``_KINDS`` from 1 on, or 0; [rows, columns]."""
        kinds = ((rows < self._low) | (rows > self._high)).astype(np.uint8) * np.uint8(_RANGE)
        missing = np.isnan(rows)
        if np.count_nonzero(missing):
            kinds[missing & ~self._may_miss] = _MISSING
        if self._whole.size:
            numbers, found = rows[:, self._whole], kinds[:, self._whole]
            found[(numbers > np.floor(numbers)) & (found == 0)] = _TYPE
            kinds[:, self._whole] = found
        for column, unseen in self._unseen:
            kinds[_codes_in(unseen, rows[:, column]), column] = _CATEGORY
        return kinds

    def _described(
        self,
        rows: FeatureBatch,
        kinds: NDArray[np.uint8],
        strange: NDArray[np.intp],
        shares: list[Breach],
        refused: bool,
    ) -> list[Breach]:
        """The shares of one reaction, then strange values, given by their place in C order; not too many."""
        found = [share for share in shares if self._refusing[share.column] == refused][:MOST_BREACHES]
        for place in strange[: MOST_BREACHES - len(found)].tolist():
            row, column = divmod(place, kinds.shape[1])
            found.append(self._breach(row, column, _KINDS[kinds.item(place) - 1], rows.item(place)))
        return found

    def _breaches_of_one(self, row: list[float], strange: list[tuple[int, Kind]]) -> Breaches:
        """The breaches of a single row, on which numpy would spend more than its decoder does."""
        found = Breaches({}, [], [])
        for column, kind in strange:
            found.counts[column, kind] = 1
            described = found.refused if self._refusing[column] else found.warned
            if len(described) < MOST_BREACHES:
                described.append(self._breach(0, column, kind, row[column]))
        return found

    def _strange_in(self, row: list[float]) -> list[tuple[int, Kind]]:
        """The columns at which a single row breaks an expectation, and how."""
        if all(map(le, self._lows, row)) and all(map(le, row, self._highs)) and not self._picky:
            return []
        found: list[tuple[int, Kind]] = []
        for column, (value, check) in enumerate(zip(row, self._checks, strict=True)):
            if check.low <= value <= check.high:
                if check.whole and value != math.floor(value):
                    found.append((column, "type"))
                elif value in check.unseen:
                    found.append((column, "category"))
            elif value == value:
                found.append((column, "range"))
            elif not check.may_miss:
                found.append((column, "missing"))
        return found

    def _breach(self, row: int, column: int, kind: Kind, value: float) -> Breach:
        if kind == "missing":
            text = "missing, which training never saw"
        elif kind == "category":
            text = f"{self._features[column].categories[int(value)]!r} is a category that training never saw"
        elif kind == "type":
            text = f"{_written(value)} is a fraction; training saw whole numbers only"
        else:
            text = f"{_written(value)} {self._outside[column]}"
        return Breach(row, column, kind, text)

    def _shares(self, rows: FeatureBatch) -> list[Breach]:
        """Columns of which more is missing than can be chance."""
        missing = np.count_nonzero(np.isnan(rows[:, self._shared]), axis=0).tolist()
        found = []
        for column, rate, count in zip(self._shared.tolist(), self._rates, missing, strict=True):
            if count > most_missing(rate, len(rows), FALSE_ALARMS / self._shared.size):
                usual = f"{100 * (self._expected[column].missing_rate or 0):.2g}%"
                text = f"{count} of {len(rows)} are missing; {usual} were in training"
                found.append(Breach(None, column, "missing", text))
        return found


@lru_cache(maxsize=4096)
def most_missing(rate: float, rows: int, alarm: float) -> int:
    """The largest count of missing values that is not too many.

    That is the least ``k`` with P(X > k) < ``alarm`` for X ~ Binomial(``rows``, ``rate``), exact to float64.
    """
    if rate >= 1:
        return rows
    count = np.arange(rows + 1)
    logs = np.cumsum(np.log(np.maximum(count, 1)))  # of 0! to rows!
    log_chance = logs[-1] - logs - logs[::-1] + count * math.log(rate) + (rows - count) * math.log1p(-rate)
    at_least = np.cumsum(np.exp(log_chance)[::-1])[::-1]
    too_many = np.flatnonzero(at_least < alarm)
    return int(too_many[0]) - 1 if too_many.size else rows


def _codes_in(table: NDArray[np.bool_], codes: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether each code is marked in the table, whose last entry stands for a missing value."""
    found: NDArray[np.bool_] = table[np.where(np.isnan(codes), len(table) - 1, codes).astype(np.intp)]
    return found


def _outside(expected: Expectation) -> str:
    if expected.range is None:
        return ""  # nothing is
    low, high = expected.range
    return f"is outside {_written(low)} to {_written(high)}, which training saw"


def _written(number: float) -> str:
    """The shortest decimal that float32 holds as the same value; whole numbers in full."""
    if number == math.floor(number) and abs(number) < WHOLE:
        return str(int(number))
    return str(np.float32(number))
