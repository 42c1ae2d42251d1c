"""Where the models differ most: bins of a single variable in which they surely do so more than elsewhere.

Every bin of every variable is a look, and everything is looked at again with each batch. Both are paid for:
bounds hold at all times at once (``sequential``) and each look has ``alpha / looks``, half of it for either
bound, so that with a probability of ``1 - alpha`` no bin is ever found that is not worse than the rest. A bin
is found where its lower bound is above the upper bound of all other rows.

Only bins that can be found are looked at closely. A mixture of likelihood ratios is at most the largest of
them, so a bin's lower bound is above another rate only if the largest likelihood ratio against that rate is
at least the e-value that the level asks for. For means the same holds of exp((S - n mu)^2 / 2V): no bet of an
empirical Bernstein bound exceeds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.evidence.bets import Bounds, log_needed
from service.domain.evidence.sequential import mean, proportion
from service.domain.evidence.tallied import FLIPS, GAP, ROWS, SQUARES, Tallied

Of: TypeAlias = Literal["flips", "gap"]
"""What is higher in a bin: the share of flipped rows, or the mean score gap."""

MOST_FOUND = 10
CLOSELY = 2 * MOST_FOUND
"""Bins that are looked at closely, those that promise most; each takes up to a millisecond."""
MOST_GAP = 5.0
"""Score gaps above count as this, in units of ``Pair.spread``: bounds of a mean need a largest value."""


class _Sums(NamedTuple):
    """Of some bins, [bins] each."""

    rows: NDArray[np.float64]
    total: NDArray[np.float64]
    """Flipped rows, or gaps added up."""
    squares: NDArray[np.float64]


def worst_slices(tallies: Sequence[Tallied], alpha: float, of: Of) -> dict[str, Any]:
    """Bins of single variables that surely are worse than all other rows.

    Args:
        tallies: what was compared, variable by variable.
        alpha: probability, over all looks and times, of finding anything where nothing is to be found.
        of: what makes a bin worse.

    Returns:
        ``looks``, ``alpha``, ``of``, and ``found``, highest lower bound first, ``MOST_FOUND`` at most:
        variable, label, rows, flips, rate (or mean gap) with its bounds, and that of all other rows.
    """
    bins = [(each, place) for each in tallies for place in range(len(each.compared))]
    looks = max(1, len(bins))
    level = alpha / looks
    found: list[dict[str, Any]] = []
    if bins:
        inside, rest = _both(tallies, of)
        for index in _promising(inside, rest, level, of):
            here, elsewhere = (
                _bounds(_Sums(*(x[index] for x in sums)), level, of) for sums in (inside, rest)
            )
            if here.low > elsewhere.high:
                tallied, place = bins[index]
                found.append(
                    {
                        "variable": tallied.variable.name,
                        "label": tallied.variable.names[place],
                        "rows": int(inside.rows[index]),
                        "flips": int(tallied.compared[place, FLIPS]),
                        "rate": float(inside.total[index] / inside.rows[index]),
                        "low": here.low,
                        "high": here.high,
                        "rest_rate": float(rest.total[index] / rest.rows[index]),
                    }
                )
    found.sort(key=lambda each: -float(each["low"]))
    return {"looks": looks, "alpha": alpha, "of": of, "found": found[:MOST_FOUND]}


def _both(tallies: Sequence[Tallied], of: Of) -> tuple[_Sums, _Sums]:
    """The sums of every bin, and of all other bins of the same variable."""
    inside = np.concatenate([each.compared for each in tallies])
    whole = np.concatenate(
        [np.broadcast_to(each.compared.sum(axis=0), each.compared.shape) for each in tallies]
    )
    columns = [ROWS, FLIPS, FLIPS] if of == "flips" else [ROWS, GAP, SQUARES]
    return _Sums(*inside[:, columns].T), _Sums(*(whole - inside)[:, columns].T)


def _promising(inside: _Sums, rest: _Sums, level: float, of: Of) -> list[int]:
    """Bins that may be found, those with the highest lower bounds by a rule of thumb first."""
    some = (inside.rows > 0) & (rest.rows > 0)
    inside, rest = (_Sums(*(np.where(some, sums, 1.0) for sums in each)) for each in (inside, rest))
    rows, rate, other = inside.rows, inside.total / inside.rows, rest.total / rest.rows
    needed = log_needed(level)
    with np.errstate(divide="ignore", invalid="ignore"):
        if of == "flips":
            ratio = rows * (_entropy(rate, other) + _entropy(1.0 - rate, 1.0 - other))
            spread = rate * (1.0 - rate) / rows
        else:
            ratio = (inside.total - rows * other) ** 2 / (2.0 * inside.squares)
            spread = inside.squares / rows**2
    promising = np.flatnonzero(some & (rate > other) & (ratio >= needed))
    guess = rate - np.sqrt(2.0 * needed * spread)
    order: list[int] = promising[np.argsort(-guess[promising], kind="stable")].tolist()
    return order[:CLOSELY]


def _entropy(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of two shares, p * ln(p / q): nought where p is, infinite where only q is."""
    found: NDArray[np.float64] = np.where(p > 0, p * np.log(p / q), 0.0)
    return found


def _bounds(sums: _Sums, level: float, of: Of) -> Bounds:
    rows, total, squares = (float(each) for each in sums)
    if of == "flips":
        return proportion(total, rows, level)
    return mean(total, squares, rows, level, 0.0, MOST_GAP)
