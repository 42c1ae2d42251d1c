"""From the served output back to the head: the node that trees, or weights, are read from.

What stands between is a post-transform, written as one operator or decomposed, and numbers that the margins
are multiplied by or added to: served = post(head * scale + shift).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from service.adapters.graphs.network import Network, attributes
from service.domain.explainers.game import Unsuitable

TREES = ("TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor")
PRODUCTS = ("Gemm", "LinearClassifier", "LinearRegressor", "MatMul")
PASSING = ("Cast", "Flatten", "Identity", "LpNormalization", "Normalizer", "Reshape", "Squeeze", "Unsqueeze")
"""They leave scores as they are, or else the comparison with the served scores shows it."""

Post: TypeAlias = Literal["none", "logistic", "softmax"]

_ONE, _NONE = np.ones(1), np.zeros(1)


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """What is known of the way back from the served output, up to the tensor ``name``."""

    network: Network
    name: str
    post: Post = "none"
    scale: NDArray[np.float64] = field(default_factory=lambda: _ONE)
    """Of the margins, [outputs] or [1]."""
    shift: NDArray[np.float64] = field(default_factory=lambda: _NONE)
    """Added to the margins after scaling, [outputs] or [1]."""
    complement: bool = False
    """Whether the scores are 1 - p and p of one probability p."""

    @property
    def plain(self) -> bool:
        """Whether nothing is multiplied or added."""
        return bool((self.scale == 1).all() and (self.shift == 0).all())

    @property
    def changes(self) -> bool:
        """Whether the head's answers are not served as they are."""
        return not self.plain or self.post != "none"

    def then(self, name: str, post: Post) -> Tail:
        """One post-transform further back.

        Raises:
            Unsuitable: it is not the only one, or its result was multiplied or added to.
        """
        if self.changes:
            raise Unsuitable(f"the scores of the graph's {post} are changed again before they are served")
        return replace(self, name=name, post=post)

    def linearly(self, name: str, scale: NDArray[np.float64], shift: NDArray[np.float64]) -> Tail:
        """One ``x * scale + shift`` further back."""
        return replace(self, name=name, scale=self.scale * scale, shift=self.shift + self.scale * shift)


def read_tail(network: Network, output: str) -> tuple[NodeProto, Tail]:
    """The head that the served ``output`` comes from, and what happens to its answer.

    Raises:
        Unsuitable: there is no such head; names the operator that is in the way.
    """
    tail = Tail(network, output)
    while True:
        node = network.makers.get(tail.name)
        if node is None:
            raise Unsuitable("the graph answers its own input")
        if node.op_type in TREES + PRODUCTS:
            return node, tail
        step = _STEPS.get(node.op_type)
        if step is None:
            raise Unsuitable(f"the score comes from the graph's {node.op_type}, not from trees or weights")
        tail = step(node, tail)


def line(constant: NDArray[np.generic]) -> NDArray[np.float64]:
    """A constant that is the same for every row, as float64 [outputs] or [1].

    Raises:
        Unsuitable: it differs between rows.
    """
    if constant.size != (constant.shape[-1] if constant.ndim else 1):
        raise Unsuitable(f"a constant of shape {constant.shape} goes into the scores")
    return constant.astype(np.float64).reshape(-1)


def _passing(node: NodeProto, tail: Tail) -> Tail:
    return replace(tail, name=node.input[0])


def _softmax(node: NodeProto, tail: Tail) -> Tail:
    if attributes(node).get("axis", -1) not in (1, -1):
        raise Unsuitable("the graph's Softmax is not over the classes")
    return tail.then(node.input[0], "softmax")


def _sigmoid(node: NodeProto, tail: Tail) -> Tail:
    return tail.then(node.input[0], "logistic")


def _negated(node: NodeProto, tail: Tail) -> Tail:
    return tail.linearly(node.input[0], -_ONE, _NONE)


def _arithmetic(node: NodeProto, tail: Tail) -> Tail:
    """Add, Sub, Mul and Div of a tensor and a constant; 1 / (1 + exp(z)) is the sigmoid of -z."""
    kind, names = node.op_type, list(node.input)
    if kind in ("Add", "Mul") and tail.network.constant(names[1]) is None:
        names.reverse()
    left, right = (tail.network.constant(name) for name in names)
    if right is not None:
        number = line(right)
        if kind in ("Mul", "Div"):
            return tail.linearly(names[0], number if kind == "Mul" else 1 / number, _NONE)
        return tail.linearly(names[0], _ONE, number if kind == "Add" else -number)
    if left is None:
        raise Unsuitable(f"the score comes from the graph's {kind} of two numbers, not from trees or weights")
    if kind == "Div":
        return _one_by(names[1], tail, line(left))
    return tail.linearly(names[1], -_ONE, line(left))


def _reciprocal(node: NodeProto, tail: Tail) -> Tail:
    return _one_by(node.input[0], tail, _ONE)


def _one_by(name: str, tail: Tail, number: NDArray[np.float64]) -> Tail:
    inner = tail.network.makers.get(name)
    if inner is not None and inner.op_type == "Add" and (number == 1).all():
        for added, power in (inner.input, reversed(inner.input)):
            one, exponential = tail.network.constant(added), tail.network.makers.get(power)
            if one is None or exponential is None or exponential.op_type != "Exp" or (one != 1).any():
                continue
            before = exponential.input[0]
            return tail.then(before, "logistic").linearly(before, -_ONE, _NONE)
    raise Unsuitable("the score comes from a division, not from trees or weights")


def _both_classes(node: NodeProto, tail: Tail) -> Tail:
    """The probabilities 1 - p and p, side by side."""
    if len(node.input) == 2 and tail.plain and tail.post == "none" and not tail.complement:
        first = tail.network.makers.get(node.input[0])
        if first is not None and first.op_type == "Sub" and first.input[1] == node.input[1]:
            one = tail.network.constant(first.input[0])
            if one is not None and (one == 1).all():
                return replace(tail, name=node.input[1], complement=True)
    raise Unsuitable("the score comes from the graph's Concat of several models' answers")


_STEPS: dict[str, Callable[[NodeProto, Tail], Tail]] = {
    **dict.fromkeys(PASSING, _passing),
    **dict.fromkeys(("Add", "Div", "Mul", "Sub"), _arithmetic),
    "Concat": _both_classes,
    "Neg": _negated,
    "Reciprocal": _reciprocal,
    "Sigmoid": _sigmoid,
    "Softmax": _softmax,
}
