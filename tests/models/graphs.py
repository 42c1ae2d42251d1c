"""Linear models as ONNX graphs written by hand; the same models in float64 numpy stand for training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from models.compared import SliceEntry
from models.manifest import FeatureEntry, InputEntry, Manifest, OutputEntry
from models.packaging import Material

KINDS = ("tensor", "columns", "image", "regression", "positive")
HOMES = ("owner", "rent", "parents")
ROWS = 60


@dataclass(frozen=True)
class Tiny:
    """A model, its data, and what its training framework answers."""

    graph: bytes
    manifest: Manifest
    material: Material
    trained: Callable[[NDArray[Any]], NDArray[np.float64]]


def tiny(kind: str) -> Tiny:
    """One of ``KINDS``; deterministic."""
    manifest = _manifest(kind)
    rng = np.random.default_rng(7)
    rows = _rows(kind, rng)
    weights = rng.normal(size=(rows.shape[1], manifest.spec.outputs))
    if kind == "positive":
        weights[:, 0] = 0  # the sigmoid of one logit is the softmax of it and nought
    graph = _graph(kind, manifest, weights)

    def trained(inputs: NDArray[Any]) -> NDArray[np.float64]:
        logits = np.nan_to_num(inputs.astype(np.float64)) @ weights.astype(np.float32).astype(np.float64)
        if manifest.task == "regression":
            return logits
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares: NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
        return shares

    answers = trained(rows)
    labels = answers[:, 0] if manifest.task == "regression" else answers.argmax(axis=1)
    golden = rows[: ROWS // 3]
    material = Material(rows[ROWS // 3 :], rows[:30], labels[:30], golden, trained(golden))
    return Tiny(graph, manifest, material, trained)


def affine(weights: NDArray[Any], bias: NDArray[Any]) -> bytes:
    """A second graph for the tabular kinds: rows times ``weights`` [3, k], plus ``bias`` [k]; NaN is 0."""
    nodes = [
        helper.make_node("IsNaN", ["x"], ["gone"]),
        helper.make_node("Where", ["gone", "nought", "x"], ["whole"]),
        helper.make_node("MatMul", ["whole", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["z"]),
    ]
    constants = {"weights": weights, "bias": bias, "nought": np.zeros(1)}
    graph = helper.make_graph(
        nodes,
        "affine",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, len(weights)])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [None, len(bias)])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 15)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def _manifest(kind: str) -> Manifest:
    layout: Any = kind if kind in {"columns", "image"} else "tensor"
    multiclass, regression = kind == "image", kind == "regression"
    return Manifest(
        name="tiny",
        version=kind,
        task="multiclass" if multiclass else "regression" if regression else "binary",
        features=() if multiclass else _features(layout),
        input=InputEntry(
            layout=layout, name=None if layout == "columns" else "x", shape=(1, 2, 2) if multiclass else ()
        ),
        output=OutputEntry(
            name="y",
            kind="value" if regression else "positive_probability" if kind == "positive" else "probabilities",
        ),
        classes=() if regression else ("a", "b", "c") if multiclass else ("bad", "good"),
        slices=() if multiclass else (SliceEntry(name="renters", column="home", value="rent"),),
    )


def _features(layout: str) -> tuple[FeatureEntry, ...]:
    return (
        FeatureEntry(name="age", type="int64" if layout == "columns" else "float"),
        FeatureEntry(name="home", type="string", categories=HOMES, missing="allow"),
        FeatureEntry(name="income", type="float", missing="allow"),
    )


def _rows(kind: str, rng: np.random.Generator) -> NDArray[Any]:
    if kind == "image":
        return rng.random((ROWS, 4)).astype(np.float32)
    rows = np.stack(
        [rng.integers(0, 5, ROWS), rng.integers(0, len(HOMES), ROWS), rng.normal(size=ROWS)], axis=1
    )
    rows[3, 1] = rows[5, 2] = np.nan
    return np.ascontiguousarray(rows, dtype=np.float64 if kind == "columns" else np.float32)


def _graph(kind: str, manifest: Manifest, weights: NDArray[Any]) -> bytes:
    inputs, nodes = _entry(manifest)
    if kind == "positive":
        weights, last = weights[:, 1:], "Sigmoid"
    else:
        last = "Identity" if kind == "regression" else "Softmax"
    nodes += [
        helper.make_node("IsNaN", ["flat"], ["gone"]),
        helper.make_node("Where", ["gone", "nought", "flat"], ["whole"]),
        helper.make_node("MatMul", ["whole", "weights"], ["logits"]),
        helper.make_node(last, ["logits"], ["y"]),
    ]
    constants = {"weights": weights.astype(np.float32), "nought": np.zeros(1, np.float32)}
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, weights.shape[1]])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 3)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def _entry(manifest: Manifest) -> tuple[list[ValueInfoProto], list[NodeProto]]:
    """Graph inputs, and nodes that make one float tensor ``flat`` [rows, width] of them."""
    info = helper.make_tensor_value_info
    if manifest.input.layout != "columns":
        shape = manifest.input.shape or (len(manifest.features),)
        return [info("x", TensorProto.FLOAT, [None, *shape])], [helper.make_node("Flatten", ["x"], ["flat"])]
    words = helper.make_node(
        "LabelEncoder",
        ["home"],
        ["home_code"],
        domain="ai.onnx.ml",
        keys_strings=list(HOMES),
        values_floats=[float(code) for code in range(len(HOMES))],
        default_float=0.0,
    )
    return [
        info("age", TensorProto.INT64, [None, 1]),
        info("home", TensorProto.STRING, [None, 1]),
        info("income", TensorProto.FLOAT, [None, 1]),
    ], [
        words,
        helper.make_node("Cast", ["age"], ["age_float"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["age_float", "home_code", "income"], ["flat"], axis=1),
    ]
