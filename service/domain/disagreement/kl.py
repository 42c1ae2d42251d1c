"""Kullback-Leibler divergence between the two models' probabilities, in bits, in both directions.

KL(p || q) = sum p log2(p / q): how many bits a row the other's probabilities cost who believes in p
(Kullback & Leibler, Annals of Mathematical Statistics 22, 1951). A probability below ``FLOOR`` counts as
that, and a row is divided by its sum then, so that a certain answer that changes costs 23 bits and not
infinitely many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.disagreement.measure import Compared, Contributions, Pair, Sums, mean
from service.domain.schema import Scores

FLOOR = 1e-7
"""About what float32 can tell from 1."""


@dataclass(frozen=True, slots=True)
class KullbackLeibler:
    """``sum`` is over KL(production || candidate), ``reverse`` over KL(candidate || production)."""

    name: str = "kl"

    def columns(self, pair: Pair) -> tuple[str, ...]:
        return ("sum", "reverse") if pair.production.classes else ()

    def contributions(self, pair: Pair, compared: Compared) -> Contributions:  # noqa: ARG002 - no unit needed
        p, q = _shares(compared.before), _shares(compared.after)
        bits = np.log2(p / q)
        found = np.stack([np.vecdot(p, bits), -np.vecdot(q, bits)], axis=1)
        return np.asarray(np.maximum(found, 0.0))  # rounding may leave less

    def show(self, pair: Pair, sums: Sums, rows: int) -> dict[str, Any]:  # noqa: ARG002 - as above
        return {"mean": mean(sums[0], rows), "reverse_mean": mean(sums[1], rows)}


def _shares(scores: Scores) -> NDArray[np.float64]:
    floored = np.maximum(scores, FLOOR, dtype=np.float64)
    shares: NDArray[np.float64] = floored / floored.sum(axis=1, keepdims=True)
    return shares
