"""A served graph taken apart: an encoder of single columns, and a head of trees or weights.

Nothing is believed that was only read: the encoder is run with one column at a time shuffled, and the head's
scores of the encoded background are compared with what the model serves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from service.adapters.graphs.columns import columns_of
from service.adapters.graphs.encoder import check_columns, encoder_of
from service.adapters.graphs.linear import read_linear, suited
from service.adapters.graphs.network import read_network
from service.adapters.graphs.tail import TREES, Tail, read_tail
from service.adapters.graphs.trees import read_trees
from service.domain.explainers.game import Linear, Structure, Unsuitable
from service.domain.explainers.linear_exact import scores_of
from service.domain.schema import Binding, FeatureBatch, ModelSpec, Scores, Task
from service.domain.trees import TreeEnsemble
from service.errors import UnderstudyError

TOLERANCE = 1e-5
"""Largest difference from the served scores; relative for values beyond 1."""

_UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, UnderstudyError)


def structure_of(
    path: Path,
    spec: ModelSpec,
    binding: Binding,
    predict: Callable[[FeatureBatch], Scores],
    rows: FeatureBatch,
) -> Structure:
    """The encoder and the head of a graph of trees or of a linear model.

    Args:
        path: the ``model.onnx`` file.
        predict: the served model.
        rows: canonical rows that what is found is checked on, [rows, width]; the background.

    Raises:
        Unsuitable: the graph is of neither kind, its encoder mixes columns, or what was read does not give
            the served scores to ``TOLERANCE``; says which in words for users.
    """
    try:
        network = read_network(path)
        node, tail = read_tail(network, binding.output)
        head = head_of(node, tail, spec.task, binding)
        sources = columns_of(network, node.input[0], spec.schema, binding)
        encode = encoder_of(network, node.input[0], sources, spec.schema, binding)
        check_columns(encode, sources, rows)
        found = Structure(encode, sources, head)
        check_scores(found, spec, predict, rows)
    except _UNREADABLE as error:  # a graph that nobody foresaw must not keep its model from being served
        raise Unsuitable(f"the graph cannot be followed: {error}") from error
    return found


def check_scores(
    structure: Structure, spec: ModelSpec, predict: Callable[[FeatureBatch], Scores], rows: FeatureBatch
) -> None:
    """Compares the scores of encoder and head with the served ones.

    Raises:
        Unsuitable: they differ by more than ``TOLERANCE`` in some row.
    """
    served = predict(rows).astype(np.float64)
    own = _scores(structure, rows)
    if own.shape != served.shape:
        raise Unsuitable(f"the graph's head has {own.shape[1]} outputs, {spec.tag} serves {served.shape[1]}")
    worst = float(np.max(np.abs(own - served) / np.maximum(1, np.abs(served)), initial=0))
    if not worst <= TOLERANCE:  # NaN is no agreement either
        raise Unsuitable(
            f"the graph's head by itself gives scores that differ by {worst:.1e} from those served"
        )


def _scores(structure: Structure, rows: FeatureBatch) -> NDArray[np.float64]:
    encoded, head = structure.encode(rows), structure.head
    if isinstance(head, Linear):
        return scores_of(head, encoded.astype(np.float64) @ head.weights + head.intercepts)
    scores: NDArray[np.float64] = head.scores(head.margins(encoded))
    return scores


def head_of(node: NodeProto, tail: Tail, task: Task, binding: Binding) -> Linear | TreeEnsemble:
    """The head with all that its tail does, so that its own scores are the served ones.

    Raises:
        Unsuitable: it cannot be read, or its scores are changed in a way that is not understood.
    """
    head = read_trees(node) if node.op_type in TREES else read_linear(tail.network, node)
    if tail.changes and head.post != "none":
        raise Unsuitable(f"the scores of the graph's {node.op_type} are changed again before they are served")
    if isinstance(head, Linear):
        return suited(_linear_then(head, tail), task)
    trees = _trees_then(head, tail)
    alone = binding.output_kind == "positive_probability" and trees.outputs == 1
    return replace(trees, complement=trees.complement or tail.complement or alone)


def _linear_then(head: Linear, tail: Tail) -> Linear:
    if not tail.changes:
        return head
    weights, intercepts = head.weights * tail.scale, head.intercepts * tail.scale + tail.shift
    return Linear(weights, intercepts, tail.post)


def _trees_then(trees: TreeEnsemble, tail: Tail) -> TreeEnsemble:
    if not tail.changes:
        return trees
    if trees.aggregate not in ("sum", "average") and not tail.plain:
        raise Unsuitable(f"the {trees.aggregate} over trees is multiplied or added to")
    values, base = trees.leaf_values * tail.scale, trees.base * tail.scale + tail.shift
    return replace(trees, leaf_values=values, base=base, post=tail.post)
