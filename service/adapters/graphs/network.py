"""An ONNX graph by the names of its tensors: who makes them, which are constant, what they depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from service.adapters.onnx import open_session
from service.domain.explainers.game import Unsuitable
from service.errors import BundleError

CPU = ("CPUExecutionProvider",)
"""Where parts of a graph run: they are too small for a trip to a GPU to pay."""

Constants = dict[str, NDArray[Any] | None]


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A graph that is looked at from its outputs."""

    proto: onnx.ModelProto
    makers: Mapping[str, NodeProto]
    """The node that makes each tensor."""
    _constants: Constants = field(default_factory=dict)
    """Tensors looked at so far; None for one that depends on the input."""

    def constant(self, name: str) -> NDArray[Any] | None:
        """The tensor's value where it is the same for every input, else None."""
        if name not in self._constants:
            self._constants[name] = self._fold(name)
        return self._constants[name]

    def above(self, name: str) -> list[NodeProto]:
        """The nodes that a tensor depends on, in the graph's order."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            node = self.makers.get(waiting.pop())
            if node is not None and node.output[0] not in found:
                found.add(node.output[0])
                waiting.extend(filter(None, node.input))
        return [node for node in self.proto.graph.node if node.output[0] in found]

    def cut(self, name: str) -> bytes:
        """The part of the graph that makes one tensor, as a model with that output and the same inputs."""
        nodes = self.above(name)
        needed = {source for node in nodes for source in node.input}
        old = self.proto.graph
        output = onnx.ValueInfoProto(name=name)  # its type is left to ONNX Runtime's inference
        weights = [tensor for tensor in old.initializer if tensor.name in needed]
        graph = helper.make_graph(nodes, "part", list(_fed(old)), [output], weights)
        return _model(graph, self.proto)

    def evaluate(self, node: NodeProto, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The outputs of one node by name, as ONNX Runtime computes them.

        Raises:
            Unsuitable: it does not run on these inputs.
        """
        declared = [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(np.asarray(array).dtype), array.shape
            )
            for name, array in inputs.items()
        ]
        names = [name for name in node.output if name]
        outputs = [onnx.ValueInfoProto(name=name) for name in names]
        graph = helper.make_graph([node], "one", declared, outputs)
        try:
            found = open_session(_model(graph, self.proto), CPU).run(None, dict(inputs))
        except Exception as error:  # ONNX Runtime raises many unrelated types
            raise Unsuitable(f"the graph's {node.op_type} cannot be followed: {error}") from error
        return {name: np.asarray(array) for name, array in zip(names, found, strict=True)}

    def _fold(self, name: str) -> NDArray[Any] | None:
        """The value of a tensor that only constants go into."""
        node = self.makers.get(name)
        if node is None or not (node.input or node.op_type == "Constant"):
            return None  # an input of the graph, or a node that draws at random
        inputs = {source: self.constant(source) for source in node.input if source}
        known = {source: value for source, value in inputs.items() if value is not None}
        if len(known) < len(inputs):
            return None
        return self.evaluate(node, known)[name]


def read_network(path: Path) -> Network:
    """The graph in a file.

    Raises:
        BundleError: it is not an ONNX model.
    """
    try:
        proto = onnx.load(path)
    except Exception as error:  # protobuf raises its own types
        raise BundleError(f"{path}: cannot be read as ONNX: {error}") from error
    makers = {name: node for node in proto.graph.node for name in node.output if name}
    weights: Constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    return Network(proto, makers, weights)


def attributes(node: NodeProto) -> dict[str, Any]:
    """A node's attributes by name; text as ``str``."""
    found = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}


def _fed(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """The inputs that a caller feeds: older graphs list their weights among them."""
    weights = {tensor.name for tensor in graph.initializer}
    return [entry for entry in graph.input if entry.name not in weights]


def _model(graph: onnx.GraphProto, like: onnx.ModelProto) -> bytes:
    model = helper.make_model(
        graph, opset_imports=like.opset_import, ir_version=like.ir_version, functions=like.functions
    )
    return bytes(model.SerializeToString())
