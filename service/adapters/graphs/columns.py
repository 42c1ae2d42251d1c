"""Which canonical column each number inside a graph is made of.

The graph is followed with labels in place of numbers: a cell of a few made-up rows holds the name of the one
input cell that it depends on. Nodes that only move cells are run by ONNX Runtime on the labels themselves;
elementwise nodes unite the labels of their operands; a node that unites two different labels has mixed
columns, and its output is of no single column. What is found holds for every row: no number is looked at,
except that nothing is left of a finite one times a constant 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from service.adapters.graphs.network import Network, attributes
from service.domain.explainers.game import Unsuitable
from service.domain.schema import Binding, Schema

Labels: TypeAlias = NDArray[np.int64]
"""0 where a number is constant, 1 + row * width + column where it is of one cell, else mixed: -1 - node."""

ROWS = 3
"""Made-up rows; with one, mixing rows could not be told from mixing nothing."""


def _named(operators: str) -> frozenset[str]:
    return frozenset(operators.split())


ELEMENTWISE = _named(
    "Abs Acos Add And Asin Atan Ceil Celu Clip Cos Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual"
    " HardSigmoid HardSwish IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mod Neg Not Or Pow"
    " PRelu Reciprocal Relu Round Selu Sigmoid Sign Sin Softplus Softsign Sqrt Sub Sum Tan Tanh"
    " ThresholdedRelu Where Xor"
)
COLUMNWISE = _named("BatchNormalization Binarizer Cast CastLike Dropout Identity Imputer LabelEncoder Scaler")
"""Elementwise in their first input; what else they take says how, column by column."""
MOVING = _named(
    "ArrayFeatureExtractor Concat Expand Flatten Gather GatherElements GatherND Reshape Slice Split Squeeze"
    " Tile Transpose Unsqueeze"
)
REDUCING = _named(
    "ArgMax ArgMin ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd"
    " ReduceSum ReduceSumSquare"
)
MIXING = _named(
    "AveragePool Conv Gemm GRU LayerNormalization LogSoftmax LpNormalization LSTM MatMul MaxPool Normalizer"
    " Softmax TfIdfVectorizer"
)
"""Made to make numbers of several columns."""


def columns_of(network: Network, name: str, schema: Schema, binding: Binding) -> NDArray[np.intp]:
    """The canonical column that each column of the tensor ``name`` depends on; intp [columns].

    A column that depends on nothing counts as of the first: it never changes, so it explains nothing.

    Raises:
        Unsuitable: it is not [rows, columns], a column is made of several, or an operator is not known.
    """
    nodes = network.above(name)
    trace = _Trace(network, _start(schema, binding), {node.output[0]: i for i, node in enumerate(nodes)})
    for node in nodes:
        trace.follow(node)
    return _single(trace.of(name), schema, nodes)


@dataclass(frozen=True, slots=True, eq=False)
class _Trace:
    """The labels of every tensor followed so far, and the values of those that no column goes into."""

    network: Network
    labels: dict[str, Labels]
    places: dict[str, int]
    """Of the nodes in what is followed, by first output."""
    values: dict[str, NDArray[Any]] = field(default_factory=dict)
    """Shapes for ``ROWS`` rows, and what is computed from them."""

    def follow(self, node: NodeProto) -> None:
        """Adds what a node's outputs are made of."""
        kind, outputs = node.op_type, [name for name in node.output if name]
        inputs = [name for name in node.input if name]
        known = {name: value for name in inputs if (value := self.value(name)) is not None}
        if kind in ("Shape", "Size"):
            self.values.update(self.network.evaluate(node, {inputs[0]: self.of(inputs[0])}))
        elif len(known) == len(inputs):
            if self.network.constant(outputs[0]) is None:
                self.values.update(self.network.evaluate(node, known))
        elif kind in MOVING and not (kind == "Gather" and inputs[0] in known):
            self.labels.update(self._moved(node))
        elif kind in MIXING:
            raise Unsuitable(_mixes(kind))
        elif (rule := _RULES.get(kind)) is not None:
            self.labels[outputs[0]] = rule(self, node)
        else:
            raise Unsuitable(f"what the graph's {kind} does to columns is not known")

    def of(self, name: str) -> Labels:
        """The labels of a tensor; all 0 for one that no column goes into."""
        value = self.value(name)
        return self.labels[name] if value is None else np.zeros(value.shape, dtype=np.int64)

    def value(self, name: str) -> NDArray[Any] | None:
        """A tensor's value where no column goes into it."""
        value = self.network.constant(name)
        return self.values.get(name) if value is None else value

    def _moved(self, node: NodeProto) -> dict[str, Labels]:
        """Runs the node on labels; what says where to move them must not be made of columns."""
        moved = len(node.input) if node.op_type == "Concat" else 1
        inputs: dict[str, NDArray[Any]] = {source: self.of(source) for source in node.input[:moved]}
        for source in filter(None, node.input[moved:]):
            inputs[source] = self.needed(node, source)
        return self.network.evaluate(node, inputs)

    def needed(self, node: NodeProto, name: str) -> NDArray[Any]:
        """The value of an operand that has to be the same for every row."""
        value = self.value(name)
        if value is None:
            raise Unsuitable(f"the graph's {node.op_type} moves columns by what is in them")
        return value

    def united(self, node: NodeProto, operands: list[Labels]) -> Labels:
        """The labels of an elementwise result: of equal or constant operands theirs, of others mixed."""
        mixed = -1 - self.places[node.output[0]]
        found, *others = np.broadcast_arrays(*operands)
        for other in others:
            agreed = np.where(found == 0, other, found)
            differ = (found != other) & (found != 0) & (other != 0)
            worst = np.minimum(found, other)  # what was mixed before keeps the blame
            found = np.where(differ, np.where(worst < 0, worst, mixed), agreed)
        return np.array(found)


def _elementwise(trace: _Trace, node: NodeProto) -> Labels:
    return trace.united(node, [trace.of(source) for source in node.input if source])


def _product(trace: _Trace, node: NodeProto) -> Labels:
    """scikit-learn's binning makes its ones as 0 * a column + 1, of a column that is not the one binned."""
    labels = _elementwise(trace, node)
    for factor in map(trace.value, node.input):
        if factor is not None:
            labels = np.where(factor == 0, 0, labels)
    return labels


def _columnwise(trace: _Trace, node: NodeProto) -> Labels:
    for source in filter(None, node.input[1:]):
        trace.needed(node, source)
    return trace.of(node.input[0])


def _reduced(trace: _Trace, node: NodeProto) -> Labels:
    labels, options = trace.of(node.input[0]), attributes(node)
    axes: Any = options.get("axes", options.get("axis", 0 if node.op_type.startswith("Arg") else None))
    if len(node.input) > 1 and node.input[1]:
        axes = trace.needed(node, node.input[1])
    gone = tuple(range(labels.ndim)) if axes is None else tuple(np.atleast_1d(axes).tolist())
    for axis in gone:
        labels = trace.united(node, np.split(labels, labels.shape[axis], axis=axis))
    return labels if options.get("keepdims", 1) else np.squeeze(labels, axis=gone)


def _spread(trace: _Trace, node: NodeProto) -> Labels:
    """Every category's column is of the column that holds the category."""
    options = attributes(node)
    if node.op_type == "OneHot":
        count = int(np.ravel(trace.needed(node, node.input[1]))[0])
    else:
        count = len(options.get("cats_strings") or options["cats_int64s"])
    axis = options.get("axis", -1)
    return np.repeat(np.expand_dims(trace.of(node.input[0]), axis), count, axis=axis)


def _looked_up(trace: _Trace, node: NodeProto) -> Labels:
    """An entry of a constant list depends on who chose it."""
    if trace.needed(node, node.input[0]).ndim != 1:
        raise Unsuitable("the graph's Gather looks up several numbers at once")
    return trace.of(node.input[1])


def _side_by_side(trace: _Trace, node: NodeProto) -> Labels:
    return np.concatenate([trace.of(source) for source in node.input], axis=1)


_RULES: dict[str, Callable[[_Trace, NodeProto], Labels]] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(COLUMNWISE, _columnwise),
    **dict.fromkeys(REDUCING, _reduced),
    "FeatureVectorizer": _side_by_side,
    "Gather": _looked_up,
    "Mul": _product,
    "OneHot": _spread,
    "OneHotEncoder": _spread,
}


def _start(schema: Schema, binding: Binding) -> dict[str, Labels]:
    """Every cell's own label, as the graph's inputs."""
    cells = 1 + np.arange(ROWS * schema.width, dtype=np.int64).reshape(ROWS, schema.width)
    if schema.layout == "columns":
        return {name: cells[:, index : index + 1] for index, name in enumerate(binding.inputs)}
    return {binding.inputs[0]: cells.reshape(-1, *schema.shape) if schema.shape else cells}


def _single(labels: Labels, schema: Schema, nodes: list[NodeProto]) -> NDArray[np.intp]:
    """The column that each column of the labels is of, the same in every row."""
    if labels.ndim != 2 or len(labels) != ROWS:
        raise Unsuitable(
            f"its trees or weights take {labels.shape} for {ROWS} rows, not one line of numbers for each"
        )
    if (labels < 0).any():
        raise Unsuitable(_mixes(nodes[-1 - int(labels[labels < 0].max())].op_type))
    later = np.arange(ROWS)[:, None] * schema.width
    if (labels != np.where(labels[0] > 0, labels[0] + later, 0)).any():
        raise Unsuitable("ahead of its trees or weights the graph mixes rows")
    return np.asarray(np.maximum(labels[0] - 1, 0), dtype=np.intp)


def _mixes(kind: str) -> str:
    return f"ahead of its trees or weights the graph's {kind} makes one number of several columns"
