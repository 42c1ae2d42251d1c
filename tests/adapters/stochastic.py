"""Networks with live dropout, written by hand: a linear one whose moments are known, and a small CNN."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from service.domain.schema import Binding, Feature, ModelSpec, Schema
from tests.adapters.written import FLOAT, info

WEIGHTS = np.array([[0.5], [-2.0], [1.5]], np.float32)
RATIO = 0.25
Mode = Literal["input", "constant", "off"]

LINEAR = ModelSpec(
    "m",
    "1",
    "regression",
    Schema((Feature("a", "float"), Feature("b", "float"), Feature("c", "float")), "tensor"),
)
DIGITS = ModelSpec("m", "1", "multiclass", Schema((), "image", (1, 4, 4)), ("a", "b", "c"))
VALUE, PROBABILITIES = Binding(("x",), "y", "value"), Binding(("x",), "y", "probabilities")


def linear(folder: Path, mode: Mode = "input", seed: int | None = 7) -> Path:
    """|x| with a quarter dropped, times ``WEIGHTS``; the mean over masks is the product without dropout."""
    nodes = [
        helper.make_node("Abs", ["x"], ["size"]),
        dropout("size", "kept", seed),
        helper.make_node("MatMul", ["kept", "w"], ["y"]),
    ]
    return _written(folder, nodes, {"w": WEIGHTS}, (3,), mode)


def cnn(folder: Path, mode: Mode = "constant", seed: int | None = 7) -> Path:
    """A convolution, dropout, and three classes; images of 4 by 4."""
    rng = np.random.default_rng(5)
    nodes = [
        helper.make_node("Conv", ["x", "kernels"], ["maps"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["maps"], ["active"]),
        dropout("active", "kept", seed),
        helper.make_node("Flatten", ["kept"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["y"], axis=1),
    ]
    constants = {
        "kernels": rng.normal(size=(4, 1, 3, 3)).astype(np.float32),
        "w": rng.normal(scale=0.3, size=(64, 3)).astype(np.float32),
    }
    return _written(folder, nodes, constants, (1, 4, 4), mode)


def dropout(source: str, made: str, seed: int | None) -> NodeProto:
    given: dict[str, Any] = {} if seed is None else {"seed": seed}
    return helper.make_node("Dropout", [source, "ratio", "training"], [made], **given)


def _written(
    folder: Path, nodes: list[NodeProto], constants: dict[str, Any], shape: tuple[int, ...], mode: Mode
) -> Path:
    inputs = [info("x", FLOAT, None, *shape)]
    constants = {**constants, "ratio": np.float32(RATIO)}
    if mode == "input":
        inputs.append(info("training", TensorProto.BOOL))
    else:
        constants["training"] = np.array(mode == "constant")
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", inputs, [info("y", FLOAT, None, None)], weights)
    path = folder / "members.onnx"
    opsets = [helper.make_opsetid("", 15)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
    return path
