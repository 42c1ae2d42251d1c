"""What the routes that the console reads answer, for its tests: two candidates whose numbers agree."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta
from typing import Any

from tests.http.evidence import AS_OF, NOW, candidate, judged

PRODUCTION = "credit:gbm-1"
BETTER, WORSE = "credit:gbm-2", "credit:linear-1"


def report() -> dict[str, Any]:
    """Two candidates: one that may be promoted, one that is to be rolled back."""
    return {"production": PRODUCTION, "candidates": [better(), worse()]}


def better() -> dict[str, Any]:
    """Flips 1.2 % of 48,200 rows; better by 1.6 points on 5,000 labels."""
    made = candidate(BETTER, 48_200, 578, (212, 366), 0.018, judged((3_950, 90, 170, 790)))
    made["verdict"] = {
        "state": "promote",
        "because": "better",
        "reasons": [],
        "alpha": 0.05,
        "as_of": AS_OF.isoformat(),
        "criteria": [
            criterion("flip_rate", 0.012, 0.0107, 0.0134, 0.05, 48_200),
            criterion("gap", 0.018, 0.0172, 0.0188, 0.05, 48_200),
            criterion("failures", 0.0, 0.0, 0.00021, 0.01, 48_200),
            criterion("accuracy", 0.016, 0.0071, 0.0249, -0.01, 5_000, direction="at_least"),
            criterion("loss", -0.004, -0.0081, 0.0002, 0.01, 5_000),
            criterion("accuracy", 0.021, -0.014, 0.056, -0.05, 900, direction="at_least", slice="renters"),
        ],
        "more_rows": None,
    }
    return made


def worse() -> dict[str, Any]:
    """Flips 9.4 % of 48,150 rows; worse by 2.2 points on 5,000 labels; slow, and fails at times."""
    made = candidate(WORSE, 48_150, 4_526, (3_410, 1_116), 0.083, judged((3_700, 340, 230, 730)))
    made["rows"]["candidate_error"] = made["evidence"]["outcomes"]["candidate_error"] = 50
    made["verdict"] = {
        "state": "rollback",
        "because": None,
        "reasons": [
            {"code": "flip_rate", "detail": "surely beyond its margin: 0.094 of 48150 rows, at most 0.05"},
            {"code": "gap", "detail": "surely beyond its margin: 0.083 of 48150 rows, at most 0.05"},
            {"code": "accuracy", "detail": "surely beyond its margin: -0.022 of 5000 rows, at least -0.01"},
        ],
        "alpha": 0.05,
        "as_of": AS_OF.isoformat(),
        "criteria": [
            criterion("flip_rate", 0.094, 0.0905, 0.0976, 0.05, 48_150, "fail"),
            criterion("gap", 0.083, 0.081, 0.0851, 0.05, 48_150, "fail"),
            criterion("failures", 0.00104, 0.0007, 0.0015, 0.01, 48_200),
            criterion("accuracy", -0.022, -0.034, -0.0101, -0.01, 5_000, "fail", direction="at_least"),
            criterion("loss", 0.013, 0.006, 0.020, 0.01, 5_000, "open", more_rows=21_000),
        ],
        "more_rows": 21_000,
    }
    made["evidence"]["behaviour"] = {
        "passed": False,
        "checks": [
            check("another name of the same town", "invariance", 400, 0.9975, 0.99),
            check("more income never hurts", "directional", 400, 0.9125, 0.98),
            check("obvious refusals", "minimum_functionality", 25, 1.0, 1.0),
        ],
    }
    made["evidence"]["representative"] = {
        "representative": False,
        "judged": True,
        "kept": 48_150,
        "left_out": 250,
        "variables": [{"variable": "feature:Age", "psi": 0.31, "excess": 0.3, "z": 6.2}],
    }
    return made


def criterion(
    name: str,
    value: float | None,
    low: float | None,
    high: float | None,
    margin: float | None,
    rows: int | None,
    state: str = "pass",
    **other: Any,
) -> dict[str, Any]:
    return {
        "name": name,
        "slice": "all",
        "value": value,
        "low": low,
        "high": high,
        "margin": margin,
        "noise": 0.0,
        "direction": "at_most",
        "rows": rows,
        "state": state,
        "more_rows": None,
        **other,
    }


def check(name: str, kind: str, rows: int, rate: float, at_least: float) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "severity": "error",
        "passed": rate >= at_least,
        "rows": rows,
        "rate": rate,
        "at_least": at_least,
        "examples": [],
    }


def models() -> dict[str, Any]:
    """``/models`` as far as the console reads it."""
    return {
        "production": {"name": "credit", "version": "gbm-1", "state": "ready", "reason": None},
        "candidates": [
            {"name": "credit", "version": version, "state": "ready", "reason": None}
            for version in ("gbm-2", "linear-1")
        ],
    }


def rollout() -> dict[str, Any]:
    """A canary that answers every twentieth routing key."""
    return {
        "candidate": BETTER,
        "share_basis_points": 500,
        "salt": "understudy",
        "applied_at": (NOW - timedelta(hours=2)).isoformat(),
        "refused": None,
        "breaker": "closed",
    }


def empty(tag: str = BETTER, state: str = "shadowing", reason: str | None = None) -> dict[str, Any]:
    """A candidate of which nothing has been seen yet."""
    made = deepcopy(better())
    nothing = dict.fromkeys(made["rows"], 0)
    part: dict[str, Any] = {"compared": 0, "flipped": 0, "rate": None, "matrix": []}
    return made | {
        "candidate": tag,
        "state": state,
        "reason": reason,
        "rows": nothing,
        "coverage": None,
        "flips": part,
        "slices": {},
        "gap": {"count": 0, "mean": None},
        "seconds_per_row": {"count": 0, "mean": None},
        "explanations": made["explanations"] | {"explained": 0, "distance": {"count": 0, "mean": None}},
        "verdict": None,
        "evidence": None,
    }
