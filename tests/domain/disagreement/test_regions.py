"""What label sets and intervals have in common, at the edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.domain.disagreement.measure import Region
from service.domain.disagreement.regions import alike, apart, overlap

INF = float("inf")

# Two regions: their overlap, whether they are alike, whether they are apart.
SETS: dict[str, tuple[str, str, float, bool, bool]] = {
    "the same": ("ab", "ab", 1, True, False),
    "one more": ("a", "ab", 1 / 2, False, False),
    "one in common": ("ab", "bc", 1 / 3, False, False),
    "nothing in common": ("a", "bc", 0, False, True),
    "nothing on one side": ("", "abc", 0, False, True),
    "nothing on both": ("", "", 1, True, False),
}
INTERVALS: dict[str, tuple[tuple[float, float], tuple[float, float], float, bool, bool]] = {
    "the same": ((1, 3), (1, 3), 1, True, False),
    "half": ((0, 2), (1, 2), 1 / 2, False, False),
    "across": ((0, 2), (1, 4), 1 / 4, False, False),
    "apart": ((0, 1), (2, 3), 0, False, True),
    "touching": ((0, 1), (1, 2), 0, False, False),
    "the same point": ((1, 1), (1, 1), 1, True, False),
    "two points": ((1, 1), (2, 2), 0, False, True),
    "a point inside": ((1, 1), (0, 2), 0, False, False),
    "everything twice": ((-INF, INF), (-INF, INF), 1, True, False),
    "everything and something": ((-INF, INF), (0, 1), 0, False, False),
    "everything and its upper half": ((-INF, INF), (0, INF), 1 / 2, False, False),
    "nothing on one side": ((3, 1), (0, 4), 0, False, True),
    "nothing on both": ((3, 1), (9, 8), 1, True, False),
}


def sets(*names: str) -> Region:
    return np.array([[label in name for label in "abc"] for name in names])


def intervals(*ends: tuple[float, float]) -> Region:
    return np.array(ends, np.float64)


CASES = [
    pytest.param(sets(case[0]), sets(case[1]), *case[2:], id=f"sets: {name}") for name, case in SETS.items()
]
CASES += [
    pytest.param(intervals(case[0]), intervals(case[1]), *case[2:], id=f"intervals: {name}")
    for name, case in INTERVALS.items()
]


@pytest.mark.parametrize(("before", "after", "share", "same", "disjoint"), CASES)
def test_two_regions_have_in_common_what_was_worked_out_by_hand(
    before: Any, after: Any, share: float, same: bool, disjoint: bool
) -> None:
    for first, second in ((before, after), (after, before)):
        assert overlap(first, second) == pytest.approx([share], abs=1e-30)
        assert alike(first, second).tolist() == [same]
        assert apart(first, second).tolist() == [disjoint]


def test_each_row_has_regions_of_its_own() -> None:
    before, after = sets("a", "ab", ""), sets("a", "c", "")
    assert overlap(before, after).tolist() == [1, 0, 1]
    assert apart(before, after).tolist() == [False, True, False]


def test_overlaps_of_any_intervals_are_shares() -> None:
    rng = np.random.default_rng(3)
    ends = rng.choice([-INF, -1e38, -1.0, 0.0, 1e-300, 1.0, 1e38, INF], (2, 5_000, 2))
    found = overlap(*ends)
    assert ((found >= 0) & (found <= 1)).all()


def test_models_that_are_right_about_their_confidence_are_seldom_apart() -> None:
    """At confidence c both regions hold the truth in all but 2 (1 - c) of the rows, and then they meet."""
    rng = np.random.default_rng(4)
    truth = rng.normal(size=20_000)
    middles = truth + rng.normal(size=(2, 20_000))
    before, after = (middle[:, None] + 1.645 * np.array([-1, 1]) for middle in middles)
    assert apart(before, after).mean() <= 0.2
    shifted = after + 100
    assert apart(before, shifted).all()
