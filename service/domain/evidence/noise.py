"""How far production differs from itself, and which differences are more than that.

The same rows are answered again in another way: with another number of threads, one row at a time, in another
session. Whatever differs then is no change of the model. The floor is the bound of the largest gap bucket
that any of these rows reached: a compared row beyond it differs by more than production ever did from itself.
The floor can only rise as more rows are run again, so rows may leave ``beyond``, never come back.
"""

from __future__ import annotations

from collections.abc import Iterable

from service.domain.disagreement.flips import Flips
from service.domain.disagreement.gap import BOUNDS, Gap
from service.domain.disagreement.measure import Sums
from service.domain.evidence.sheet import Sheet

GAP = Gap().name
FLIPS = Flips().name
BUCKETS = tuple(f"{GAP}/le:{bound:g}" for bound in BOUNDS)


def floor(sheet: Sheet, noise: Iterable[Sums]) -> float:
    """The largest gap, in spreads, that production had with itself, rounded up to a bucket's bound.

    Args:
        sheet: has the measure gap; columns as those of ``noise``.
        noise: sums of production against itself, for each way in which it was run again.

    Returns:
        0 where it never differed or was never run again; infinity where it left all buckets.
    """
    reached = [_reached(sheet, sums) for sums in noise]
    return max(reached, default=0.0)


def beyond(sheet: Sheet, sums: Sums, above: float) -> float:
    """Rows whose gap is surely more than ``above``, which is one of the buckets' bounds."""
    counts = (sheet.column(name, sums) for bound, name in zip(BOUNDS, BUCKETS, strict=True) if bound > above)
    return float(sum(counts))


def flipped(sheet: Sheet, sums: Sums) -> float:
    """Rows whose label changed; 0 for a regression."""
    return float(sheet.part(FLIPS, sums).sum()) if sheet.pair.production.classes else 0.0


def _reached(sheet: Sheet, sums: Sums) -> float:
    taken = (bound for bound, name in zip(BOUNDS, BUCKETS, strict=True) if sheet.column(name, sums) > 0)
    return max(taken, default=0.0) if sums[0] else 0.0
