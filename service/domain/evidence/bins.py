"""Rows by the bins of the reference data: where models differ, which rows were left out, what has drifted.

The books ``BINS`` and ``LEFT_OUT`` have one page for each variable; a page is a matrix, [bins, columns],
row after row. What they cost is bounded by ``binning.MOST_VARIABLES`` and ``MOST_BINS``: at most 400 kB.
512 rows of 13 features take some 0.2 ms on one core.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.binning import Binning, Variable
from service.domain.evidence.books import BINS, LEFT_OUT, Books, Page
from service.domain.evidence.drift import drift
from service.domain.evidence.representative import representative
from service.domain.evidence.tallied import COLUMNS, FLIPS, GAP, ROWS, SQUARES, Tallied
from service.domain.evidence.worst_slices import MOST_GAP, worst_slices
from service.domain.schema import FeatureBatch, ModelSpec, Scores
from service.domain.variables import answer_columns, variable_columns


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """Counts rows in the bins of every variable that is watched."""

    spec: ModelSpec
    binning: Binning
    """Of variables that a row and its scores show, so without ``domain``."""

    @property
    def variables(self) -> tuple[Variable, ...]:
        """In the order of the pages."""
        return self.binning.variables

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
        codes = self.binning.codes(self._columns(rows, before))
        every, size = codes.ravel(), self.binning.size
        gap = np.broadcast_to(np.minimum(gaps, MOST_GAP).astype(np.float64), codes.shape).ravel()
        sums = np.empty((size, COLUMNS))
        sums[:, ROWS] = np.bincount(every, minlength=size)
        sums[:, FLIPS] = np.bincount(codes[:, flipped].ravel(), minlength=size)
        sums[:, GAP] = np.bincount(every, gap, size)
        sums[:, SQUARES] = np.bincount(every, gap * gap, size)
        return self._pages(BINS, sums)

    def left_out(self, rows: FeatureBatch, before: Scores) -> Books:
        """What rows that arrived and were not compared add to their book; arguments as of ``tally``."""
        counts = self.binning.counts(self._columns(rows, before))
        return self._pages(LEFT_OUT, counts[:, None])

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

    def _columns(self, rows: FeatureBatch, scores: Scores) -> dict[str, NDArray[np.floating[Any]]]:
        return dict(chain(answer_columns(self.spec, scores), variable_columns(self.spec, rows)))

    def _pages(self, book: str, sums: NDArray[np.float64]) -> Books:
        parts = zip(self.variables, self.binning.split(sums), strict=True)
        return {Page(book, each.name): part.ravel() for each, part in parts}


def _page(books: Books, book: str, variable: Variable, columns: int) -> NDArray[np.float64]:
    found = books.get(Page(book, variable.name))
    size = len(variable.names)
    return np.zeros((size, columns)) if found is None else found.reshape(size, columns)
