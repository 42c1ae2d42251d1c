"""Tree nodes of ai.onnx.ml as ``TreeEnsemble``: what ONNX Runtime answers, quirks included.

Where the specification is vague (two classes, one column of weights), the reading is ONNX Runtime's; tests
hold every case against it. What cannot be read raises ``Unsuitable`` with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from service.adapters.graphs.wholeness import checked, merged
from service.domain.explainers.game import Unsuitable
from service.domain.trees import Aggregate, Mode, Post, TreeEnsemble

OPERATORS = ("TreeEnsembleRegressor", "TreeEnsembleClassifier", "TreeEnsemble")
"""Types of node that ``read_trees`` takes, all of domain ai.onnx.ml."""

_LEAF = 255
_MODES = {f"BRANCH_{mode.name}": int(mode) for mode in Mode if mode is not Mode.MEMBER} | {"LEAF": _LEAF}
_POSTS: tuple[Post, ...] = ("none", "softmax", "logistic", "softmax_zero", "probit")  # numbered as in opset 5
_AGGREGATES: tuple[Aggregate, ...] = ("average", "sum", "min", "max")  # numbered as in opset 5

_Attributes = Mapping[str, Any]
_Ids = NDArray[np.intp]


def read_trees(node: onnx.NodeProto) -> TreeEnsemble:
    """The trees of a tree node.

    One known difference: against a set with a member outside 0 to 30, ONNX Runtime cuts fractions off
    (33.5 is in {33}); here 33.5 is no member. Categories are whole numbers, so it shows only for others.

    Raises:
        Unsuitable: the node is none of ``OPERATORS``, contradicts itself, or answers something that is
            neither a probability of each class nor a value.
    """
    attributes = {each.name: _value(each) for each in node.attribute}
    try:
        if node.op_type == "TreeEnsemble":
            return checked(_read_opset_5(attributes))
        if node.op_type == "TreeEnsembleRegressor":
            return checked(merged(_read_regressor(attributes)))
        if node.op_type == "TreeEnsembleClassifier":
            return checked(merged(_read_classifier(attributes)))
    except (KeyError, IndexError, ValueError) as error:
        raise Unsuitable(f"the graph's {node.op_type} node cannot be read: {error!r}") from error
    raise Unsuitable(f"a {node.op_type} node holds no trees")


def _value(attribute: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list) and value and isinstance(value[0], bytes):
        return [each.decode() for each in value]
    return value


def _numbers(attributes: _Attributes, name: str) -> NDArray[np.floating[Any]]:
    """A float attribute, or its double twin ``name_as_tensor`` where the graph has that; empty if neither."""
    double = attributes.get(f"{name}_as_tensor")
    if double is not None and len(double):
        return np.asarray(double)
    return np.asarray(attributes.get(name, ()), dtype=np.float32)


def _ids(attributes: _Attributes, name: str, length: int | None = None) -> _Ids:
    """An integer attribute; zeros where it is left out and ``length`` is given."""
    found = attributes[name] if length is None else attributes.get(name, np.zeros(length))
    return np.asarray(found, dtype=np.intp)


# ai.onnx.ml 1 to 3: nodes named by tree and number, leaves among them, weights in a table of their own


@dataclass(frozen=True, slots=True)
class _Votes:
    """What leaves say: entry i adds ``weights[i]`` to output ``outputs[i]`` at node ``positions[i]``."""

    positions: _Ids
    outputs: _Ids
    weights: NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class _Table:
    """The nodes of ai.onnx.ml 1 to 3 in the order of the file, leaves included."""

    attributes: _Attributes
    modes: NDArray[np.uint8]
    trees: _Ids
    place: Mapping[tuple[int, int], int]
    """Position of each (tree, number)."""

    def votes(self, kind: str) -> _Votes:
        """``kind`` is ``class`` or ``target``, the prefix of the attributes' names."""
        numbers = _ids(self.attributes, f"{kind}_nodeids").tolist()
        trees = _ids(self.attributes, f"{kind}_treeids").tolist()
        positions = np.array([self.place[pair] for pair in zip(trees, numbers, strict=True)], dtype=np.intp)
        if (self.modes[positions] != _LEAF).any():
            raise Unsuitable("a tree gives weights to a node that is no leaf")
        weights = _numbers(self.attributes, f"{kind}_weights")
        outputs = _ids(self.attributes, f"{kind}_ids")
        if not len(positions) == len(weights) == len(outputs):
            raise Unsuitable("the leaves' weights do not match their numbers")
        return _Votes(positions, outputs, weights)

    def ensemble(self, votes: _Votes, outputs: int, aggregate: Aggregate, **rest: Any) -> TreeEnsemble:
        leaf = self.modes == _LEAF
        number = np.where(
            leaf, ~(np.cumsum(leaf) - 1), np.cumsum(~leaf) - 1
        )  # as TreeEnsemble numbers children
        inner = np.flatnonzero(~leaf)
        nan_is_true = _ids(self.attributes, "nodes_missing_value_tracks_true", len(leaf)) != 0
        return TreeEnsemble(
            columns=_ids(self.attributes, "nodes_featureids")[inner],
            thresholds=_numbers(self.attributes, "nodes_values")[inner],
            modes=self.modes[inner],
            if_true=self._children("nodes_truenodeids", inner, number),
            if_false=self._children("nodes_falsenodeids", inner, number),
            nan_is_true=nan_is_true[inner],
            roots=number[np.unique(self.trees, return_index=True)[1]],
            leaf_values=_leaf_values(
                ~number[votes.positions], votes.outputs, votes.weights, (int(leaf.sum()), outputs), aggregate
            ),
            aggregate=aggregate,
            **rest,
        )

    def _children(self, name: str, inner: _Ids, number: _Ids) -> _Ids:
        wanted = _ids(self.attributes, name)[inner].tolist()
        trees = self.trees[inner].tolist()
        return number[[self.place[pair] for pair in zip(trees, wanted, strict=True)]]


def _table(attributes: _Attributes) -> _Table:
    trees, numbers = _ids(attributes, "nodes_treeids"), _ids(attributes, "nodes_nodeids")
    names = attributes["nodes_modes"]
    unknown = set(names) - set(_MODES)
    if unknown:
        raise Unsuitable(f"the trees test columns in a way that is not known: {min(unknown)}")
    modes = np.array([_MODES[name] for name in names], dtype=np.uint8)
    place = {pair: at for at, pair in enumerate(zip(trees.tolist(), numbers.tolist(), strict=True))}
    if len(place) != len(modes):
        raise Unsuitable("the trees' nodes are not numbered one by one")
    return _Table(attributes, modes, trees, place)


def _read_regressor(attributes: _Attributes) -> TreeEnsemble:
    table = _table(attributes)
    targets = int(attributes["n_targets"])
    aggregate = cast(Aggregate, attributes.get("aggregate_function", "SUM").lower())
    votes, base = table.votes("target"), _base(_numbers(attributes, "base_values"), targets)
    if targets > 1 and not all(
        _always_voted(table, votes, output) for output in np.flatnonzero(base).tolist()
    ):
        raise Unsuitable("whether a base value is added depends on the row")
    return table.ensemble(
        votes,
        targets,
        aggregate,
        base=base,
        post=_regression_post(_post(attributes), targets),
    )


def _read_classifier(attributes: _Attributes) -> TreeEnsemble:
    table = _table(attributes)
    votes, post = table.votes("class"), _post(attributes)
    base = _numbers(attributes, "base_values")
    classes = len(attributes.get("classlabels_int64s", ()) or attributes.get("classlabels_strings", ()))
    if classes > 2:
        return table.ensemble(votes, classes, "sum", base=_base(base, classes), post=post)
    if classes < 2:
        raise Unsuitable("a classifier of fewer than two classes has nothing to explain")
    if len(base) > 1:
        raise Unsuitable("two base values for two classes, of which ONNX Runtime leaves one out")
    if not votes.outputs.any():
        if post == "probit" or (post != "logistic" and (votes.weights < 0).any()):
            raise Unsuitable("the two classes' one margin becomes no probabilities")
        post = "logistic" if post == "logistic" else "none"
        return table.ensemble(votes, 1, "sum", base=_base(base, 1), post=post, complement=True)
    if not _always_voted(table, votes, 1):
        raise Unsuitable("whether the second class gets a vote depends on the row")
    first = 0.0 if votes.outputs.all() or not len(base) else float(base[0])
    return table.ensemble(votes, 2, "sum", base=np.array([first, 0.0]), post=post)


def _always_voted(table: _Table, votes: _Votes, output: int) -> bool:
    """Whether all leaves of some tree vote on ``output``."""
    voted = np.zeros(len(table.modes), dtype=bool)
    voted[votes.positions[votes.outputs == output]] = True
    silent = table.trees[(table.modes == _LEAF) & ~voted]
    return bool(np.setdiff1d(table.trees, silent).size)


# ai.onnx.ml 5: nodes and leaves in lists of their own, membership tests


def _read_opset_5(attributes: _Attributes) -> TreeEnsemble:
    modes = np.asarray(attributes["nodes_modes"], dtype=np.uint8)
    thresholds = np.asarray(attributes["nodes_splits"])
    outputs = int(attributes["n_targets"])
    aggregate = _AGGREGATES[int(attributes.get("aggregate_function", 1))]
    if_true = _mixed(_ids(attributes, "nodes_truenodeids"), _ids(attributes, "nodes_trueleafs"))
    if_false = _mixed(_ids(attributes, "nodes_falsenodeids"), _ids(attributes, "nodes_falseleafs"))
    leaf_outputs = _ids(attributes, "leaf_targetids")
    is_member = modes == Mode.MEMBER
    roots = _ids(attributes, "tree_roots")
    lone = (if_true[roots] == if_false[roots]) & (if_true[roots] < 0)  # how a tree of one leaf is written
    return TreeEnsemble(
        columns=_ids(attributes, "nodes_featureids"),
        thresholds=np.where(is_member, thresholds.dtype.type(0), thresholds),
        modes=modes,
        if_true=if_true,
        if_false=if_false,
        nan_is_true=_ids(attributes, "nodes_missing_value_tracks_true", len(modes)) != 0,
        roots=np.where(lone, if_true[roots], roots),
        leaf_values=_leaf_values(
            np.arange(len(leaf_outputs)),
            leaf_outputs,
            np.asarray(attributes["leaf_weights"]),
            (len(leaf_outputs), outputs),
            aggregate,
        ),
        base=np.zeros(outputs),
        aggregate=aggregate,
        post=_regression_post(_POSTS[int(attributes.get("post_transform", 0))], outputs),
        members=_members(np.flatnonzero(is_member), attributes.get("membership_values", ())),
    )


def _mixed(numbers: _Ids, are_leaves: _Ids) -> _Ids:
    return np.where(are_leaves != 0, ~numbers, numbers)


def _members(nodes: _Ids, values: Sequence[float]) -> dict[int, NDArray[np.floating[Any]]]:
    """Sets one after the other, divided by NaN, for ``nodes`` in order."""
    flat = np.asarray(values)
    sets = np.split(flat, np.flatnonzero(np.isnan(flat)))
    return {int(node): sets[at][~np.isnan(sets[at])] for at, node in enumerate(nodes)}


# both


def _leaf_values(
    leaves: _Ids, outputs: _Ids, weights: NDArray[Any], shape: tuple[int, int], aggregate: Aggregate
) -> NDArray[np.float64]:
    """[leaves, outputs] of entries; several entries of one leaf and output add up."""
    values = np.zeros(shape)
    np.add.at(values, (leaves, outputs), weights.astype(np.float64))
    if aggregate in ("min", "max"):
        voted = np.zeros(shape, dtype=bool)
        voted[leaves, outputs] = True
        values[~voted] = np.inf if aggregate == "min" else -np.inf
    return values


def _base(values: NDArray[Any], outputs: int) -> NDArray[np.float64]:
    if len(values) not in (0, outputs):
        raise Unsuitable(f"{len(values)} base values for {outputs} outputs")
    return values.astype(np.float64) if len(values) else np.zeros(outputs)


def _post(attributes: _Attributes) -> Post:
    post = attributes.get("post_transform", "NONE").lower()
    if post not in _POSTS:
        raise Unsuitable(f"the post-transform {post!r} is not known")
    return cast(Post, post)


def _regression_post(post: Post, outputs: int) -> Post:
    """ONNX Runtime transforms a single value by probit only."""
    return post if outputs > 1 or post == "probit" else "none"
