"""What ``/drift`` answers, for tests: traffic whose incomes have moved since an hour, and a candidate."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from tests.http.evidence import NOW, SINCE

AS_OF = NOW - timedelta(seconds=7)
WINDOWS = {"1h": 1 / 24, "6h": 6 / 24, "24h": 1.0, "start": 30 / 24}
"""Days."""
ROWS_A_DAY = 120_000
INCOMES = (
    "00 below 6",
    "01 6 to 74",
    "02 74 to 107",
    "03 107 to 152",
    "04 152 to 959",
    "05 above 959",
    "missing",
)
INCOMES_BEFORE = (0, 700, 700, 700, 700, 0, 200)
INCOMES_NOW = (9, 1_000, 860, 640, 380, 2, 520)
HOMES = ("is owner", "is rent", "is other", "missing", "unseen")
HOMES_BEFORE = (1_500, 1_000, 480, 20, 0)
MEASURES = {
    "psi": "0 is the same shares",
    "psi_excess": "PSI beyond what chance makes of so many rows",
    "psi_z": "standard deviations from no shift",
    "jensen_shannon": "bits, 0 to 1",
    "ks": "largest difference of the cumulative shares",
    "ks_p": "probability of so large a difference by chance",
    "wasserstein": "bins that a row moved on average",
    "chi_square_z": "standard deviations from no shift",
    "missing_share": "share of the rows",
    "unseen_share": "share of the rows",
}


def drift() -> dict[str, Any]:
    """Production's incomes moved within the last hours; the candidate's are shown as well."""
    return {
        "as_of": AS_OF.isoformat(),
        "store": "ok",
        "outcomes": {"counted": 20_000, "sampled_out": 70_000, "queue_full": 3, "shadow_down": 40},
        "reason": None,
        "measures": [{"name": name, "unit": unit} for name, unit in MEASURES.items()],
        "models": [model("credit:gbm-1", "production"), model("credit:gbm-2", "candidate")],
    }


def model(tag: str, role: str) -> dict[str, Any]:
    return {
        "model": tag,
        "role": role,
        "since": SINCE.isoformat(),
        "windows": {name: window(days) for name, days in WINDOWS.items()},
    }


def window(days: float) -> dict[str, Any]:
    """Six hours ago incomes began to be others."""
    rows, recent = round(ROWS_A_DAY * days), min(1.0, 0.25 / days)
    incomes = mixed(INCOMES_BEFORE, INCOMES_NOW, recent, rows)
    homes = mixed(HOMES_BEFORE, HOMES_BEFORE, 0.0, rows)
    variables = [
        variable("feature:Income", INCOMES, INCOMES_BEFORE, incomes, ordered=6),
        variable("feature:Home", HOMES, HOMES_BEFORE, homes, ordered=0),
    ]
    variables.sort(key=lambda found: -found["measures"]["psi_excess"])
    right = round(rows / 5 * (0.5 + 0.08 * recent))
    accuracy = right / (rows / 5)
    z = (accuracy - 0.5) / math.sqrt(0.25 / (rows / 5))
    return {
        "from": (AS_OF - timedelta(days=days)).isoformat(),
        "rows": rows,
        "drifted": [found["variable"] for found in variables if found["drifted"]],
        "variables": variables,
        "two_sample": {"rows": rows // 5, "accuracy": accuracy, "z": z, "differs": accuracy > 0.55 and z > 4},
    }


def mixed(before: tuple[int, ...], after: tuple[int, ...], recent: float, rows: int) -> list[int]:
    """So many rows, of which a share are as they are now."""
    return [
        round(rows * ((1 - recent) * one / sum(before) + recent * other / sum(after)))
        for one, other in zip(before, after, strict=True)
    ]


def variable(
    name: str, bins: tuple[str, ...], before: tuple[int, ...], after: list[int], ordered: int
) -> dict[str, Any]:
    sums, some = (sum(before), sum(after)), [pair for pair in zip(before, after, strict=True) if any(pair)]
    size = len(some)
    shares = [((r + 0.5) / (sums[0] + size / 2), (n + 0.5) / (sums[1] + size / 2)) for r, n in some]
    psi = sum((q - p) * math.log(q / p) for p, q in shares)
    unit = 1 / sums[0] + 1 / sums[1]
    spread = 2 / (9 * (size - 1))
    z = ((psi / unit / (size - 1)) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    excess, missing = psi - (size - 1) * unit, bins.index("missing")
    plain = [(r / sums[0], n / sums[1]) for r, n in zip(before, after, strict=True)]
    strange = [
        place for place, name in enumerate(bins) if name[3:8] in ("below", "above") or name == "unseen"
    ]
    told: dict[str, float | None] = {
        "psi": psi,
        "psi_excess": excess,
        "psi_z": z,
        "jensen_shannon": psi / 8,
        "ks": 0.1 if ordered else None,
        "ks_p": 1e-9 if ordered else None,
        "wasserstein": 0.3 if ordered else None,
        "chi_square_z": z,
        "missing_share": plain[missing][1],
        "unseen_share": sum(plain[place][1] for place in strange),
    }
    return {
        "variable": name,
        "rows": sums[1],
        "drifted": excess > 0.1 and z > 4 and sums[1] >= 500,
        "measures": told,
        "reference_missing_share": plain[missing][0],
        "reference_unseen_share": sum(plain[place][0] for place in strange),
        "bins": [
            {"bin": bin_, "reference": r, "live": n} for bin_, r, n in zip(bins, before, after, strict=True)
        ],
    }


def quiet() -> dict[str, Any]:
    """A service that was started a minute ago."""
    made = drift()
    for each in made["models"]:
        for name in WINDOWS:
            each["windows"][name] = empty()
    return made


def empty() -> dict[str, Any]:
    """A window without a row."""
    blank = window(1.0)
    for found in blank["variables"]:
        found |= {"rows": 0, "drifted": False, "measures": dict.fromkeys(MEASURES)}
        found["bins"] = [entry | {"live": 0} for entry in found["bins"]]
    return blank | {"rows": 0, "drifted": [], "two_sample": None}


def nothing(reason: str = "the shadow counts what is asked, and it is not running yet") -> dict[str, Any]:
    """Where nobody counts."""
    return {
        "as_of": AS_OF.isoformat(),
        "store": "ok",
        "reason": reason,
        "outcomes": {},
        "measures": [],
        "models": [],
    }


def many() -> dict[str, Any]:
    """More models, variables and bins than a page has room for, all of them drifted."""
    made = drift()
    wide = [f"{place:02} {place} thousand and something to {place + 1} thousand" for place in range(20)]
    rows = list(range(1, 21))
    before, after = (*rows, 5, 0), [*reversed(rows), 5, 0]
    bins = (*wide, "missing", "unseen")
    moved = [variable(f"feature:{place}", bins, before, [50 * n for n in after], 20) for place in range(200)]
    one = {"from": AS_OF.isoformat(), "rows": 10_750, "variables": moved, "two_sample": None}
    found = one | {"drifted": [each["variable"] for each in moved]}
    made["models"] = [
        model(f"credit:{place}", "candidate" if place else "production")
        | {"windows": dict.fromkeys(WINDOWS, found)}
        for place in range(40)
    ]
    return made
