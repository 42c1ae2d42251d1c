"""Two models' answers to the same rows, put side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.domain.disagreement.flips import Flips, changes
from service.domain.disagreement.gap import Gap
from service.domain.disagreement.measure import Compared, Contributions, Sums
from service.domain.evidence.sheet import Sheet
from service.domain.schema import FeatureBatch
from service.domain.slices import Slice, members

FLIPS = Flips().name
GAP = f"{Gap().name}/sum"


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What one candidate's answers to one batch show, ready to be counted."""

    sheet: Sheet
    """Has at least the measures flips and gap."""
    masks: Mapping[str, NDArray[np.bool_]]
    """Which rows are in which slice, [rows] each, ``all`` first."""
    contributions: Contributions
    """What each row adds to the sheet's sums, [rows, columns]."""
    tallies: Mapping[str, Sums]
    """Those sums by slice; slices without a row are left out."""
    seconds: float
    """CPU seconds of the candidate per row."""

    def __len__(self) -> int:
        return len(self.contributions)

    @property
    def rows(self) -> dict[str, int]:
        """Compared rows by slice, noughts included."""
        return {name: int(self.tallies[name][0]) if name in self.tallies else 0 for name in self.masks}

    @property
    def flips(self) -> dict[str, Counter[tuple[str, str]]]:
        """Flipped rows by slice, then by (from, to)."""
        named = changes(self.sheet.pair)
        found: dict[str, Counter[tuple[str, str]]] = {name: Counter() for name in self.masks}
        for name, sums in self.tallies.items() if named else ():
            counts = zip(named, self.sheet.part(FLIPS, sums), strict=True)
            found[name].update({change: int(rows) for change, rows in counts if rows})
        return found

    @property
    def flipped(self) -> NDArray[np.bool_]:
        """Which rows both models label differently, [rows]."""
        if not self.sheet.pair.production.classes:
            return np.zeros(len(self), dtype=np.bool_)
        return np.asarray(self.sheet.part(FLIPS, self.contributions).any(axis=1), dtype=np.bool_)

    @property
    def spreads(self) -> NDArray[np.float64]:
        """Absolute score gap of each row in spreads of the pair, [rows]."""
        return self.contributions[:, self.sheet.place(GAP)]

    @property
    def gaps(self) -> NDArray[np.float64]:
        """The same in the scores' own unit."""
        return self.spreads * self.sheet.pair.spread


def compare(
    sheet: Sheet, rows: FeatureBatch, compared: Compared, seconds: float, slices: tuple[Slice, ...]
) -> Comparison:
    """All that the measures of ``sheet`` say of the two answers, over all rows and in each slice.

    ``rows`` are canonical rows of the production schema, as many as were compared.
    """
    masks = members(slices, rows)
    contributions = sheet.contributions(compared)
    return Comparison(sheet, masks, contributions, sheet.fold(contributions, masks), seconds)
