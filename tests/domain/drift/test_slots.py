"""Windows of slots: as long as they say or five minutes longer, and what is too old is one sum."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.domain.drift.slots import (
    KEPT_SECONDS,
    OLDER,
    SLOT_SECONDS,
    WINDOWS,
    merged,
    slot_of,
    together,
    windows,
)

NOW = 1_700_000_123.0
ages = st.lists(st.integers(0, 3 * 86_400), max_size=40)


def counted(seconds: list[int]) -> dict[int, np.ndarray]:
    """One row of each age."""
    return together({slot_of(NOW - age): np.array([1.0])} for age in seconds)


@given(ages)
def test_a_window_has_all_its_rows_and_none_that_is_a_slot_too_old(seconds: list[int]) -> None:
    found = windows(counted(seconds), 0.0, NOW, 1)
    for name, length in WINDOWS.items():
        rows = found[name].counts[0]
        if length is None:
            assert rows == len(seconds)
            continue
        assert sum(age <= length for age in seconds) <= rows
        assert rows <= sum(age < length + SLOT_SECONDS for age in seconds)
        assert NOW - length - SLOT_SECONDS < found[name].begin <= NOW - length


@given(ages)
def test_merging_what_is_old_changes_no_window(seconds: list[int]) -> None:
    slots = counted(seconds)
    before, after = windows(slots, 0.0, NOW, 1), windows(merged(slots, NOW), 0.0, NOW, 1)
    assert {name: each.counts.tolist() for name, each in before.items()} == {
        name: each.counts.tolist() for name, each in after.items()
    }
    assert len(merged(slots, NOW)) <= KEPT_SECONDS // SLOT_SECONDS + 2


def test_no_window_begins_before_counting_did() -> None:
    since = NOW - 7_200
    found = windows({}, since, NOW, 2)
    assert found["24h"].begin == found["start"].begin == since
    assert found["1h"].begin > since
    assert found["start"].counts.tolist() == [0, 0]


def test_adding_up_changes_none_of_its_parts() -> None:
    one, other = {5: np.array([1.0])}, {5: np.array([2.0]), OLDER: np.array([4.0])}
    assert {slot: counts.tolist() for slot, counts in together([one, other, one]).items()} == {
        5: [4],
        OLDER: [4],
    }
    assert (one[5].tolist(), other[5].tolist()) == ([1], [2])


def test_even_the_first_slot_of_all_is_not_the_sum_of_the_old() -> None:
    assert slot_of(0.0) != OLDER
