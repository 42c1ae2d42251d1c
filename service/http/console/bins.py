"""A variable's bins, in the reference data and now."""

from __future__ import annotations

from collections.abc import Sequence

from service.domain.pictures.charts.bars import Twin, twins
from service.http.console import words
from service.http.console.blocks import Chart, Table
from service.http.console.reading import Document, real, text

MOST_BINS = 16


def shares(bins: Sequence[Document], named: str, title: str, table: Table | None = None) -> Chart | None:
    """Each bin's share of the rows, grey in the reference data and below it now; None where a side has none.

    Args:
        bins: with ``reference`` and ``live`` rows.
        named: under which key a bin's name is.
        table: what unfolds below.
    """
    found = [
        (words.bin_of(text(entry, named)), real(entry, "reference"), real(entry, "live"))
        for entry in bins[:MOST_BINS]
    ]
    known = [
        (name, before, after) for name, before, after in found if before is not None and after is not None
    ]
    sums = [sum(before for _, before, _ in known), sum(after for _, _, after in known)]
    if not known or min(sums) <= 0:
        return None
    pairs = [
        Twin(
            name,
            before / sums[0],
            after / sums[1],
            f"{words.share(before / sums[0])} → {words.share(after / sums[1])}",
        )
        for name, before, after in known
    ]
    return Chart(title, twins(pairs, ("reference data", "traffic"), title), table)
