"""Writes the backward pass: new nodes and constants beside the forward graph's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from onnx import NodeProto, TensorProto, helper, numpy_helper

from models.gradients.forward import Forward, float_code
from service.adapters.gradients import PREFIX


@dataclass(eq=False)
class Tape:
    """Collects nodes; every method that emits returns the new tensor's name.

    An adjoint always has the shape and type of the forward tensor it belongs to, so rules ask for a
    forward tensor's facts only.
    """

    forward: Forward
    nodes: list[NodeProto] = field(default_factory=list)
    initializers: list[TensorProto] = field(default_factory=list)
    _known: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)

    def op(self, kind: str, *inputs: str, **settings: Any) -> str:
        """One node of the default operator set with one output."""
        name = f"{PREFIX}{len(self.nodes)}_{kind.lower()}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **settings))
        return name

    def constant(self, value: ArrayLike, dtype: np.dtype[Any] | type) -> str:
        """A constant; the same one twice is stored once."""
        array = np.asarray(value, dtype=dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = f"{PREFIX}constant_{len(self._known)}"
            self.initializers.append(numpy_helper.from_array(array, self._known[key]))
        return self._known[key]

    def like(self, value: ArrayLike, name: str) -> str:
        """A constant of the type of forward tensor ``name``."""
        return self.constant(value, self.forward.tensors[name].dtype)

    def total(self, x: str, axes: Sequence[int], *, keep: bool = True) -> str:
        """Sum over ``axes``."""
        if self.forward.opset >= 13:
            return self.op("ReduceSum", x, self.constant(list(axes), np.int64), keepdims=int(keep))
        return self.op("ReduceSum", x, axes=list(axes), keepdims=int(keep))

    def unsqueeze(self, x: str, axis: int) -> str:
        """``x`` with a dimension of 1 put in at ``axis``."""
        if self.forward.opset >= 13:
            return self.op("Unsqueeze", x, self.constant([axis], np.int64))
        return self.op("Unsqueeze", x, axes=[axis])

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        """``x`` in a fixed shape; 0 keeps a dimension, -1 is what is left."""
        return self.op("Reshape", x, self.constant(list(shape), np.int64))

    def reshape_as(self, x: str, name: str) -> str:
        """``x`` in the shape of tensor ``name``."""
        return self.op("Reshape", x, self.op("Shape", name))

    def expand_as(self, x: str, name: str) -> str:
        """``x`` repeated to the shape of tensor ``name``."""
        return self.op("Expand", x, self.op("Shape", name))

    def cast(self, x: str, dtype: np.dtype[Any]) -> str:
        """``x`` as another float type."""
        return self.op("Cast", x, to=float_code(dtype))

    def where(self, condition: str, x: str, otherwise: str | None = None, *, like: str = "") -> str:
        """``x`` where the condition holds, else ``otherwise`` or nought of the type of ``like``."""
        return self.op("Where", condition, x, otherwise or self.like(0, like))

    def window(self, x: str, starts: Sequence[int], sizes: Sequence[int], axes: Sequence[int]) -> str:
        """``sizes`` elements from ``starts`` along ``axes``."""
        ends = [start + size for start, size in zip(starts, sizes, strict=True)]
        bounds = (self.constant(list(part), np.int64) for part in (starts, ends, axes))
        return self.op("Slice", x, *bounds)

    def pad(self, x: str, before: Sequence[int], after: Sequence[int], value: float, like: str) -> str:
        """``x`` with a border of ``value``; one number for each dimension on each side."""
        widths = [*before, *after]
        if not any(widths):
            return x
        return self.op("Pad", x, self.constant(widths, np.int64), self.like(value, like))

    def settled(self, g: str, name: str, stretched_to: str) -> str:
        """``g``, of the shape of ``stretched_to``, summed over what broadcasting stretched ``name`` by."""
        own, wide = self.forward.tensors[name], self.forward.tensors[stretched_to]
        extra = wide.rank - own.rank
        axes = list(range(extra))
        axes += [
            extra + axis
            for axis, (one, still) in enumerate(zip(own.ones(), wide.ones()[extra:], strict=True))
            if one and not still
        ]
        if not axes:
            return g
        return self.reshape_as(self.total(g, axes), name)

    def transpose(self, x: str, rank: int) -> str:
        """Matrices with their last two dimensions swapped."""
        order = [*range(rank - 2), rank - 1, rank - 2]
        return self.op("Transpose", x, perm=order)
