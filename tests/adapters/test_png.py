"""The same pictures as PNG files."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.adapters.png import SCALE, picture_png
from service.domain.pictures import picture_of
from service.domain.pictures.layout import INKS, Raster, Shape, Text, text_width
from tests.domain.pictures.documents import EVERY, MODEL, SAMPLED, document

IMAGE = {"shape": [2, 2], "pixels": [0.0, 1.0, 2.0, 3.0]}


def drawn(file: bytes) -> NDArray[np.uint8]:
    with Image.open(BytesIO(file)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def colour(ink: str) -> list[int]:
    return [int(INKS[ink][0][at : at + 2], 16) for at in (1, 3, 5)]  # type: ignore[index]  # an ink by name


@pytest.mark.parametrize("name", EVERY)
def test_every_picture_becomes_a_file_of_twice_its_layouts_size(name: str) -> None:
    picture = picture_of(EVERY[name], MODEL)
    pixels = drawn(picture_png(EVERY[name], MODEL))
    assert pixels.shape == (round(picture.height * SCALE), picture.width * SCALE, 3)
    assert (pixels != 255).any(axis=2).mean() > 0.005


def test_bars_have_their_colour_where_the_layout_puts_them() -> None:
    pixels = drawn(picture_png(document(), MODEL))
    seen = 0
    for mark in picture_of(document(), MODEL).marks:
        if isinstance(mark, Shape) and mark.tip.startswith(("Records", "Income")):
            (x, y), (neck, _) = mark.points[0], mark.points[1]
            at = round((0.6 * x + 0.4 * neck) * SCALE), round((y + 3) * SCALE)
            assert pixels[at[1], at[0]].tolist() == colour(mark.ink)
            seen += 1
    assert seen == 2


def test_words_are_written_where_the_layout_puts_them_and_end_where_they_may() -> None:
    pixels = drawn(picture_png(SAMPLED, MODEL))
    for mark in picture_of(SAMPLED, MODEL).marks:
        if isinstance(mark, Text) and mark.anchor == "end":
            top, bottom = round((mark.y - mark.size) * SCALE), round((mark.y + 4) * SCALE)
            left = round((mark.x - text_width(mark.text, mark.size, mark.bold)) * SCALE)
            assert (pixels[top:bottom, left : round(mark.x * SCALE)] != 255).any(), mark
            assert (pixels[top:bottom, left - 8 : left - 2] == 255).all(), mark


def test_an_image_is_drawn_pixel_by_pixel() -> None:
    heat = document({"rows 0-1, columns 0-0": 1.0, "rows 0-1, columns 1-1": -1.0})
    pixels = drawn(picture_png(heat, MODEL, IMAGE))
    image, over, _ = (mark for mark in picture_of(heat, MODEL, IMAGE).marks if isinstance(mark, Raster))
    for row in range(2):
        for column in range(2):
            for mark in (image, over):
                x = mark.x + mark.width * (column + 0.5) / 2
                y = mark.y + mark.height * (row + 0.5) / 2
                assert (
                    pixels[round(y * SCALE), round(x * SCALE)].tolist() == mark.pixels[row, column].tolist()
                )


def test_letters_that_the_font_lacks_are_written_without_their_accents() -> None:
    assert picture_png(document({"Höhe": 1.0}), MODEL) == picture_png(document({"Hohe": 1.0}), MODEL)
    assert picture_png(document({"高": 1.0}), MODEL) == picture_png(document({"?": 1.0}), MODEL)


def test_the_same_document_gives_the_same_file() -> None:
    assert picture_png(SAMPLED, MODEL) == picture_png(SAMPLED, MODEL)


def test_pillow_is_loaded_only_when_something_is_drawn() -> None:
    check = "import sys, service.adapters.png; sys.exit('PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False, timeout=60).returncode == 0
