"""An image that a model was asked about, as it was sent."""

from __future__ import annotations

from typing import Any

import numpy as np

from service.domain.pictures.charts.canvas import WIDE
from service.domain.pictures.layout import Picture, Raster
from service.domain.pictures.raster import grey_of, grey_pixels, layers_of

SIDE = 200.0
MOST_NUMBERS = 65_536
"""Of one image; a larger one is not drawn."""


def image(nested: Any, title: str) -> Picture | None:
    """A nested list of pixels in grey; None where it is no image that can be drawn.

    Args:
        nested: [H, W], [C, H, W] or [H, W, C] numbers.
        title: what it is.
    """
    try:
        pixels = np.asarray(nested, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    if not 0 < pixels.size <= MOST_NUMBERS or not np.isfinite(pixels).all():
        return None
    layers = layers_of(pixels, pixels.shape)
    if layers is None:
        return None
    grey = grey_of(layers)
    height, width = grey.shape
    pixel = SIDE / max(height, width)
    mark = Raster(0, 0, width * pixel, height * pixel, grey_pixels(grey))
    said = f"{height} rows of {width} pixels, from dark to light."
    return Picture(height * pixel, title, said, (mark,), WIDE)
