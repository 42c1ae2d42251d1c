"""How many more rows a decision needs, if they go on as they have so far."""

from __future__ import annotations

import math
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from service.domain.evidence.bets import Amount

MOST = 1e9
"""A decision that needs more rows than this will not come."""
_STEPS = 32


class Asked(Protocol):
    """Something that sums over rows decide in one of two ways."""

    @property
    def rows(self) -> float: ...

    def times(self, factor: Amount) -> Self:
        """As if there had been ``factor`` times as many rows like these."""

    def decided(self, alpha: float) -> NDArray[np.bool_]:
        """For each factor."""


def more_rows(asked: Asked, alpha: float) -> int | None:
    """The sums are scaled up until they decide; to about 2 % of the rows then needed.

    It is what the present values promise, not a bound: they lie within their bounds, and so may the need.

    Returns:
        Rows beside those that there are; None before the first row, where it is decided already, and where
        ``MOST`` rows would not do, because the value lies at the margin.
    """
    rows = asked.rows
    if not 0 < rows < MOST:
        return None
    enough = 1.0, MOST / rows
    for _ in range(2):
        factors = np.geomspace(*enough, _STEPS)
        decided = asked.times(factors).decided(alpha)
        if decided[0] or not decided.any():
            return None
        first = int(decided.argmax())
        enough = float(factors[first - 1]), float(factors[first])
    return math.ceil((enough[1] - 1) * rows)
