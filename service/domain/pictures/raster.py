"""Images and heat as pixels, and pixels as a PNG file (ISO/IEC 15948)."""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.image_players import pixel_columns
from service.domain.pictures.layout import INKS, Pixels
from service.domain.pictures.wording import Document

Plane = NDArray[np.float64]
"""One number for each pixel, [height, width]."""


def png_bytes(pixels: Pixels) -> bytes:
    """A PNG file of red, green and blue, [height, width, 3]."""
    height, width, _ = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def layers_of(flat: Any, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    """A tensor in C order of ``shape`` as an image, [height, width, channels]; None for what is no image.

    Raises:
        ValueError: the numbers do not fill the shape.
    """
    numbers = np.asarray(flat, dtype=np.float64).reshape(shape).ravel()
    columns = pixel_columns(shape)
    return None if columns is None else numbers[columns]


def grey_of(layers: NDArray[np.float64]) -> Plane:
    """Brightness: the mean of the colours; a fourth channel is opacity."""
    mean: Plane = layers[:, :, :3].mean(axis=2)
    return mean


def heat_of(document: Document, image: Mapping[str, Any]) -> Plane | None:
    """What each pixel contributed, [height, width]; None where the document does not tell it by pixel.

    The method's own pixels come first, then its map, then the players' values, each spread over its patch.

    Raises:
        ValueError: the numbers do not fit the image.
    """
    shape = tuple(int(length) for length in image["shape"])
    layers = layers_of(np.zeros(math.prod(shape)), shape)
    values: Mapping[str, float] = document.get("values") or {}
    detail, owned = document.get("detail") or {}, image.get("players")
    if layers is None:
        return None
    if detail.get("pixels") is not None:
        layers = layers_of(detail["pixels"], shape)
    elif detail.get("map") is not None:
        return np.asarray(detail["map"], dtype=np.float64).reshape(layers.shape[:2])
    elif values and owned is not None:
        layers = layers_of(_spread(values, owned, math.prod(shape)), shape)
    else:
        return _patches(values, layers[:, :, 0])
    return None if layers is None else layers.sum(axis=2)


def _spread(values: Mapping[str, float], owned: Mapping[str, Any], width: int) -> NDArray[np.float64]:
    flat = np.zeros(width)
    for name, value in values.items():
        flat[np.asarray(owned[name], dtype=np.intp)] = value / len(owned[name])
    return flat


_PATCH = re.compile(r"rows? (\d+)(?:-(\d+))?, columns? (\d+)(?:-(\d+))?")


def _patches(values: Mapping[str, float], heat: Plane) -> Plane | None:
    """Values of players that are named after the pixels they own, such as "rows 0-1, columns 2-3"."""
    if not values:
        return None
    for name, value in values.items():
        found = _PATCH.fullmatch(name)
        if found is None:
            return None
        top, bottom, left, right = found.groups()
        patch = heat[int(top) : int(bottom or top) + 1, int(left) : int(right or left) + 1]
        patch[...] = value / max(patch.size, 1)
    return heat


def grey_pixels(plane: Plane) -> Pixels:
    """The image itself, darkest to brightest; a flat image is mid-grey."""
    level = np.round(_unit(plane) * 255).astype(np.uint8)
    return np.repeat(level[:, :, None], 3, axis=2)


def heat_pixels(heat: Plane, plane: Plane) -> Pixels:
    """Heat in colour over the image in pale grey; the strongest pixel has the full colour."""
    strongest = float(np.abs(heat).max(initial=0.0))
    share = np.abs(heat)[:, :, None] / strongest if strongest else np.zeros((*heat.shape, 1))
    under = 255 * (0.8 + 0.18 * _unit(plane))[:, :, None]
    tint = np.where(heat[:, :, None] >= 0, ink_rgb("raise"), ink_rgb("lower"))
    mixed: Pixels = np.round(under * (1 - share) + tint * share).astype(np.uint8)
    return mixed


def ramp_pixels(steps: int) -> Pixels:
    """The colours of heat from the most lowering to the most raising, [1, steps, 3]."""
    heat = np.linspace(-1.0, 1.0, steps)[None, :]
    return heat_pixels(heat, np.zeros_like(heat))


def ink_rgb(ink: Any) -> NDArray[np.float64]:
    """Red, green and blue of an ink on light paper, 0 to 255."""
    name = INKS[ink][0]
    return np.array([int(name[at : at + 2], 16) for at in (1, 3, 5)], dtype=np.float64)


def _unit(plane: Plane) -> Plane:
    low, high = float(plane.min(initial=np.inf)), float(plane.max(initial=-np.inf))
    return (plane - low) / (high - low) if high > low else np.full(plane.shape, 0.5)
