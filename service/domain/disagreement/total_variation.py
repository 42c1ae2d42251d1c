"""Total variation: how much probability the two models put on different classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from service.domain.disagreement.measure import Compared, Contributions, Pair, Sums, mean


@dataclass(frozen=True, slots=True)
class TotalVariation:
    """Half the sum of absolute differences of a row's probabilities: 0 the same, 1 nothing in common."""

    name: str = "total_variation"

    def columns(self, pair: Pair) -> tuple[str, ...]:
        return ("sum",) if pair.production.classes else ()

    def contributions(self, pair: Pair, compared: Compared) -> Contributions:  # noqa: ARG002 - no unit needed
        apart = np.abs(np.subtract(compared.before, compared.after, dtype=np.float64))
        half: Contributions = apart.sum(axis=1, keepdims=True) / 2
        return half

    def show(self, pair: Pair, sums: Sums, rows: int) -> dict[str, Any]:  # noqa: ARG002 - as above
        return {"mean": mean(sums[0], rows)}
