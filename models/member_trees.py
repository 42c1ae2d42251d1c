"""Tree nodes whose leaves add to other outputs: the same trees, told apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from service.domain.trees import TreeEnsemble

PREFIX = "members/"
"""Of all names that are made up."""

_DOMAIN = "ai.onnx.ml"
_KEPT = ("nodes_", "tree_roots", "membership_values")
_SUM, _NO_TRANSFORM = 1, 0  # as operator set 5 numbers them


@dataclass(frozen=True, slots=True, eq=False)
class Votes:
    """Which leaf adds to which output of a head, each pair once."""

    leaves: NDArray[np.intp]
    """Numbered as in ``TreeEnsemble``, which is the order of the file; [votes]."""
    outputs: NDArray[np.intp]
    """[votes]"""
    trees: NDArray[np.intp]
    """The tree that each vote's leaf is in, [votes]."""
    given: NDArray[np.bool_]
    """Whether some leaf of a tree adds to an output, [trees, outputs]."""

    @classmethod
    def of(cls, node: NodeProto, head: TreeEnsemble) -> Votes:
        """The votes of a tree node that was read as ``head``."""
        listed = _listed(node)
        leaves, outputs = np.unique(listed, axis=1)
        trees = _tree_of_each_leaf(head)[leaves]
        reached = trees >= 0
        given = np.zeros((len(head.roots), head.outputs), dtype=bool)
        given[trees[reached], outputs[reached]] = True
        return cls(leaves[reached], outputs[reached], trees[reached], given)


def grouped(
    node: NodeProto, head: TreeEnsemble, votes: Votes, groups: NDArray[np.intp], count: int, factor: float
) -> NodeProto:
    """A tree node of the same trees, whose output ``group * outputs + output`` is the sum over a group.

    Args:
        node: the tree node that ``head`` was read from.
        head: with all that happens to the margins after the node.
        votes: of the node.
        groups: of each tree, for each output, [trees, outputs].
        count: groups.
        factor: what leaves are multiplied by.
    """
    targets = groups[votes.trees, votes.outputs] * head.outputs + votes.outputs
    weights = head.leaf_values[votes.leaves, votes.outputs] * factor
    newer = node.op_type == "TreeEnsemble"
    made = NodeProto(
        op_type="TreeEnsemble" if newer else "TreeEnsembleRegressor", domain=_DOMAIN, name=f"{PREFIX}trees"
    )
    made.input.append(node.input[0])
    made.output.append(f"{PREFIX}trees")
    made.attribute.extend(entry for entry in node.attribute if entry.name.startswith(_KEPT))
    own = (_newer if newer else _older)(node, votes, targets, weights.astype(head.thresholds.dtype))
    made.attribute.extend(
        helper.make_attribute(name, value)
        for name, value in {"n_targets": count * head.outputs, **own}.items()
    )
    return made


def _newer(
    node: NodeProto, votes: Votes, targets: NDArray[np.intp], weights: NDArray[np.floating]
) -> dict[str, Any]:
    """Of operator set 5, where every leaf is listed once."""
    leaves = len(_attribute(node, "leaf_targetids"))
    ids, values = np.zeros(leaves, np.intp), np.zeros(leaves, weights.dtype)
    ids[votes.leaves], values[votes.leaves] = targets, weights
    return {
        "leaf_targetids": ids.tolist(),
        "leaf_weights": numpy_helper.from_array(values),
        "aggregate_function": _SUM,
        "post_transform": _NO_TRANSFORM,
    }


def _older(
    node: NodeProto, votes: Votes, targets: NDArray[np.intp], weights: NDArray[np.floating]
) -> dict[str, Any]:
    places = _leaf_places(node)[:, votes.leaves]
    double = weights.dtype == np.float64
    return {
        "target_treeids": places[0].tolist(),
        "target_nodeids": places[1].tolist(),
        "target_ids": targets.tolist(),
        **(
            {"target_weights_as_tensor": numpy_helper.from_array(weights)}
            if double
            else {"target_weights": weights.tolist()}
        ),
        "aggregate_function": "SUM",
        "post_transform": "NONE",
    }


def _listed(node: NodeProto) -> NDArray[np.intp]:
    """Leaves and the outputs they add to, as the file lists them; [2, votes]."""
    if node.op_type == "TreeEnsemble":
        outputs = _attribute(node, "leaf_targetids")
        return np.stack([np.arange(len(outputs)), outputs])
    kind = "class" if node.op_type == "TreeEnsembleClassifier" else "target"
    number = {pair: at for at, pair in enumerate(map(tuple, _leaf_places(node).T.tolist()))}
    trees, nodes = (_attribute(node, f"{kind}_{name}").tolist() for name in ("treeids", "nodeids"))
    leaves = [number[pair] for pair in zip(trees, nodes, strict=True)]
    return np.stack([np.array(leaves, np.intp), _attribute(node, f"{kind}_ids")])


def _leaf_places(node: NodeProto) -> NDArray[np.intp]:
    """Tree and number of each leaf of ai.onnx.ml 1 to 3, [2, leaves]."""
    modes = next(helper.get_attribute_value(entry) for entry in node.attribute if entry.name == "nodes_modes")
    is_leaf = np.array([mode == b"LEAF" for mode in modes])
    return np.stack([_attribute(node, "nodes_treeids"), _attribute(node, "nodes_nodeids")])[:, is_leaf]


def _attribute(node: NodeProto, name: str) -> NDArray[np.intp]:
    found = next(helper.get_attribute_value(entry) for entry in node.attribute if entry.name == name)
    return np.asarray(found, np.intp)


def _tree_of_each_leaf(head: TreeEnsemble) -> NDArray[np.intp]:
    """[leaves]; -1 for one that no tree leads to."""
    found = np.full(len(head.leaf_values), -1, np.intp)
    at, trees = head.roots, np.arange(len(head.roots))
    while at.size:
        is_leaf = at < 0
        found[~at[is_leaf]] = trees[is_leaf]
        inner, trees = at[~is_leaf], trees[~is_leaf]
        at, trees = np.concatenate([head.if_true[inner], head.if_false[inner]]), np.tile(trees, 2)
    return found
