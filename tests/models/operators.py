"""One small image model for each operator: the operator, then a random linear map to one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from service.adapters.gradients import run_graph
from service.domain.schema import Binding, Feature, ModelSpec, Schema

Constants = dict[str, NDArray[Any]]
FLOAT = TensorProto.FLOAT


@dataclass(frozen=True)
class Case:
    """Nodes from ``x`` to ``z``."""

    name: str
    nodes: list[NodeProto]
    constants: Constants = field(default_factory=dict)
    shape: tuple[int, ...] = (2, 6, 5)
    since: int = 11
    """The first operator set that has it."""
    low: float = -1.0
    """Rows are uniform between this and 1."""


def node(kind: str, inputs: str = "x", output: str = "z", **settings: Any) -> NodeProto:
    """Names apart by blanks."""
    return helper.make_node(kind, inputs.split(" "), output.split(), **settings)


def model(
    nodes: list[NodeProto],
    constants: Constants,
    inputs: dict[str, tuple[Any, ...]],
    opset: int = 17,
    output: str = "y",
) -> bytes:
    """A graph with float32 inputs of these shapes, written in ``opset``."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "made by hand",
        [info(name, FLOAT, shape) for name, shape in inputs.items()],
        [info(output, FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


def value_of(case: Case, opset: int) -> bytes:
    """The case's regression model: ``y`` = flattened ``z`` @ random weights."""
    own, constants = _written_in(case, opset)
    nodes = [*own, node("Flatten", "z", "flat")]
    inputs = {"x": (None, *case.shape)}
    (flat,) = run_graph(
        model(nodes, constants, inputs, opset, "flat"), {"x": np.zeros((2, *case.shape), np.float32)}
    ).values()
    weights = np.random.default_rng(5).normal(size=(flat.shape[1], 1)).astype(np.float32)
    nodes.append(node("MatMul", "flat weights", "y"))
    return model(nodes, {**constants, "weights": weights}, inputs, opset)


def _written_in(case: Case, opset: int) -> tuple[list[NodeProto], Constants]:
    """The case with ReduceMean's axes as the operator set has them: an input from 18 on."""
    nodes, constants = [], dict(case.constants)
    for index, item in enumerate(case.nodes):
        settings = {part.name: helper.get_attribute_value(part) for part in item.attribute}
        if item.op_type == "ReduceMean" and opset >= 18 and "axes" in settings:
            constants[f"axes{index}"] = _i(*settings.pop("axes"))
            item = helper.make_node("ReduceMean", [*item.input, f"axes{index}"], item.output, **settings)
        nodes.append(item)
    return nodes, constants


def value_spec(case: Case) -> tuple[ModelSpec, Binding]:
    return (
        ModelSpec(case.name.lower(), "1", "regression", Schema((), "image", case.shape)),
        Binding(("x",), "y", "value"),
    )


def table_spec(width: int, classes: tuple[str, ...] = ()) -> ModelSpec:
    """A table of plain numbers."""
    task: Any = {0: "regression", 2: "binary"}.get(len(classes), "multiclass")
    features = tuple(Feature(f"f{index}", "float") for index in range(width))
    return ModelSpec("table", "1", task, Schema(features, "tensor"), classes)


def rows_of(case: Case, count: int = 6) -> NDArray[np.float32]:
    rng = np.random.default_rng(11)
    return rng.uniform(case.low, 1, size=(count, int(np.prod(case.shape)))).astype(np.float32)


def _f(*shape: int, seed: int = 3) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _i(*values: int) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def _elementwise() -> list[Case]:
    anywhere = {
        "Identity": 11, "Relu": 11, "LeakyRelu": 11, "Elu": 11, "Selu": 11, "Celu": 12, "Sigmoid": 11,
        "Tanh": 11, "Softplus": 11, "Softsign": 11, "HardSigmoid": 11, "HardSwish": 14, "Mish": 18,
        "Erf": 11, "Gelu": 20, "Exp": 11, "Neg": 11, "Abs": 11, "Sin": 11, "Cos": 11,
    }  # fmt: skip
    positive = ("Log", "Sqrt", "Reciprocal")
    return [
        *(Case(kind, [node(kind)], since=since) for kind, since in anywhere.items()),
        *(Case(kind, [node(kind)], low=0.2) for kind in positive),
        Case("LeakyRelu-0.3", [node("LeakyRelu", alpha=0.3)]),
        Case("Elu-2", [node("Elu", alpha=2.0)]),
        Case("Celu-2", [node("Celu", alpha=2.0)], since=12),
        Case("HardSigmoid-wide", [node("HardSigmoid", alpha=0.8, beta=0.4)]),
        Case(
            "HardSwish-bent",
            [node("Mul", "x four", "w"), node("HardSwish", "w")],
            {"four": np.float32([4])},
            since=14,
        ),
        Case("ThresholdedRelu", [node("ThresholdedRelu", alpha=0.2)]),
        Case("PRelu", [node("PRelu", "x slope")], {"slope": _f(2, 1, 1)}),
        Case("Gelu-tanh", [node("Gelu", approximate="tanh")], since=20),
        Case("Dropout", [node("Dropout")]),
        Case("Clip", [node("Clip", "x low high")], {"low": np.float32(-0.4), "high": np.float32(0.5)}),
        Case("Pow-2", [node("Pow", "x two")], {"two": np.float32(2)}),
        Case("Pow-3-whole", [node("Pow", "x three")], {"three": np.array(3, np.int64)}, since=12),
        Case("Pow-half", [node("Pow", "x half")], {"half": np.float32([0.5])}, low=0.2),
        Case(
            "Cast",
            [
                node("Cast", "x", "wide", to=TensorProto.DOUBLE),
                node("Tanh", "wide", "bent"),
                node("Cast", "bent", "z", to=FLOAT),
            ],
        ),
    ]


def _arithmetic() -> list[Case]:
    row = {"b": _f(1, 6, 5)}
    both = [node("Tanh", "x", "a"), node("Exp", "x", "e")]
    mean = [node("ReduceMean", "x", "m", axes=[2, 3], keepdims=1)]
    return [
        Case("Add-constant", [node("Add", "x b")], row),
        Case("Add-itself", [node("Add", "x x")]),
        Case("Sum", [*both, node("Sum", "a e x")]),
        Case("Sub-from", [node("Sub", "b x")], row),
        Case("Sub-both", [*both, node("Sub", "a e")]),
        Case("Mul-itself", [node("Mul", "x x")]),
        Case("Mul-both", [*both, node("Mul", "a e")]),
        Case("Div-by", [node("Div", "b x")], row, low=0.3),
        Case("Div-both", [*both, node("Div", "a e")]),
        Case("Div-itself", [*both, node("Div", "e e", "one"), node("Mul", "one a")]),
        Case("Max", [*both, node("Max", "a b x")], row),
        Case("Min", [*both, node("Min", "a b")], row),
        Case("Where", [*both, node("Greater", "x b", "c"), node("Where", "c a e")], row),
        Case(
            "stretched",
            [node("ReduceMean", "x", "m", axes=[2], keepdims=1), node("Exp", "m", "e"), node("Mul", "x e")],
            since=11,
        ),
        Case("squeeze-excite", [*mean, node("Sigmoid", "m", "gate"), node("Mul", "gate x")]),
        Case("MatMul", [node("MatMul", "x w")], {"w": _f(5, 4)}),
        Case("MatMul-left", [node("MatMul", "w x")], {"w": _f(3, 6)}),
        Case("MatMul-left-stacked", [node("MatMul", "w x")], {"w": _f(1, 2, 3, 6)}),
        Case("MatMul-both", [node("Transpose", "x", "t", perm=[0, 1, 3, 2]), node("MatMul", "x t")]),
        Case(
            "MatMul-repeated",
            [
                node("ReduceMean", "x", "m", axes=[1], keepdims=1),
                node("Transpose", "m", "t", perm=[0, 1, 3, 2]),
                node("MatMul", "x t"),
            ],
        ),
        Case("ReduceMean-all", [node("ReduceMean", "x", "m", axes=[-1, 1], keepdims=0), node("Tanh", "m")]),
        Case("ReduceMean-input", [node("ReduceMean", "x axes", keepdims=0)], {"axes": _i(2, 3)}, since=18),
        Case("ReduceSum-input", [node("ReduceSum", "x axes", keepdims=0)], {"axes": _i(3)}, since=13),
        Case("Softmax", [node("Softmax", axis=-1)]),
        Case("Softmax-channels", [node("Softmax", axis=1)], since=13),
        Case("LogSoftmax", [node("LogSoftmax", axis=3)]),
        Case(
            "LayerNormalization",
            [node("LayerNormalization", "x s b", axis=2)],
            {"s": _f(6, 5), "b": _f(6, 5)},
            since=17,
        ),
    ]


def _gemm() -> list[Case]:
    flat = [node("Flatten", "x", "f")]
    return [
        Case("Gemm", [*flat, node("Gemm", "f w b")], {"w": _f(60, 3), "b": _f(3)}),
        Case("Gemm-turned", [*flat, node("Gemm", "f w", transB=1, alpha=0.5)], {"w": _f(3, 60)}),
        Case(
            "Gemm-second",
            [*flat, node("Transpose", "f", "t"), node("Gemm", "w f", "q", transB=1), node("Transpose", "q")],
            {"w": _f(4, 60)},
        ),
        Case(
            "Gemm-first-turned",
            [*flat, node("Transpose", "f", "t"), node("Gemm", "t w", transA=1)],
            {"w": _f(60, 4)},
        ),
        Case(
            "Gemm-second-plain",
            [*flat, node("Transpose", "f", "t"), node("Gemm", "w t", "q", transA=1), node("Transpose", "q")],
            {"w": _f(60, 4)},
        ),
        Case(
            "Gemm-bias-moves",
            [*flat, node("ReduceMean", "f", "m", axes=[1]), node("Gemm", "f w m", beta=2.0)],
            {"w": _f(60, 4)},
        ),
    ]


def _layout() -> list[Case]:
    return [
        Case("Reshape", [node("Reshape", "x s", "r"), node("Tanh", "r")], {"s": _i(0, -1, 4)}),
        Case(
            "Transpose",
            [node("Transpose", "x", "t", perm=[0, 2, 3, 1]), node("Mul", "t w")],
            {"w": _f(6, 5, 2)},
        ),
        Case(
            "Squeeze",
            [node("Unsqueeze", "x one", "u"), node("Squeeze", "u one", "s"), node("Tanh", "s")],
            {"one": _i(1)},
            since=13,
        ),
        Case(
            "Expand",
            [node("ReduceMean", "x", "m", axes=[2]), node("Expand", "m s", "e"), node("Mul", "e x")],
            {"s": _i(1, 2, 6, 5)},
        ),
        Case("Concat", [node("Tanh", "x", "t"), node("Concat", "x t x", axis=-1)]),
        Case(
            "Split",
            [
                node("Split", "x parts", "a b", axis=2),
                node("Exp", "b", "e"),
                node("ReduceMean", "a", "m", axes=[2]),
                node("Mul", "m e"),
            ],
            {"parts": _i(2, 4)},
            since=13,
        ),
        Case(
            "Pad",
            [node("Tanh", "x", "t"), node("Pad", "t w v")],
            {"w": _i(0, 0, 1, 2, 0, 1, 0, 3), "v": np.float32(0.5)},
        ),
        Case("Slice", [node("Slice", "x s e a")], {"s": _i(1, 0), "e": _i(4, -1), "a": _i(2, 3)}),
        Case(
            "Slice-strided",
            [node("Slice", "x s e a p")],
            {"s": _i(-1), "e": _i(-100), "a": _i(2), "p": _i(-2)},
        ),
        Case("Slice-rows-too", [node("Slice", "x s e")], {"s": _i(0, 1), "e": _i(2**40, 2)}),
        Case("Gather", [node("Gather", "x i", axis=2)], {"i": _i(5, 0, 0, -2)}),
        Case("Gather-one", [node("Gather", "x i", axis=-1)], {"i": np.array(3, np.int64)}),
    ]


def _spatial() -> list[Case]:
    line, volume = (2, 9), (2, 4, 5, 4)
    normal = {"s": _f(2), "b": _f(2), "m": _f(2), "v": np.float32([0.5, 2])}
    return [
        Case("Conv", [node("Conv", "x w b")], {"w": _f(3, 2, 3, 3), "b": _f(3)}),
        Case("Conv-strided", [node("Conv", "x w", strides=[2, 3], pads=[1, 2, 0, 1])], {"w": _f(3, 2, 3, 2)}),
        Case(
            "Conv-dilated", [node("Conv", "x w", dilations=[2, 1], pads=[2, 0, 2, 0])], {"w": _f(3, 2, 3, 2)}
        ),
        Case("Conv-groups", [node("Conv", "x w", group=2)], {"w": _f(4, 1, 2, 2)}),
        Case(
            "Conv-same-upper",
            [node("Conv", "x w", auto_pad="SAME_UPPER", strides=[2, 2])],
            {"w": _f(2, 2, 3, 4)},
        ),
        Case(
            "Conv-same-lower",
            [node("Conv", "x w", auto_pad="SAME_LOWER", strides=[2, 2])],
            {"w": _f(2, 2, 3, 4)},
        ),
        Case("Conv-line", [node("Conv", "x w", strides=[2], pads=[1, 0])], {"w": _f(3, 2, 3)}, line),
        Case("Conv-volume", [node("Conv", "x w", pads=[1] * 6)], {"w": _f(2, 2, 3, 3, 3)}, volume),
        Case("MaxPool", [node("MaxPool", kernel_shape=[2, 2], strides=[2, 2])]),
        Case(
            "MaxPool-overlapping", [node("MaxPool", kernel_shape=[3, 3], strides=[2, 1], pads=[1, 1, 1, 1])]
        ),
        Case("MaxPool-ceil", [node("MaxPool", kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1)]),
        Case("MaxPool-dilated", [node("MaxPool", kernel_shape=[2, 2], dilations=[2, 3])]),
        Case("MaxPool-same", [node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")]),
        Case("MaxPool-line", [node("MaxPool", kernel_shape=[3], strides=[2])], {}, line),
        Case("AveragePool", [node("AveragePool", kernel_shape=[2, 3], strides=[2, 1])]),
        Case(
            "AveragePool-padded",
            [node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])],
        ),
        Case(
            "AveragePool-counted",
            [node("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)],
        ),
        Case(
            "AveragePool-ceil",
            [node("AveragePool", kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1)],
            since=19,
        ),
        Case(
            "AveragePool-same",
            [node("AveragePool", kernel_shape=[3, 2], strides=[2, 2], auto_pad="SAME_UPPER")],
        ),
        Case("GlobalAveragePool", [node("Tanh", "x", "t"), node("GlobalAveragePool", "t")]),
        Case("GlobalMaxPool", [node("GlobalMaxPool")]),
        Case("BatchNormalization", [node("BatchNormalization", "x s b m v")], normal, since=15),
    ]


CASES = [*_elementwise(), *_arithmetic(), *_gemm(), *_layout(), *_spatial()]
