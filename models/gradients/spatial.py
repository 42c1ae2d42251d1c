"""Convolutions and pools over one, two or three spatial dimensions, [rows, channels, *spatial].

All are sliding windows, and the way back from a window is a transposed convolution (Dumoulin & Visin, "A
guide to convolution arithmetic", arXiv 1603.07285): without padding, then cut to the input's size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from models.gradients.step import Adjoints, Rule, Step
from service.domain.explainers.game import Unsuitable


@dataclass(frozen=True, slots=True)
class Windows:
    """How a kernel slides; one number for each spatial dimension."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    """Padding at the low end."""
    size: tuple[int, ...]
    """Of the input."""
    steps: tuple[int, ...]
    """Places of the kernel: the output's size."""

    @property
    def covered(self) -> tuple[int, ...]:
        """Reach of all windows together, counted from the first one's first cell."""
        spans = zip(self.steps, self.strides, self.kernel, self.dilations, strict=True)
        return tuple((steps - 1) * stride + (kernel - 1) * gap + 1 for steps, stride, kernel, gap in spans)

    @property
    def after(self) -> tuple[int, ...]:
        """Padding at the high end that the last window needs; negative where it does not reach the end."""
        spans = zip(self.covered, self.before, self.size, strict=True)
        return tuple(covered - before - size for covered, before, size in spans)


def windows_of(step: Step) -> Windows:
    """The windows of a Conv or pool node, with automatic padding worked out."""
    tensors, settings = step.tape.forward.tensors, step.settings
    size, steps = tensors[step.x].spatial(), tensors[step.y].spatial()
    kernel = tuple(settings.get("kernel_shape") or tensors[step.node.input[1]].spatial())
    strides = tuple(settings.get("strides") or [1] * len(size))
    dilations = tuple(settings.get("dilations") or [1] * len(size))
    before = tuple((settings.get("pads") or [0] * (2 * len(size)))[: len(size)])
    automatic = settings.get("auto_pad", "NOTSET")
    if automatic in {"SAME_UPPER", "SAME_LOWER"}:
        spans = zip(steps, strides, kernel, dilations, size, strict=True)
        missing = [max((n - 1) * s + (k - 1) * d + 1 - cells, 0) for n, s, k, d, cells in spans]
        before = tuple((cells + (automatic == "SAME_LOWER")) // 2 for cells in missing)
    return Windows(kernel, strides, dilations, before, size, steps)


def _spread(step: Step, g: str, weights: str, windows: Windows, group: int) -> str:
    """Adds every window's numbers, through ``weights``, to the cells that it looked at."""
    tape, rank = step.tape, len(windows.size)
    whole = tape.op(
        "ConvTranspose",
        g,
        weights,
        kernel_shape=list(windows.kernel),
        strides=list(windows.strides),
        dilations=list(windows.dilations),
        group=group,
    )
    short = [max(0, -cells) for cells in windows.after]
    whole = tape.pad(whole, [0] * (rank + 2), [0, 0, *short], 0, step.x)
    if not any(windows.before) and all(cells <= 0 for cells in windows.after):
        return whole
    return tape.window(whole, windows.before, windows.size, range(2, rank + 2))


def _conv(step: Step) -> Adjoints:
    step.only_first_moves()
    group = int(step.settings.get("group", 1))
    return [(step.x, _spread(step, step.g, step.node.input[1], windows_of(step), group))]


def _average_pool(step: Step) -> Adjoints:
    windows = windows_of(step)
    share = step.tape.op("Mul", step.g, step.tape.like(1 / _counts(step, windows), step.x))
    channels = step.tape.forward.tensors[step.x].size(1)
    ones = step.tape.like(np.ones((channels, 1, *windows.kernel)), step.x)
    return [(step.x, _spread(step, share, ones, windows, channels))]


def _counts(step: Step, windows: Windows) -> NDArray[np.float64]:
    """Cells that each window is an average of, [1, 1, *steps]."""
    padded = bool(step.settings.get("count_include_pad", 0))
    high = step.settings.get("pads", [0] * 2 * len(windows.size))[len(windows.size) :]
    if step.settings.get("auto_pad", "NOTSET") != "NOTSET":
        high = [max(0, cells) for cells in windows.after]

    def along(axis: int) -> NDArray[np.float64]:
        starts = np.arange(windows.steps[axis]) * windows.strides[axis] - windows.before[axis]
        cells = starts[:, None] + np.arange(windows.kernel[axis]) * windows.dilations[axis]
        low, end = (-windows.before[axis], high[axis]) if padded else (0, 0)
        counted: NDArray[np.float64] = np.sum(
            (cells >= low) & (cells < windows.size[axis] + end), axis=1, dtype=np.float64
        )
        return counted

    counts = np.ones((1, 1))
    for axis in range(len(windows.size)):
        counts = counts[..., None] * along(axis)
    return counts


def _max_pool(step: Step) -> Adjoints:
    """To the first largest cell of each window, found again by cutting the windows out."""
    if step.output != step.y:
        raise Unsuitable("MaxPool whose indices are differentiated")
    tape, windows = step.tape, windows_of(step)
    channels, places = tape.forward.tensors[step.x].size(1), prod(windows.kernel)
    one_hot = np.tile(
        np.eye(places).reshape(places, 1, *windows.kernel), (channels, *[1] * (1 + len(windows.kernel)))
    )
    weights = tape.like(one_hot, step.x)
    lowest = float(np.finfo(tape.forward.tensors[step.x].dtype).min) / 4  # stays finite in TF32's rounding
    inside = tape.pad(
        step.x, [0, 0, *windows.before], [0, 0, *(max(0, n) for n in windows.after)], lowest, step.x
    )
    cells = tape.op(
        "Conv",
        inside,
        weights,
        kernel_shape=list(windows.kernel),
        strides=list(windows.strides),
        dilations=list(windows.dilations),
        group=channels,
    )
    cells = tape.reshape(cells, [0, channels, places, *windows.steps])
    g = tape.reshape(step.g, [0, channels, 1, *windows.steps])
    routed = tape.reshape(_to_largest(step, cells, g, places), [0, channels * places, *windows.steps])
    return [(step.x, _spread(step, routed, weights, windows, channels))]


def _to_largest(step: Step, cells: str, g: str, places: int) -> str:
    """``g`` at the first largest place of axis 2, nought at the others."""
    tape, rank = step.tape, len(step.tape.forward.tensors[step.x].spatial())
    first = tape.op("ArgMax", cells, axis=2, keepdims=1)
    numbers = tape.constant(np.arange(places).reshape(1, 1, places, *[1] * rank), np.int64)
    return tape.where(tape.op("Equal", first, numbers), g, like=step.x)


def _global_average_pool(step: Step) -> Adjoints:
    tensor = step.tape.forward.tensors[step.x]
    share = step.tape.op("Mul", step.g, step.tape.like(1 / prod(tensor.spatial()), step.x))
    return [(step.x, step.tape.expand_as(share, step.x))]


def _global_max_pool(step: Step) -> Adjoints:
    tape, tensor = step.tape, step.tape.forward.tensors[step.x]
    channels, places = tensor.size(1), prod(tensor.spatial())
    first = tape.op("ArgMax", tape.reshape(step.x, [0, channels, places]), axis=2, keepdims=1)
    numbers = tape.constant(np.arange(places).reshape(1, 1, places), np.int64)
    g = tape.reshape(step.g, [0, channels, 1])
    return [(step.x, tape.reshape_as(tape.where(tape.op("Equal", first, numbers), g, like=step.x), step.x))]


def _batch_normalization(step: Step) -> Adjoints:
    step.only_first_moves()
    if step.settings.get("training_mode", 0):
        raise Unsuitable("BatchNormalization in training mode")
    tape = step.tape
    scale, _, _, variance = (tape.forward.constant(name).astype(np.float64) for name in step.node.input[1:5])
    slope = scale / np.sqrt(variance + step.settings.get("epsilon", 1e-5))
    spatial = tape.forward.tensors[step.x].rank - 2
    return [(step.x, tape.op("Mul", step.g, tape.like(slope.reshape(-1, *[1] * spatial), step.x)))]


RULES: Mapping[str, Rule] = {
    "Conv": _conv,
    "AveragePool": _average_pool,
    "MaxPool": _max_pool,
    "GlobalAveragePool": _global_average_pool,
    "GlobalMaxPool": _global_max_pool,
    "BatchNormalization": _batch_normalization,
}
