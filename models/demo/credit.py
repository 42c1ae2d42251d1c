"""The credit applications, split by a digest of each row's own text.

Part of the file that goes where: training 60%, calibration 20%, held out 20%.
"""

from __future__ import annotations

import csv
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeAlias

Part: TypeAlias = Literal["training", "calibration", "held_out"]
Instance: TypeAlias = dict[str, float | int | str | None]

PATH = Path(__file__).with_name("credit_data.csv")
TARGET = "Status"
CLASSES = ("bad", "good")
WORDS = ("Home", "Marital", "Records", "Job")
DECIMALS = ("Income", "Assets", "Debt")
"""Columns written with a decimal point; the other numbers are integers."""

COLUMNS = (
    "Seniority",
    "Home",
    "Time",
    "Age",
    "Marital",
    "Records",
    "Job",
    "Expenses",
    "Income",
    "Assets",
    "Debt",
    "Amount",
    "Price",
)
CATEGORIES = {
    "Home": ("ignore", "other", "owner", "parents", "priv", "rent"),
    "Marital": ("divorced", "married", "separated", "single", "widow"),
    "Records": ("no", "yes"),
    "Job": ("fixed", "freelance", "others", "partime"),
}
MAY_MISS = frozenset({"Home", "Marital", "Job", "Income", "Assets", "Debt"})
"""Columns in which the data has missing values."""


def part_of(application: Iterable[str]) -> Part:
    """Where an application's cells, its outcome left out, belong; equal applications belong together."""
    share = int.from_bytes(hashlib.sha256(",".join(application).encode()).digest()[:8]) / 2**64
    return "held_out" if share < 0.2 else "calibration" if share < 0.4 else "training"


@functools.cache
def rows(part: Part) -> tuple[tuple[Instance, str], ...]:
    """(instance as a caller would post it, label) of every row of a part, in the order of the file."""
    with PATH.open(encoding="utf-8", newline="") as file:
        return tuple(
            ({name: _value(name, row[name]) for name in COLUMNS}, row[TARGET])
            for row in csv.DictReader(file)
            if part_of(row[name] for name in COLUMNS) == part
        )


def held_out() -> list[tuple[Instance, str]]:
    """Applications no model has seen in training, calibration or reference, with their outcome."""
    return [(dict(instance), label) for instance, label in rows("held_out")]


def table(part: Part) -> dict[str, list[float | int | str | None]]:
    """The columns of a part, its target included."""
    chosen = rows(part)
    columns: dict[str, list[float | int | str | None]] = {
        name: [instance[name] for instance, _ in chosen] for name in COLUMNS
    }
    columns[TARGET] = [label for _, label in chosen]
    return columns


def _value(name: str, cell: str) -> float | int | str | None:
    if cell == "":
        return None
    if name in WORDS:
        return cell
    return float(cell) if name in DECIMALS else int(cell)
