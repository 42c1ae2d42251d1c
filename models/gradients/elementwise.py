"""Operators that work on each number alone: the adjoint times the derivative there.

At a kink (Relu at 0, Clip at a bound) the derivative of one side is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from models.gradients.step import Adjoints, Rule, Step
from service.domain.explainers.game import Unsuitable

SELU_ALPHA, SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875  # ONNX's defaults


def _unary(derive: Callable[[Step], str]) -> Rule:
    """A rule of a function that emits the whole adjoint of the first input."""

    def rule(step: Step) -> Adjoints:
        step.only_first_moves()
        return [(step.x, derive(step))]

    return rule


def _number(step: Step, value: float) -> str:
    return step.tape.like(value, step.x)


def _times(step: Step, *factors: str) -> str:
    product = step.g
    for factor in factors:
        product = step.tape.op("Mul", product, factor)
    return product


def _where_positive(step: Step, there: str, elsewhere: str | None = None) -> str:
    positive = step.tape.op("Greater", step.x, _number(step, 0))
    return step.tape.where(positive, there, elsewhere, like=step.x)


def _same(step: Step) -> str:
    return step.g


def _cast(step: Step) -> str:
    tensors = step.tape.forward.tensors
    return step.tape.cast(step.g, tensors[step.x].dtype)


def _relu(step: Step) -> str:
    return _where_positive(step, step.g)


def _leaky_relu(step: Step) -> str:
    slope = _number(step, step.settings.get("alpha", 0.01))
    return _where_positive(step, step.g, _times(step, slope))


def _prelu(step: Step) -> str:
    return _where_positive(step, step.g, _times(step, step.node.input[1]))


def _thresholded_relu(step: Step) -> str:
    above = step.tape.op("Greater", step.x, _number(step, step.settings.get("alpha", 1.0)))
    return step.tape.where(above, step.g, like=step.x)


def _elu(step: Step) -> str:
    curve = step.tape.op("Add", step.y, _number(step, step.settings.get("alpha", 1.0)))
    return _where_positive(step, step.g, _times(step, curve))


def _celu(step: Step) -> str:
    alpha = _number(step, step.settings.get("alpha", 1.0))
    curve = step.tape.op("Exp", step.tape.op("Div", step.x, alpha))
    return _where_positive(step, step.g, _times(step, curve))


def _selu(step: Step) -> str:
    alpha, gamma = step.settings.get("alpha", SELU_ALPHA), step.settings.get("gamma", SELU_GAMMA)
    curve = step.tape.op("Add", step.y, _number(step, alpha * gamma))
    return _where_positive(step, _times(step, _number(step, gamma)), _times(step, curve))


def _sigmoid(step: Step) -> str:
    return _times(step, step.y, step.tape.op("Sub", _number(step, 1), step.y))


def _tanh(step: Step) -> str:
    square = step.tape.op("Mul", step.y, step.y)
    return _times(step, step.tape.op("Sub", _number(step, 1), square))


def _softplus(step: Step) -> str:
    return _times(step, step.tape.op("Sigmoid", step.x))


def _softsign(step: Step) -> str:
    root = step.tape.op("Add", step.tape.op("Abs", step.x), _number(step, 1))
    return step.tape.op("Div", step.g, step.tape.op("Mul", root, root))


def _hard_sigmoid(step: Step) -> str:
    tape, slope = step.tape, step.settings.get("alpha", 0.2)
    inside = tape.op(
        "And",
        tape.op("Greater", step.y, _number(step, 0)),
        tape.op("Less", step.y, _number(step, 1)),
    )
    return tape.where(inside, _times(step, _number(step, slope)), like=step.x)


def _hard_swish(step: Step) -> str:
    tape = step.tape
    inside = tape.op("Less", tape.op("Abs", step.x), _number(step, 3))
    slope = tape.op("Add", tape.op("Div", step.x, _number(step, 3)), _number(step, 0.5))
    return tape.where(inside, _times(step, slope), _where_positive(step, step.g))


def _mish(step: Step) -> str:
    tape = step.tape
    curve = tape.op("Tanh", tape.op("Softplus", step.x))
    bend = tape.op("Sub", _number(step, 1), tape.op("Mul", curve, curve))
    bend = tape.op("Mul", tape.op("Mul", step.x, tape.op("Sigmoid", step.x)), bend)
    return _times(step, tape.op("Add", curve, bend))


def _erf(step: Step) -> str:
    return _times(step, _bell(step, 1.0), _number(step, 2 / math.sqrt(math.pi)))


def _gelu(step: Step) -> str:
    if step.settings.get("approximate", "none") != "none":
        return _gelu_by_tanh(step)
    tape, half = step.tape, _number(step, 0.5)
    share = tape.op("Erf", tape.op("Mul", step.x, _number(step, math.sqrt(0.5))))
    share = tape.op("Mul", tape.op("Add", share, _number(step, 1)), half)
    density = tape.op("Mul", _bell(step, 0.5), _number(step, 1 / math.sqrt(2 * math.pi)))
    return _times(step, tape.op("Add", share, tape.op("Mul", step.x, density)))


def _gelu_by_tanh(step: Step) -> str:
    """Of x/2 (1 + tanh u) with u = a (x + b x^3)."""
    tape, a, b = step.tape, math.sqrt(2 / math.pi), 0.044715
    square = tape.op("Mul", step.x, step.x)
    slope = tape.op("Add", tape.op("Mul", square, _number(step, 3 * a * b)), _number(step, a))
    inner = tape.op("Add", tape.op("Mul", square, _number(step, a * b)), _number(step, a))
    curve = tape.op("Tanh", tape.op("Mul", inner, step.x))
    bend = tape.op("Sub", _number(step, 1), tape.op("Mul", curve, curve))
    bend = tape.op("Mul", tape.op("Mul", step.x, slope), bend)
    whole = tape.op("Add", tape.op("Add", curve, _number(step, 1)), bend)
    return _times(step, whole, _number(step, 0.5))


def _bell(step: Step, rate: float) -> str:
    square = step.tape.op("Mul", step.x, step.x)
    return step.tape.op("Exp", step.tape.op("Mul", square, _number(step, -rate)))


def _exp(step: Step) -> str:
    return _times(step, step.y)


def _log(step: Step) -> str:
    return step.tape.op("Div", step.g, step.x)


def _sqrt(step: Step) -> str:
    return step.tape.op("Div", step.g, step.tape.op("Add", step.y, step.y))


def _reciprocal(step: Step) -> str:
    return step.tape.op("Neg", _times(step, step.y, step.y))


def _neg(step: Step) -> str:
    return step.tape.op("Neg", step.g)


def _abs(step: Step) -> str:
    return _times(step, step.tape.op("Sign", step.x))


def _sin(step: Step) -> str:
    return _times(step, step.tape.op("Cos", step.x))


def _cos(step: Step) -> str:
    return step.tape.op("Neg", _times(step, step.tape.op("Sin", step.x)))


def _pow(step: Step) -> str:
    tape = step.tape
    exponent = tape.forward.constant(step.node.input[1])
    if exponent.size != 1:
        raise Unsuitable("Pow with more than one exponent")
    power = float(exponent.ravel()[0])
    slope = tape.op("Pow", step.x, _number(step, power - 1))
    return _times(step, slope, _number(step, power))


def _clip(step: Step) -> str:
    return step.tape.where(step.tape.op("Equal", step.x, step.y), step.g, like=step.x)


def _dropout(step: Step) -> str:
    training = step.optional(2)
    if training is not None and bool(step.tape.forward.constant(training).any()):
        raise Unsuitable("Dropout that is switched on gives another answer each time")
    return step.g


RULES: Mapping[str, Rule] = {
    "Identity": _unary(_same),
    "Cast": _unary(_cast),
    "Dropout": _unary(_dropout),
    "Relu": _unary(_relu),
    "LeakyRelu": _unary(_leaky_relu),
    "PRelu": _unary(_prelu),
    "ThresholdedRelu": _unary(_thresholded_relu),
    "Elu": _unary(_elu),
    "Celu": _unary(_celu),
    "Selu": _unary(_selu),
    "Sigmoid": _unary(_sigmoid),
    "Tanh": _unary(_tanh),
    "Softplus": _unary(_softplus),
    "Softsign": _unary(_softsign),
    "HardSigmoid": _unary(_hard_sigmoid),
    "HardSwish": _unary(_hard_swish),
    "Mish": _unary(_mish),
    "Erf": _unary(_erf),
    "Gelu": _unary(_gelu),
    "Exp": _unary(_exp),
    "Log": _unary(_log),
    "Sqrt": _unary(_sqrt),
    "Reciprocal": _unary(_reciprocal),
    "Neg": _unary(_neg),
    "Abs": _unary(_abs),
    "Sin": _unary(_sin),
    "Cos": _unary(_cos),
    "Pow": _unary(_pow),
    "Clip": _unary(_clip),
}
