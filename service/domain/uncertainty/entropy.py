"""How undecided a model is between its classes: Shannon's entropy of the served probabilities."""

from __future__ import annotations

from math import log2
from typing import Any

import numpy as np
from numpy.typing import NDArray


def entropy(scores: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """-sum of p log2 p of each row, in bits, [rows]: 0 where one class is certain, log2(classes) at most.

    Args:
        scores: probabilities, [rows, classes]; a class of probability 0 counts nothing.
    """
    if len(scores) == 1:  # numpy's overhead would be most of a one-row request's cost here
        only = -sum(share * log2(share) for share in scores.ravel().tolist() if share > 0)
        return np.array([max(only, 0.0)])  # where rounding left a share above 1
    shares = scores.astype(np.float64)
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    bits: NDArray[np.float64] = np.maximum(-(shares * logs).sum(axis=1), 0.0)
    return bits
