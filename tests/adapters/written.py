"""Small graphs written by hand, as frameworks other than scikit-learn export them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from service.domain.schema import Binding, ModelSpec, Schema
from tests.adapters.pipelines import CLASSES, NUMBERS, Served

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
W = np.array([[0.8, -0.3], [-0.5, 0.4], [0.02, 0.9]], dtype=np.float32)
B = np.array([0.1, -0.4], dtype=np.float32)


def info(name: str, kind: int, *shape: int | None) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def written(
    folder: Path,
    nodes: list[NodeProto],
    constants: dict[str, Any],
    kind: Any = "probabilities",
    task: Any = "binary",
    shape: tuple[int, ...] = (),
) -> Served:
    """A graph from ``x`` [rows, 3], or of an image's ``shape``, to ``y``."""
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(
        nodes, "g", [info("x", FLOAT, None, *(shape or (3,)))], [info("y", FLOAT, None, None)], weights
    )
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 3)]
    path = folder / "model.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
    schema = Schema((), "image", shape) if shape else Schema(NUMBERS, "tensor")
    spec = ModelSpec("m", "1", task, schema, CLASSES[task])
    rows = np.random.default_rng(3).normal(size=(40, 3)).astype(np.float32)
    return Served(path, spec, Binding(("x",), "y", kind), rows)


def node(kind: str, inputs: str, output: str, **options: Any) -> NodeProto:
    domain = "ai.onnx.ml" if kind in {"OneHotEncoder", "Scaler", "LinearClassifier", "LabelEncoder"} else ""
    return helper.make_node(kind, inputs.split(), output.split(), domain=domain, **options)


ONE = np.array([1], dtype=np.float32)


def softmax_of_a_product(folder: Path) -> Served:
    """Two classes of three numbers."""
    nodes = [node("Gemm", "x w b", "z"), node("Softmax", "z", "y")]
    return written(folder, nodes, {"w": W, "b": B})
