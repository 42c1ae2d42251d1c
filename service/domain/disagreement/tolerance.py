"""Tolerance: rows whose answers are the same as far as the bundle's own tolerance goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.disagreement.measure import Compared, Contributions, Pair, Sums, Tolerance, mean
from service.domain.schema import Scores


@dataclass(frozen=True, slots=True)
class WithinTolerance:
    """Counts a row where every output of both models lies within ``pair.tolerance``."""

    name: str = "tolerance"

    def columns(self, pair: Pair) -> tuple[str, ...]:  # noqa: ARG002 - the same for every pair
        return ("within",)

    def contributions(self, pair: Pair, compared: Compared) -> Contributions:
        before, after = compared.before, compared.after
        apart = np.abs(np.subtract(before, after, dtype=np.float64))
        same = (apart <= allowed(pair.tolerance, before)).all(axis=1, keepdims=True)
        return np.asarray(same, dtype=np.float64)

    def show(self, pair: Pair, sums: Sums, rows: int) -> dict[str, Any]:  # noqa: ARG002 - the sums say it
        return {"within": int(sums[0]), "share": mean(sums[0], rows)}


def allowed(tolerance: Tolerance, before: Scores) -> NDArray[np.float64]:
    """How far from production's score ``before`` a score is still the same answer; of its shape."""
    limits: NDArray[np.float64] = tolerance.absolute + tolerance.relative * np.abs(before, dtype=np.float64)
    return limits
