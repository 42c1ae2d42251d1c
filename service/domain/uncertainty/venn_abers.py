"""Two probabilities for the second class, one of which is right on average: inductive Venn-Abers.

The calibration rows are refitted by isotonic regression with the row in question among them, once as if its
label were the first class and once the second (Vovk & Petej, UAI 2014). The two values at its score are the
bounds p0 < p1; whichever belongs to the true label is perfectly calibrated, for any model, with any number of
rows, as long as rows are exchangeable. Few rows show as bounds far apart. One number for both is
p1 / (1 - p0 + p1), which regrets the least under log-loss.

Refits depend on the score's place among the calibration scores alone, so all are made beforehand, in
O(n log n) altogether: the values are slopes of lower hulls of the cumulative sums, which from one score to
the next change in few places (after Vovk, Petej & Fedorova, NIPS 2015). A request looks up two steps.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.schema import ModelSpec, Scores
from service.domain.uncertainty.held_out import fitted
from service.domain.uncertainty.isotonic import tallied
from service.domain.uncertainty.measure import Arrays, Asked, Columns, Fitted, Kind, Material, Unfitting

Point: TypeAlias = tuple[int, int]
"""Rows up to a score, and positive ones of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """A step function of the score: value i between step i-1 and step i."""

    steps: NDArray[np.float64]
    """Ascending, [k]."""
    values: NDArray[np.float64]
    """[k+1]"""


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """Gives ``calibrated``, and ``venn_abers`` where it is asked for."""

    low: Steps
    """p0, which has risen at a step already."""
    high: Steps
    """p1, which rises beyond a step."""
    lists: tuple[list[float], list[float], list[float], list[float]]
    """Steps and values of ``low``, then of ``high``; for single rows."""

    def columns(self, asked: Asked) -> Columns:
        if len(asked.scores) == 1:  # a third of what numpy would take for one row
            score = asked.scores.item(1)
            low_steps, lows, high_steps, highs = self.lists
            low, high = lows[bisect_right(low_steps, score)], highs[bisect_left(high_steps, score)]
            share = high / (1 - low + high)
            found: Columns = {"calibrated": np.array([[1 - share, share]])}
            if "venn_abers" in asked.extra:
                found["venn_abers"] = np.array([[low, high]])
            return found
        scores = asked.scores[:, 1]
        lower = self.low.values[self.low.steps.searchsorted(scores, side="right")]
        upper = self.high.values[self.high.steps.searchsorted(scores, side="left")]
        shares = upper / (1 - lower + upper)
        found = {"calibrated": np.stack([1 - shares, shares], axis=1)}
        if "venn_abers" in asked.extra:
            found["venn_abers"] = np.stack([lower, upper], axis=1)
        return found


class VennAbers:
    """Learns ``low_steps`` [k], ``low`` [k+1], ``high_steps`` [l] and ``high`` [l+1], all float64."""

    name = "venn-abers"
    kind: Kind = "probability"

    def fit(self, material: Material) -> Fitted:
        if material.spec.task == "multiclass":
            raise Unfitting("bounds are known for two classes only, and a probability needs both")
        found = fitted(material, learn_bounds, self.restore)
        both = self.restore(material.spec, found.arrays).columns(
            Asked(material.rows, material.scores, extra=frozenset({"venn_abers"}))
        )["venn_abers"]
        width = float((both[:, 1] - both[:, 0]).mean())
        return Fitted(found.arrays, {**found.report, "mean_width": width})

    def restore(self, spec: ModelSpec, arrays: Arrays) -> Bounds:  # noqa: ARG002 - the arrays tell all
        low, high = Steps(arrays["low_steps"], arrays["low"]), Steps(arrays["high_steps"], arrays["high"])
        lists = (low.steps.tolist(), low.values.tolist(), high.steps.tolist(), high.values.tolist())
        return Bounds(low, high, lists)


def learn_bounds(scores: Scores, labels: NDArray[np.intp]) -> Arrays:
    """What ``VennAbers`` consists of, from served scores [n, 2] and labels [n].

    A row between two calibration scores has the p1 of the higher and the p0 of the lower: its own label is as
    extreme as can be, so it is pooled with the neighbour on whose side it violates the order.
    """
    distinct, counts, positives = tallied(scores[:, 1], labels == 1)
    high = np.array([*_joined_by_a_positive(counts, positives), 1.0])
    mirrored = _joined_by_a_positive(counts[::-1], (counts - positives)[::-1])
    low = 1 - np.array([1.0, *mirrored[::-1]])
    rises, has_risen = np.flatnonzero(np.diff(high)), np.flatnonzero(np.diff(low))
    return {
        "low_steps": distinct[has_risen],
        "low": low[[0, *(has_risen + 1)]],
        "high_steps": distinct[rises],
        "high": high[[0, *(rises + 1)]],
    }


def _joined_by_a_positive(counts: NDArray[np.intp], positives: NDArray[np.intp]) -> list[float]:
    """The isotonic value at each distinct score once a positive row has joined those with that score.

    It is the slope of the lower hull of the cumulative sums over the joined group. Points before the group
    are drawn one row and one positive back, which puts the new row between them and the rest; then the value
    is the slope of the one edge from the former to the latter. From group to group it rises, so neither of
    its ends moves back, and all edges are found in one sweep. Sums are integers: nothing is rounded until the
    division.
    """
    sums: list[Point] = list(
        zip(accumulate(counts.tolist(), initial=0), accumulate(positives.tolist(), initial=0), strict=True)
    )
    after = _corners_after(sums)
    left: list[Point] = []  # lower hull of the points drawn back, from ``start`` on
    start, right = 0, 1
    found = []
    for group in range(1, len(sums)):
        rows, positive = sums[group - 1]
        drawn_back = (rows - 1, positive - 1)
        while len(left) - start > 1 and _lies_below(drawn_back, left[-2], left[-1]):
            left.pop()
        left.append(drawn_back)
        right = max(right, group)
        while True:
            while after[right] and _lies_below(sums[after[right]], left[start], sums[right]):
                right = after[right]
            if start + 1 == len(left) or not _lies_below(left[start + 1], left[start], sums[right]):
                break
            start += 1
        found.append((sums[right][1] - left[start][1]) / (sums[right][0] - left[start][0]))
    return found


def _corners_after(sums: Sequence[Point]) -> list[int]:
    """The next corner of the lower hull of each point and all later ones; 0 after the last."""
    after = [0] * len(sums)
    hull: list[int] = []
    for place in range(len(sums) - 1, 0, -1):
        while len(hull) > 1 and _lies_below(sums[hull[-2]], sums[place], sums[hull[-1]]):
            hull.pop()
        after[place] = hull[-1] if hull else 0
        hull.append(place)
    return after


def _lies_below(point: Point, start: Point, other: Point) -> bool:
    """Whether a point right of ``start`` is on or below the line from there through ``other``."""
    return (point[1] - start[1]) * (other[0] - start[0]) <= (other[1] - start[1]) * (point[0] - start[0])


VENN_ABERS = VennAbers()
