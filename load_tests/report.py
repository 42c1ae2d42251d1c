"""Ratios against targets as a table, and results as a JSON file with a readable twin."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure and what was promised about it."""

    what: str
    value: float
    unit: str
    target: float | None = None
    """None: reported only."""
    at_most: bool = False
    """Whether the target is a ceiling instead of a floor."""
    floor: float | None = None
    """Beyond this side of the target the work is not done; between the two it is worth improving."""

    @property
    def verdict(self) -> str:
        """``met``, ``below target`` (but above the floor), ``not met``, or nothing without a target."""
        if self.target is None:
            return ""
        if self._holds(self.target):
            return "met"
        return "below target" if self.floor is not None and self._holds(self.floor) else "not met"

    @property
    def promise(self) -> str:
        """The target in words."""
        if self.target is None:
            return "-"
        return f"{'≤' if self.at_most else '≥'} {self.target:g}"

    def _holds(self, limit: float) -> bool:
        return self.value <= limit if self.at_most else self.value >= limit


def findings_table(findings: Sequence[Finding]) -> str:
    """Markdown."""
    rows = [
        (each.what, f"{each.value:.3g} {each.unit}".strip(), each.promise, each.verdict) for each in findings
    ]
    return table(("what", "measured", "target", ""), rows)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A markdown table padded to line up in a terminal too."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    if any(len(row) != len(header) for row in cells):
        raise ValueError("every row has one cell per column")
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def write(
    kind: str, document: Mapping[str, Any], readable: str, folder: Path = RESULTS, at: datetime | None = None
) -> Path:
    """``KIND-DATE.json`` and ``.md`` in ``folder``; returns the readable one."""
    stamp = (at or datetime.now(UTC)).strftime("%Y-%m-%dT%H%MZ")
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"kind": kind, "at": stamp, **document}, indent=1, ensure_ascii=False)
    (folder / f"{kind}-{stamp}.json").write_text(text + "\n", encoding="utf-8")
    path = folder / f"{kind}-{stamp}.md"
    path.write_text(readable.rstrip() + "\n", encoding="utf-8")
    return path


def as_records(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Findings with their verdicts, for JSON."""
    return [{**asdict(each), "verdict": each.verdict} for each in findings]


def record(frozen: Any) -> dict[str, Any]:
    """A dataclass for JSON: numbers rounded to 6 digits, what is not finite left out."""
    return {
        name: float(f"{value:.6g}") if isinstance(value, float) else value
        for name, value in asdict(frozen).items()
        if not (isinstance(value, float) and not math.isfinite(value))
    }
