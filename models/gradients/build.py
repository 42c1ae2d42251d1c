"""Joins the forward graph, the margins and the way back to one graph."""

from __future__ import annotations

import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper

from models.gradients import elementwise
from models.gradients.forward import Forward, ancestors, reads, trace
from models.gradients.head import head_of
from models.gradients.rules import back_through
from models.gradients.step import Step
from models.gradients.tape import Tape
from service.adapters.gradients import BY_INPUT, BY_MAPS, MAPS, MARGINS, SEED
from service.domain.explainers.game import Unsuitable
from service.domain.schema import Binding, ModelSpec

OLDEST_OPSET = 11
"""Before it Pad and Clip take no inputs, and Equal no float."""

_AFTER_CONVOLUTION = frozenset({*elementwise.RULES, "BatchNormalization"})
"""What still belongs to a convolution: its feature maps are what comes out of these."""


def gradient_graph(model: onnx.ModelProto | bytes, spec: ModelSpec, binding: Binding) -> bytes:
    """A graph with the model's inputs and ``SEED`` that answers as ``service.adapters.gradients`` says.

    Raises:
        Unsuitable: the graph has an operator whose derivative is not known, an input that is no float, or
            works in another way that is not understood; names what.
    """
    forward = trace(model, spec, binding)
    if forward.opset < OLDEST_OPSET:
        raise Unsuitable(f"the graph is written in operator set {forward.opset}, before {OLDEST_OPSET}")
    tape = Tape(forward)
    head = head_of(tape, binding)
    maps = _feature_maps(forward)
    adjoints = _back(tape, head.start, head.adjoint, {*forward.inputs, maps})
    found = [adjoints.get(name) for name in forward.inputs]
    if not any(found):
        raise Unsuitable("the served output does not change with the input")
    outputs = {BY_INPUT: _by_input(tape, found, spec), MARGINS: head.margins}
    if maps and maps in adjoints:
        outputs |= {MAPS: maps, BY_MAPS: adjoints[maps]}
    return _joined(tape, outputs, spec)


def _back(tape: Tape, start: str, adjoint: str, wanted: set[str | None]) -> dict[str | None, str]:
    """Adjoints of ``wanted``: all nodes in reverse order, each after all that read its outputs."""
    forward = tape.forward
    pending: dict[str, list[str]] = {start: [adjoint]}
    known: dict[str | None, str] = {}
    for node in reversed(forward.nodes):
        for output in node.output:
            if output not in pending:
                continue
            total = _sum(tape, pending.pop(output))
            if output in wanted:
                known[output] = total
            for name, part in back_through(Step(tape, node, output, total)):
                if name in forward.moving:
                    pending.setdefault(name, []).append(part)
    return known | {name: _sum(tape, parts) for name, parts in pending.items()}


def _sum(tape: Tape, parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else tape.op("Sum", *parts)


def _by_input(tape: Tape, found: list[str | None], spec: ModelSpec) -> str:
    """The inputs' adjoints as one tensor, [rows, width]."""
    inputs = tape.forward.inputs
    nought = tape.op("Mul", inputs[0], tape.like(0, inputs[0])) if None in found else ""
    columns = [part or nought for part in found]
    joined = columns[0] if len(columns) == 1 else tape.op("Concat", *columns, axis=1)
    return tape.reshape(joined, [-1, spec.schema.width])


def _feature_maps(forward: Forward) -> str | None:
    """What the last convolution with more than one place puts out, after its normalisation and activation."""
    found = None
    for node in forward.nodes:
        name = node.output[0]
        tensor = forward.tensors.get(name)
        if name not in forward.moving or tensor is None:
            continue
        is_convolution = node.op_type == "Conv" and max(tensor.small.shape[2:], default=1) > 1
        if is_convolution or (node.op_type in _AFTER_CONVOLUTION and _only_reader(forward, node, found)):
            found = name
    return found


def _only_reader(forward: Forward, node: NodeProto, name: str | None) -> bool:
    return node.input[0] == name and sum(list(other.input).count(name) for other in forward.nodes) == 1


def _joined(tape: Tape, outputs: dict[str, str], spec: ModelSpec) -> bytes:
    model = tape.forward.model
    for name, source in outputs.items():
        tape.nodes.append(helper.make_node("Cast", [source], [name], name=name, to=TensorProto.FLOAT))
    nodes = ancestors([*tape.forward.nodes, *tape.nodes], outputs)
    read = {name for node in nodes for name in reads(node)}
    graph = helper.make_graph(
        nodes,
        f"derivative of {model.graph.name}",
        [
            *_inputs(tape.forward),
            helper.make_tensor_value_info(SEED, TensorProto.FLOAT, [None, spec.outputs]),
        ],
        [_value(name, outputs[name], spec, tape.forward) for name in outputs],
        [item for item in [*model.graph.initializer, *tape.initializers] if item.name in read],
    )
    opsets = {item.domain: item for item in model.opset_import}  # some converters name one twice
    made = helper.make_model(graph, opset_imports=list(opsets.values()), ir_version=model.ir_version)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def _inputs(forward: Forward) -> list[ValueInfoProto]:
    given = {item.name: item for item in forward.model.graph.input}
    return [given[name] for name in forward.inputs]


def _value(name: str, source: str, spec: ModelSpec, forward: Forward) -> ValueInfoProto:
    if name in {BY_INPUT, MARGINS}:
        shape: list[int | None] = [None, spec.schema.width if name == BY_INPUT else spec.outputs]
    else:
        shape = [None] * forward.tensors[source if name == MAPS else _feature_maps(forward) or ""].rank
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
