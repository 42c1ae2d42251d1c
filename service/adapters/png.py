"""Pictures as PNG, drawn by Pillow with the font it brings along.

That font knows little beyond ASCII: letters that it lacks are written without their accents, and what has no
such form as a question mark. SVG has no such limit.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

from service.domain.pictures import Document, Picture, picture_of
from service.domain.pictures.layout import INKS, Ink, Line, Raster, Shape, Text

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

SCALE = 2
"""Pixels of the file for each pixel of the layout: sharp on today's screens."""

SMOOTH = 2
"""Shapes are drawn so many times larger and then averaged, because Pillow draws hard edges."""

PLAIN = {"\N{MINUS SIGN}": "-", "\N{EN DASH}": "-", "→": ">"}
MISSING = "\ue000"
"""A character that no font has: what it looks like is what every missing character looks like."""


def picture_png(
    document: Document, model: Mapping[str, Any], image: Mapping[str, Any] | None = None
) -> bytes:
    """The picture of one explanation as PNG; as ``service.domain.pictures.picture_svg``, in light colours.

    Takes some 0.1 s and 30 MB: not for the event loop.
    """
    return png_bytes(picture_of(document, model, image))


def png_bytes(picture: Picture) -> bytes:
    """The picture as a PNG file, ``SCALE`` times its layout's size."""
    from PIL import Image, ImageDraw

    size = round(picture.width * SCALE), round(picture.height * SCALE)
    large = Image.new("RGB", (size[0] * SMOOTH, size[1] * SMOOTH), INKS["paper"][0])
    draw = ImageDraw.Draw(large)
    for mark in picture.marks:
        if isinstance(mark, Shape):
            draw.polygon([_large(point) for point in mark.points], INKS[mark.ink][0])
        elif isinstance(mark, Line):
            _line(draw, mark)
    canvas = large.reduce(SMOOTH)
    draw = ImageDraw.Draw(canvas)
    for mark in picture.marks:
        if isinstance(mark, Text):
            _text(draw, mark)
        elif isinstance(mark, Raster):
            left, top = round(mark.x * SCALE), round(mark.y * SCALE)
            extent = round(mark.width * SCALE), round(mark.height * SCALE)
            pixels = Image.fromarray(mark.pixels).resize(extent, Image.Resampling.NEAREST)
            canvas.paste(pixels, (left, top))
    file = BytesIO()
    canvas.save(file, "PNG")
    return file.getvalue()


def _large(point: tuple[float, float]) -> tuple[float, float]:
    return point[0] * SCALE * SMOOTH, point[1] * SCALE * SMOOTH


def _line(draw: ImageDraw, line: Line) -> None:
    """A stroke, in dashes where it is dashed."""
    (x1, y1), (x2, y2) = _large((line.x1, line.y1)), _large((line.x2, line.y2))
    length = max(abs(x2 - x1), abs(y2 - y1))
    dash, pitch = (4.0 * SCALE * SMOOTH, 7.0 * SCALE * SMOOTH) if line.dashed else (length, length)
    at = 0.0
    while at < length:
        start, end = at / length, min(at + dash, length) / length
        ends = [(x1 + (x2 - x1) * share, y1 + (y2 - y1) * share) for share in (start, end)]
        draw.line(ends, INKS[line.ink][0], round(line.width * SCALE * SMOOTH))
        at += pitch


def _text(draw: ImageDraw, text: Text) -> None:
    font = _font(text.size * SCALE)
    anchor = {"start": "ls", "middle": "ms", "end": "rs"}[text.anchor]
    place = text.x * SCALE, text.y * SCALE
    written = "".join(map(_drawable, text.text))
    draw.text(place, written, _colour(text.ink), font, anchor, stroke_width=0.5 if text.bold else 0)


def _colour(ink: Ink) -> str:
    return INKS[ink][0]


@lru_cache(maxsize=16)
def _font(size: float) -> FreeTypeFont:
    from PIL import ImageFont

    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


@lru_cache(maxsize=4096)
def _drawable(character: str) -> str:
    """The nearest that the font has to ``character``."""
    if character.isspace():
        return " "
    font = _font(24)
    blank = bytes(font.getmask(MISSING))
    if bytes(font.getmask(character)) != blank:
        return character
    plain = PLAIN.get(character) or unicodedata.normalize("NFKD", character)[0]
    return plain if bytes(font.getmask(plain)) != blank else "?"
