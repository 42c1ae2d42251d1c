"""Members of an ensemble as one graph, made of the served graph itself or of several.

What the members are is told in ``models.member_plan``. They become one tree node with an output for each, so
all of them cost about one run of the model: nodes, columns, categories and the ways of missing values stay as
they are, and leaves add to other outputs. What was made is compared with numpy's own members before it is
believed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, compose, helper, numpy_helper

from models.member_plan import Plan, plan_of
from models.member_trees import PREFIX, Votes, grouped
from service.adapters.graphs.network import CPU, Network, read_network
from service.adapters.graphs.structure import TOLERANCE, check_scores, head_of
from service.adapters.graphs.tail import read_tail
from service.adapters.onnx import OnnxModel, feeder, open_session
from service.domain.explainers.game import Structure, Unsuitable
from service.domain.schema import Binding, FeatureBatch, ModelSpec
from service.domain.trees import Rows, TreeEnsemble
from service.errors import BundleError, UnderstudyError

log = logging.getLogger("understudy.packaging")

MOST_ROWS = 256
"""Rows on which trees are looked at and the graph is checked."""

OUTPUT = "members"
OLDEST_OPSET = 5
"""Before it Reshape takes no shape as an input."""
_DEFAULT_OPSET = 13  # for a graph that has no standard operators yet

_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
_UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, UnderstudyError)


def build_members(model_path: Path, spec: ModelSpec, binding: Binding, rows: FeatureBatch) -> bytes | None:
    """The graph of a model's members, or None where the model is no ensemble that can be taken apart.

    It has the model's inputs and answers ``OUTPUT``, float32 [rows, members, classes]; or [rows, members] for
    a regression, and for two classes with one margin: the second class's probabilities.

    Args:
        model_path: the ``model.onnx`` file.
        spec: the model's.
        binding: the model's.
        rows: canonical rows like those of training, [rows, width]; the background.
    """
    try:
        return members_graph(model_path, spec, binding, rows)
    except Unsuitable as error:
        log.info("%s has no members: %s", spec.tag, error)
        return None


def members_graph(model_path: Path, spec: ModelSpec, binding: Binding, rows: FeatureBatch) -> bytes:
    """As ``build_members``.

    Raises:
        Unsuitable: the model is no ensemble of trees, or not one that can be taken apart; says why.
    """
    rows = rows[:MOST_ROWS]
    try:
        network = read_network(model_path)
        node, tail = read_tail(network, binding.output)
        head = head_of(node, tail, spec.task, binding)
        if not isinstance(head, TreeEnsemble):
            raise Unsuitable("it has no trees")
        encoded = _encoded(network, node.input[0], spec, binding, rows)
        predict = OnnxModel(model_path, spec, binding, providers=CPU).predict
        check_scores(Structure(lambda _: encoded, np.empty(0, np.intp), head), spec, predict, rows)
        plan = plan_of(head, Votes.of(node, head), encoded)
        trees = grouped(node, head, plan.votes, plan.groups, plan.count, plan.factor)
        graph = _graph(network, trees, head, plan)
        _check(graph, feeder(spec.schema, binding)(rows), plan.expected(head, encoded))
    except _UNREADABLE as error:  # a graph that nobody foresaw must not keep its model from being packaged
        raise Unsuitable(f"its trees cannot be followed: {error}") from error
    return graph


def _encoded(network: Network, name: str, spec: ModelSpec, binding: Binding, rows: FeatureBatch) -> Rows:
    """What goes into the trees, [rows, columns]."""
    feeds = feeder(spec.schema, binding)(rows)
    if name in feeds:
        return feeds[name]
    found: Rows = open_session(network.cut(name), CPU).run([name], feeds)[0]
    return found


def _graph(network: Network, trees: NodeProto, head: TreeEnsemble, plan: Plan) -> bytes:
    """From the model's inputs to the members' scores."""
    model = onnx.load_from_string(network.cut(trees.input[0]))
    opsets = {entry.domain: entry for entry in model.opset_import}  # some converters name one twice
    opsets.setdefault("", helper.make_opsetid("", _DEFAULT_OPSET))
    if opsets[""].version < OLDEST_OPSET:
        raise Unsuitable(f"it is written in operator set {opsets[''].version}, before {OLDEST_OPSET}")
    nodes, weights = _after(head, plan, trees.output[0])
    shape = [None, plan.count, *([head.outputs] if head.outputs > 1 else [])]
    graph = helper.make_graph(
        [*model.graph.node, trees, *nodes],
        OUTPUT,
        model.graph.input,
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape)],
        [*model.graph.initializer, *weights],
    )
    made = helper.make_model(
        graph, opset_imports=list(opsets.values()), ir_version=model.ir_version, functions=model.functions
    )
    return bytes(made.SerializeToString())


def _after(head: TreeEnsemble, plan: Plan, source: str) -> tuple[list[NodeProto], list[TensorProto]]:
    """What makes the members' scores of their trees' sums, in operators that every operator set has."""
    outputs, members = head.outputs, plan.count
    steps: list[tuple[str, NDArray[Any] | None]] = []
    if plan.staged:
        upward = np.kron(np.triu(np.ones((members, members))), np.eye(outputs))
        steps.append(("MatMul", upward.astype(np.float32)))
    if head.base.any():
        steps.append(("Add", np.tile(head.base, members).astype(np.float32)))
    if head.post == "logistic":
        steps.append(("Sigmoid", None))
    if head.post == "softmax":
        steps += [("Reshape", np.array([-1, outputs])), ("Softmax", None)]
    steps.append(("Reshape", np.array([-1, members, *([outputs] if outputs > 1 else [])])))
    nodes, weights = [], []
    for at, (kind, weight) in enumerate(steps):
        made = OUTPUT if at == len(steps) - 1 else f"{PREFIX}{at}"
        node = helper.make_node(kind, [source], [made], name=f"{PREFIX}{at}")
        if kind == "Softmax":
            node.attribute.append(helper.make_attribute("axis", 1))
        if weight is not None:
            weights.append(numpy_helper.from_array(weight, f"{PREFIX}{at}/weight"))
            node.input.append(weights[-1].name)
        nodes.append(node)
        source = made
    return nodes, weights


def _check(graph: bytes, feeds: Mapping[str, NDArray[Any]], expected: NDArray[np.float64]) -> None:
    found = open_session(graph, CPU).run([OUTPUT], dict(feeds))[0].reshape(expected.shape)
    worst = float(np.max(np.abs(found - expected) / np.maximum(1, np.abs(expected)), initial=0))
    if not worst <= TOLERANCE:  # NaN is no agreement either
        raise Unsuitable(f"the graph made of it differs by {worst:.1e} from its members")


def combine(files: Sequence[bytes]) -> bytes:
    """Models of the same inputs as one graph of members; each model is a member.

    A member's scores are its first floating-point output, [rows], [rows, 1] or [rows, outputs]; the graph
    answers ``OUTPUT``, float32 [rows, members, outputs], in the order of the files.

    Raises:
        BundleError: a file is no such model, or their inputs or operator sets differ; says which.
    """
    models = [_loaded(file, number) for number, file in enumerate(files, 1)]
    if len(models) < 2:
        raise BundleError("an ensemble has two members or more")
    inputs, opsets = _fed(models[0]), _opsets(models)
    nodes: list[NodeProto] = []
    weights = [numpy_helper.from_array(np.array([0, 1, -1]), f"{PREFIX}shape")]
    for number, model in enumerate(models, 1):
        if {entry.name: _kind(entry) for entry in _fed(model)} != {each.name: _kind(each) for each in inputs}:
            raise BundleError(f"model {number} does not take the same inputs as model 1")
        own = f"{PREFIX}{number}/"
        scores = own + _first_floats(model, number)
        part = compose.add_prefix(model, own)
        nodes += [helper.make_node("Identity", [each.name], [own + each.name]) for each in inputs]
        nodes += part.graph.node
        nodes.append(helper.make_node("Cast", [scores], [f"{scores}/float"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Reshape", [f"{scores}/float", weights[0].name], [f"{own}members"]))
        weights += part.graph.initializer
    stacked = [f"{PREFIX}{number}/members" for number in range(1, len(models) + 1)]
    nodes.append(helper.make_node("Concat", stacked, [OUTPUT], axis=1))
    shape = [None, len(models), None]
    outputs = [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape)]
    made = helper.make_model(
        helper.make_graph(nodes, OUTPUT, inputs, outputs, weights),
        opset_imports=[helper.make_opsetid(*entry) for entry in opsets.items()],
        ir_version=max(model.ir_version for model in models),
    )
    return bytes(made.SerializeToString())


def _loaded(file: bytes, number: int) -> ModelProto:
    try:
        model = onnx.load_from_string(file)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf and the checker raise their own types
        raise BundleError(f"model {number} cannot be read as ONNX: {error}") from error
    if model.functions:
        raise BundleError(f"model {number} has functions of its own; export it with them inlined")
    return model


def _opsets(models: Sequence[ModelProto]) -> dict[str, int]:
    """Versions of operator sets by domain, which have to be the same wherever two models use one."""
    found: dict[str, int] = {}
    for number, model in enumerate(models, 1):
        for entry in model.opset_import:
            if found.setdefault(entry.domain, entry.version) != entry.version:
                raise BundleError(
                    f"model {number} is written in operator set {entry.version} of "
                    f"{entry.domain or 'ai.onnx'}, another in {found[entry.domain]}; export all alike"
                )
    return {"": _DEFAULT_OPSET} | found


def _fed(model: ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that a caller feeds: older graphs list their weights among them."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [entry for entry in model.graph.input if entry.name not in weights]


def _kind(entry: onnx.ValueInfoProto) -> int:
    return int(entry.type.tensor_type.elem_type)


def _first_floats(model: ModelProto, number: int) -> str:
    for entry in model.graph.output:
        if _kind(entry) in _FLOATS:
            return str(entry.name)
    raise BundleError(f"model {number} has no output of floating-point numbers; convert with zipmap=False")
