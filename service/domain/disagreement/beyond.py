"""Beyond both models' stated uncertainty: what one holds possible, the other rules out altogether."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from service.domain.disagreement.measure import Compared, Contributions, Pair, Sums, mean
from service.domain.disagreement.regions import apart


@dataclass(frozen=True, slots=True)
class BeyondUncertainty:
    """``rows`` have a region of both models; of ``beyond`` the two regions have nothing in common.

    At confidence c, models that are both right about c leave at most a share of 2 (1 - c) of rows like this:
    the truth is in both regions of all others.
    """

    name: str = "beyond"

    def columns(self, pair: Pair) -> tuple[str, ...]:  # noqa: ARG002 - the same for every pair
        return ("rows", "beyond")

    def contributions(self, pair: Pair, compared: Compared) -> Contributions:  # noqa: ARG002 - regions say all
        before, after = compared.before_region, compared.after_region
        found = np.zeros((len(compared), 2))
        if before is not None and after is not None:
            found[:, 0] = 1.0
            found[:, 1] = apart(before, after)
        return found

    def show(self, pair: Pair, sums: Sums, rows: int) -> dict[str, Any]:  # noqa: ARG002 - not all had regions
        with_regions = int(sums[0])
        return {"rows": with_regions, "beyond": int(sums[1]), "share": mean(sums[1], with_regions)}
