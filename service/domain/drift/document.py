"""What ``GET /drift`` shows: every measure of every variable of each model, over an hour and longer.

The document is made anew every few seconds in the shadow: three models of 22 variables and four windows take
some 15 ms on one core. A window with the same rows as the one before is not measured again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.binning import Variable
from service.domain.drift.alerting import deviations, moved, told_apart
from service.domain.drift.measure import Sample
from service.domain.drift.measures import MEASURES
from service.domain.drift.slots import TOLD_CELLS, TOLD_RIGHT, TOLD_WRONG, Role, Window

SMALLEST = -1e300
"""Stands for the excess of variables without rows, which come last."""


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """One model in one role, and what was counted of it by every replica."""

    tag: str
    role: Role
    variables: Sequence[Variable]
    since: float | None
    """Seconds since 1970; None where nothing was counted yet."""
    windows: Mapping[str, Window]
    """By name, in the order in which they are shown. ``counts`` are the rows in the bins of all variables,
    one after the other as ``Binning`` has them, then ``TOLD_CELLS`` of the two-sample test."""
    tells: bool
    """Whether a two-sample test looks at the model's rows."""


def drift_document(
    models: Sequence[Watched],
    now: float,
    store: str = "ok",
    reason: str | None = None,
    outcomes: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """The document, ready for JSON.

    Args:
        models: production first.
        now: seconds since 1970.
        store: or why the store could not be read or written.
        reason: why there is nothing to be seen, or None.
        outcomes: what became of the rows of this replica since its start that were to be counted.

    Raises:
        ValueError: a window's vector is not as long as the model's bins ask for.
    """
    return {
        "as_of": _moment(now),
        "store": store,
        "reason": reason,
        "outcomes": dict(outcomes or {}),
        "measures": [{"name": each.name, "unit": each.unit} for each in MEASURES],
        "models": [_model(each) for each in models],
    }


def _model(watched: Watched) -> dict[str, Any]:
    shown: dict[str, dict[str, Any]] = {}
    before: tuple[NDArray[np.float64], dict[str, Any]] | None = None
    for name, (begin, counts) in watched.windows.items():
        if before is None or not np.array_equal(before[0], counts):
            before = counts, _window(watched, counts)
        shown[name] = {"from": _moment(begin), **before[1]}
    return {
        "model": watched.tag,
        "role": watched.role,
        "since": None if watched.since is None else _moment(watched.since),
        "windows": shown,
    }


def _window(watched: Watched, counts: NDArray[np.float64]) -> dict[str, Any]:
    ends = np.cumsum([0, *(len(each.reference) for each in watched.variables)])
    if len(counts) != ends[-1] + TOLD_CELLS:
        raise ValueError(f"{watched.tag}: {len(counts)} cells where {ends[-1] + TOLD_CELLS} belong")
    parts = np.split(counts[:-TOLD_CELLS], ends[1:-1]) if watched.variables else []
    found = [_variable(*each) for each in zip(watched.variables, parts, strict=True)]
    found.sort(key=_excess, reverse=True)
    return {
        "rows": max((each["rows"] for each in found), default=0),
        "drifted": [each["variable"] for each in found if each["drifted"]],
        "variables": found,
        "two_sample": _two_sample(counts) if watched.tells else None,
    }


def _variable(variable: Variable, live: NDArray[np.float64]) -> dict[str, Any]:
    sample = Sample.of(variable, live)
    own = sum(variable.reference)
    known = bool(own) and sample.rows > 0
    return {
        "variable": variable.name,
        "rows": int(sample.rows),
        "drifted": known and moved(sample),
        "measures": {each.name: each.value(sample) if known else None for each in MEASURES},
        "reference_missing_share": variable.reference[variable.missing] / own if own else None,
        "reference_unseen_share": sum(variable.reference[each] for each in variable.strange) / own
        if own
        else None,
        "bins": [
            {"bin": name, "reference": before, "live": int(now)}
            for name, before, now in zip(variable.names, variable.reference, live.tolist(), strict=True)
        ],
    }


def _excess(shown: Mapping[str, Any]) -> float:
    found = shown["measures"]["psi_excess"]
    return SMALLEST if found is None else float(found)


def _two_sample(counts: NDArray[np.float64]) -> dict[str, Any]:
    right, wrong = float(counts[TOLD_RIGHT]), float(counts[TOLD_WRONG])
    rows = right + wrong
    accuracy = right / rows if rows else None
    return {
        "rows": int(rows),
        "accuracy": accuracy,
        "z": None if accuracy is None else deviations(accuracy, rows),
        "differs": told_apart(right, rows),
    }


def _moment(seconds: float) -> str:
    """Seconds since 1970 as people and programs read them."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
