"""Linear models in ONNX graphs: converters' operators, and products as neural frameworks export them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from onnx import NodeProto

from service.adapters.graphs.network import Network, attributes
from service.adapters.graphs.tail import line
from service.domain.explainers.game import Linear, Unsuitable
from service.domain.schema import Task

_POST: dict[str, Any] = {"NONE": "none", "LOGISTIC": "logistic", "SOFTMAX": "softmax"}


def read_linear(network: Network, node: NodeProto) -> Linear:
    """The weights of one of ``tail.PRODUCTS`` as they stand in the graph.

    Raises:
        Unsuitable: they are not constant, or the scores are made in a way that has no margin.
    """
    if node.op_type in ("Gemm", "MatMul"):
        return _product(network, node)
    options = attributes(node)
    post = _POST.get(options.get("post_transform", "NONE"))
    if post is None:
        raise Unsuitable(f"the graph's {node.op_type} ends in {options['post_transform']}")
    coefficients = np.asarray(options["coefficients"], dtype=np.float64)
    if node.op_type == "LinearRegressor":
        outputs = int(options.get("targets", 1))
        intercepts = np.asarray(options.get("intercepts") or [0.0] * outputs, dtype=np.float64)
    else:
        intercepts = np.asarray(options["intercepts"], dtype=np.float64)
    return Linear(coefficients.reshape(len(intercepts), -1).T, intercepts, post)


def suited(linear: Linear, task: Task) -> Linear:
    """The same scores with the margins that are explained.

    A binary model gets one margin, of its second class. Softmax margins are known only up to a number common
    to all classes: theirs is chosen such that a row's margins sum to 0, so that equal answers have equal
    explanations however a model was parameterised.

    Raises:
        Unsuitable: the head's outputs are not those of the task.
    """
    outputs = len(linear.intercepts)
    if task == "regression":
        if outputs != 1 or linear.post != "none":
            raise Unsuitable(
                f"a linear model of {outputs} outputs, post transform {linear.post}, for regression"
            )
        return linear
    if linear.post == "none":
        raise Unsuitable("the linear model's scores are not probabilities made by a sigmoid or a softmax")
    if task == "binary":
        return _second_class(linear)
    if linear.post == "softmax":
        weights = linear.weights - linear.weights.mean(axis=1, keepdims=True)
        return replace(linear, weights=weights, intercepts=linear.intercepts - linear.intercepts.mean())
    return linear


def _product(network: Network, node: NodeProto) -> Linear:
    options = attributes(node)
    weights = network.constant(node.input[1])
    if weights is None or options.get("transA", 0):
        raise Unsuitable(f"the graph's {node.op_type} is not a product of a row with constant weights")
    weights = weights.astype(np.float64) * options.get("alpha", 1.0)
    if options.get("transB", 0):
        weights = weights.T
    if weights.ndim == 1:
        weights = weights[:, None]
    if weights.ndim != 2:
        raise Unsuitable(f"the graph's {node.op_type} has weights of shape {weights.shape}")
    shift = np.zeros(weights.shape[1])
    if len(node.input) > 2 and node.input[2]:
        added = network.constant(node.input[2])
        if added is None:
            raise Unsuitable(f"the graph's {node.op_type} adds something that is not constant")
        shift = shift + line(added) * options.get("beta", 1.0)
    return Linear(weights, shift, "none")


def _second_class(linear: Linear) -> Linear:
    if linear.post == "softmax":
        if len(linear.intercepts) != 2:
            raise Unsuitable(f"a softmax of {len(linear.intercepts)} scores for two classes")
        weights, intercepts = np.diff(linear.weights, axis=1), np.diff(linear.intercepts)
    else:
        weights, intercepts = linear.weights[:, -1:], linear.intercepts[-1:]
    return Linear(weights, intercepts, "logistic")
