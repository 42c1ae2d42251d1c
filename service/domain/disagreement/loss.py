"""Loss: how far each model's scores are from the truth, 0 to 1, and which one's are farther.

For classes it is the Brier score (Monthly Weather Review 78, 1950), halved as usual for two classes; for a
regression the absolute error in spreads, capped at ``MOST_SPREADS`` and divided by it. Being bounded, the
difference of two losses lies between -1 and 1, which bounds at any time need.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.disagreement.gap import MOST_SPREADS
from service.domain.disagreement.measure import Compared, Contributions, Pair, Sums, mean, truth
from service.domain.schema import Scores


@dataclass(frozen=True, slots=True)
class Loss:
    """Sums of both losses and of their ``difference``, the candidate's minus production's.

    ``squares`` adds up the difference's square, ``deviation`` its squared distance from ``expected["loss"]``.
    """

    name: str = "loss"

    def columns(self, pair: Pair) -> tuple[str, ...]:  # noqa: ARG002 - the same for every pair
        return ("production", "candidate", "difference", "squares", "deviation")

    def contributions(self, pair: Pair, compared: Compared) -> Contributions:
        labels = truth(compared)
        before, after = losses(pair, compared.before, labels), losses(pair, compared.after, labels)
        difference = after - before
        deviation = np.square(difference - compared.expected.get("loss", 0.0))
        return np.stack([before, after, difference, difference**2, deviation], axis=1)

    def show(self, pair: Pair, sums: Sums, rows: int) -> dict[str, Any]:  # noqa: ARG002 - the sums say it
        names = ("production", "candidate", "difference")
        return {name: mean(total, rows) for name, total in zip(names, sums[:3], strict=True)}


def losses(pair: Pair, scores: Scores, labels: NDArray[np.intp] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Each row's loss, 0 to 1; labels as in ``Compared``."""
    if not pair.production.classes:
        errors = np.abs(scores[:, 0] - labels) / (pair.spread * MOST_SPREADS)
        return np.asarray(np.minimum(errors, 1.0), dtype=np.float64)
    stated = np.clip(scores, 0.0, 1.0, dtype=np.float64)
    if pair.production.task == "binary":
        found: NDArray[np.float64] = np.square(stated[:, 1] - labels)
        return found
    stated[np.arange(len(labels)), labels.astype(np.intp)] -= 1.0
    return np.asarray(np.minimum(np.square(stated).sum(axis=1) / 2, 1.0), dtype=np.float64)
