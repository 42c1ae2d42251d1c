"""Heat over images, and the PNG writer under it."""

from __future__ import annotations

import struct
import zlib
from typing import Any
from xml.etree import ElementTree as Xml

import numpy as np
import pytest

from service.domain.pictures import picture_of, picture_svg
from service.domain.pictures.heatmap import heatmap
from service.domain.pictures.layout import Raster
from service.domain.pictures.raster import grey_of, heat_of, heat_pixels, ink_rgb, layers_of, png_bytes
from tests.domain.pictures.documents import MODEL, document

SHAPE = (4, 6)
PIXELS = np.arange(24.0).tolist()
IMAGE: dict[str, Any] = {"shape": list(SHAPE), "pixels": PIXELS}
PATCHES = {
    "rows 0-1, columns 0-2": 1.5,
    "rows 0-1, columns 3-5": -3.0,
    "rows 2-3, columns 0-2": 0.0,
    "rows 2-3, columns 3-5": 0.6,
}


def read_png(file: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Pixels of an unfiltered 8-bit RGB file, every checksum verified."""
    assert file[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(file):
        (length,), kind = struct.unpack(">I", file[at : at + 4]), file[at + 4 : at + 8]
        data = file[at + 8 : at + 8 + length]
        assert struct.unpack(">I", file[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + data)
        chunks[kind] = data
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, colour, *_ = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, colour) == (8, 2)
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + 3 * width)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(height, width, 3)


def test_a_written_png_reads_back_to_the_same_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(read_png(png_bytes(pixels)), pixels)


def test_the_values_of_patches_are_spread_over_their_pixels() -> None:
    heat = heat_of(document(PATCHES), IMAGE)
    assert heat is not None
    assert heat.sum() == pytest.approx(sum(PATCHES.values()))
    np.testing.assert_allclose(heat[:2, :3], 0.25)
    np.testing.assert_allclose(heat[:2, 3:], -0.5)


def test_players_of_any_form_colour_the_pixels_that_they_own() -> None:
    owned = {"snake": [0, 7, 14], "rest": [1, 2]}
    heat = heat_of(document({"snake": 3.0, "rest": -1.0}), {**IMAGE, "players": owned})
    assert heat is not None
    assert heat.ravel()[[0, 7, 14]].tolist() == [1.0, 1.0, 1.0]
    assert heat.ravel()[[1, 2]].tolist() == [-0.5, -0.5]
    assert np.count_nonzero(heat) == 5


def test_pixels_of_a_gradient_method_come_before_patches() -> None:
    own = np.linspace(-1, 1, 24)
    heat = heat_of(document(PATCHES, detail={"pixels": own.tolist()}), IMAGE)
    np.testing.assert_array_equal(heat, own.reshape(SHAPE))
    heat = heat_of(document(PATCHES, detail={"map": own.reshape(SHAPE).tolist()}), IMAGE)
    np.testing.assert_array_equal(heat, own.reshape(SHAPE))


@pytest.mark.parametrize("axis", [0, 2], ids=["channels first", "channels last"])
def test_colours_are_averaged_for_the_image_and_added_up_for_the_heat(axis: int) -> None:
    tensor = np.random.default_rng(1).random((5, 6, 3))
    moved = np.moveaxis(tensor, 2, axis)
    image = {"shape": list(moved.shape), "pixels": moved.ravel().tolist()}
    heat = heat_of(document({}, detail={"pixels": image["pixels"]}), image)
    np.testing.assert_allclose(heat, tensor.sum(axis=2))
    layers = layers_of(image["pixels"], moved.shape)
    assert layers is not None
    np.testing.assert_allclose(grey_of(layers), tensor.mean(axis=2))


def test_opacity_makes_an_image_no_brighter() -> None:
    layers = np.dstack([np.zeros((2, 2, 3)), np.ones((2, 2))])
    assert not grey_of(layers).any()


@pytest.mark.parametrize("shape", [(24,), (2, 2, 6), (1, 1, 4, 6)])
def test_a_tensor_that_is_no_image_is_drawn_as_a_waterfall(shape: tuple[int, ...]) -> None:
    image = {"shape": list(shape), "pixels": PIXELS}
    elements = document({"elements 0-11": 1.0, "elements 12-23": 2.0}, detail={"pixels": PIXELS})
    assert heatmap(elements, MODEL, image) is None
    assert "elements 12-23" in picture_of(elements, MODEL, image).description


def test_pixels_that_do_not_fill_the_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="reshape"):
        heatmap(document(PATCHES), MODEL, {"shape": [5, 5], "pixels": PIXELS})


def test_the_strongest_pixels_have_the_full_colours_and_silent_ones_are_grey() -> None:
    heat = np.array([[1.0, -1.0, 0.0, 0.5]])
    pixels = heat_pixels(heat, np.zeros((1, 4))).astype(int)
    assert pixels[0, 0].tolist() == ink_rgb("raise").tolist()
    assert pixels[0, 1].tolist() == ink_rgb("lower").tolist()
    assert len(set(pixels[0, 2].tolist())) == 1
    between = (pixels[0, 2] + pixels[0, 0]) / 2
    assert np.abs(pixels[0, 3] - between).max() <= 1


def test_an_image_without_heat_is_grey_all_over() -> None:
    pixels = heat_pixels(np.zeros(SHAPE), np.arange(24.0).reshape(SHAPE))
    assert (pixels == pixels[:, :, :1]).all()
    assert len(np.unique(pixels)) > 5


def test_the_picture_shows_the_image_beside_its_heat_and_the_scale_of_colours() -> None:
    picture = heatmap(document(PATCHES), MODEL, IMAGE)
    assert picture is not None
    image, heat, ramp = (mark for mark in picture.marks if isinstance(mark, Raster))
    assert image.pixels[..., 0].ravel().tolist() == sorted(image.pixels[..., 0].ravel().tolist())
    assert heat.pixels.shape == (*SHAPE, 3)
    assert image.width / image.height == pytest.approx(6 / 4)
    assert image.x + image.width < heat.x
    assert ramp.pixels[0, -1].tolist() == ink_rgb("raise").tolist()
    assert ramp.pixels[0, 0].tolist() == ink_rgb("lower").tolist()
    assert "the pixel in row 0, column 0 raises it most, by 0.25" in picture.description
    assert "the pixel in row 0, column 3 lowers it most, by 0.50" in picture.description


@pytest.mark.parametrize("shape", [[1, 200], [200, 1], [64, 64]])
def test_images_of_any_proportion_stay_on_the_paper(shape: list[int]) -> None:
    count = shape[0] * shape[1]
    picture = heatmap(
        document({}, detail={"pixels": [1.0] * count}), MODEL, {"shape": shape, "pixels": [0.0] * count}
    )
    assert picture is not None
    for mark in picture.marks:
        if isinstance(mark, Raster):
            assert 0 <= mark.x < mark.x + mark.width <= picture.width
            assert 0 <= mark.y < mark.y + mark.height <= picture.height


def test_an_svg_holds_its_pixels_in_itself() -> None:
    root = Xml.fromstring(picture_svg(document(PATCHES), MODEL, IMAGE).decode())
    sources = [element.attrib["href"] for element in root.iter("{http://www.w3.org/2000/svg}image")]
    assert len(sources) == 3
    assert all(source.startswith("data:image/png;base64,") for source in sources)


def test_values_that_belong_to_no_pixels_are_drawn_as_a_waterfall() -> None:
    assert heatmap(document(), MODEL, IMAGE) is None
    picture = picture_of(document(), MODEL, IMAGE)
    assert not any(isinstance(mark, Raster) for mark in picture.marks)
    assert "Income" in picture.description
