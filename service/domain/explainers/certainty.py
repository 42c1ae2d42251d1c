"""How far down the ranking of features is certain, given the errors of the attributions."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from service.domain.explainers.game import Values


def rank_certain_k(values: Values, standard_errors: Values | None, level: float = 0.95) -> int:
    """How many of the features with the largest |value| are the largest, in that order, with certainty.

    The first feature counts if its |value| exceeds every other's beyond doubt, the second if also its |value|
    exceeds all that follow, and so on; the last follows from the others. With probability ``level`` or more
    all that is claimed is right: for estimates v_j with normal errors and a true |v_j| <= |v_l|,
    P(|v_j| - |v_l| > c (s_j + s_l)) <= 2 (1 - Phi(c)), however the errors are correlated, and c allows for
    every pair (Bonferroni).

    Args:
        values: attributions, [players].
        standard_errors: of ``values``; None where nothing was sampled, which makes every rank certain.
        level: probability that nothing claimed is wrong, in (0, 1).
    """
    players = len(values)
    if standard_errors is None or players < 2:
        return players
    pairs = players * (players - 1) / 2
    doubt = -NormalDist().inv_cdf((1 - level) / (2 * pairs)) * standard_errors
    order = np.argsort(-np.abs(values), kind="stable")
    lowest, highest = (np.abs(values) - doubt)[order], (np.abs(values) + doubt)[order]
    highest_after = np.maximum.accumulate(highest[::-1])[::-1][1:]
    certain = lowest[:-1] > highest_after
    return players if certain.all() else int(np.argmin(certain))
