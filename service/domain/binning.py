"""The bins in which a variable's values are counted, and what they are called; the same on every replica.

Numbers have bins in the order of their values: below the reference data's least value, between the bundle's
edges, above its largest; then one of missing values. Words and classes have a bin each, then one of missing
values and one, ``unseen``, of words that the vocabulary has and the reference data never had. A name begins
with two digits exactly where the bins are ordered, so that a rule in PromQL can tell, too.

A variable has at most ``MOST_BINS`` bins, a model ``MOST_VARIABLES`` variables. To count 512 rows of 22
variables takes 0.1 ms on one core.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.uncertainty.percentile import percentiles_among
from service.domain.variables import DOMAIN, LABEL, SCORE

MOST_VARIABLES = 200
"""Scores, the label, the domain, then features in schema order; further ones are not watched."""
MOST_SCORES = 100
"""Of a model with more classes, the first; or there would be no room for what it is asked."""
MOST_ORDERED = 20
"""Bins of numbers. Where a bundle has more, neighbours are one bin."""
MOST_BINS = 50
"""Of a variable. Words beyond them, the rarest ones, share the bin ``OTHER``."""

MISSING, UNSEEN, OTHER = "missing", "unseen", "other words"

Column: TypeAlias = NDArray[np.floating[Any]]
"""A variable's value in every row, [rows]; words are their place in the vocabulary, missing is NaN."""


@dataclass(frozen=True, slots=True)
class Variable:
    """An input or an output of a model, and the reference data's rows in its bins."""

    name: str
    """``score``, ``score:CLASS``, ``label``, ``domain`` or ``feature:NAME``."""
    reference: tuple[int, ...]
    """Rows of the reference data, [bins]."""
    names: tuple[str, ...]
    """What the bins are called, [bins]; none twice."""
    ordered: int
    """How many of the first bins are in the order of their values; 0 for words and labels."""
    missing: int
    """Which bin holds missing values."""
    strange: tuple[int, ...]
    """Bins of what the reference data never had."""


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """A variable, and how its values find their bins; made by the functions of this module."""

    variable: Variable
    edges: NDArray[np.float64]
    """Increasing. A value's place is the number of edges that are not above it; the last edge is NaN, which
    sorts last, so that missing values have the last place."""
    bins: NDArray[np.intp] | None = None
    """The bin of each place, where the two differ."""

    def codes(self, values: Column) -> NDArray[np.intp]:
        """The bin of every row, [rows]."""
        places = self.edges.searchsorted(values, side="right")
        return places if self.bins is None else self.bins[places]


def numbers(
    name: str,
    counts: Sequence[int],
    missing: int,
    edges: Sequence[float],
    minimum: float | None,
    maximum: float | None,
    slack: float = 0.0,
) -> Cut:
    """The bins of numbers.

    Args:
        name: the variable's.
        counts: rows of the reference data between the edges; one more than there are edges.
        missing: rows without a value.
        edges: increasing; the n-th bin of ``counts`` starts at the n-th edge, the first one below it.
        minimum: the least value that the reference data has; None where it has none at all. Then there is
            nothing to be in order: every value is ``unseen``.
        maximum: the largest.
        slack: how far beyond either of them a value is still taken for it, as that of a model may be which
            adds up in another order than it did then. The ends are often the value of many rows.
    """
    if minimum is None or maximum is None:
        variable = Variable(name, (missing, 0), (MISSING, UNSEEN), ordered=0, missing=0, strange=(1,))
        return Cut(variable, np.array([np.nan]), np.array([1, 0]))
    inner, rows = _coarser(np.array(edges, np.float64), np.array(counts), MOST_ORDERED - 2)
    ends = _told_apart([minimum, *inner, maximum])
    between = [f"{low} to {high}" for low, high in pairwise(ends)]
    names = _numbered([f"below {ends[0]}", *between, f"above {ends[-1]}"])
    size = len(names)
    reference = (0, *(int(each) for each in rows), 0, missing)
    variable = Variable(name, reference, (*names, MISSING), size, missing=size, strange=(0, size - 1))
    above = np.nextafter(maximum + slack, np.inf)
    return Cut(variable, np.array([minimum - slack, *inner, above, np.nan]))


def words(name: str, counts: Sequence[int], missing: int, vocabulary: Sequence[str]) -> Cut:
    """The bins of words; those that the reference data never had are ``unseen``.

    Args:
        name: the variable's.
        counts: rows of the reference data with each word.
        missing: rows without a word.
        vocabulary: all words that there can be, [counts].
    """
    return _words(name, np.array(counts), missing, vocabulary, np.array(counts) > 0)


def labels(classes: Sequence[str], counts: Sequence[int]) -> Cut:
    """The bins of the class that is answered; no class is strange, and none is ever missing.

    Args:
        classes: in the order of the model's outputs.
        counts: of how many reference rows each was the answer, [classes].
    """
    return _words(LABEL, np.array(counts), 0, classes, np.ones(len(classes), np.bool_))


def percentiles(ascending: NDArray[np.float64]) -> Cut:
    """Ten bins of percentiles, 0 to 100.

    Args:
        ascending: what the calibration rows score by the model's measure of the domain, [rows]. Their own
            percentiles, as that measure counts them, are the reference.
    """
    tens = np.arange(10.0, 100.0, 10.0)
    own = percentiles_among(ascending, ascending)
    rows = np.bincount(tens.searchsorted(own, side="right"), minlength=10)
    names = _numbered([f"{low} to {low + 10}" for low in range(0, 100, 10)])
    reference = (*(int(each) for each in rows), 0)
    variable = Variable(DOMAIN, reference, (*names, MISSING), ordered=10, missing=10, strange=())
    return Cut(variable, np.append(tens, np.nan))


@dataclass(frozen=True, slots=True, eq=False)
class Binning:
    """The bins of all variables of a model that are watched; made by ``of``."""

    cuts: tuple[Cut, ...]
    variables: tuple[Variable, ...]
    starts: NDArray[np.intp] = field(repr=False)
    """[variables + 1]: the first bin of each variable among all; the last is the number of all."""

    @classmethod
    def of(cls, cuts: Iterable[Cut]) -> Binning:
        """The bins of a model: scores, label, domain, features, each in the order in which they are given."""
        found = sorted(cuts, key=lambda each: _rank(each.variable.name))
        scores = [each for each in found if _rank(each.variable.name) == 0][:MOST_SCORES]
        others = [each for each in found if _rank(each.variable.name) > 0]
        chosen = (*scores, *others)[:MOST_VARIABLES]
        variables = tuple(each.variable for each in chosen)
        return cls(chosen, variables, np.cumsum([0, *(len(each.names) for each in variables)]))

    @property
    def size(self) -> int:
        """Bins of all variables."""
        return int(self.starts[-1])

    @property
    def digest(self) -> str:
        """32 hexadecimal digits; what is counted in bins of different digests does not add up."""
        found = hashlib.sha256()
        for cut in self.cuts:
            found.update(repr(cut.variable).encode())
            found.update(cut.edges.tobytes())
            found.update(b"" if cut.bins is None else cut.bins.astype("<i8").tobytes())
        return found.hexdigest()[:32]

    def without(self, *names: str) -> Binning:
        """The same but for some variables."""
        return Binning.of(each for each in self.cuts if each.variable.name not in names)

    def codes(self, columns: Mapping[str, Column]) -> NDArray[np.intp]:
        """The bin of every row, numbered through all variables, [variables, rows].

        Args:
            columns: by the variables' names; others are ignored.

        Raises:
            KeyError: a variable has no column.
        """
        found = np.array([each.codes(columns[each.variable.name]) for each in self.cuts], np.intp)
        return found + self.starts[:-1, None] if self.cuts else found.reshape(0, 0)

    def counts(self, columns: Mapping[str, Column]) -> NDArray[np.float64]:
        """Rows by bin, numbered through all variables, [size]; a variable without a column has none."""
        found = np.zeros(self.size)
        for start, each in zip(self.starts[:-1].tolist(), self.cuts, strict=True):
            values = columns.get(each.variable.name)
            if values is not None and len(values):
                rows = np.bincount(each.codes(values), minlength=len(each.variable.names))
                found[start : start + len(rows)] = rows
        return found

    def split(self, sums: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """[size, ...] by variable, each [bins, ...]."""
        return np.split(sums, self.starts[1:-1])


def _rank(name: str) -> int:
    if name == SCORE or name.startswith(f"{SCORE}:"):
        return 0
    return {LABEL: 1, DOMAIN: 2}.get(name, 3)


def _words(
    name: str,
    counts: NDArray[np.intp],
    missing: int,
    vocabulary: Sequence[str],
    known: NDArray[np.bool_],
) -> Cut:
    own = np.flatnonzero(known)
    crowded = len(own) > MOST_BINS - 2
    if crowded:
        often = np.argsort(-counts[own], kind="stable")[: MOST_BINS - 3]
        own = np.sort(own[often])
    names = [f"is {vocabulary[place]}" for place in own.tolist()]
    names += [*([OTHER] if crowded else []), MISSING, UNSEEN]
    size = len(names)
    bins = np.full(len(vocabulary) + 1, size - 1)
    bins[:-1][known] = size - 3  # the rare ones, where there are too many; else each gets its own below
    bins[own] = np.arange(len(own))
    bins[-1] = size - 2
    reference = np.bincount(bins[:-1], counts, size).astype(np.intp)
    reference[size - 2] = missing
    variable = Variable(
        name,
        tuple(int(rows) for rows in reference),
        tuple(names),
        ordered=0,
        missing=size - 2,
        strange=(size - 1,),
    )
    return Cut(variable, np.append(np.arange(len(vocabulary) - 1) + 0.5, np.nan), bins)


def _coarser(
    edges: NDArray[np.float64], counts: NDArray[np.intp], most: int
) -> tuple[list[float], NDArray[np.intp]]:
    """At most so many bins, as alike in their numbers of former bins as can be."""
    if len(counts) <= most:
        return edges.tolist(), counts
    firsts = np.arange(most) * len(counts) // most
    return edges[firsts[1:] - 1].tolist(), np.add.reduceat(counts, firsts)


def _numbered(names: Sequence[str]) -> list[str]:
    return [f"{place:02} {name}" for place, name in enumerate(names)]


def _told_apart(ends: Sequence[float]) -> list[str]:
    """Numbers as briefly as still tells them apart; 0 has no sign."""
    for digits in range(4, 17):
        shown = [f"{end + 0.0:.{digits}g}" for end in ends]
        if len(set(shown)) == len(set(ends)):
            return shown
    return [repr(float(end)) for end in ends]
