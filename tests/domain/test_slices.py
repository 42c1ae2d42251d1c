"""Slices: every row is in the slice all, and in each other one that its values put it into."""

from __future__ import annotations

import math

import numpy as np

from service.domain.conditions import Compare, Missing
from service.domain.slices import ALL, Slice, members, slice_bits

SLICES = (Slice("young", Compare(0, "<", 25.0)), Slice("homeless", Missing(1)))


def test_a_row_may_be_in_several_slices_or_only_in_all() -> None:
    rows = np.array([[20, np.nan], [30, np.nan], [30, 1]], np.float32)
    found = {name: mask.tolist() for name, mask in members(SLICES, rows).items()}
    assert found == {ALL: [True] * 3, "young": [True, False, False], "homeless": [True, True, False]}
    assert next(iter(found)) == ALL


def test_no_row_is_in_no_slice() -> None:
    assert {name: mask.shape for name, mask in members(SLICES, np.empty((0, 2), np.float32)).items()} == {
        ALL: (0,),
        "young": (0,),
        "homeless": (0,),
    }


def test_slices_are_bits_in_their_order() -> None:
    rng = np.random.default_rng(2)
    for count in (1, 7, 8, 9, 20, 32):
        masks = rng.random((count, 50)) < 0.4
        bits = slice_bits(list(masks))
        assert bits is not None
        assert bits.dtype == np.uint32
        expected = [sum(int(mask[row]) << place for place, mask in enumerate(masks)) for row in range(50)]
        assert bits.tolist() == expected
    assert slice_bits([]) is None
    assert math.log2(int(slice_bits([np.zeros(1, np.bool_)] * 31 + [np.ones(1, np.bool_)])[0])) == 31  # type: ignore[index]  # there are slices
