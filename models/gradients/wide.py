"""A gradient graph's margins in float64, by ONNX's reference evaluator: finer than ONNX Runtime's."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from scipy.special import erf, ndtr

from models.gradients.forward import ancestors, reads
from service.adapters.gradients import MARGINS
from service.domain.schema import Binding, ModelSpec

Numbers = NDArray[np.floating[Any]]


class Erf(OpRun):
    """In full precision: the evaluator's own rounds to float32."""

    op_domain = ""

    def _run(self, x: Numbers) -> tuple[Numbers]:
        return (erf(x),)


class Gelu(OpRun):
    """In full precision: the evaluator's own is made of its Erf."""

    op_domain = ""

    def _run(self, x: Numbers, approximate: str | None = None) -> tuple[Numbers]:
        if approximate == "tanh":
            return (x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),)
        return (x * ndtr(x),)


class WideMargins:
    """Rows to margins, float64 [rows, outputs].

    A call raises whatever numpy raises where the reference evaluator cannot run the graph.
    """

    def __init__(self, graph: bytes, spec: ModelSpec, binding: Binding) -> None:
        self._graph, self._schema, self._inputs = graph, spec.schema, binding.inputs

    @cached_property
    def _evaluator(self) -> ReferenceEvaluator:
        return ReferenceEvaluator(_widened(self._graph), new_ops=[Erf, Gelu])

    def __call__(self, rows: Numbers) -> Numbers:
        wide = rows.astype(np.float64)
        if self._schema.layout == "columns":
            feeds = {name: wide[:, at : at + 1] for at, name in enumerate(self._inputs)}
        else:
            feeds = {self._inputs[0]: wide.reshape(-1, *(self._schema.shape or wide.shape[1:]))}
        with np.errstate(all="ignore"):  # a number's range may end here as it may in the graph
            (found,) = self._evaluator.run([MARGINS], feeds)
        return np.asarray(found)


def _widened(graph: bytes) -> onnx.ModelProto:
    """The part of a gradient graph that makes the margins, with every float32 a float64."""
    model = onnx.load_from_string(graph)
    nodes = ancestors(model.graph.node, [MARGINS])
    read = {name for node in nodes for name in reads(node)}
    for node in nodes:
        for item in node.attribute:
            if (node.op_type, item.name, item.i) == ("Cast", "to", TensorProto.FLOAT):
                item.i = TensorProto.DOUBLE
            if item.HasField("t"):
                item.t.CopyFrom(_wide(item.t))
    inputs = [
        helper.make_tensor_value_info(item.name, TensorProto.DOUBLE, None)
        for item in model.graph.input
        if item.name in read
    ]
    kept = [_wide(item) for item in model.graph.initializer if item.name in read]
    output = helper.make_tensor_value_info(MARGINS, TensorProto.DOUBLE, None)
    made = helper.make_graph(nodes, model.graph.name, inputs, [output], kept)
    return helper.make_model(made, opset_imports=model.opset_import, ir_version=model.ir_version)


def _wide(tensor: TensorProto) -> TensorProto:
    if tensor.data_type != TensorProto.FLOAT:
        return tensor
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name)
