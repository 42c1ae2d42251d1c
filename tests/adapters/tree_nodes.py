"""Random ensembles written as ONNX nodes, and ONNX Runtime's answers to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from service.domain.trees import Mode, Rows, TreeEnsemble

NAN = float("nan")
POSTS = {"none": 0, "softmax": 1, "logistic": 2, "softmax_zero": 3, "probit": 4}
AGGREGATES = {"average": 0, "sum": 1, "min": 2, "max": 3}


def answers(node: NodeProto, rows: Rows) -> NDArray[Any]:
    """The node's scores as ONNX Runtime gives them, [rows, outputs]."""
    opset = 5 if node.op_type == "TreeEnsemble" else 3
    kind = TensorProto.DOUBLE if rows.dtype == np.float64 else TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "trees",
        [helper.make_tensor_value_info("x", kind, [None, rows.shape[1]])],
        [helper.make_tensor_value_info("y", TensorProto.UNDEFINED, None)],
    )
    graph.output[0].ClearField("type")
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    found: NDArray[Any] = session.run(["y"], {"x": rows})[0]
    return found.reshape(len(rows), -1)


def node_of(trees: TreeEnsemble, operator: str = "TreeEnsembleRegressor", **rest: Any) -> NodeProto:
    """``trees`` as a node of ai.onnx.ml 3, without membership tests; ``rest`` overrides attributes.

    Every leaf votes on every output.
    """
    kind = "class" if operator == "TreeEnsembleClassifier" else "target"
    columns: dict[str, list[Any]] = {name: [] for name in ("tree", "id", "true", "false", "mode", "of")}
    votes: dict[str, list[Any]] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
    for tree, root in enumerate(trees.roots.tolist()):
        order = [root]
        for child in order:
            if child >= 0:
                order += [int(trees.if_true[child]), int(trees.if_false[child])]
        number = {child: at for at, child in enumerate(order)}
        for child in order:
            leaf = child < 0
            columns["tree"].append(tree)
            columns["id"].append(number[child])
            columns["true"].append(0 if leaf else number[int(trees.if_true[child])])
            columns["false"].append(0 if leaf else number[int(trees.if_false[child])])
            columns["mode"].append("LEAF" if leaf else f"BRANCH_{Mode(trees.modes[child]).name}")
            columns["of"].append(child)
            for output in range(trees.outputs if leaf else 0):
                votes["treeids"].append(tree)
                votes["nodeids"].append(number[child])
                votes["ids"].append(output)
                votes["weights"].append(float(trees.leaf_values[~child, output]))
    inner = [max(child, 0) for child in columns["of"]]
    attributes: dict[str, Any] = {
        "nodes_treeids": columns["tree"],
        "nodes_nodeids": columns["id"],
        "nodes_truenodeids": columns["true"],
        "nodes_falsenodeids": columns["false"],
        "nodes_modes": columns["mode"],
        "nodes_featureids": trees.columns[inner].tolist() if len(trees.columns) else [0] * len(inner),
        "nodes_missing_value_tracks_true": trees.nan_is_true[inner].astype(int).tolist(),
        "post_transform": trees.post.upper(),
        **{f"{kind}_{name}": values for name, values in votes.items()},
    }
    thresholds = trees.thresholds[inner]
    if thresholds.dtype == np.float64:
        weights = attributes.pop(f"{kind}_weights")
        attributes["nodes_values_as_tensor"] = tensor(thresholds)
        attributes[f"{kind}_weights_as_tensor"] = tensor(np.array(weights))
        attributes["base_values_as_tensor"] = tensor(trees.base)
    else:
        attributes["nodes_values"] = thresholds.tolist()
        attributes["base_values"] = trees.base.tolist()
    if kind == "target":
        attributes |= {"n_targets": trees.outputs, "aggregate_function": trees.aggregate.upper()}
    attributes |= rest
    outputs = ["label", "y"] if kind == "class" else ["y"]
    kept = {name: value for name, value in attributes.items() if value is not None}
    return helper.make_node(operator, ["x"], outputs, domain="ai.onnx.ml", **kept)


def node_of_opset_5(trees: TreeEnsemble, **rest: Any) -> NodeProto:
    """``trees`` of one output as a TreeEnsemble node, membership tests included."""
    members = [trees.members[node] for node in range(len(trees.modes)) if trees.modes[node] == Mode.MEMBER]
    dtype = trees.thresholds.dtype
    sets = [np.append(each, np.array(NAN, dtype)) for each in members]

    def child(of: NDArray[np.intp]) -> tuple[list[int], list[int]]:
        return np.where(of < 0, ~of, of).tolist(), (of < 0).astype(int).tolist()

    (true, true_leaf), (false, false_leaf) = child(trees.if_true), child(trees.if_false)
    attributes: dict[str, Any] = {
        "n_targets": 1,
        "tree_roots": trees.roots.tolist(),
        "nodes_modes": tensor(trees.modes),
        "nodes_splits": tensor(trees.thresholds),
        "nodes_featureids": trees.columns.tolist(),
        "nodes_truenodeids": true,
        "nodes_trueleafs": true_leaf,
        "nodes_falsenodeids": false,
        "nodes_falseleafs": false_leaf,
        "nodes_missing_value_tracks_true": trees.nan_is_true.astype(int).tolist(),
        "leaf_targetids": [0] * len(trees.leaf_values),
        "leaf_weights": tensor(trees.leaf_values[:, 0].astype(dtype)),
        "aggregate_function": AGGREGATES[trees.aggregate],
        "post_transform": POSTS[trees.post],
        **({"membership_values": tensor(np.concatenate(sets))} if sets else {}),
        **rest,
    }
    return helper.make_node("TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml", **attributes)


def tensor(values: NDArray[Any]) -> TensorProto:
    kinds = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "uint8": TensorProto.UINT8}
    return helper.make_tensor("values", kinds[values.dtype.name], [len(values)], values.tolist())
