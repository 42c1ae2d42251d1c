"""What the evidence of one candidate says, as one document: the same live, over replicas, and in a replay."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from service.domain.disagreement.measure import Sums
from service.domain.evidence import noise, speed
from service.domain.evidence.bins import Bins
from service.domain.evidence.books import AGREEMENT, LABELLED, NOISE, OUTCOMES, SPEED, Books, Page
from service.domain.evidence.cases import Case
from service.domain.evidence.sequential import proportion
from service.domain.evidence.sheet import Sheet
from service.domain.evidence.timeline import Hours, timeline
from service.domain.evidence.verdict import Facts, Rules, Verdict, verdict
from service.domain.observation import OUTCOMES as OUTCOME_NAMES
from service.domain.slices import ALL


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """One candidate beside production, and how its books are read."""

    agreement: Sheet
    """Over the measures of disagreement."""
    judgement: Sheet
    """Over those that need the truth."""
    itself: Sheet
    """As ``agreement``, of production beside itself."""
    slices: tuple[str, ...]
    """The manifest's, without ``all``."""
    bins: Bins | None
    """None where the reference data has no bins."""
    rules: Rules


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """All that was seen of one candidate, by every replica, and what is known of it beside that."""

    books: Books
    hours: Hours = field(default_factory=dict)
    """By the hour, of pages that the timeline shows."""
    cases: Sequence[Case] = ()
    since: float | None = None
    """Seconds since 1970; None where nothing was seen."""
    now: float = 0.0
    """Seconds since 1970."""
    store: str = "ok"
    """Or why the store could not be read or written."""
    refused: str | None = None
    """Why the candidate is not shadowed, or None."""
    behaviour: Mapping[str, Any] | None = None
    """How its behavioural suite went; None where it has none."""


def assess(study: Study, seen: Seen, evidence: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """``verdict`` and ``evidence`` of one candidate, ready for JSON.

    Args:
        study: the candidate beside production.
        seen: what was seen of it.
        evidence: as of an earlier moment, which it says; to be shown again, because a verdict takes 10 ms
            and this 70.
    """
    representative = None if study.bins is None else study.bins.representative(seen.books)
    facts = _facts(study, seen, representative)
    found = verdict(study.rules, facts)
    return {
        "verdict": {**found.to_document(), "as_of": moment(seen.now)},
        "evidence": _evidence(study, seen, facts, found) if evidence is None else evidence,
    }


def refused(rules: Rules, reason: str, now: float) -> dict[str, Any]:
    """The same of a candidate that cannot be run at all, so that its books cannot be read."""
    return {
        "verdict": {
            "state": "hold",
            "because": None,
            "reasons": [{"code": "refused", "detail": reason}],
            "alpha": rules.alpha,
            "criteria": [],
            "more_rows": None,
            "as_of": moment(now),
        },
        "evidence": None,
    }


def moment(seconds: float) -> str:
    """Seconds since 1970 as people and programs read them."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _facts(study: Study, seen: Seen, representative: Mapping[str, Any] | None) -> Facts:
    books = seen.books
    failing = () if seen.behaviour is None else _failing(seen.behaviour)
    return Facts(
        agreement=study.agreement,
        compared=_page(books, AGREEMENT, study.agreement),
        judgement=study.judgement,
        labelled={name: books[Page(LABELLED, name)] for name in _names(books, LABELLED)},
        itself=study.itself,
        noise={name: books[Page(NOISE, name)] for name in _names(books, NOISE)},
        outcomes=_outcomes(books),
        slices=study.slices,
        representative=representative,
        refused=seen.refused,
        behaviour=failing,
    )


def _failing(behaviour: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(
        check["name"]
        for check in behaviour["checks"]
        if not check["passed"] and check.get("severity") == "error"
    )


def _names(books: Books, book: str) -> list[str]:
    return [page.name for page in books if page.book == book]


def _page(books: Books, book: str, sheet: Sheet, name: str = ALL) -> Sums:
    found = books.get(Page(book, name))
    return np.zeros(len(sheet.columns)) if found is None else found


def _outcomes(books: Books) -> dict[str, int]:
    sums = books.get(Page(OUTCOMES, ALL))
    counts = [0] * len(OUTCOME_NAMES) if sums is None else [int(rows) for rows in sums]
    return dict(zip(OUTCOME_NAMES, counts, strict=True))


def _evidence(study: Study, seen: Seen, facts: Facts, found: Verdict) -> dict[str, Any]:
    books, sheet = seen.books, study.agreement
    compared = _page(books, AGREEMENT, sheet)
    shown = sheet.show(compared)
    rows = shown.pop("rows")
    return {
        "as_of": moment(seen.now),
        "since": None if seen.since is None else moment(seen.since),
        "store": seen.store,
        "rows": rows,
        "measures": shown,
        "slices": {name: _slice(study, books, name) for name in study.slices},
        **_noise(study, books, compared),
        "worst_slices": None if study.bins is None else study.bins.worst_slices(books, study.rules.alpha),
        "labelled": _labelled(study, books, ALL),
        "outcomes": dict(facts.outcomes),
        "coverage": facts.coverage,
        "representative": facts.representative,
        "speed": speed.show(books.get(Page(SPEED, ALL), np.zeros(len(speed.COLUMNS)))),
        "drift": None if study.bins is None else study.bins.drift(books),
        "timeline": timeline(study.rules, facts, seen.hours, found, seen.now),
        "cases": _cases(seen.cases),
        "behaviour": seen.behaviour,
    }


def _slice(study: Study, books: Books, name: str) -> dict[str, Any]:
    shown = study.agreement.show(_page(books, AGREEMENT, study.agreement, name))
    return {**shown, "labelled": _labelled(study, books, name)}


def _labelled(study: Study, books: Books, name: str) -> dict[str, Any] | None:
    sums = books.get(Page(LABELLED, name))
    return None if sums is None else study.judgement.show(sums)


def _noise(study: Study, books: Books, compared: Sums) -> dict[str, Any]:
    """How far production differs from itself, and how many rows differ by more than that.

    Before production was asked a second time nobody knows; then nothing is said of these rows. No row is
    beyond a noise that left all buckets, whose bound JSON cannot name either.
    """
    variants = {name: books[Page(NOISE, name)] for name in _names(books, NOISE)}
    floor = noise.floor(study.itself, variants.values())
    rates = [noise.flipped(study.itself, sums) / sums[0] for sums in variants.values()]
    rows = int(compared[0])
    beyond = int(noise.beyond(study.agreement, compared, floor))
    bounds = proportion(beyond, rows, study.rules.alpha)
    known = bool(variants) and rows > 0
    return {
        "noise": {
            "variants": {name: study.itself.show(sums) for name, sums in sorted(variants.items())},
            "flip_rate": float(max(rates)) if rates else None,
            "gap": floor if variants and floor < math.inf else None,
        },
        "beyond_noise": {
            "rows": beyond if known else None,
            "share": beyond / rows if known else None,
            "low": bounds.low if known else None,
            "high": bounds.high if known else None,
        },
    }


def _cases(cases: Sequence[Case]) -> dict[str, Any]:
    best_first = sorted(cases, key=lambda case: case.rank)
    samples: dict[str, list[dict[str, Any]]] = {}
    for case in best_first:
        if case.kind == "sample":
            samples.setdefault(case.slice, []).append(_case(case))
    return {"worst": [_case(case) for case in best_first if case.kind == "worst"], "samples": samples}


def _case(case: Case) -> dict[str, Any]:
    return {"request_id": case.request_id, "row": case.row, "at": moment(case.at), **case.document}
