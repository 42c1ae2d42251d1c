"""An image as it was sent."""

from __future__ import annotations

from typing import Any

import pytest

from service.domain.pictures.charts.image import MOST_NUMBERS, image
from service.domain.pictures.layout import Raster
from tests.domain.pictures.charts.pictures import assert_sound


def test_bright_pixels_are_bright() -> None:
    drawn = image([[0.0, 1.0], [2.0, 3.0]], "a digit")
    assert drawn is not None
    assert_sound(drawn)
    (mark,) = drawn.marks
    assert isinstance(mark, Raster)
    assert sorted(mark.pixels[:, :, 0].ravel().tolist()) == mark.pixels[:, :, 0].ravel().tolist()
    assert len(set(mark.pixels[:, :, 0].ravel().tolist())) == 4
    assert drawn.description.startswith("2 rows of 2 pixels")


@pytest.mark.parametrize(
    "nested",
    [
        [],
        [[1.0], [1.0, 2.0]],
        [["a"]],
        [[None, 1.0]],
        7.0,
        [1.0] * 3,
        [[0.0] * (MOST_NUMBERS + 1)],
        [[float("inf")]],
    ],
)
def test_what_is_no_image_is_not_drawn(nested: Any) -> None:
    assert image(nested, "a digit") is None
