"""Region overlap: how much of what the two models held possible is the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from service.domain.disagreement.measure import Compared, Contributions, Pair, Sums, mean
from service.domain.disagreement.regions import alike, overlap


@dataclass(frozen=True, slots=True)
class RegionOverlap:
    """``rows`` have a region of both models; ``overlap`` adds up their overlaps, ``same`` equal regions."""

    name: str = "region_overlap"

    def columns(self, pair: Pair) -> tuple[str, ...]:  # noqa: ARG002 - the same for every pair
        return ("rows", "overlap", "same")

    def contributions(self, pair: Pair, compared: Compared) -> Contributions:  # noqa: ARG002 - regions say all
        before, after = compared.before_region, compared.after_region
        found = np.zeros((len(compared), 3))
        if before is not None and after is not None:
            found[:, 0] = 1.0
            found[:, 1] = overlap(before, after)
            found[:, 2] = alike(before, after)
        return found

    def show(self, pair: Pair, sums: Sums, rows: int) -> dict[str, Any]:  # noqa: ARG002 - not all had regions
        with_regions = int(sums[0])
        return {
            "rows": with_regions,
            "mean": mean(sums[1], with_regions),
            "same": mean(sums[2], with_regions),
        }
