"""What the integrity gate found, as frozen records and as the document that a bundle keeps."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Check:
    """One law held against one method."""

    name: str
    passed: bool | None
    """None where the law says nothing about this method or model; ``sentence`` says why."""
    sentence: str
    """What was done and found, for a person."""
    figure: float | None = None
    """What was measured."""
    bound: float | None = None
    """Where ``figure`` would have failed."""
    hard: bool = True
    """Whether a method that fails is not offered."""

    def as_document(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "passed": self.passed,
            "hard": self.hard,
            "figure": _tidy(self.figure),
            "bound": _tidy(self.bound),
            "sentence": self.sentence,
        }


@dataclass(frozen=True, slots=True)
class MethodRecord:
    """Every check of one method."""

    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """The hard checks that it did not pass."""
        return tuple(check for check in self.checks if check.hard and check.passed is False)

    @property
    def offered(self) -> bool:
        return not self.failed

    @property
    def reason(self) -> str | None:
        """Why it is not offered."""
        if self.offered:
            return None
        return "it failed its integrity gate: " + "; ".join(
            f"{check.name}: {check.sentence}" for check in self.failed
        )

    def as_document(self) -> dict[str, Any]:
        return {
            "offered": self.offered,
            "reason": self.reason,
            "checks": [check.as_document() for check in self.checks],
        }


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the methods of one model were put through; the same model, rows and seed give the same."""

    model: str
    rows: int
    """Calibration rows that the checks drew from."""
    seed: int
    methods: dict[str, MethodRecord]

    def as_document(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "model": self.model,
            "rows": self.rows,
            "seed": self.seed,
            "methods": {name: record.as_document() for name, record in self.methods.items()},
        }

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` of the document in canonical JSON: sorted keys, no spaces."""
        text = json.dumps(self.as_document(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _tidy(value: float | None) -> float | None:
    """Four significant digits; a figure that is not a number becomes null, and its sentence says so."""
    if value is None or value != value or abs(value) == float("inf"):
        return None
    return float(f"{value:.4g}")
