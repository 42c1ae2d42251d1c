"""Bets on where a mean lies, which may be looked at after every row, from totals alone.

Each kind of evidence weighs one limit at a time by a bet: start with 1, stake a part of it on every row so
that nobody can gain on average if the mean is really on the other side of the limit. What the bet has grown
to is an *e-value*; by Ville's inequality (1939) it ever reaches 2 / alpha with probability alpha / 2 at most.
A bound is where the limits end that have not been refuted so. Bets with different stakes are averaged, which
is a bet too, so nothing has to be tuned to the data (Robbins 1970; Howard, Ramdas, McAuliffe & Sekhon 2021;
Waudby-Smith & Ramdas 2024).

Guarantee. Let m be the average, over the rows so far, of what each row had to be expected to give when all
rows before it were known. For every fixed limit, the probability that m is *ever* said to be below it while
it is not is at most alpha / 2, and above likewise. So comparing with a limit that was fixed beforehand is
valid even where the mean drifts. Where the mean is constant, both bounds hold at all times together with
probability 1 - alpha; ``Mean`` keeps that promise for an average that drifts as well.

It needs no shape and no number of rows, but it does need that rows are not copies of each other: rows that
share one cause, such as a batch that fails as a whole, count as the many rows that they are. A slice that
was chosen because of its rows needs an alpha that is divided by all slices that might have been chosen.

E-values are functions of sums, so batches, hours and replicas add up first and are then judged, in any order.
All sums may be arrays, which are judged element by element.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
"""Of the shape of the sums."""
Amount: TypeAlias = float | Floats
"""A sum over rows, or sums to be judged element by element."""

_ODDS = np.arange(-10.0, 6.01, 1 / 3)
_STAKES = 1 / (1 + np.exp(-_ODDS))
"""Shares of the most that may be staked, close at both ends: much for rare events."""
_KEPT = -np.logaddexp(0.0, _ODDS)
"""log(1 - stake): what is left of a bet whose stake is lost whole."""
_COST = _KEPT + _STAKES
"""-psi(stake): what the spread of the rows takes from a bet on a mean."""
_PRIOR = np.sqrt(_STAKES * (1 - _STAKES))
_LOG_PRIOR = np.log(_PRIOR / _PRIOR.sum())
"""The arcsine law over stakes, as in Cover's universal portfolio (1996)."""
_TINY = 1e-300


class Bounds(NamedTuple):
    """Where a mean lies."""

    low: float
    high: float


class Evidence(Protocol):
    """Sums over rows that say something about one mean."""

    @property
    def rows(self) -> float: ...

    @property
    def value(self) -> float:
        """The mean of the rows; call it only where there are rows."""

    @property
    def range(self) -> Bounds:
        """What the mean may possibly be."""

    def below(self, limit: float) -> Floats:
        """Log e-value of the bet that the mean is below ``limit``."""

    def above(self, limit: float) -> Floats:
        """Log e-value of the bet that the mean is above ``limit``."""

    def times(self, factor: Amount) -> Self:
        """The sums if there had been ``factor`` times as many rows like these."""


@dataclass(frozen=True, slots=True, eq=False)
class Proportion:
    """How often something happens that should be rare.

    The bet that the share is below m is the likelihood of shares q < m, drawn from Beta(1/2, 1) cut off at
    m, against that of m: a beta-binomial mixture; above m it is the rest of that law. Cut off at the limit a
    law spends nothing on shares that decide nothing: to be surely below a margin of 1 to 5 % takes half to
    three quarters of the rows that the uniform law over all shares needs, to be above it about as many. The
    cut costs an incomplete beta function, of which a lower bound by Chernoff's method is taken: the e-value
    errs on the safe side, by 2 % at most from 200 on.
    """

    successes: Amount
    count: Amount
    """Rows, successes included."""

    @property
    def rows(self) -> float:
        return float(np.max(self.count))

    @property
    def value(self) -> float:
        return float(self.successes / self.count)

    @property
    def range(self) -> Bounds:
        return Bounds(0.0, 1.0)

    def below(self, limit: float) -> Floats:
        limit = _inside(limit, 0.0)
        return self._mixture(limit, below=True) - 0.5 * math.log(limit)

    def above(self, limit: float) -> Floats:
        limit = _inside(limit, 0.0)
        return self._mixture(limit, below=False) - math.log1p(-math.sqrt(limit))

    def times(self, factor: Amount) -> Proportion:
        return Proportion(self.successes * factor, self.count * factor)

    def _mixture(self, limit: float, *, below: bool) -> Floats:
        """Log of the integral of q^(s - 1/2) (1 - q)^f / (2 m^s (1 - m)^f) over q on one side of m."""
        hits, misses = (
            np.asarray(self.successes, np.float64),
            np.asarray(self.count - self.successes, np.float64),
        )
        a, b = hits + 0.5, misses + 1.0
        centre = a / (a + b)
        log_limit, log_rest = math.log(limit), math.log1p(-limit)
        other_side = a * (log_limit - np.log(centre)) + b * (log_rest - np.log1p(-centre))
        with np.errstate(divide="ignore"):  # rounding may make the exponent 0, which says nothing
            share = np.log(-np.expm1(np.minimum(other_side, 0.0)))
        share = np.where((limit > centre) if below else (limit < centre), share, -np.inf)
        whole = _log_gamma(a) + _log_gamma(b) - _log_gamma(a + b) - math.log(2.0)
        found: Floats = whole + share - hits * log_limit - misses * log_rest
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """How much more often one model is right than another, from the rows that only one got right.

    A row gives 1, -1 or 0. The bet that the mean is below d multiplies, row by row, by
    1 - s (x - d) / (1 - d) with a fixed stake s: three factors whose powers are the totals. No bet on a mean
    of such rows can grow faster than the best s does, so averaging over s loses next to nothing. Bounds are
    narrower than projecting a Dirichlet-multinomial mixture on the difference, which pays for two unknown
    shares instead of one stake, than two bounds multiplied (share of discordant pairs, and of those the
    candidate's), and than the empirical Bernstein bound of ``Mean``; tests compare them. At d = 0 the rows in
    which the models agree drop out, and it is McNemar's test (1947) as a mixture martingale.
    """

    gained: Amount
    """Rows that only the one was right about."""
    lost: Amount
    """Rows that only the other was right about."""
    count: Amount
    """All rows."""

    @property
    def rows(self) -> float:
        return float(np.max(self.count))

    @property
    def value(self) -> float:
        return float((self.gained - self.lost) / self.count)

    @property
    def range(self) -> Bounds:
        return Bounds(-1.0, 1.0)

    def below(self, limit: float) -> Floats:
        return self._bet(self.gained, self.lost, limit)

    def above(self, limit: float) -> Floats:
        return self._bet(self.lost, self.gained, -limit)

    def times(self, factor: Amount) -> Difference:
        return Difference(self.gained * factor, self.lost * factor, self.count * factor)

    def _bet(self, against: Amount, in_favour: Amount, limit: float) -> Floats:
        limit = _inside(limit, -1.0)
        same = self.count - against - in_favour
        won = np.log1p(_STAKES * ((1 + limit) / (1 - limit)))
        idle = np.log1p(_STAKES * (limit / (1 - limit)))
        return _average(_by(against, _KEPT) + _by(in_favour, won) + _by(same, idle))


@dataclass(frozen=True, slots=True, eq=False)
class Mean:
    """The mean of numbers of a known range: the empirical Bernstein bound as a mixture.

    For every stake s in (0, 1), exp(s (total - rows mean) - psi(s) deviation) is a bet, in units of the
    range, with psi(s) = -log(1 - s) - s (Howard et al. 2021, theorem 4). ``deviation`` adds up squared
    distances from a guess that was made before each row was seen and lies in the range; it is close to rows
    times the variance where the guess is the mean of the rows before. Every replica may guess on its own.
    """

    total: Amount
    deviation: Amount
    count: Amount
    low: float = 0.0
    """No number is below."""
    high: float = 1.0
    """No number is above."""

    @property
    def rows(self) -> float:
        return float(np.max(self.count))

    @property
    def value(self) -> float:
        return float(self.total / self.count)

    @property
    def range(self) -> Bounds:
        return Bounds(self.low, self.high)

    def below(self, limit: float) -> Floats:
        return self._bet(self.count * limit - self.total)

    def above(self, limit: float) -> Floats:
        return self._bet(self.total - self.count * limit)

    def times(self, factor: Amount) -> Mean:
        total, deviation, count = self.total * factor, self.deviation * factor, self.count * factor
        return Mean(total, deviation, count, self.low, self.high)

    def _bet(self, gain: Amount) -> Floats:
        unit = self.high - self.low
        return _average(_by(gain / unit, _STAKES) + _by(self.deviation / (unit * unit), _COST))


def log_needed(alpha: float) -> float:
    """The log e-value that refutes one side of a limit, both sides together having ``alpha``."""
    return math.log(2.0 / alpha)


def _inside(limit: float, least: float) -> float:
    """``limit``, moved off the ends of the range, where odds are infinite."""
    return min(max(limit, least + (_TINY if least == 0 else 1e-15)), 1 - 1e-15)


def _by(sums: Amount, each: Floats) -> Floats:
    """[..., stakes]"""
    return np.multiply.outer(np.asarray(sums, np.float64), each)


def _average(logs: Floats) -> Floats:
    """Log of the average over stakes of exp(logs [..., stakes])."""
    weighed = logs + _LOG_PRIOR
    most = weighed.max(axis=-1)
    found: Floats = most + np.log(np.exp(weighed - most[..., None]).sum(axis=-1))
    return found


def _log_gamma(x: Floats) -> Floats:
    """Log of the gamma function for x >= 1/2 by Stirling's series 8 further on; to 1e-13 or 16 digits."""
    product = x * (x + 1) * (x + 2) * (x + 3) * (x + 4) * (x + 5) * (x + 6) * (x + 7)
    y = x + 8
    r = 1 / (y * y)
    series = (1 / 12 - r * (1 / 360 - r * (1 / 1260 - r * (1 / 1680 - r / 1188)))) / y
    found: Floats = (y - 0.5) * np.log(y) - y + 0.5 * math.log(2 * math.pi) + series - np.log(product)
    return found
