"""Cost: what each model's answers cost by the bundle's own table, where one mistake is worse than another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from service.domain.disagreement.measure import Compared, Contributions, Pair, Sums, mean, truth
from service.domain.schema import label_indices


@dataclass(frozen=True, slots=True)
class Cost:
    """Sums of both models' costs and of their difference, the candidate's minus production's."""

    name: str = "cost"

    def columns(self, pair: Pair) -> tuple[str, ...]:
        declared = pair.costs is not None and pair.production.classes
        return ("production", "candidate", "difference") if declared else ()

    def contributions(self, pair: Pair, compared: Compared) -> Contributions:
        assert pair.costs is not None, "without costs there are no columns"
        labels = truth(compared).astype(np.intp)
        before = pair.costs[labels, label_indices(pair.production, compared.before)]
        after = pair.costs[labels, label_indices(pair.candidate, compared.after)]
        return np.stack([before, after, after - before], axis=1)

    def show(self, pair: Pair, sums: Sums, rows: int) -> dict[str, Any]:  # noqa: ARG002 - the sums say it
        names = ("production", "candidate", "difference")
        return {name: mean(total, rows) for name, total in zip(names, sums, strict=True)}
