"""The forward graph as it is at work: which nodes lead to the output, and every tensor's shape.

Shapes are seen by running the graph on two batches of different size rather than inferred, so they hold for
every operator ONNX Runtime knows; a dimension that differs between the batches counts rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from numpy.typing import NDArray
from onnx import AttributeProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from service.adapters.gradients import run_graph
from service.adapters.onnx import feeder
from service.domain.explainers.game import Unsuitable
from service.domain.schema import Binding, ModelSpec
from service.errors import BundleError, InferenceError

PROBES = (2, 3)
"""Rows of the two batches."""


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """What two runs show of one tensor."""

    small: NDArray[Any]
    large: NDArray[Any]

    @property
    def rank(self) -> int:
        return self.small.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.small.dtype

    @property
    def is_float(self) -> bool:
        return self.dtype.kind == "f"

    def ones(self) -> tuple[bool, ...]:
        """Whether each dimension is 1 in either batch, so that it may have been stretched."""
        return tuple(a == b == 1 for a, b in zip(self.small.shape, self.large.shape, strict=True))

    def size(self, axis: int) -> int:
        """A dimension that does not count rows.

        Raises:
            Unsuitable: it does.
        """
        size = self.small.shape[axis]
        if size != self.large.shape[axis]:
            raise Unsuitable("the graph works along its rows, not within each row")
        return int(size)

    def spatial(self) -> tuple[int, ...]:
        """Sizes after the first two dimensions, [rows, channels, *spatial]."""
        return tuple(self.size(axis) for axis in range(2, self.rank))


@dataclass(frozen=True, eq=False)
class Forward:
    """The nodes between a model's inputs and its served output, in order of execution."""

    model: onnx.ModelProto
    nodes: tuple[NodeProto, ...]
    tensors: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    output: str
    moving: frozenset[str]
    """Float tensors through which the output may change with the inputs."""

    @cached_property
    def opset(self) -> int:
        """Version of the default operator set."""
        return opset_of(self.model)

    @cached_property
    def producer(self) -> dict[str, NodeProto]:
        return {name: node for node in self.nodes for name in node.output if name}

    def constant(self, name: str) -> NDArray[Any]:
        """The value of a tensor that is the same whatever the rows are.

        Raises:
            Unsuitable: it is not.
        """
        tensor = self.tensors[name]
        if name in self.moving or not np.array_equal(tensor.small, tensor.large):
            raise Unsuitable(
                f"the graph computes {name!r} from its input where only a constant is understood"
            )
        return tensor.small


def trace(model: onnx.ModelProto | bytes, spec: ModelSpec, binding: Binding) -> Forward:
    """Runs the graph twice on seeded random rows and notes what it sees.

    Raises:
        Unsuitable: the graph cannot be run so, or has inputs that nothing can be differentiated by.
    """
    whole = onnx.load_from_string(model) if isinstance(model, bytes) else model
    if whole.functions:
        whole = onnx.inliner.inline_local_functions(whole)
    for feature in spec.schema.features:
        if feature.type == "string" or (spec.schema.layout == "columns" and feature.type != "float"):
            raise Unsuitable(
                f"{feature.name} is a {_kind(feature.type)}, and nothing can be differentiated by it"
            )
    nodes = ancestors(whole.graph.node, [binding.output])
    tensors = _observe(whole, nodes, spec, binding)
    moving = _moving(nodes, tensors, binding)
    if binding.output not in moving:
        raise Unsuitable(
            "the served output does not change with the input in a way that can be differentiated"
        )
    return Forward(
        whole, tuple(nodes), {**tensors, **_initial(whole)}, binding.inputs, binding.output, moving
    )


def attributes(node: NodeProto) -> dict[str, Any]:
    """A node's attributes as Python values; strings as ``str``."""
    found = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the default operator set a model is written in."""
    return max((item.version for item in model.opset_import if item.domain in {"", "ai.onnx"}), default=1)


def reads(node: NodeProto) -> set[str]:
    """Every tensor a node depends on; a branch or loop body reads outer tensors by name."""
    found = set(node.input)
    for item in node.attribute:
        if item.type == AttributeProto.GRAPH:
            found.update(name for inner in item.g.node for name in reads(inner))
    return found


def _kind(feature_type: str) -> str:
    return "category" if feature_type == "string" else "whole number"


def ancestors(nodes: Sequence[NodeProto], outputs: Iterable[str]) -> list[NodeProto]:
    """The nodes that some of ``outputs`` depend on, in their order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(reads(node))
    return kept[::-1]


def _observe(
    model: onnx.ModelProto, nodes: Sequence[NodeProto], spec: ModelSpec, binding: Binding
) -> dict[str, Tensor]:
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.node[:], probe.graph.output[:]
    probe.graph.node.extend(nodes)
    made = [name for node in nodes for name in node.output if name]
    probe.graph.output.extend(ValueInfoProto(name=name) for name in made)
    feed, rng = feeder(spec.schema, binding), np.random.default_rng(0)
    runs = []
    for rows in PROBES:
        batch = rng.uniform(0.1, 0.9, size=(rows, spec.schema.width)).astype(spec.schema.dtype)
        feeds = feed(batch)
        try:
            runs.append({**run_graph(probe.SerializeToString(), feeds), **feeds})
        except (BundleError, InferenceError) as error:
            raise Unsuitable(f"the graph cannot be watched at work: {error}") from error
    return {name: Tensor(np.asarray(runs[0][name]), np.asarray(runs[1][name])) for name in runs[0]}


def _initial(model: onnx.ModelProto) -> dict[str, Tensor]:
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {name: Tensor(array, array) for name, array in arrays.items()}


def _moving(nodes: Sequence[NodeProto], tensors: Mapping[str, Tensor], binding: Binding) -> frozenset[str]:
    moving = {name for name in binding.inputs if name in tensors and tensors[name].is_float}
    for node in nodes:
        if moving.intersection(node.input):
            moving.update(name for name in node.output if name and tensors[name].is_float)
    return frozenset(moving)


def float_code(dtype: np.dtype[Any]) -> int:
    """ONNX's number for a float type."""
    return {"float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT}.get(dtype.name, TensorProto.DOUBLE)
