"""From the served output to the margin that is differentiated.

The margin of a class is its log-odds against all others, log p - log(1 - p): the number that
``game.explained`` makes of served scores. Where p is the softmax or the sigmoid of raw scores, both the
margin and its derivative are made of those, so that neither vanishes where a float32 probability is 0 or 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from models.gradients.forward import Forward, attributes
from models.gradients.tape import Tape
from service.adapters.gradients import SEED
from service.domain.schema import Binding

_SAME_NUMBERS = frozenset({"Identity", "Cast", "Dropout"})
_SAME_COLUMN = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
TINY = float(np.finfo(np.float32).tiny)
"""The smallest share that a class is taken to have, as in ``game.explained``."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where the way back starts."""

    margins: str
    """Emitted tensor, [rows, outputs]."""
    start: str
    """Forward tensor that the margins were made of."""
    adjoint: str
    """Emitted tensor: sum over outputs of seed * d(margin) / d(start), in the shape of ``start``."""


def head_of(tape: Tape, binding: Binding) -> Head:
    """Emits the margins and their derivative by the tensor they are made of."""
    forward, output = tape.forward, tape.forward.output
    if binding.output_kind == "value":
        seed = tape.reshape_as(_seed(tape, output), output)
        return Head(tape.reshape(output, [-1, 1]), output, seed)
    if forward.tensors[output].small[0].size == 1:
        raw = _sigmoid_of(forward, _walk(forward, output, _SAME_NUMBERS | _SAME_COLUMN))
        return _by_logit(tape, raw) if raw else _by_positive(tape, output)
    last = _walk(forward, output, _SAME_NUMBERS)
    raw = _softmax_of(forward, last)
    if raw:
        return _by_logits(tape, raw)
    raw = _sigmoid_of_pair(forward, last)
    return _by_logit(tape, raw) if raw else _by_probabilities(tape, output)


def _walk(forward: Forward, name: str, through: frozenset[str]) -> str:
    """The first tensor before ``name`` that holds the same numbers and is made by another operator."""
    while True:
        node = forward.producer.get(name)
        if node is None or node.op_type not in through or node.input[0] not in forward.moving:
            return name
        name = node.input[0]


def _softmax_of(forward: Forward, name: str) -> str | None:
    """The raw scores, [rows, classes], that a tensor is the softmax of."""
    node = forward.producer.get(name)
    if node is None or node.op_type != "Softmax" or forward.tensors[name].rank != 2:
        return None
    axis = attributes(node).get("axis", 1 if forward.opset < 13 else -1)
    return node.input[0] if axis in {1, -1} else None


def _sigmoid_of(forward: Forward, name: str) -> str | None:
    node = forward.producer.get(name)
    return node.input[0] if node is not None and node.op_type == "Sigmoid" else None


def _sigmoid_of_pair(forward: Forward, name: str) -> str | None:
    """The raw score z of [1 - sigmoid(z), sigmoid(z)]."""
    node = forward.producer.get(name)
    if node is None or node.op_type != "Concat" or len(node.input) != 2:
        return None
    negative, positive = node.input
    other = forward.producer.get(negative)
    if other is None or not _is_complement(forward, other, positive):
        return None
    return _sigmoid_of(forward, _walk(forward, positive, _SAME_NUMBERS))


def _is_complement(forward: Forward, node: NodeProto, name: str) -> bool:
    if node.op_type != "Sub" or node.input[1] != name or node.input[0] in forward.moving:
        return False
    return bool((forward.constant(node.input[0]) == 1).all())


def _by_logit(tape: Tape, raw: str) -> Head:
    """Of p = sigmoid(z): the margins are -z and z."""
    column = tape.reshape(raw, [-1, 1])
    signs = tape.like([[-1.0, 1.0]], raw)
    adjoint = tape.total(tape.op("Mul", _seed(tape, raw), signs), [1])
    return Head(tape.op("Mul", column, signs), raw, tape.reshape_as(adjoint, raw))


def _by_logits(tape: Tape, raw: str) -> Head:
    """Of p = softmax(z): margin k is z_k - log(sum over j != k of exp z_j)."""
    top = (
        tape.op("ReduceMax", raw, axes=[1], keepdims=1)
        if tape.forward.opset < 18
        else tape.op("ReduceMax", raw, tape.constant([1], np.int64), keepdims=1)
    )
    level = tape.op("Sub", raw, top)
    shares = tape.op("Exp", level)
    others = _others(tape, shares, raw)
    margins = tape.op("Sub", level, tape.op("Log", others))
    seed = _seed(tape, raw)
    pull = _sum_of_others(tape, tape.op("Div", seed, others), raw)
    return Head(margins, raw, tape.op("Sub", seed, tape.op("Mul", shares, pull)))


def _by_probabilities(tape: Tape, output: str) -> Head:
    """Of any p: margin k is log p_k - log(sum over j != k of p_j)."""
    floor = tape.like(TINY, output)
    own = tape.op("Max", output, floor)
    others = _others(tape, output, output)
    margins = tape.op("Sub", tape.op("Log", own), tape.op("Log", others))
    seed = _seed(tape, output)
    pull = _sum_of_others(tape, tape.op("Div", seed, others), output)
    return Head(margins, output, tape.op("Sub", tape.op("Div", seed, own), pull))


def _by_positive(tape: Tape, output: str) -> Head:
    """Of the second class's p alone: the margins are those of [1 - p, p]."""
    column, floor = tape.reshape(output, [-1, 1]), tape.like(TINY, output)
    own = tape.op("Max", column, floor)
    other = tape.op("Max", tape.op("Sub", tape.like(1, output), column), floor)
    margin = tape.op("Sub", tape.op("Log", own), tape.op("Log", other))
    signs = tape.like([[-1.0, 1.0]], output)
    seed = tape.total(tape.op("Mul", _seed(tape, output), signs), [1])
    slope = tape.op("Add", tape.op("Div", seed, own), tape.op("Div", seed, other))
    return Head(tape.op("Mul", margin, signs), output, tape.reshape_as(slope, output))


def _others(tape: Tape, shares: str, like: str) -> str:
    """For every class the sum over all others, at least ``TINY``; without cancellation."""
    return tape.op("Max", _sum_of_others(tape, shares, like), tape.like(TINY, like))


def _sum_of_others(tape: Tape, values: str, like: str) -> str:
    classes = tape.forward.tensors[like].size(1)
    return tape.op("MatMul", values, tape.like(1 - np.eye(classes), like))


def _seed(tape: Tape, like: str) -> str:
    return tape.cast(SEED, tape.forward.tensors[like].dtype)
