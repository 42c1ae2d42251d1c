"""The gradient of a small network by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.gradients import gradient_graph
from service.adapters import gradients
from service.adapters.gradients import OnnxGradient, load_gradient, run_graph
from service.domain.schema import Binding, ModelSpec, Schema
from service.errors import BundleError, InferenceError
from tests.models.operators import model, node, table_spec

CPU = ("CPUExecutionProvider",)
BINDING = Binding(("x",), "y", "probabilities")
SPEC = table_spec(4, ("a", "b", "c"))
WEIGHTS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def graph() -> bytes:
    nodes = [node("MatMul", "x w", "s"), node("Softmax", "s", "y", axis=1)]
    return model(nodes, {"w": WEIGHTS}, {"x": (None, 4)})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "gradient.onnx").write_bytes(gradient_graph(graph(), SPEC, BINDING))
    return tmp_path / "gradient.onnx"


def test_rows_in_many_chunks_get_the_same_gradient_as_alone(path: Path) -> None:
    gradient = load_gradient(path, SPEC, BINDING, CPU)
    rows = np.random.default_rng(1).normal(size=(2 * gradients.MOST_ROWS + 5, 4)).astype(np.float32)
    together = gradient(rows, 1)
    assert together.shape == rows.shape
    assert together.dtype == np.float32
    for row in (0, gradients.MOST_ROWS, len(rows) - 1):
        np.testing.assert_allclose(gradient(rows[row : row + 1], 1)[0], together[row], rtol=1e-5, atol=1e-6)
    assert gradient.margins(rows).shape == (len(rows), 3)


def test_no_rows_get_no_gradients(path: Path) -> None:
    gradient = load_gradient(path, SPEC, BINDING, CPU)
    assert gradient(np.empty((0, 4), np.float32), 0).shape == (0, 4)


def test_rows_of_another_float_type_and_memory_order_are_taken(path: Path) -> None:
    gradient = load_gradient(path, SPEC, BINDING, CPU)
    rows = np.random.default_rng(1).normal(size=(6, 4))
    np.testing.assert_array_equal(gradient(np.asfortranarray(rows), 2), gradient(rows.astype(np.float32), 2))


def test_a_graph_without_convolutions_has_no_maps(path: Path) -> None:
    gradient = load_gradient(path, SPEC, BINDING, CPU)
    assert not gradient.has_maps
    assert gradient.maps(np.zeros((1, 4), np.float32), 0) is None


def test_maps_of_many_rows_are_joined() -> None:
    spec = ModelSpec("cnn", "1", "regression", Schema((), "image", (1, 4, 4)))
    binding = Binding(("x",), "y", "value")
    nodes = [node("Conv", "x w", "h"), node("Flatten", "h", "f"), node("ReduceSum", "f axes", "y")]
    kernel = np.ones((2, 1, 2, 2), np.float32)
    made = gradient_graph(
        model(nodes, {"w": kernel, "axes": np.array([1], np.int64)}, {"x": (None, 1, 4, 4)}), spec, binding
    )
    gradient = OnnxGradient(made, spec, binding, CPU)
    rows = np.random.default_rng(0).random((gradients.MOST_ROWS + 3, 16)).astype(np.float32)
    maps = gradient.maps(rows, 0)
    assert maps is not None
    assert maps[0].shape == maps[1].shape == (len(rows), 2, 3, 3)
    assert maps[0][-1, 1, 0, 0] == pytest.approx(rows[-1].reshape(4, 4)[:2, :2].sum(), rel=1e-6)
    assert (maps[1] == 1).all()


def test_a_graph_that_is_no_gradient_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gradient.onnx").write_bytes(graph())
    with pytest.raises(BundleError, match="table:1"):
        load_gradient(tmp_path / "gradient.onnx", SPEC, BINDING, CPU)
    (tmp_path / "gradient.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleError):
        load_gradient(tmp_path / "gradient.onnx", SPEC, BINDING, CPU)


def test_a_run_that_fails_is_an_inference_error(path: Path) -> None:
    gradient = load_gradient(path, SPEC, BINDING, CPU)
    with pytest.raises(InferenceError, match="table:1"):
        gradient(np.zeros((2, 5), np.float32), 0)
    with pytest.raises(InferenceError):
        run_graph(graph(), {"x": np.zeros((2, 5), np.float32)})
