"""Rows by the bins of the reference data: where models differ, which rows were left out, what has drifted.

The books ``BINS`` and ``LEFT_OUT`` have one page for each variable; a page is a matrix, [bins, columns],
row after row. What they cost is bounded by ``MOST_VARIABLES`` and ``MOST_BINS``: at most 320 kB.
512 rows of 13 features take some 0.1 ms on one core.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.evidence.books import BINS, LEFT_OUT, Books, Page
from service.domain.evidence.drift import drift
from service.domain.evidence.representative import representative
from service.domain.evidence.tallied import COLUMNS, FLIPS, GAP, ROWS, SQUARES, Tallied, Variable
from service.domain.evidence.worst_slices import MOST_GAP, worst_slices
from service.domain.schema import FeatureBatch, ModelSpec, Scores
from service.domain.variables import score_columns, variable_columns

MOST_VARIABLES = 200
"""Scores, then features in schema order; further ones are not watched."""
MOST_BINS = 50
"""Of a variable. Words beyond them, the rarest ones, share the bin ``OTHER``."""
OTHER = "(other)"

Codes = NDArray[np.intp]
"""[variables, rows]: bins, numbered through all variables."""


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """The bins of every variable that is watched; made by ``of``."""

    spec: ModelSpec
    variables: tuple[Variable, ...]
    _cuts: tuple[NDArray[np.float64], ...] = field(repr=False)
    """Of each variable; NaN, which sorts last, is the last, so that missing values are in the last bin."""
    _groups: tuple[NDArray[np.intp] | None, ...] = field(repr=False)
    """Of each variable: from the place among the cuts to the bin, where they differ."""
    _starts: NDArray[np.intp] = field(repr=False)
    """[variables + 1]: the first bin of each variable among all; the last is the number of all."""

    @classmethod
    def of(cls, spec: ModelSpec, variables: Iterable[Variable]) -> Bins:
        """The bins of a model's variables, each one's words told apart as far as ``MOST_BINS`` allows."""
        known = {each.name: each for each in variables}
        empty = np.empty((0, spec.schema.width), spec.schema.dtype)
        names = (name for name, _ in _columns(spec, empty, np.empty((0, spec.outputs), np.float32)))
        chosen = [known[name] for name in names if name in known][:MOST_VARIABLES]
        grouped = [_grouped(each) for each in chosen]
        sizes = [len(each.reference) for each, _ in grouped]
        return cls(
            spec,
            tuple(each for each, _ in grouped),
            tuple(np.array([*_edges(each), np.nan]) for each in chosen),
            tuple(groups for _, groups in grouped),
            np.cumsum([0, *sizes]),
        )

    def tally(
        self,
        rows: FeatureBatch,
        before: Scores,
        flipped: NDArray[np.bool_],
        gaps: NDArray[np.floating[Any]],
    ) -> Books:
        """What compared rows add to the book of bins.

        Args:
            rows: canonical, [rows, width].
            before: production's scores, [rows, outputs].
            flipped: whose label flips, [rows]; never for a regression.
            gaps: score gaps in units of ``Pair.spread``, [rows]; what is above ``MOST_GAP`` counts as that.
        """
        codes = self._codes(rows, before)
        every, size = codes.ravel(), int(self._starts[-1])
        gap = np.broadcast_to(np.minimum(gaps, MOST_GAP).astype(np.float64), codes.shape).ravel()
        sums = np.empty((size, COLUMNS))
        sums[:, ROWS] = np.bincount(every, minlength=size)
        sums[:, FLIPS] = np.bincount(codes[:, flipped].ravel(), minlength=size)
        sums[:, GAP] = np.bincount(every, gap, size)
        sums[:, SQUARES] = np.bincount(every, gap * gap, size)
        return self._pages(BINS, sums)

    def left_out(self, rows: FeatureBatch, before: Scores) -> Books:
        """What rows that arrived and were not compared add to their book; arguments as of ``tally``."""
        size = int(self._starts[-1])
        counts = np.bincount(self._codes(rows, before).ravel(), minlength=size)
        return self._pages(LEFT_OUT, counts.astype(np.float64)[:, None])

    def read(self, books: Books) -> tuple[Tallied, ...]:
        """Both books, variable by variable; a page that is not there is of no row."""
        return tuple(
            Tallied(
                each,
                _page(books, BINS, each, COLUMNS),
                _page(books, LEFT_OUT, each, 1)[:, 0],
            )
            for each in self.variables
        )

    def worst_slices(self, books: Books, alpha: float) -> dict[str, Any]:
        """Bins in which the models surely differ more than elsewhere; see ``evidence.worst_slices``."""
        return worst_slices(self.read(books), alpha, "flips" if self.spec.classes else "gap")

    def representative(self, books: Books) -> dict[str, Any]:
        """Whether rows that were compared are like those that were not; see ``evidence.representative``."""
        return representative(self.read(books))

    def drift(self, books: Books) -> list[dict[str, Any]]:
        """How far the rows that arrived are from the reference data; see ``evidence.drift``."""
        return drift(self.read(books))

    def _codes(self, rows: FeatureBatch, before: Scores) -> Codes:
        columns: Mapping[str, NDArray[np.floating]] = dict(_columns(self.spec, rows, before))
        found = np.empty((len(self.variables), len(rows)), dtype=np.intp)
        for place, variable in enumerate(self.variables):
            codes = self._cuts[place].searchsorted(columns[variable.name], side="right")
            groups = self._groups[place]
            found[place] = codes if groups is None else groups[codes]
        found += self._starts[:-1, None]
        return found

    def _pages(self, book: str, sums: NDArray[np.float64]) -> Books:
        parts = np.split(sums, self._starts[1:-1])
        return {Page(book, each.name): part.ravel() for each, part in zip(self.variables, parts, strict=True)}


def _columns(
    spec: ModelSpec, rows: FeatureBatch, scores: Scores
) -> Iterator[tuple[str, NDArray[np.floating]]]:
    return chain(score_columns(spec, scores), variable_columns(spec, rows))


def _edges(variable: Variable) -> tuple[float, ...]:
    """Between the variable's values; words are numbers from 0 on."""
    if variable.categories:
        return tuple(place + 0.5 for place in range(len(variable.categories) - 1))
    return variable.edges


def _grouped(variable: Variable) -> tuple[Variable, NDArray[np.intp] | None]:
    """The variable with its rarest words together, and each word's bin, where there are too many."""
    words, counts = variable.categories, np.array(variable.reference)
    if len(counts) <= MOST_BINS or not words:
        return variable, None
    often = np.sort(np.argsort(-counts[:-1], kind="stable")[: MOST_BINS - 2])
    groups = np.full(len(counts), len(often))
    groups[often] = np.arange(len(often))
    groups[-1] = len(often) + 1
    reference = np.bincount(groups, counts, len(often) + 2)
    told = Variable(
        variable.name,
        tuple(int(count) for count in reference),
        categories=(*(words[index] for index in often), OTHER),
    )
    return told, groups


def _page(books: Books, book: str, variable: Variable, columns: int) -> NDArray[np.float64]:
    found = books.get(Page(book, variable.name))
    size = len(variable.reference)
    return np.zeros((size, columns)) if found is None else found.reshape(size, columns)
