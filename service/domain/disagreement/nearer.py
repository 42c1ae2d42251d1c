"""Nearer: of rows whose value is known, whose answer was nearer to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from service.domain.disagreement.measure import Compared, Contributions, Pair, Sums, mean, truth
from service.domain.disagreement.tolerance import allowed


@dataclass(frozen=True, slots=True)
class Nearer:
    """Rows by the model with the smaller error; ``equal`` where both differ by no more than the tolerance."""

    name: str = "nearer"

    def columns(self, pair: Pair) -> tuple[str, ...]:
        return () if pair.production.classes else ("production", "candidate", "equal")

    def contributions(self, pair: Pair, compared: Compared) -> Contributions:
        values = truth(compared)
        further = np.abs(compared.after[:, 0] - values) - np.abs(compared.before[:, 0] - values)
        limit = allowed(pair.tolerance, compared.before[:, 0])
        production, candidate = further > limit, further < -limit
        return np.stack([production, candidate, ~(production | candidate)], axis=1).astype(np.float64)

    def show(self, pair: Pair, sums: Sums, rows: int) -> dict[str, Any]:  # noqa: ARG002 - equal rows decide nothing
        production, candidate, equal = (int(count) for count in sums)
        decided = production + candidate
        return {
            "production": production,
            "candidate": candidate,
            "equal": equal,
            "candidate_share": mean(candidate, decided),
        }
