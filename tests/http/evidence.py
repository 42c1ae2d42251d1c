"""What a candidate's report and evidence hold, for tests of the console; the numbers of one agree."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

NOW = datetime(2026, 11, 22, 21, 4, 10, tzinfo=UTC)
AS_OF = NOW - timedelta(seconds=4)
SINCE = NOW - timedelta(hours=30)

BUCKETS = (0.0, 1e-7, 1e-6, 1e-5, 1e-4, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, None)
"""Upper bounds of score gaps; the last has none."""


def case(place: int = 0) -> dict[str, Any]:
    """One kept row that the two models answer differently."""
    return {
        "request_id": f"application-{4711 + place}",
        "row": place % 3,
        "at": (AS_OF - timedelta(minutes=7 * place)).isoformat(),
        "severity": 0.81 - 0.02 * place,
        "inputs": {
            "Age": 23 + place,
            "Income": 74.0,
            "Home": "rent",
            "Marital": "single",
            "Records": "dropped",
            "Telephone": "hash:5f2c9a1e77b04d10",
            "Debt": None,
        },
        "redacted": ["Records", "Telephone"],
        "production": {"label": "bad", "probabilities": {"bad": 0.87, "good": 0.13}},
        "candidate": {"label": "good", "probabilities": {"bad": 0.06, "good": 0.94}},
        "slices": ["renters", "young"],
        "explanations": {
            "production": {
                "method": "tree-exact",
                "base_value": 0.91,
                "values": {"Income": -1.4, "Home": -0.9, "Age": -0.31, "Marital": 0.05, "Debt": 0.0},
            },
            "candidate": {
                "method": "tree-exact",
                "base_value": 1.02,
                "values": {"Income": 0.7, "Home": -0.2, "Age": 0.12, "Marital": 0.6, "Debt": 0.02},
            },
        },
    }


def candidate(
    tag: str, rows: int, flipped: int, ways: tuple[int, int], gap: float, labelled: dict[str, Any]
) -> dict[str, Any]:
    outcomes = {
        "compared": rows,
        "sampled_out": 0,
        "queue_full": 180,
        "deadline": 70,
        "breaker_open": 0,
        "candidate_error": 0,
        "too_large": 0,
        "shadow_down": 0,
    }
    matrix = [{"from": "good", "to": "bad", "rows": ways[1]}, {"from": "bad", "to": "good", "rows": ways[0]}]
    rate = flipped / rows
    flips = {"flipped": flipped, "rate": rate, "matrix": matrix}
    return {
        "candidate": tag,
        "state": "shadowing",
        "reason": None,
        "rows": {"offered": sum(outcomes.values()) + 12, "in_flight": 12, **outcomes},
        "coverage": rows / sum(outcomes.values()),
        "flips": {"compared": rows, **flips},
        "slices": {},
        "gap": {"count": rows, "mean": gap, "p50_at_most": 0.01, "p99_at_most": 0.2},
        "seconds_per_row": {"count": rows, "mean": 4.1e-6, "p99_at_most": 2.5e-5},
        "explanations": {
            "method": "tree-exact",
            "reason": None,
            "explained": 480,
            "unexplained": {},
            "distance": {"count": 480, "mean": 0.214},
            "top_overlap": 0.71,
            "moved": [{"feature": "Income", "mean": 0.11}, {"feature": "Home", "mean": 0.06}],
        },
        "verdict": None,
        "evidence": {
            "as_of": AS_OF.isoformat(),
            "since": SINCE.isoformat(),
            "store": "ok",
            "rows": rows,
            "measures": {
                "flips": flips,
                "gap": {
                    "mean": gap,
                    "signed_mean": gap / 3,
                    "std": 2 * gap,
                    "histogram": _histogram(rows, gap),
                },
                "total_variation": {"mean": gap},
                "kl": {"mean": gap / 4},
                "rank": {"spearman": 1 - rate, "kendall": 1 - 2 * rate},
                "region_overlap": {"rows": rows, "mean": 1 - 2 * rate, "same": 1 - 3 * rate},
                "beyond": {"rows": rows, "beyond": flipped // 4, "share": flipped // 4 / rows},
            },
            "slices": {
                name: _slice(int(rows * part), rate * factor, gap * factor, labelled)
                for name, part, factor in (("renters", 0.22, 1.9), ("young", 0.18, 2.6), ("owners", 0.5, 0.6))
            },
            "noise": {
                "variants": {
                    variant: {"rows": 482, "flips": {"flipped": 0, "rate": 0.0}, "gap": {"mean": mean}}
                    for variant, mean in (("threads", 3.1e-8), ("alone", 4.7e-8), ("session", 0.0))
                },
                "flip_rate": 0.0083,
                "gap": 1.2e-7,
            },
            "beyond_noise": {"rows": flipped, "share": rate, "low": rate * 0.9, "high": rate * 1.1},
            "worst_slices": {
                "looks": 84,
                "of": "flips",
                "alpha": 0.05,
                "found": [
                    _worst("feature:Income", "74 to 88", 3_120, 4.1 * rate, rate * 0.8),
                    _worst("feature:Home", "other", 1_450, 2.7 * rate, rate * 0.93),
                ],
            },
            "labelled": labelled,
            "outcomes": outcomes,
            "coverage": rows / sum(outcomes.values()),
            "representative": {
                "representative": True,
                "judged": True,
                "kept": rows,
                "left_out": 250,
                "variables": [],
            },
            "speed": {
                "rows": rows,
                "production_seconds_per_row": 2.9e-6,
                "candidate_seconds_per_row": 4.1e-6,
                "ratio": 1.41,
                "low": 1.37,
                "high": 1.46,
            },
            "drift": _drift(rows),
            "timeline": _timeline(rows, rate, labelled["accuracy"]["difference"]),
            "cases": {"worst": [case(place) for place in range(6)], "samples": {}},
            "behaviour": None,
        },
    }


def judged(both: tuple[int, int, int, int]) -> dict[str, Any]:
    rows = sum(both)
    before, after = (both[0] + both[1]) / rows, (both[0] + both[2]) / rows
    names = ("both", "production_only", "candidate_only", "neither")
    bins = [
        {
            "from": start / 10,
            "to": (start + 1) / 10,
            "rows": rows // 5,
            "confidence": start / 10 + 0.05,
            "accuracy": start / 10,
        }
        for start in range(5, 10)
    ]
    shifted = [entry | {"accuracy": entry["accuracy"] + 0.035} for entry in bins]
    return {
        "rows": rows,
        "accuracy": {
            "production": before,
            "candidate": after,
            "difference": after - before,
            **dict(zip(names, both, strict=True)),
        },
        "loss": {
            "production": 0.142,
            "candidate": 0.142 - (after - before) / 4,
            "difference": (before - after) / 4,
        },
        "calibration": {
            "production": {"ece": 0.05, "bins": bins},
            "candidate": {"ece": 0.015, "bins": shifted},
        },
    }


def _histogram(rows: int, gap: float) -> list[dict[str, Any]]:
    """Exponential gaps with mean ``gap``, put into buckets."""
    found, below = [], 0
    for bound in BUCKETS:
        until = rows if bound is None else round(rows * (1 - math.exp(-bound / gap)))
        found.append({"at_most": bound, "rows": until - below})
        below = until
    return found


def _slice(rows: int, rate: float, gap: float, judged: dict[str, Any]) -> dict[str, Any]:
    flips = {"flipped": round(rows * rate), "rate": round(rows * rate) / rows, "matrix": []}
    difference = judged["accuracy"]["difference"]
    labelled = {"rows": rows // 10, "accuracy": {"difference": difference * 1.3}}
    return {"rows": rows, "flips": flips, "gap": {"mean": gap}, "labelled": labelled}


def _worst(variable: str, label: str, rows: int, rate: float, rest: float) -> dict[str, Any]:
    return {
        "variable": variable,
        "label": label,
        "rows": rows,
        "flips": round(rows * rate),
        "rate": rate,
        "low": rate * 0.85,
        "high": rate * 1.15,
        "rest_rate": rest,
    }


def _drift(rows: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for variable, psi in (
        ("score", 0.012),
        ("feature:Age", 0.31),
        ("feature:Income", 0.08),
        ("feature:Home", 0.02),
    ):
        reference = [0.2, 0.3, 0.3, 0.15, 0.05]
        moved = [share * (1 + math.sqrt(psi) * (place - 2) / 2) for place, share in enumerate(reference)]
        names = ("up to 25", "25 to 35", "35 to 50", "50 or more", "missing")
        bins = [
            {"label": label, "reference": before, "live": after / sum(moved)}
            for label, before, after in zip(names, reference, moved, strict=True)
        ]
        measured = {"psi": psi, "excess": psi - 0.004, "z": psi * 40, "rows": rows, "drifted": psi > 0.1}
        found.append({"variable": variable, **measured, "bins": bins})
    found.sort(key=lambda entry: -entry["excess"])
    return found


def _timeline(rows: int, rate: float, difference: float) -> list[dict[str, Any]]:
    """Thirty hours of looks whose bounds close in as the square root of the rows."""
    found = []
    for hour in range(1, 31):
        seen = rows * hour // 30
        wide, wider = 2.2 * math.sqrt(rate / seen), 1.9 / math.sqrt(5_000 * hour / 30) * 0.3
        value = rate + 0.3 * wide * math.sin(hour)
        moved = difference + 0.5 * wider * math.cos(hour) / hour
        found.append(
            {
                "at": (SINCE + timedelta(hours=hour) - timedelta(seconds=4)).isoformat(),
                "rows": seen,
                "flip_rate": value,
                "flip_rate_low": max(0.0, value - wide),
                "flip_rate_high": value + wide,
                "accuracy": moved if hour > 4 else None,
                "accuracy_low": moved - wider if hour > 4 else None,
                "accuracy_high": moved + wider if hour > 4 else None,
                "state": "hold",
            }
        )
    return found
