"""``/shadow/report``: what the counters and the evidence say of each candidate, as one pure function.

What this replica counted since its start is computed from the very samples that ``/metrics`` shows, so the
two cannot disagree. Beside it stands what the shadow found out: evidence of all replicas since the first
comparison, and the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from service.domain.observation import OUTCOMES
from service.domain.slices import ALL

Samples: TypeAlias = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]
"""(sample name, (label, value) pairs in alphabetical order) to value."""

QUANTILES = (0.5, 0.9, 0.99)
MOST_MOVED = 5
"""Features that a report names."""


@dataclass(frozen=True, slots=True)
class CandidateState:
    """What is known of a candidate beside its counts."""

    tag: str
    refused: str | None
    """Why it is not shadowed, or None."""
    breaker_open: bool
    in_flight: int
    """Rows on their way whose outcome is not decided yet."""
    explained_by: str | None = None
    """The method that explains both models; None where nothing is explained."""
    not_explained: str | None = None
    """Why nothing is explained, or None."""


def report(
    samples: Samples,
    production: str,
    candidates: tuple[CandidateState, ...],
    found: Mapping[str, dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """The report of every candidate, ready for JSON.

    Args:
        samples: what ``/metrics`` shows.
        production: its tag.
        candidates: in the order in which they are listed.
        found: by tag ``verdict`` and ``evidence`` as the shadow wrote them; without an entry both are null.
    """
    nothing = {"verdict": None, "evidence": None}
    return {
        "production": production,
        "candidates": [
            _candidate(samples, state) | nothing | (found or {}).get(state.tag, {}) for state in candidates
        ],
    }


def _candidate(samples: Samples, state: CandidateState) -> dict[str, Any]:
    mine = [
        (name, dict(labels), value)
        for (name, labels), value in samples.items()
        if ("candidate", state.tag) in labels
    ]
    outcomes = dict.fromkeys(OUTCOMES, 0)
    rows: dict[str, int] = {}
    flips: dict[str, list[dict[str, Any]]] = {}
    for name, labels, value in mine:
        if name == "understudy_shadow_rows_total":
            outcomes[labels["outcome"]] = int(value)  # type: ignore[index]  # the label holds outcomes only
        elif name == "understudy_shadow_compared_rows_total":
            rows[labels["slice"]] = int(value)
        elif name == "understudy_shadow_flips_total" and value:
            entry = {"from": labels["from"], "to": labels["to"], "rows": int(value)}
            flips.setdefault(labels["slice"], []).append(entry)
    offered = sum(outcomes.values())
    shown = _slice(rows.get(ALL, 0), flips.get(ALL, []))
    return {
        "candidate": state.tag,
        "state": "refused" if state.refused else "paused" if state.breaker_open else "shadowing",
        "reason": state.refused,
        "rows": {"offered": offered + state.in_flight, "in_flight": state.in_flight, **outcomes},
        "coverage": outcomes["compared"] / offered if offered else None,
        "flips": shown,
        "slices": {name: _slice(rows[name], flips.get(name, [])) for name in sorted(rows) if name != ALL},
        "gap": _histogram(mine, "understudy_shadow_gap"),
        "seconds_per_row": _histogram(mine, "understudy_shadow_seconds"),
        "explanations": _explanations(mine, state),
    }


def _slice(rows: int, flips: list[dict[str, Any]]) -> dict[str, Any]:
    flipped = sum(entry["rows"] for entry in flips)
    return {
        "compared": rows,
        "flipped": flipped,
        "rate": flipped / rows if rows else None,
        "matrix": sorted(flips, key=lambda entry: -entry["rows"]),
    }


def _explanations(mine: list[tuple[str, dict[str, str], float]], state: CandidateState) -> dict[str, Any]:
    """How far the reasons differ, and the features whose share of the influence moved most."""
    explained, overlaps = 0, 0.0
    unexplained: dict[str, int] = {}
    moved: dict[str, float] = {}
    for name, labels, value in mine:
        if name == "understudy_shadow_explained_rows_total":
            explained = int(value)
        elif name == "understudy_shadow_explanation_overlaps_total":
            overlaps = value
        elif name == "understudy_shadow_unexplained_rows_total":
            unexplained[labels["reason"]] = int(value)
        elif name == "understudy_shadow_influence_moved_total" and value:
            moved[labels["feature"]] = value
    most = sorted(moved, key=lambda feature: (-moved[feature], feature))[:MOST_MOVED] if explained else []
    return {
        "method": state.explained_by,
        "reason": state.not_explained,
        "explained": explained,
        "unexplained": dict(sorted(unexplained.items())),
        "distance": _histogram(mine, "understudy_shadow_explanation_distance"),
        "top_overlap": overlaps / explained if explained else None,
        "moved": [{"feature": feature, "mean": moved[feature] / explained} for feature in most],
    }


def _histogram(mine: list[tuple[str, dict[str, str], float]], family: str) -> dict[str, Any]:
    """Count, mean and quantiles; a quantile is the upper bound of the bucket that it falls into."""
    total = next((value for name, _, value in mine if name == f"{family}_sum"), 0.0)
    buckets = sorted(
        (float(labels["le"]), int(value)) for name, labels, value in mine if name == f"{family}_bucket"
    )
    count = buckets[-1][1] if buckets else 0
    quantiles = {}
    for share in QUANTILES if count else ():
        bound = next(bound for bound, below in buckets if below >= share * count)
        quantiles[f"p{share * 100:g}_at_most"] = bound if bound != float("inf") else None
    return {"count": count, "mean": total / count if count else None, **quantiles}
