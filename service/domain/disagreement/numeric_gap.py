"""Numeric gap: how far the two values of a regression lie apart, in their own unit and as a share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.domain.disagreement.measure import Compared, Contributions, Pair, Sums, mean


@dataclass(frozen=True, slots=True)
class NumericGap:
    """``absolute`` is over |a - b|, ``squares`` over its square, ``relative`` over |a - b| / max(|a|, |b|).

    The relative gap treats both models alike and is bounded: 0 the same, up to 1 for values of one sign, 2
    for opposite ones. Two noughts are the same.
    """

    name: str = "numeric_gap"

    def columns(self, pair: Pair) -> tuple[str, ...]:
        return () if pair.production.classes else ("absolute", "relative", "squares")

    def contributions(self, pair: Pair, compared: Compared) -> Contributions:  # noqa: ARG002 - the values' unit
        before, after = (scores[:, 0].astype(np.float64) for scores in (compared.before, compared.after))
        absolute = np.abs(before - after)
        larger = np.maximum(np.abs(before), np.abs(after))
        relative = np.divide(absolute, larger, out=np.zeros_like(absolute), where=larger > 0)
        return np.stack([absolute, relative, absolute * absolute], axis=1)

    def show(self, pair: Pair, sums: Sums, rows: int) -> dict[str, Any]:  # noqa: ARG002 - as above
        return {
            "mean_absolute": mean(sums[0], rows),
            "mean_relative": mean(sums[1], rows),
            "root_mean_square": math.sqrt(sums[2] / rows) if rows else None,
        }
