"""How the bounds narrowed: what the evidence said at the end of each of some hours.

Each entry reads the sums of all rows up to then, so it is what the verdict would have said, slices and noise
apart. ``window`` is of the rows since the entry before: whether both models put these in the same order. Over
all rows, a drift that moves both models' scores makes them look more alike than they are at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.disagreement.measure import Sums
from service.domain.disagreement.rank import Rank
from service.domain.evidence.books import AGREEMENT, LABELLED, OUTCOMES, Page
from service.domain.evidence.sheet import ROWS, Sheet
from service.domain.evidence.verdict import Facts, Rules, Verdict, verdict
from service.domain.observation import OUTCOMES as OUTCOME_NAMES
from service.domain.slices import ALL

Hours: TypeAlias = Mapping[Page, Sequence[tuple[int, Sums]]]
"""Sums by hours since 1970, ascending."""

PAGES = (Page(AGREEMENT, ALL), Page(LABELLED, ALL), Page(OUTCOMES, ALL))
"""What a timeline is made of."""
POINTS = 48
"""Entries at most; each costs a verdict."""
SHOWN = {"flip_rate": "flip_rate", "beyond_tolerance": "flip_rate", "accuracy": "accuracy", "loss": "loss"}
"""Criteria of all rows, and the name that they are shown under."""


def timeline(rules: Rules, facts: Facts, hours: Hours, last: Verdict, now: float) -> list[dict[str, Any]]:
    """Entries in the order of time, ready for JSON; the last one is ``last``, as of ``now``.

    Args:
        rules: of the verdict.
        facts: as they are now; sums over all rows are replaced by what they were.
        hours: of ``PAGES``.
        last: the verdict now.
        now: seconds since 1970.
    """
    ends = sorted({hour for page in PAGES for hour, _ in hours.get(page, ())})
    chosen = [ends[place] for place in _spread(len(ends) - 1)]  # the hour that runs is shown by the last one
    pages = _Pages.of(facts, hours)
    found: list[dict[str, Any]] = []
    before = -1
    for end in chosen:
        past = pages.as_of(facts, end)
        entry = _entry(past, verdict(rules, past), (end + 1) * 3600.0)
        found.append({**entry, "window": pages.window(facts.agreement, before, end)})
        before = end
    window = pages.window(facts.agreement, before, max([-1, *ends]))
    return [*found, {**_entry(facts, last, now), "window": window}]


@dataclass(frozen=True, slots=True, eq=False)
class _Running:
    """One page, added up from hour to hour."""

    hours: NDArray[np.intp]
    """Ascending."""
    sums: NDArray[np.float64]
    """[hours + 1, columns]: before the first hour, and at the end of each."""

    @classmethod
    def of(cls, hours: Sequence[tuple[int, Sums]], total: Sums) -> _Running:
        each = np.array([sums for _, sums in hours]).reshape(len(hours), len(total))
        older = total - each.sum(
            axis=0
        )  # hours that are kept no more; what is read at two moments may be less
        sums = np.vstack([older if older[0] > 0 else np.zeros_like(total), each])
        return cls(np.array([hour for hour, _ in hours], np.intp), sums.cumsum(axis=0))

    def until(self, end: int) -> Sums:
        """All rows up to the end of that hour."""
        found: Sums = self.sums[self.hours.searchsorted(end, side="right")]
        return found


class _Pages(NamedTuple):
    """As ``PAGES``."""

    agreement: _Running
    labelled: _Running
    outcomes: _Running

    @classmethod
    def of(cls, facts: Facts, hours: Hours) -> _Pages:
        counts = np.array([facts.outcomes.get(name, 0) for name in OUTCOME_NAMES], np.float64)
        totals = (facts.compared, facts.labelled.get(ALL, facts.judgement.empty()), counts)
        return cls(
            *(_Running.of(hours.get(page, ()), total) for page, total in zip(PAGES, totals, strict=True))
        )

    def as_of(self, facts: Facts, end: int) -> Facts:
        """The facts with what was seen of all rows by the end of that hour."""
        counts = [int(rows) for rows in self.outcomes.until(end)]
        return replace(
            facts,
            compared=self.agreement.until(end),
            labelled={ALL: self.labelled.until(end)},
            outcomes=dict(zip(OUTCOME_NAMES, counts, strict=True)),
            sliced=False,
        )

    def window(self, sheet: Sheet, after: int, end: int) -> dict[str, Any]:
        """Of the rows of later hours than ``after``, up to the end of ``end``."""
        shown = sheet.show(self.agreement.until(end) - self.agreement.until(after), only=Rank().name)
        return {"rows": shown.pop(ROWS), "spearman": None, "kendall": None, **shown.get(Rank().name, {})}


def _spread(count: int) -> NDArray[np.intp]:
    """At most ``POINTS`` places of ``count``, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(max(count, 0), POINTS)).astype(np.intp))


def _entry(facts: Facts, found: Verdict, at: float) -> dict[str, Any]:
    shown = {
        f"{SHOWN[each.name]}{suffix}": value
        for each in found.criteria
        if each.slice == ALL and each.name in SHOWN
        for suffix, value in (("", each.value), ("_low", each.low), ("_high", each.high))
    }
    return {
        "at": datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds"),
        "rows": int(facts.compared[0]),
        "state": found.state,
        **shown,
    }
