"""A variable's bins, in the reference data and now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from service.domain.pictures.charts.bars import Twin, twins
from service.http.console import words
from service.http.console.blocks import Chart, Table
from service.http.console.reading import Document, real, text

MOST_BINS = 16
OTHERS = "all other bins"

Known: TypeAlias = tuple[str, float, float]
"""A bin's name, and its share of the rows in the reference data and now, 0 to 1."""


def shares(bins: Sequence[Document], named: str, title: str, table: Table | None = None) -> Chart | None:
    """Each bin's share of the rows, grey in the reference data and below it now; None where a side has none.

    Args:
        bins: with ``reference`` and ``live`` rows.
        named: under which key a bin's name is.
        table: what unfolds below.
    """
    known = known_shares(bins, named)
    if not known:
        return None
    pairs = [
        Twin(name, before, after, f"{words.share(before)} → {words.share(after)}")
        for name, before, after in _fewer(known)
    ]
    return Chart(title, twins(pairs, ("reference data", "traffic"), title), table)


def known_shares(bins: Sequence[Document], named: str) -> list[Known]:
    """Of all bins in their order; none where a side has no row."""
    found = [
        (words.bin_of(text(entry, named)), real(entry, "reference"), real(entry, "live")) for entry in bins
    ]
    known = [
        (name, before, after) for name, before, after in found if before is not None and after is not None
    ]
    sums = [sum(before for _, before, _ in known), sum(after for _, _, after in known)]
    if min(sums) <= 0:
        return []
    return [(name, before / sums[0], after / sums[1]) for name, before, after in known]


def change(known: Known) -> float:
    """By how much a bin's share has become another."""
    return abs(known[2] - known[1])


def _fewer(known: list[Known]) -> list[Known]:
    """Where there is no room for all, those that changed most in their order, and the sum of the others."""
    if len(known) <= MOST_BINS:
        return known
    order = sorted(range(len(known)), key=lambda place: change(known[place]), reverse=True)
    shown, others = sorted(order[: MOST_BINS - 1]), order[MOST_BINS - 1 :]
    rest = (OTHERS, sum(known[place][1] for place in others), sum(known[place][2] for place in others))
    return [*(known[place] for place in shown), rest]
