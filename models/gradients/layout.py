"""Operators that only move numbers about: their adjoint is moved back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.gradients.step import Adjoints, Rule, Step
from service.domain.explainers.game import Unsuitable

MAX_SELECTION = 1 << 22
"""Cells of the matrix that puts gathered columns back; more would swell the graph."""


def _reshape(step: Step) -> Adjoints:
    """Reshape, Flatten, Squeeze and Unsqueeze."""
    return [(step.x, step.tape.reshape_as(step.g, step.x))]


def _transpose(step: Step) -> Adjoints:
    rank = step.tape.forward.tensors[step.x].rank
    order = step.settings.get("perm", list(range(rank))[::-1])
    return [(step.x, step.tape.op("Transpose", step.g, perm=np.argsort(order).tolist()))]


def _expand(step: Step) -> Adjoints:
    return [(step.x, step.tape.settled(step.g, step.x, step.y))]


def _concat(step: Step) -> Adjoints:
    tensors = step.tape.forward.tensors
    axis = int(step.settings["axis"]) % tensors[step.y].rank
    found, start = [], 0
    for name in step.node.input:
        size = tensors[name].size(axis)
        if step.moves(name):
            found.append((name, step.tape.window(step.g, [start], [size], [axis])))
        start += size
    return found


def _split(step: Step) -> Adjoints:
    """One output's share: a border of noughts where the others were."""
    tensors, names = step.tape.forward.tensors, list(step.node.output)
    rank = tensors[step.x].rank
    axis, at = int(step.settings.get("axis", 0)) % rank, names.index(step.output)
    sizes = [tensors[name].size(axis) for name in names]
    before, after = [0] * rank, [0] * rank
    before[axis], after[axis] = sum(sizes[:at]), sum(sizes[at + 1 :])
    return [(step.x, step.tape.pad(step.g, before, after, 0, step.x))]


def _pad(step: Step) -> Adjoints:
    if step.settings.get("mode", "constant") != "constant" or step.optional(3) is not None:
        raise Unsuitable("Pad by anything but a constant border around the whole tensor")
    tensor = step.tape.forward.tensors[step.x]
    widths = step.tape.forward.constant(step.node.input[1]).tolist()
    if min(widths) < 0 or widths[0] or widths[tensor.rank]:
        raise Unsuitable("Pad that cuts, or that adds rows")
    before = widths[: tensor.rank]
    axes = list(range(1, tensor.rank))
    sizes = [tensor.size(axis) for axis in axes]
    return [(step.x, step.tape.window(step.g, before[1:], sizes, axes))]


def _slice(step: Step) -> Adjoints:
    forward = step.tape.forward
    tensor = forward.tensors[step.x]
    starts, ends = (forward.constant(name).tolist() for name in step.node.input[1:3])
    axes, steps = step.optional(3), step.optional(4)
    chosen_axes = forward.constant(axes).tolist() if axes else list(range(len(starts)))
    strides = forward.constant(steps).tolist() if steps else [1] * len(starts)
    g = step.g
    for axis, start, end, stride in zip(chosen_axes, starts, ends, strides, strict=True):
        axis %= tensor.rank
        if axis == 0:
            if (start, stride) == (0, 1) and end >= np.iinfo(np.int32).max:
                continue
            raise Unsuitable("Slice of rows")
        kept = np.arange(tensor.size(axis))[slice(start, _end(end, stride, tensor.size(axis)), stride)]
        g = _put_back(step, g, kept, axis)
    return [(step.x, g)]


def _end(end: int, stride: int, size: int) -> int | None:
    """Python's spelling of ONNX's end, where before the first element is -size-1 or less."""
    return None if stride < 0 and end < -size else end


def _gather(step: Step) -> Adjoints:
    tensor = step.tape.forward.tensors[step.x]
    axis = int(step.settings.get("axis", 0)) % tensor.rank
    indices = step.tape.forward.constant(step.node.input[1])
    if axis == 0 or indices.ndim > 1:
        raise Unsuitable("Gather of rows, or by a table of indices")
    g = step.g
    if not indices.ndim:
        g = step.tape.unsqueeze(g, axis)
    kept = np.arange(tensor.size(axis))[indices.reshape(-1)]
    return [(step.x, _put_back(step, g, kept, axis))]


def _put_back(step: Step, g: str, kept: NDArray[np.intp], axis: int) -> str:
    """The adjoint of choosing places ``kept`` along ``axis``: a product with the choice as a 0/1 matrix."""
    tape, tensor = step.tape, step.tape.forward.tensors[step.x]
    size, last = tensor.size(axis), tensor.rank - 1
    if np.array_equal(kept, np.arange(size)):
        return g
    if len(kept) * size > MAX_SELECTION:
        raise Unsuitable(f"{step.node.op_type} of {len(kept)} out of {size} places")
    choice = tape.like(np.eye(size)[kept], step.x)
    if axis == last:
        return tape.op("MatMul", g, choice)
    order = list(range(tensor.rank))
    order[axis], order[last] = last, axis
    return tape.op("Transpose", tape.op("MatMul", tape.op("Transpose", g, perm=order), choice), perm=order)


RULES: Mapping[str, Rule] = {
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Transpose": _transpose,
    "Expand": _expand,
    "Concat": _concat,
    "Split": _split,
    "Pad": _pad,
    "Slice": _slice,
    "Gather": _gather,
}
