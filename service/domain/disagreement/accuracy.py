"""Paired accuracy: of rows whose class is known, who named it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from service.domain.disagreement.measure import Compared, Contributions, Pair, Sums, mean, truth
from service.domain.schema import label_indices

_WHO = ("both", "production_only", "candidate_only", "neither")


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Rows by who was right; those that one model alone named are discordant (McNemar, 1947)."""

    name: str = "accuracy"

    def columns(self, pair: Pair) -> tuple[str, ...]:
        return _WHO if pair.production.classes else ()

    def contributions(self, pair: Pair, compared: Compared) -> Contributions:
        labels = truth(compared)
        before = label_indices(pair.production, compared.before) == labels
        after = label_indices(pair.candidate, compared.after) == labels
        cases = [before & after, before & ~after, ~before & after, ~before & ~after]
        return np.stack(cases, axis=1).astype(np.float64)

    def show(self, pair: Pair, sums: Sums, rows: int) -> dict[str, Any]:  # noqa: ARG002 - the sums say it
        both, production_only, candidate_only, neither = (int(count) for count in sums)
        return {
            "production": mean(both + production_only, rows),
            "candidate": mean(both + candidate_only, rows),
            "difference": mean(candidate_only - production_only, rows),
            "both": both,
            "production_only": production_only,
            "candidate_only": candidate_only,
            "neither": neither,
        }
