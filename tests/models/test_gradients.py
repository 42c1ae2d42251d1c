"""Gradient graphs against finite differences: of every operator, and of whole networks written in numpy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from scipy.signal import correlate
from scipy.special import log_softmax, logsumexp

from models.bundle import Bundle
from models.gradients import build_gradient, gradient_graph, verify
from models.gradients.differences import Probe, apart
from models.gradients.rules import RULES
from models.gradients.verify import TOLERANCE, trusted_differences
from models.gradients.wide import WideMargins
from service.adapters.gradients import BY_INPUT, OnnxGradient
from service.adapters.onnx import OnnxModel
from service.domain.explainers.game import Unsuitable, explained
from service.domain.schema import Binding, Feature, FeatureBatch, ModelSpec, Schema
from tests.models.operators import CASES, Case, model, node, rows_of, table_spec, value_of, value_spec

CPU = ("CPUExecutionProvider",)
OPSETS = (11, 17, 22)
PROBABILITIES = Binding(("x",), "y", "probabilities")
ABC = ("a", "b", "c")

Margin = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_operator_agrees_with_finite_differences(case: Case, opset: int, tmp_path: Path) -> None:
    if opset < case.since:
        opset = min(known for known in (*OPSETS, 12, 13, 14, 15, 18, 19, 20) if known >= case.since)
    (tmp_path / "model.onnx").write_bytes(value_of(case, opset))
    spec, binding = value_spec(case)
    _, report = build_gradient(tmp_path / "model.onnx", spec, binding, rows_of(case))
    assert report.precision == "float64"
    assert report.agreeing_share == 1
    assert report.max_error < 2e-5
    assert report.margin_error < 1e-5


def test_every_rule_of_the_table_is_tried() -> None:
    tried = {item.op_type for case in CASES for item in case.nodes} | {"Flatten"}
    assert {kind for kind in RULES if not kind.startswith("ai.onnx.ml.")} <= tried


def central(margin: Margin, rows: NDArray[np.floating[Any]], step: float = 1e-6) -> NDArray[np.float64]:
    """Finite differences of a float64 function of rows, [rows, width]."""
    wide = rows.astype(np.float64)
    found = np.empty_like(wide)
    for column in range(wide.shape[1]):
        above, below = wide.copy(), wide.copy()
        above[:, column] += step
        below[:, column] -= step
        found[:, column] = (margin(above) - margin(below)) / (2 * step)
    return found


def log_odds(logits: NDArray[np.float64], label: int) -> NDArray[np.float64]:
    others = np.delete(logits, label, axis=1)
    found: NDArray[np.float64] = logits[:, label] - logsumexp(others, axis=1)
    return found


def parameters(*shapes: tuple[int, ...]) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(2)
    return [(rng.normal(size=shape) / np.sqrt(np.prod(shape[:1]))).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("opset", range(11, 23))
def test_the_gradient_of_a_network_for_tables_is_that_of_numpy(opset: int) -> None:
    w, b, v, c = parameters((5, 8), (8,), (8, 3), (3,))
    nodes = [
        node("MatMul", "x w", "h"),
        node("Add", "h b", "s"),
        node("Tanh", "s", "t"),
        node("Gemm", "t v c", "logits"),
        node("Softmax", "logits", "y", axis=1),
    ]
    graph = model(nodes, {"w": w, "b": b, "v": v, "c": c}, {"x": (None, 5)}, opset)
    gradient = OnnxGradient(
        gradient_graph(graph, table_spec(5, ABC), PROBABILITIES), table_spec(5, ABC), PROBABILITIES, CPU
    )
    rows = np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32)
    for label in range(3):

        def margin(x: NDArray[np.float64], label: int = label) -> NDArray[np.float64]:
            wide = [part.astype(np.float64) for part in (w, b, v, c)]
            return log_odds(np.tanh(x @ wide[0] + wide[1]) @ wide[2] + wide[3], label)

        np.testing.assert_allclose(gradient(rows, label), central(margin, rows), rtol=1e-4, atol=2e-6)
        np.testing.assert_allclose(gradient.margins(rows)[:, label], margin(rows), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("opset", OPSETS)
def test_the_gradient_of_a_network_for_pictures_is_that_of_numpy(opset: int) -> None:
    w, b, v = parameters((4, 2, 3, 3), (4,), (36, 3))
    nodes = [
        node("Conv", "x w b", "h"),
        node("Relu", "h", "r"),
        node("MaxPool", "r", "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", "p", "f"),
        node("MatMul", "f v", "logits"),
        node("Softmax", "logits", "y", axis=1),
    ]
    graph = model(nodes, {"w": w, "b": b, "v": v}, {"x": (None, 2, 8, 8)}, opset)
    spec = ModelSpec("cnn", "1", "multiclass", Schema((), "image", (2, 8, 8)), ABC)
    gradient = OnnxGradient(gradient_graph(graph, spec, PROBABILITIES), spec, PROBABILITIES, CPU)
    rows = np.random.default_rng(1).normal(size=(4, 128)).astype(np.float32)

    def logits(x: NDArray[np.float64]) -> NDArray[np.float64]:
        maps = np.stack([hidden(one) for one in x.reshape(-1, 2, 8, 8)])
        pooled = maps.reshape(-1, 4, 3, 2, 3, 2).max(axis=(3, 5))
        found: NDArray[np.float64] = pooled.reshape(len(x), -1) @ v.astype(np.float64)
        return found

    def hidden(one: NDArray[np.float64]) -> NDArray[np.float64]:
        kernels = w.astype(np.float64)
        return np.maximum(
            [correlate(one, k, "valid")[0] + bias for k, bias in zip(kernels, b, strict=True)], 0
        )

    for label in (0, 2):
        expected = central(lambda x, label=label: log_odds(logits(x), label), rows)
        np.testing.assert_allclose(gradient(rows, label), expected, rtol=1e-4, atol=1e-5)
    maps = gradient.maps(rows, 0)
    assert maps is not None
    np.testing.assert_allclose(
        maps[0], [hidden(one) for one in rows.astype(np.float64).reshape(-1, 2, 8, 8)], atol=1e-5
    )
    assert maps[1].shape == maps[0].shape


def test_maps_come_after_normalisation_and_activation_and_their_gradient_explains_the_margin() -> None:
    w, v = parameters((3, 1, 3, 3), (3, 1))
    scale = np.float32([1, 2, 0.5])
    nodes = [
        node("Conv", "x w", "h"),
        node("BatchNormalization", "h s s s s", "n"),
        node("Relu", "n", "r"),
        node("GlobalAveragePool", "r", "p"),
        node("Flatten", "p", "f"),
        node("MatMul", "f v", "y"),
    ]
    spec = ModelSpec("cam", "1", "regression", Schema((), "image", (1, 6, 6)))
    binding = Binding(("x",), "y", "value")
    graph = model(nodes, {"w": w, "v": v, "s": scale}, {"x": (None, 1, 6, 6)})
    gradient = OnnxGradient(gradient_graph(graph, spec, binding), spec, binding, CPU)
    rows = np.random.default_rng(3).normal(size=(5, 36)).astype(np.float32)
    maps = gradient.maps(rows, 0)
    assert maps is not None
    features, slopes = maps
    assert (features >= 0).all()
    np.testing.assert_allclose(
        slopes, np.broadcast_to((v[:, 0] / 16)[:, None, None], slopes.shape), rtol=1e-6
    )
    np.testing.assert_allclose(
        (features * slopes).sum(axis=(1, 2, 3)), gradient.margins(rows)[:, 0], rtol=1e-5
    )


def heads() -> dict[str, tuple[list[onnx.NodeProto], str, tuple[str, ...]]]:
    """Ways from logits to served probabilities: nodes, the kind of output, the classes."""
    two = ("no", "yes")
    return {
        "softmax": ([node("Softmax", "logits", "y", axis=1)], "probabilities", ABC),
        "softmax, cast and copied": (
            [
                node("Softmax", "logits", "p", axis=-1),
                node("Cast", "p", "q", to=TensorProto.FLOAT),
                node("Identity", "q", "y"),
            ],
            "probabilities",
            ABC,
        ),
        "exp of log-softmax": (
            [node("LogSoftmax", "logits", "p", axis=1), node("Exp", "p", "y")],
            "probabilities",
            ABC,
        ),
        "two classes of softmax": ([node("Softmax", "logits", "y", axis=1)], "probabilities", two),
        "second of softmax": (
            [node("Softmax", "logits", "p", axis=1), node("Gather", "p second", "y", axis=1)],
            "positive_probability",
            two,
        ),
        "sigmoid": ([node("Sigmoid", "logits", "y")], "positive_probability", two),
        "sigmoid, squeezed": (
            [node("Sigmoid", "logits", "p"), node("Squeeze", "p last", "y")],
            "positive_probability",
            two,
        ),
        "pair of sigmoid": (
            [
                node("Sigmoid", "logits", "p"),
                node("Sub", "one p", "q"),
                node("Concat", "q p", "y", axis=1),
            ],
            "probabilities",
            two,
        ),
        "shares of sigmoids": (
            [
                node("Sigmoid", "logits", "p"),
                node("Normalizer", "p", "y", domain="ai.onnx.ml", norm="L1"),
            ],
            "probabilities",
            ABC,
        ),
    }


@pytest.mark.parametrize("head", heads())
def test_the_margin_is_the_log_odds_of_the_served_probabilities(head: str, tmp_path: Path) -> None:
    nodes, kind, classes = heads()[head]
    single = any(item.op_type == "Sigmoid" for item in nodes) and len(classes) == 2
    (w,) = parameters((4, 1 if single else len(classes)))
    constants = {
        "w": w,
        "one": np.float32([1]),
        "second": np.array(1, np.int64),
        "last": np.array([1], np.int64),
    }
    graph = model([node("MatMul", "x w", "logits"), *nodes], constants, {"x": (None, 4)})
    (tmp_path / "model.onnx").write_bytes(graph)
    spec, binding = table_spec(4, classes), Binding(("x",), "y", kind)  # type: ignore[arg-type]  # of the table above
    rows = np.random.default_rng(4).normal(size=(30, 4)).astype(np.float32)
    made, report = build_gradient(tmp_path / "model.onnx", spec, binding, rows)
    gradient = OnnxGradient(made, spec, binding, CPU)
    scores = OnnxModel(tmp_path / "model.onnx", spec, binding, providers=CPU).predict(rows)
    assert report.agreeing_share == 1
    for label in range(len(classes)):
        np.testing.assert_allclose(
            gradient.margins(rows)[:, label], explained(scores, "margin", label), atol=1e-5
        )


@pytest.mark.parametrize("head", ["softmax", "sigmoid", "pair of sigmoid"])
def test_the_gradient_does_not_vanish_where_a_probability_rounds_to_one(head: str) -> None:
    nodes, kind, classes = heads()[head]
    width = 3 if head == "softmax" else 1
    (w,) = parameters((4, width))
    graph = model(
        [node("MatMul", "x w", "logits"), *nodes], {"w": w, "one": np.float32([1])}, {"x": (None, 4)}
    )
    spec, binding = table_spec(4, classes), Binding(("x",), "y", kind)  # type: ignore[arg-type]  # of the table above
    gradient = OnnxGradient(gradient_graph(graph, spec, binding), spec, binding, CPU)
    wide = w.astype(np.float64)
    top = 1 if width == 1 else 0
    row = (60 * wide[:, 0] / (wide[:, 0] @ wide[:, 0])).astype(np.float32)[None]
    logits = row.astype(np.float64) @ wide
    if width == 1:
        expected = wide[:, 0]
    else:
        others = np.exp(log_softmax(logits[0, 1:]))
        expected = wide[:, 0] - wide[:, 1:] @ others
    np.testing.assert_allclose(gradient(row, top)[0], expected, rtol=1e-4, atol=1e-5)


def test_a_table_with_one_input_for_each_column_has_a_gradient_by_every_column(tmp_path: Path) -> None:
    nodes = [
        node("Mul", "a b", "ab"),
        node("Concat", "ab c", "j", axis=1),
        node("ReduceSum", "j axes", "y"),
    ]
    graph = model(
        nodes,
        {"axes": np.array([1], np.int64)},
        {"a": (None, 1), "b": (None, 1), "c": (None, 1), "d": (None, 1)},
    )
    (tmp_path / "model.onnx").write_bytes(graph)
    schema = Schema(tuple(Feature(name, "float") for name in "abcd"), "columns")
    spec = ModelSpec("columns", "1", "regression", schema)
    binding = Binding(("a", "b", "c", "d"), "y", "value")
    rows = np.random.default_rng(0).normal(size=(9, 4))
    made, report = build_gradient(tmp_path / "model.onnx", spec, binding, rows)
    found = OnnxGradient(made, spec, binding, CPU)(rows, 0)
    ones = np.ones(9)
    np.testing.assert_allclose(found, np.column_stack([rows[:, 1], rows[:, 0], ones, 0 * ones]), rtol=1e-6)
    assert report.agreeing_share == 1


def test_scaled_and_filled_in_columns_have_a_gradient(tmp_path: Path) -> None:
    ml = {"domain": "ai.onnx.ml"}
    nodes = [
        node(
            "Imputer", "x", "i", imputed_value_floats=[1.0, 2.0, 3.0], replaced_value_float=float("nan"), **ml
        ),
        node("Scaler", "i", "s", offset=[0.5, 0.0, 1.0], scale=[2.0, 1.0, 0.25], **ml),
        node("Normalizer", "s", "n", norm="L2", **ml),
        node("MatMul", "n w", "y"),
    ]
    (w,) = parameters((3, 1))
    (tmp_path / "model.onnx").write_bytes(model(nodes, {"w": w}, {"x": (None, 3)}))
    spec, binding = table_spec(3), Binding(("x",), "y", "value")
    rows = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    rows[0, 1] = np.nan
    made, report = build_gradient(tmp_path / "model.onnx", spec, binding, rows)
    assert report.agreeing_share == 1
    found = OnnxGradient(made, spec, binding, CPU)(rows, 0)
    assert found[0, 1] == 0
    assert (found[1:] != 0).all()


def test_the_digits_network_has_a_gradient(demo_bundle: Callable[[str], Bundle]) -> None:
    bundle = demo_bundle("digits:mlp-1")
    graph, report = build_gradient(bundle.model_path, bundle.spec, bundle.binding, bundle.background())
    onnx.checker.check_model(graph, full_check=True)
    assert report.precision == "float64"
    assert report.agreeing_share == 1
    assert report.max_error < 1e-6
    assert report.as_document()["checked"] == 4 * 64
    gradient = OnnxGradient(graph, bundle.spec, bundle.binding, CPU)
    assert gradient.maps(bundle.background(), 0) is None
    weights = {
        item.name: numpy_helper.to_array(item).astype(np.float64)
        for item in onnx.load(bundle.model_path).graph.initializer
        if item.data_type == TensorProto.FLOAT
    }

    def margin(x: NDArray[np.float64]) -> NDArray[np.float64]:
        hidden = np.maximum(x @ weights["coefficient"] + weights["intercepts"], 0)
        return log_odds(hidden @ weights["coefficient1"] + weights["intercepts1"], 3)

    rows = bundle.background()[:3] + np.float32(0.003)
    np.testing.assert_allclose(gradient(rows, 3), central(margin, rows), atol=2e-5)


def linear(tmp_path: Path) -> tuple[bytes, ModelSpec, Binding, OnnxModel, NDArray[np.float32]]:
    (w,) = parameters((6, 1))
    spec, binding = table_spec(6), Binding(("x",), "y", "value")
    (tmp_path / "model.onnx").write_bytes(
        model([node("Tanh", "x", "t"), node("MatMul", "t w", "y")], {"w": w}, {"x": (None, 6)})
    )
    rows = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    served = OnnxModel(tmp_path / "model.onnx", spec, binding, providers=CPU)
    return (tmp_path / "model.onnx").read_bytes(), spec, binding, served, rows


@pytest.mark.parametrize("factor", [0.98, -1.0, 0.0])
def test_a_gradient_that_is_off_by_two_percent_is_found_out(tmp_path: Path, factor: float) -> None:
    graph, spec, binding, served, rows = linear(tmp_path)
    wrong = onnx.load_from_string(gradient_graph(graph, spec, binding))
    last = next(item for item in wrong.graph.node if BY_INPUT in item.output)
    wrong.graph.initializer.append(numpy_helper.from_array(np.float32([factor]), "factor"))
    last.output[0] = "right"
    wrong.graph.node.append(helper.make_node("Mul", ["right", "factor"], [BY_INPUT]))
    assert verify(gradient_graph(graph, spec, binding), spec, binding, rows, served).passed
    report = verify(wrong.SerializeToString(), spec, binding, rows, served)
    assert report.precision == "float64"
    assert report.agreeing_share < 0.5
    assert not report.passed


def test_an_evaluator_that_rounds_or_fails_is_not_trusted_with_fine_differences(tmp_path: Path) -> None:
    graph, spec, binding, _, rows = linear(tmp_path)
    made = gradient_graph(graph, spec, binding)
    gradient, exact = OnnxGradient(made, spec, binding, CPU), WideMargins(made, spec, binding)
    probe = Probe(rows[:4], np.tile(np.arange(6), (4, 1)), np.ones(6), 1)

    def rounds(points: FeatureBatch) -> NDArray[np.floating[Any]]:
        return exact(points).astype(np.float32).astype(np.float64)

    def fails(points: FeatureBatch) -> NDArray[np.floating[Any]]:
        raise NotImplementedError("no such operator")

    for margins, precision in ((exact, "float64"), (rounds, "float32"), (fails, "float32")):
        found, used = trusted_differences(probe, gradient, margins)
        assert used == precision
        assert apart(probe.of(gradient), found).max() < TOLERANCE[used]


def test_a_gradient_of_another_model_is_found_out(tmp_path: Path) -> None:
    graph, spec, binding, served, rows = linear(tmp_path)
    other = onnx.load_from_string(graph)
    weights = next(item for item in other.graph.initializer if item.name == "w")
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * np.float32(1.1), "w"))
    report = verify(gradient_graph(other, spec, binding), spec, binding, rows, served)
    assert report.margin_error > 0.01
    assert not report.passed


def test_an_unknown_operator_is_refused_by_its_name() -> None:
    graph = model(
        [node("Round", "x", "r"), node("MatMul", "r w", "y")], {"w": parameters((2, 1))[0]}, {"x": (None, 2)}
    )
    with pytest.raises(Unsuitable, match="operator Round"):
        gradient_graph(graph, table_spec(2), Binding(("x",), "y", "value"))


def test_an_unknown_operator_beside_the_way_to_the_served_output_is_no_matter() -> None:
    nodes = [
        node("MatMul", "x w", "s"),
        node("Softmax", "s", "y", axis=1),
        node("Round", "y", "rounded"),
        node("ArgMax", "y", "label", axis=1),
    ]
    graph = model(nodes, {"w": parameters((2, 3))[0]}, {"x": (None, 2)})
    made = onnx.load_from_string(gradient_graph(graph, table_spec(2, ABC), PROBABILITIES))
    assert "Round" not in {item.op_type for item in made.graph.node}


def test_categories_and_whole_numbers_are_refused_by_their_name() -> None:
    graph = model([node("Identity", "x", "y")], {}, {"x": (None, 1)})
    binding = Binding(("x",), "y", "value")
    home = Schema((Feature("home", "string", ("own", "rent")),), "tensor")
    with pytest.raises(Unsuitable, match="home is a category"):
        gradient_graph(graph, ModelSpec("m", "1", "regression", home), binding)
    age = Schema((Feature("age", "int64"),), "columns")
    with pytest.raises(Unsuitable, match="age is a whole number"):
        gradient_graph(graph, ModelSpec("m", "1", "regression", age), binding)


def test_weights_that_the_graph_computes_from_its_input_are_refused() -> None:
    nodes = [node("Conv", "x x", "h"), node("Flatten", "h", "f"), node("ReduceMean", "f", "y", axes=[1])]
    graph = model(nodes, {}, {"x": (None, 1, 3, 3)}, 13)
    spec = ModelSpec("m", "1", "regression", Schema((), "image", (1, 3, 3)))
    with pytest.raises(Unsuitable):
        gradient_graph(graph, spec, Binding(("x",), "y", "value"))


def test_a_served_output_that_ignores_its_input_is_refused() -> None:
    nodes = [node("Shape", "x", "s"), node("ConstantOfShape", "s", "z"), node("ReduceSum", "z axes", "y")]
    graph = model(nodes, {"axes": np.array([1], np.int64)}, {"x": (None, 3)})
    with pytest.raises(Unsuitable, match="does not change"):
        gradient_graph(graph, table_spec(3), Binding(("x",), "y", "value"))


def test_rows_that_all_miss_a_value_prove_nothing(tmp_path: Path) -> None:
    graph, spec, binding, served, rows = linear(tmp_path)
    rows[:, 2] = np.nan
    with pytest.raises(Unsuitable, match="missing"):
        verify(gradient_graph(graph, spec, binding), spec, binding, rows, served)
