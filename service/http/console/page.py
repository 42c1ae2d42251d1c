"""The whole page: from the documents of ``/shadow/report``, ``/models``, ``/rollout`` and ``/drift`` to HTML.

Pure: nothing is read, and the same documents at the same time give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from service.http.console import agreement, cases, inputs, labels, running, verdict, words
from service.http.console.blocks import Part, Shown
from service.http.console.drift import traffic
from service.http.console.layout import laid_out
from service.http.console.reading import Document, at, entries, mapping, moment, real, text

MOST_CANDIDATES = 32
MOST_NAMES = 50
"""Candidates beyond that which are named at least."""
MOST_CASES, ALL_CASES = 10, 40
"""Cases of one candidate, and of all together where there are many."""
TOGETHER = timedelta(seconds=2)
"""Verdict and details that are no further apart are of the same time."""
STALE = timedelta(minutes=1)
"""A verdict is told anew every second, unless whoever tells it has no time or is no more."""
FEW = 8
"""Candidates up to which each variable is shown bin by bin."""


def console_page(
    report: Mapping[str, Any],
    models: Mapping[str, Any],
    rollout: Mapping[str, Any],
    drift: Mapping[str, Any],
    now: datetime,
) -> bytes:
    """The console, UTF-8.

    Args:
        report: as ``/shadow/report`` answers it; whatever it lacks is left out of the page.
        models: as ``/models`` answers it.
        rollout: as ``/rollout`` answers it.
        drift: as ``/drift`` answers it; the same goes for it.
        now: what the age of the evidence is counted from, with a time zone.
    """
    found = entries(report, "candidates")
    production = text(report, "production") or "unknown"
    most = min(len(found), MOST_CANDIDATES)
    page = {
        "production": production,
        "left_out": [text(entry, "candidate") or "unknown" for entry in found[most:][:MOST_NAMES]],
        "count": len(found),
        "canary": running.canary(rollout),
        "made": words.when(now.astimezone(UTC)),
    }
    shown = (
        _candidate(entry, place, production, models, rollout, now, most)
        for place, entry in enumerate(found[:most], 1)
    )
    return laid_out(page, tuple(shown), traffic(drift, now))


def _candidate(
    entry: Document,
    place: int,
    production: str,
    models: Document,
    rollout: Document,
    now: datetime,
    many: int,
) -> Shown:
    tag = text(entry, "candidate") or "unknown"
    tags = (production, tag)
    parts: list[Part | None] = [verdict.criteria(entry)]
    if real(entry, "evidence", "rows"):
        parts += [
            verdict.over_time(entry),
            agreement.difference(entry),
            agreement.slices(entry),
            labels.judged(entry, tags),
            cases.worst(entry, tags, max(2, min(MOST_CASES, ALL_CASES // many))),
            running.reasons(entry),
            inputs.drift(entry, in_detail=many <= FEW),
        ]
    else:
        parts.append(Part("Evidence", (verdict.nothing_kept(_compared(entry)),)))
    parts += [running.speed(entry), running.behaviour(entry), running.accounting(entry)]
    return Shown(
        tag,
        f"candidate-{place}",
        verdict.banner(entry),
        _warnings(entry, tag, models, now),
        _facts(entry, tag, rollout),
        _as_of(entry, now),
        tuple(part for part in parts if part is not None),
    )


def _compared(entry: Document) -> float:
    return real(entry, "evidence", "rows") or real(entry, "rows", "compared") or 0.0


def _facts(entry: Document, tag: str, rollout: Document) -> tuple[tuple[str, str], ...]:
    """What one wants to know at a glance."""
    found = mapping(entry, "evidence")
    accuracy = real(found, "labelled", "accuracy", "difference")
    ratio = real(found, "speed", "ratio")
    share = real(rollout, "share_basis_points") if text(rollout, "candidate") == tag else None
    said = (
        ("rows compared", words.count(_compared(entry))),
        ("got another label", words.share(real(found, "measures", "flips", "rate"))),
        ("beyond the tolerance", _beyond(found)),
        (f"mean score gap{_unit(found)}", words.amount(real(found, "measures", "gap", "mean"))),
        ("rows with labels", words.count(real(found, "labelled", "rows"))),
        ("accuracy gained", words.points(accuracy)),
        ("production's CPU time", f"{words.amount(ratio)}{words.TIMES}" if ratio else words.NONE),
        ("of the traffic compared", words.share(real(found, "coverage") or real(entry, "coverage"))),
        ("answered as canary", words.share(share / 10_000) if share else words.NONE),
    )
    return tuple((name, value) for name, value in said if value != words.NONE)


def _unit(found: Document) -> str:
    """In which gaps are counted, where it is not the one of probabilities."""
    return "" if at(found, "measures", "flips") else ", in spreads"


def _beyond(found: Document) -> str:
    """Of a regression; scores of classes hardly ever agree to the last digit."""
    within = real(found, "measures", "tolerance", "share")
    return words.NONE if within is None or at(found, "measures", "flips") else words.share(1.0 - within)


def _warnings(entry: Document, tag: str, models: Document, now: datetime) -> tuple[str, ...]:
    """What stands between the reader and fresh evidence."""
    said = []
    if at(entry, "state") == "paused":
        said.append(
            "The candidate failed too often and is paused for a while; nothing is compared meanwhile."
        )
    loading = {
        f"{text(model, 'name')}:{text(model, 'version')}"
        for model in entries(models, "candidates")
        if at(model, "state") == "loading"
    }
    if tag in loading:
        said.append("The shadow is not running, or has not loaded this candidate yet.")
    judged = moment(entry, "verdict", "as_of") or moment(entry, "evidence", "as_of")
    if judged is not None and now - judged > STALE:
        said.append(f"The shadow has told nothing for {words.age(now - judged)}; what follows is old.")
    store = text(entry, "evidence", "store")
    if store not in (None, "ok"):
        said.append(f"The store does not answer, so the evidence waits in memory: {store}")
    return tuple(said)


def _as_of(entry: Document, now: datetime) -> str:
    known, since = moment(entry, "evidence", "as_of"), moment(entry, "evidence", "since")
    judged = moment(entry, "verdict", "as_of") or known
    if judged is None:
        return ""
    said = f"Verdict as of {words.when(judged)}, {words.age(now - judged)} old"
    if known is not None and abs(known - judged) > TOGETHER:
        said += f"; details as of {words.when(known)}"
    return said if since is None else f"{said}; gathered since {words.when(since)}"
