"""What labels add to the evidence: both models' answers to a row, and now the truth.

A step that settles labels may fail and be done again, so what it adds may depend on nothing but the rows at
hand. Hence the guess for the mean loss difference, from which empirical-Bernstein bounds measure how much
single differences vary, is always 0 and not the mean of earlier rows. That is as valid. It costs width: the
bounds see the second moment s² + m² in place of the variance s², so they are wider by a factor of up to
sqrt(1 + (m / s)²). Brier scores of two similar models differ by an s near 0.1; where they differ by a mean m
of 0.01, that is half a percent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.domain.disagreement.measure import Compared
from service.domain.evidence.books import LABELLED, Books, Key, Page, add
from service.domain.evidence.paired import LabelledAnswers, Settled
from service.domain.evidence.sheet import Sheet
from service.domain.slices import ALL

EXPECTED = {"loss": 0.0}


@dataclass(frozen=True, slots=True, eq=False)
class Settling:
    """``settle`` with the sheets of the pairs that are compared here; a ``paired.Settle``."""

    sheets: Mapping[Key, Sheet]

    def knows(self, key: Key) -> bool:
        """Whether the pair is compared here."""
        return key in self.sheets

    def __call__(self, parts: Sequence[LabelledAnswers]) -> list[Settled]:
        """See ``settle``."""
        return settle(parts, self.sheets)


def settle(parts: Sequence[LabelledAnswers], sheets: Mapping[Key, Sheet]) -> list[Settled]:
    """The ``labelled`` books that these rows add, one for each pair of models and hour.

    Args:
        parts: labelled rows, of any pairs in any order.
        sheets: of the measures of judgement, for each pair that is still compared; rows of others add
            nothing, because nobody knows any more what their columns would mean.
    """
    found: dict[tuple[Key, int], list[Books]] = {}
    for part in parts:
        sheet = sheets.get(part.pairing.key)
        if sheet is not None and len(part.labels):
            found.setdefault((part.pairing.key, part.hour), []).append(_judged(part, sheet))
    return [Settled(key, hour, add(books)) for (key, hour), books in found.items()]


def _judged(part: LabelledAnswers, sheet: Sheet) -> Books:
    compared = Compared(part.before, part.after, labels=part.labels, expected=EXPECTED)
    tallies = sheet.tally(compared, members_of(part))
    return {Page(LABELLED, name): sums for name, sums in tallies.items()}


def members_of(part: LabelledAnswers) -> dict[str, NDArray[np.bool_]]:
    """Which rows are in which slice: one mask [rows] per slice, ``all`` first."""
    masks = {ALL: np.ones(len(part.labels), dtype=np.bool_)}
    for bit, name in enumerate(part.pairing.slices):
        if name != ALL:
            masks[name] = part.slices >> np.uint32(bit) & np.uint32(1) == 1
    return masks
