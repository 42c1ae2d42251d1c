"""Streams of rows in slots of five minutes, and what alerts on drift say of them, many slots at a time.

Each row is drawn from a pool of real rows, so that a stream's variables depend on each other as they do
there. Arrivals are a Poisson process. The measures are those of ``service.domain.drift`` for many windows at
once, to which tests hold them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from deploy.prometheus.budgets import MORE, TIMES
from service.domain.binning import Binning, Column
from service.domain.drift.alerting import EXCESS, LEAST_ROWS, PAGE_EXCESS, SLOW_EXCESS, SURE
from service.domain.drift.measure import SMOOTHING
from service.domain.drift.slots import SLOT_SECONDS

HOUR = 3_600 // SLOT_SECONDS
"""Slots."""
DAY = 24 * HOUR
LASTING = 3
"""Slots for which an alert must have been due before it fires: 15 minutes."""
SLOWLY = HOUR
"""The same of what is seen over a day."""

Floats: TypeAlias = NDArray[np.float64]
Looks: TypeAlias = NDArray[np.bool_]
"""[slots, variables]"""


@dataclass(frozen=True, eq=False)
class Pool:
    """Rows that may arrive, and the bins that they fall in."""

    binning: Binning
    bins: NDArray[np.float32]
    """[rows, bins of all variables]: 1 in a row's bin of each variable."""

    @classmethod
    def of(cls, binning: Binning, columns: Mapping[str, Column]) -> Pool:
        """Columns as ``Binning.codes`` takes them."""
        codes = binning.codes(columns)
        bins = np.zeros((codes.shape[1], binning.size), np.float32)
        bins[np.arange(codes.shape[1]), codes] = 1.0
        return cls(binning, bins)

    def stream(self, per_hour: float, slots: int, random: np.random.Generator, times: int = 1) -> Floats:
        """Rows by bin in each slot, [slots, bins].

        Args:
            per_hour: rows that are to be expected in an hour.
            slots: how many.
            random: of the draws.
            times: how often each row that is drawn is sent.
        """
        drawn = random.poisson(per_hour / HOUR / times, slots)
        size = len(self.bins)
        rows = random.integers(size, size=drawn.sum(), dtype=np.int32)
        rows += np.repeat(np.arange(slots, dtype=np.int32) * size, drawn)
        tally = np.bincount(rows, minlength=slots * size).reshape(slots, size)
        found: Floats = (tally.astype(np.float32) @ self.bins).astype(np.float64) * times  # exact up to 2**24
        return found


@dataclass(frozen=True, eq=False)
class Seen:
    """Measures of one window's rows at the end of each slot; [slots, variables] all."""

    rows: Floats
    psi: Floats
    excess: Floats
    z: Floats
    missing: Floats
    """Live share."""
    strange: Floats
    unit: Floats

    @classmethod
    def of(cls, binning: Binning, live: Floats) -> Seen:
        """Of rows by bin, [slots, bins]; a variable without rows has no excess and no z."""
        firsts = binning.starts[:-1]
        owner = np.repeat(np.arange(len(firsts)), np.diff(binning.starts))
        reference = np.concatenate([each.reference for each in binning.variables]).astype(np.float64)

        def by_variable(values: Floats) -> Floats:
            found: Floats = np.add.reduceat(values, firsts, axis=-1)
            return found

        rows, known = by_variable(live), by_variable(reference)
        chosen = (live + reference > 0).astype(np.float64)
        bins = by_variable(chosen)
        p = (reference + SMOOTHING) / (known + SMOOTHING * bins)[:, owner]
        q = (live + SMOOTHING) / (rows + SMOOTHING * bins)[:, owner]
        psi = by_variable(chosen * (q - p) * np.log(q / p))
        some = np.maximum(rows, 1.0)
        unit = 1.0 / some + 1.0 / known
        freedom = np.maximum(bins - 1.0, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):  # variables of a single bin are put right below
            spread = 2.0 / (9.0 * freedom)
            z = (np.cbrt(psi / unit / freedom) - (1.0 - spread)) / np.sqrt(spread)
        excess = psi - freedom * unit
        none = (rows == 0.0) | (freedom == 0.0)
        missing = [start + each.missing for start, each in zip(firsts, binning.variables, strict=True)]
        strange = np.zeros(live.shape[-1])
        for start, each in zip(firsts, binning.variables, strict=True):
            strange[[start + place for place in each.strange]] = 1.0
        return cls(
            rows,
            psi,
            np.where(none, 0.0, excess),
            np.where(none, 0.0, z),
            live[:, missing] / some,
            by_variable(live * strange) / some,
            unit,
        )


def windows(live: Floats, slots: int) -> Floats:
    """Rows of the last slots at the end of each, [slots, bins]; the first windows are shorter."""
    sums = live.cumsum(axis=0)
    sums[slots:] = sums[slots:] - sums[:-slots].copy()
    return sums


def lasting(due: Looks, slots: int = LASTING) -> Looks:
    """Whether an alert fires: it has been due for so long."""
    found = due.copy()
    for back in range(1, slots + 1):
        found[back:] &= due[:-back]
        found[:back] = False
    return found


def started(firing: Looks) -> int:
    """Alerts: how often one of them begins to fire."""
    return int(firing[0].sum() + (firing[1:] & ~firing[:-1]).sum())


@dataclass(frozen=True, eq=False)
class Said:
    """What is firing at the end of each slot."""

    ticket: Looks
    page: Looks
    unusual: Looks
    """Missing or unseen values."""
    slow: Looks
    """Over a day alone: for models that few rows come to, and for small changes that last."""
    psi: Looks
    """The usual rule, PSI > 0.2 over an hour."""
    psi_low: Looks
    """PSI > 0.1."""

    def items(self) -> Iterator[tuple[str, Looks]]:
        yield from vars(self).items()


def said(binning: Binning, live: Floats) -> Said:
    """What every rule says of a stream, [slots, bins]."""
    hour, six, day = (Seen.of(binning, windows(live, slots)) for slots in (HOUR, 6 * HOUR, DAY))
    enough = hour.rows >= LEAST_ROWS

    def moved(excess: float) -> Looks:
        both = [(each.excess > excess) & (each.z > SURE) for each in (hour, six)]
        return lasting(enough & both[0] & both[1])

    unusual = np.zeros_like(enough)
    for name, known in reference_shares(binning).items():
        share, before = getattr(hour, name), getattr(six, name)
        more = share - known
        with np.errstate(divide="ignore", invalid="ignore"):  # a share of 0 or 1 has no spread
            sure = more / np.sqrt(share * (1 - share) * hour.unit) > SURE
        due = (more > MORE) & (share > TIMES * known) & sure & enough & (before - known > MORE)
        unusual |= lasting(due)
    daily = (day.excess > SLOW_EXCESS) & (day.z > SURE) & (day.rows >= LEAST_ROWS)
    some = hour.rows > 0
    return Said(
        moved(EXCESS),
        moved(PAGE_EXCESS),
        unusual,
        lasting(daily, SLOWLY),
        lasting(some & (hour.psi > 0.2)),
        lasting(some & (hour.psi > 0.1)),
    )


def reference_shares(binning: Binning) -> dict[str, Floats]:
    """The reference data's own shares of missing and of strange values, [variables]."""
    known = [(each, max(1, sum(each.reference))) for each in binning.variables]
    return {
        "missing": np.array([each.reference[each.missing] / rows for each, rows in known]),
        "strange": np.array([sum(each.reference[at] for at in each.strange) / rows for each, rows in known]),
    }
