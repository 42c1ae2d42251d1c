"""A share of what goes by, drawn at random for the price of a subtraction.

Between two hits lie geometrically many misses, so drawing that number once gives the same hits, each with
probability ``rate`` whatever the others were, as drawing anew for each would (Devroye, Non-Uniform Random
Variate Generation, 1986, section X.2).
"""

from __future__ import annotations

import math
import random


class Draw:
    """Says of each that goes by whether it is drawn.

    Args:
        rate: probability, 0 to 1.
        generator: of random numbers.
    """

    __slots__ = ("_generator", "_misses", "_rate")

    def __init__(self, rate: float, generator: random.Random) -> None:
        self._rate = rate
        self._generator = generator
        self._misses = self._gap()

    def __call__(self) -> bool:
        """Whether this one is."""
        self._misses -= 1
        if self._misses >= 0:
            return False
        self._misses = self._gap()
        return True

    def _gap(self) -> float:
        """How many go by undrawn until the next hit."""
        if self._rate >= 1:
            return 0
        if self._rate <= 0:
            return math.inf
        gap = math.log(1 - self._generator.random()) / math.log1p(-self._rate)
        return gap if gap == math.inf else math.floor(gap)
