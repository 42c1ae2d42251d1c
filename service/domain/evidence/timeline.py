"""How the bounds narrowed: what the evidence said at the end of each of some hours.

Each entry reads the sums of all rows up to then, so it is what the verdict would have said, slices and noise
apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.disagreement.measure import Sums
from service.domain.evidence.books import AGREEMENT, LABELLED, OUTCOMES, Page
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
    found = []
    for end in chosen:
        past = _as_of(facts, hours, end)
        found.append(_entry(past, verdict(rules, past), (end + 1) * 3600.0))
    return [*found, _entry(facts, last, now)]


def _spread(count: int) -> NDArray[np.intp]:
    """At most ``POINTS`` places of ``count``, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(max(count, 0), POINTS)).astype(np.intp))


def _as_of(facts: Facts, hours: Hours, end: int) -> Facts:
    agreement, labelled, outcomes = (_until(hours.get(page, ()), end) for page in PAGES)
    counts = [0] * len(OUTCOME_NAMES) if outcomes is None else [int(rows) for rows in outcomes]
    return replace(
        facts,
        compared=facts.agreement.empty() if agreement is None else agreement,
        labelled={} if labelled is None else {ALL: labelled},
        outcomes=dict(zip(OUTCOME_NAMES, counts, strict=True)),
    )


def _until(sums: Sequence[tuple[int, Sums]], end: int) -> Sums | None:
    """The sum of all hours up to ``end``; None before the first."""
    found = [part for hour, part in sums if hour <= end]
    return np.sum(found, axis=0) if found else None


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
