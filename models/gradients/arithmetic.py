"""Operators on several tensors, matrix products, sums, and functions of a whole row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from models.gradients.step import Adjoints, Rule, Step
from models.gradients.tape import Tape
from service.domain.explainers.game import Unsuitable


def _share(step: Step, parts: Sequence[tuple[int, str]]) -> Adjoints:
    """Adjoints of broadcast operands, given in the output's shape."""
    names = step.node.input
    return [(names[index], step.tape.settled(g, names[index], step.y)) for index, g in parts]


def _operands(step: Step) -> list[int]:
    return [index for index, name in enumerate(step.node.input) if step.moves(name)]


def _add(step: Step) -> Adjoints:
    return _share(step, [(index, step.g) for index in _operands(step)])


def _sub(step: Step) -> Adjoints:
    return _share(step, [(at, step.tape.op("Neg", step.g) if at else step.g) for at in _operands(step)])


def _mul(step: Step) -> Adjoints:
    names = step.node.input
    return _share(step, [(at, step.tape.op("Mul", step.g, names[1 - at])) for at in _operands(step)])


def _div(step: Step) -> Adjoints:
    """Of a / b: 1 / b, and -(a / b) / b."""
    upper = step.tape.op("Div", step.g, step.node.input[1])
    parts = [(0, upper)] if 0 in _operands(step) else []
    if 1 in _operands(step):
        parts.append((1, step.tape.op("Neg", step.tape.op("Mul", upper, step.y))))
    return _share(step, parts)


def _extreme(step: Step) -> Adjoints:
    """Max and Min: to the operand that was taken."""
    tape, names = step.tape, step.node.input
    parts = []
    for at in _operands(step):
        taken = tape.op("Equal", names[at], step.y)
        parts.append((at, tape.where(taken, step.g, like=step.y)))
    return _share(step, parts)


def _where(step: Step) -> Adjoints:
    tape, names = step.tape, step.node.input
    zero = tape.like(0, step.y)
    parts = []
    for at in _operands(step):
        chosen = (step.g, zero) if at == 1 else (zero, step.g)
        parts.append((at, tape.op("Where", names[0], *chosen)))
    return _share(step, parts)


def _matmul(step: Step) -> Adjoints:
    tape, (a, b) = step.tape, step.node.input
    ranks = [tape.forward.tensors[name].rank for name in (a, b)]
    if min(ranks) < 2:
        raise Unsuitable("MatMul with a vector")
    found = []
    for at in _operands(step):
        if at == 0:
            own = tape.op("MatMul", step.g, tape.transpose(b, ranks[1]))
        else:
            own = tape.op("MatMul", tape.transpose(a, ranks[0]), step.g)
        found.append((step.node.input[at], _unstacked(tape, own, step, at)))
    return found


def _unstacked(tape: Tape, g: str, step: Step, at: int) -> str:
    """A product's adjoint summed over the leading dimensions that its operand was repeated along."""
    own, wide = (tape.forward.tensors[name] for name in (step.node.input[at], step.y))
    extra = wide.rank - own.rank
    ones, still = own.ones()[:-2], wide.ones()[extra:-2]
    axes = [
        *range(extra),
        *(extra + i for i, (one, same) in enumerate(zip(ones, still, strict=True)) if one and not same),
    ]
    return tape.reshape_as(tape.total(g, axes), step.node.input[at]) if axes else g


def _gemm(step: Step) -> Adjoints:
    tape, names, settings = step.tape, step.node.input, step.settings
    alpha, beta = settings.get("alpha", 1.0), settings.get("beta", 1.0)
    turned = [settings.get("transA", 0), settings.get("transB", 0)]
    found = []
    for at in _operands(step):
        if at == 2:
            scaled = tape.op("Mul", step.g, tape.like(beta, step.y))
            found.append((names[2], tape.settled(scaled, names[2], step.y)))
            continue
        other = names[1 - at]
        # With A', B' the factors as multiplied: dA' = g B'^T and dB' = A'^T g, turned back where A, B were.
        if at == 0:
            pair, turns = (step.g, other), (0, 1 - turned[1])
        else:
            pair, turns = (other, step.g), (1 - turned[0], 0)
        if turned[at]:
            pair, turns = (pair[1], pair[0]), (1 - turns[1], 1 - turns[0])
        own = tape.op("Gemm", *pair, alpha=alpha, transA=turns[0], transB=turns[1])
        found.append((names[at], own))
    return found


def _reduce(step: Step) -> Adjoints:
    """ReduceSum and ReduceMean."""
    tape = step.tape
    tensor = tape.forward.tensors[step.x]
    axes = _axes(step, tensor.rank)
    if not axes:
        return [(step.x, step.g)]
    if 0 in axes:
        raise Unsuitable(f"{step.node.op_type} over rows")
    wide = step.g
    if not step.settings.get("keepdims", 1):
        wide = tape.reshape(
            wide,
            [1 if axis in axes else 0 if axis == 0 else tensor.size(axis) for axis in range(tensor.rank)],
        )
    if step.node.op_type == "ReduceMean":
        count = int(np.prod([tensor.size(axis) for axis in axes]))
        wide = tape.op("Mul", wide, tape.like(1 / count, step.x))
    return [(step.x, tape.expand_as(wide, step.x))]


def _axes(step: Step, rank: int) -> tuple[int, ...]:
    name = step.optional(1)
    given = step.tape.forward.constant(name).tolist() if name else step.settings.get("axes")
    if not given:
        return () if step.settings.get("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(axis % rank for axis in given)


def _softmax(step: Step) -> Adjoints:
    tape, axis = step.tape, _softmax_axis(step)
    inner = tape.total(tape.op("Mul", step.g, step.y), [axis])
    return [(step.x, tape.op("Mul", step.y, tape.op("Sub", step.g, inner)))]


def _log_softmax(step: Step) -> Adjoints:
    tape, axis = step.tape, _softmax_axis(step)
    shares = tape.op("Exp", step.y)
    inner = tape.op("Mul", shares, tape.total(step.g, [axis]))
    return [(step.x, tape.op("Sub", step.g, inner))]


def _softmax_axis(step: Step) -> int:
    """The axis shares add up along; before operator set 13 all axes from the given one on are one."""
    rank, old = step.tape.forward.tensors[step.x].rank, step.tape.forward.opset < 13
    axis = int(step.settings.get("axis", 1 if old else -1)) % rank
    if old and axis != rank - 1:
        raise Unsuitable(f"{step.node.op_type} over several axes")
    return axis


def _layer_normalization(step: Step) -> Adjoints:
    """Of y = n * scale + bias with n = (x - mean) / sd along the last axes."""
    step.only_first_moves()
    tape, settings = step.tape, step.settings
    tensor = tape.forward.tensors[step.x]
    axes = list(range(int(settings.get("axis", -1)) % tensor.rank, tensor.rank))
    count = tape.like(1 / int(np.prod([tensor.size(axis) for axis in axes])), step.x)

    def mean(x: str) -> str:
        return tape.op("Mul", tape.total(x, axes), count)

    centred = tape.op("Sub", step.x, mean(step.x))
    variance = mean(tape.op("Mul", centred, centred))
    spread = tape.op("Sqrt", tape.op("Add", variance, tape.like(settings.get("epsilon", 1e-5), step.x)))
    normal = tape.op("Div", centred, spread)
    g = tape.op("Mul", step.g, step.node.input[1])
    along = tape.op("Mul", normal, mean(tape.op("Mul", g, normal)))
    return [(step.x, tape.op("Div", tape.op("Sub", tape.op("Sub", g, mean(g)), along), spread))]


def _scaler(step: Step) -> Adjoints:
    scale = np.asarray(step.settings["scale"])
    return [(step.x, step.tape.op("Mul", step.g, step.tape.like(scale, step.x)))]


def _imputer(step: Step) -> Adjoints:
    """Nought where a value was put in for a missing one."""
    if not np.isnan(step.settings.get("replaced_value_float", np.nan)):
        raise Unsuitable("Imputer of a value that is a number")
    missing = step.tape.op("IsNaN", step.x)
    return [(step.x, step.tape.op("Where", missing, step.tape.like(0, step.x), step.g))]


def _normalizer(step: Step) -> Adjoints:
    """Of y = x / |x|: (g - n * sum(g y)) / |x|, where n is the norm's own derivative."""
    tape, norm = step.tape, step.settings.get("norm", "MAX")
    if norm not in {"L1", "L2"}:
        raise Unsuitable(f"Normalizer by {norm}")
    if norm == "L1":
        size, slope = tape.total(tape.op("Abs", step.x), [1]), tape.op("Sign", step.x)
    else:
        size, slope = tape.op("Sqrt", tape.total(tape.op("Mul", step.x, step.x), [1])), step.y
    inner = tape.total(tape.op("Mul", step.g, step.y), [1])
    return [(step.x, tape.op("Div", tape.op("Sub", step.g, tape.op("Mul", slope, inner)), size))]


RULES: Mapping[str, Rule] = {
    "Add": _add,
    "Sum": _add,
    "Sub": _sub,
    "Mul": _mul,
    "Div": _div,
    "Max": _extreme,
    "Min": _extreme,
    "Where": _where,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "ReduceSum": _reduce,
    "ReduceMean": _reduce,
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
    "LayerNormalization": _layer_normalization,
}
ML_RULES: Mapping[str, Rule] = {"Scaler": _scaler, "Imputer": _imputer, "Normalizer": _normalizer}
