"""The heat map of an image model: the image beside what its pixels contributed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from service.domain.pictures.frame import HEAD, ROOM, SMALL, document_foot, document_head
from service.domain.pictures.layout import MARGIN, Mark, Picture, Raster, Text
from service.domain.pictures.raster import grey_of, grey_pixels, heat_of, heat_pixels, layers_of, ramp_pixels
from service.domain.pictures.wording import Document, Numbers, headline, unit

GAP = 24.0
PANEL = (ROOM - GAP) / 2
"""Width of each of the two images at most, and their height too."""


def heatmap(document: Document, model: Mapping[str, Any], image: Mapping[str, Any]) -> Picture | None:
    """The picture of an explanation of an image; None where nothing is told by pixel.

    Args:
        document: an explanation with pixels or a map in its detail, or with values of patches.
        model: at least ``name`` and ``version``.
        image: ``shape`` ([H, W], [C, H, W] or [H, W, C]) and ``pixels``, flat in C order; with ``players``,
            the flat indices that each named value owns, patches may have any form.

    Raises:
        ValueError: the numbers do not fit the shape.
    """
    heat = heat_of(document, image)
    layers = layers_of(image["pixels"], tuple(int(length) for length in image["shape"]))
    if heat is None or layers is None:
        return None
    plane = grey_of(layers)
    height, width = plane.shape
    pixel = min(PANEL / width, PANEL / height)
    wide, high = width * pixel, height * pixel
    left, right = MARGIN + (PANEL - wide) / 2, MARGIN + PANEL + GAP + (PANEL - wide) / 2
    marks = document_head(document, model)
    marks += [
        Raster(left, HEAD, wide, high, grey_pixels(plane)),
        Raster(right, HEAD, wide, high, heat_pixels(heat, plane)),
        Text(left + wide / 2, HEAD + high + 18, "the image", "muted", SMALL, "middle"),
    ]
    strongest = float(np.abs(heat).max(initial=0.0))
    marks += _ramp(MARGIN + PANEL + GAP, HEAD + high + 10, strongest, f"{unit(document)}, by pixel")
    foot, bottom = document_foot(document, HEAD + high + 52)
    description = _described(heat, unit(document))
    return Picture(bottom, headline(document, model), description, tuple(marks + foot))


def _ramp(left: float, top: float, strongest: float, caption: str) -> list[Mark]:
    """The scale of colours with its ends and its middle."""
    numbers = Numbers.of(strongest)
    centre = left + PANEL / 2
    return [
        Raster(centre - 110, top, 220, 10, ramp_pixels(220)),
        Text(centre - 118, top + 9, numbers.signed(-strongest), "muted", SMALL, "end"),
        Text(centre + 118, top + 9, numbers.signed(strongest), "muted", SMALL),
        Text(centre, top + 27, caption, "muted", SMALL, "middle"),
    ]


def _described(heat: np.ndarray[Any, np.dtype[np.float64]], measured: str) -> str:
    strongest = float(np.abs(heat).max(initial=0.0))
    numbers = Numbers.of(strongest)
    parts = []
    for word, plane in (("raises", heat), ("lowers", -heat)):
        row, column = np.unravel_index(int(np.argmax(plane)), plane.shape)
        if plane[row, column] > 0:
            most = numbers.plain(float(plane[row, column]))
            parts.append(f"the pixel in row {row}, column {column} {word} it most, by {most}")
    return f"In {measured}: " + ("; ".join(parts) or "no pixel contributes") + "."
