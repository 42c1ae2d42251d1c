"""Who shares an explanation: a table's columns, or patches of an image.

A patch takes all channels of its pixels together. An image's shape may be [H, W], [C, H, W] or [H, W, C] with
C of 1, 3 or 4; where both ends could be channels the first is, as ONNX convolutions have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, prod

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.game import Players
from service.domain.schema import ModelSpec

FEWEST, MOST = 16, 36
"""Patches of an image."""
CHANNELS = (1, 3, 4)
ROUNDS = 10
"""Of superpixel clustering; more change nothing visible (Achanta et al.)."""


def players_of(spec: ModelSpec) -> Players:
    """One player for each column; for an image one for each of about 16 to 36 patches.

    A tensor that is no picture is cut into runs of its elements in C order.
    """
    if spec.schema.layout != "image":
        names = spec.schema.names()
        return Players(names, tuple(np.array([column], dtype=np.intp) for column in range(len(names))))
    shape = spec.schema.shape
    pixels = pixel_columns(shape)
    if pixels is None:
        parts = np.array_split(np.arange(prod(shape), dtype=np.intp), min(prod(shape), MOST))
        return Players(tuple(_span("element", part) for part in parts), tuple(parts))
    height, width, _ = pixels.shape
    bands = _bands(height, width)
    rows, columns = (
        np.array_split(np.arange(size), count) for size, count in zip((height, width), bands, strict=True)
    )
    cells = [(row, column) for row in rows for column in columns]
    return Players(
        tuple(f"{_span('row', row)}, {_span('column', column)}" for row, column in cells),
        tuple(np.sort(pixels[np.ix_(row, column)].ravel()) for row, column in cells),
    )


def pixel_columns(shape: Sequence[int]) -> NDArray[np.intp] | None:
    """The canonical columns of every pixel's channels, [height, width, channels]; None for no picture."""
    columns = np.arange(prod(shape), dtype=np.intp).reshape(tuple(shape))
    if len(shape) == 2:
        return columns[:, :, None]
    if len(shape) == 3 and shape[0] in CHANNELS:
        return columns.transpose(1, 2, 0)
    if len(shape) == 3 and shape[2] in CHANNELS:
        return columns
    return None


def superpixels(image: NDArray[np.floating], count: int, compactness: float = 0.5) -> NDArray[np.intp]:
    """Connected segments of similar pixels by SLIC (Achanta et al., IEEE TPAMI 34(11), 2012).

    k-means over colour and place, from a regular grid of centres, every pixel compared with every centre;
    a segment's stray pixels join a neighbouring segment.

    Args:
        image: [height, width, channels], any scale.
        count: segments wished for; about as many are found.
        compactness: weight of places against colours, both in units of their spread.

    Returns:
        The segment of each pixel, [height, width], numbered from 0 in reading order.
    """
    height, width, channels = image.shape
    colours = image.reshape(-1, channels).astype(np.float64)
    spread = float(colours.std()) or 1.0
    places = np.indices((height, width)).reshape(2, -1).T.astype(np.float64)
    side = max(1.0, (height * width / count) ** 0.5)
    points = np.hstack([colours / spread, places * (compactness / side)])
    centres = points[_grid(height, width, side)]
    nearest = np.zeros(len(points), dtype=np.intp)
    for _ in range(ROUNDS):
        apart = (centres**2).sum(axis=1) - 2 * points @ centres.T
        nearest = apart.argmin(axis=1)
        sizes = np.bincount(nearest, minlength=len(centres))
        sums = np.stack(
            [np.bincount(nearest, weights=axis, minlength=len(centres)) for axis in points.T], axis=1
        )
        centres = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centres)
    return _connected(nearest.reshape(height, width))


def _grid(height: int, width: int, side: float) -> NDArray[np.intp]:
    rows = np.arange(max(1, round(height / side))) + 0.5
    columns = np.arange(max(1, round(width / side))) + 0.5
    at_rows = (rows * height / len(rows)).astype(np.intp)
    at_columns = (columns * width / len(columns)).astype(np.intp)
    grid: NDArray[np.intp] = (at_rows[:, None] * width + at_columns).ravel()
    return grid


def _connected(segments: NDArray[np.intp]) -> NDArray[np.intp]:
    from scipy import ndimage  # 20 MB that only pictures need

    kept = np.zeros(segments.shape, dtype=bool)
    for segment in np.unique(segments):
        parts, _ = ndimage.label(segments == segment)
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        kept |= parts == sizes.argmax()
    whole = _grown(np.where(kept, segments, -1))
    _, first, numbers = np.unique(whole, return_index=True, return_inverse=True)
    found: NDArray[np.intp] = np.argsort(np.argsort(first))[numbers].reshape(segments.shape)
    return found


def _grown(segments: NDArray[np.intp]) -> NDArray[np.intp]:
    """Pixels numbered -1 take a neighbour's number, from the edges inwards; at least one has a number."""
    while (segments < 0).any():
        border = np.pad(segments, 1, constant_values=-1)
        sides = border[:-2, 1:-1], border[2:, 1:-1], border[1:-1, :-2], border[1:-1, 2:]
        segments = np.where(segments < 0, np.max(sides, axis=0), segments)
    return segments


def _bands(height: int, width: int) -> tuple[int, int]:
    """Bands of rows and of columns: nearly square patches, cut evenly where possible."""
    if height * width <= FEWEST:
        return height, width

    def unfit(rows: int, columns: int) -> float:
        patches = rows * columns
        if not FEWEST <= patches <= MOST:
            return 10.0 + abs(log(patches / FEWEST))
        uneven = (height % rows > 0) + (width % columns > 0)
        return abs(log(height / rows / (width / columns))) + 0.5 * uneven

    choices = [
        (rows, columns)
        for rows in range(1, min(height, MOST) + 1)
        for columns in range(1, min(width, MOST) + 1)
    ]
    return min(choices, key=lambda choice: (unfit(*choice), choice))


def _span(word: str, places: NDArray[np.intp]) -> str:
    first, last = int(places[0]), int(places[-1])
    return f"{word} {first}" if first == last else f"{word}s {first}-{last}"
