"""Shapley values of one leaf against background rows, for every way a row can meet the leaf's conditions.

A leaf of value 1 with k players on its path is a game: a coalition wins when each player's conditions hold,
for its own value if it is in, for the background row's if it is out. Take *patterns* a (of the explained row)
and c (of a background row), bit i set where player i's conditions hold. Only a | c = all can win; then
A = a & ~c must be in and B = ~a & c out, so each player of A gets (|A|-1)! |B|! / (|A|+|B|)!, each of B minus
|A|! (|B|-1)! / (|A|+|B|)!, the others nothing (Laberge & Pequignot, arXiv 2209.15123). That contributions
depend on a alone once the background is summed up is the insight of FastTreeSHAP v2 (arXiv 2109.09847) and
WOODELF (arXiv 2511.09376).

Both weights are Beta integrals, (p-1)! q! / (p+q)! = integral of t^(p-1) (1-t)^q over [0, 1], with integrands
that are products over players. So a table for all a, summed over all c, takes ceil(k/2) Gauss-Legendre nodes
(exact for polynomials of degree k-1) times k two-by-two steps over 2^k numbers: O(k^2 2^k), not O(4^k).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pattern_tables(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Contributions for every pattern of the explained row.

    Args:
        shares: share of the background rows with each pattern, for leaves with k players, [leaves, 2**k].

    Returns:
        What each of the k players contributes in a leaf of value 1, [leaves, 2**k, k]. Off by rounding only.
    """
    leaves, patterns = shares.shape
    players = patterns.bit_length() - 1
    table = np.zeros((players, patterns, leaves))
    nodes, weights = np.polynomial.legendre.leggauss(max(1, (players + 1) // 2))
    for t, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        mixed = shares.T.copy()
        for player in range(players):
            unmet, met = _split(mixed, player)
            unmet *= t
            unmet += met
            met *= 1 - t
            _swap(unmet, met)
        for player in range(players):
            unmet, met = _split(mixed, player)
            loses, gains = _split(table[player], player)
            out = unmet * (weight / (1 - t))
            loses -= out
            gains += met * (weight / t) - out / t
    return np.ascontiguousarray(table.transpose(2, 1, 0))


def _split(array: NDArray[np.float64], player: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Views of a [2**k, leaves] array: patterns without the player's bit, and with it."""
    halves = array.reshape(-1, 2, 1 << player, array.shape[1])
    return halves[:, 0], halves[:, 1]


def _swap(one: NDArray[np.float64], other: NDArray[np.float64]) -> None:
    kept = one.copy()
    one[...] = other
    other[...] = kept
