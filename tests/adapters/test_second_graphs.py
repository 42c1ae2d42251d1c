"""Second graphs: what they may take and answer, and dropout that stays live."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from service.adapters import second_graphs
from service.adapters.onnx import open_session
from service.adapters.second_graphs import open_graphs
from service.domain.schema import Binding, ModelSpec, Schema
from service.domain.uncertainty.measure import Graph, Material, Unfitting
from service.domain.uncertainty.spread import SPREAD
from service.errors import BundleError, InferenceError
from tests.adapters import stochastic
from tests.adapters.stochastic import DIGITS, LINEAR, PROBABILITIES, RATIO, VALUE, WEIGHTS
from tests.adapters.written import FLOAT, INT64, info
from tests.domain import models

CPU = ("CPUExecutionProvider",)
BINARY = ModelSpec("m", "1", "binary", LINEAR.schema, ("no", "yes"))
THREE = ModelSpec("m", "1", "multiclass", LINEAR.schema, ("a", "b", "c"))
ROWS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def sums(folder: Path, *shape: int, kind: int = FLOAT) -> Path:
    """A graph that answers the sum of each row in every cell of [rows, *shape]."""
    constants: dict[str, NDArray[Any]] = {
        "w": np.ones((3, int(np.prod(shape, dtype=int))), np.float32),
        "shape": np.array([-1, *shape], np.int64),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["shaped"]),
        helper.make_node("Cast", ["shaped"], ["y"], to=kind),
    ]
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [info("x", FLOAT, None, 3)], [info("y", kind)], weights)
    graph.output[0].type.tensor_type.ClearField("shape")
    path = folder / "second.onnx"
    opsets = [helper.make_opsetid("", 15)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
    return path


def opened(
    graph: Graph, path: Path, spec: ModelSpec = LINEAR, binding: Binding = VALUE, passes: int = 0
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    graphs, run = open_graphs({graph: path}, spec, binding, passes=passes, providers=CPU)
    assert graphs == {graph}
    return lambda rows: run(graph, rows)


@pytest.mark.parametrize(
    ("graph", "spec", "shape", "wanted"),
    [
        ("reconstruction", LINEAR, (), ()),
        ("reconstruction", LINEAR, (1,), ()),
        ("quantiles", LINEAR, (2,), (2,)),
        ("members", LINEAR, (4,), (4, 1)),
        ("members", LINEAR, (4, 1), (4, 1)),
        ("members", BINARY, (4,), (4, 2)),
        ("members", BINARY, (4, 1), (4, 2)),
        ("members", BINARY, (4, 2), (4, 2)),
        ("members", THREE, (4, 3), (4, 3)),
    ],
)
def test_every_shape_that_is_allowed_comes_back_as_the_measures_have_it(
    graph: Graph, spec: ModelSpec, shape: tuple[int, ...], wanted: tuple[int, ...], tmp_path: Path
) -> None:
    found = opened(graph, sums(tmp_path, *shape), spec)(ROWS)
    assert found.shape == (5, *wanted)
    np.testing.assert_allclose(found.reshape(5, -1)[:, -1], ROWS.sum(axis=1), rtol=1e-5)


def test_a_binary_member_s_one_probability_is_the_second_class_s(tmp_path: Path) -> None:
    found = opened("members", sums(tmp_path, 4), BINARY)(ROWS)
    np.testing.assert_allclose(found.sum(axis=2), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("graph", "spec", "shape"),
    [
        ("reconstruction", LINEAR, (2,)),
        ("quantiles", LINEAR, (3,)),
        ("quantiles", LINEAR, ()),
        ("members", LINEAR, ()),
        ("members", LINEAR, (4, 2)),
        ("members", BINARY, (4, 3)),
        ("members", THREE, (3,)),
        ("members", THREE, (4, 1)),
    ],
)
def test_another_shape_is_refused_when_the_graph_is_opened(
    graph: Graph, spec: ModelSpec, shape: tuple[int, ...], tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match=rf"second\.onnx: the graph of {graph} of m:1 answers shape"):
        opened(graph, sums(tmp_path, *shape), spec)


def test_answers_that_are_no_numbers_with_fractions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="answers int64 first"):
        opened("reconstruction", sums(tmp_path, kind=INT64))


def test_a_row_without_a_number_for_an_answer_is_named(tmp_path: Path) -> None:
    rows = ROWS.copy()
    rows[3, 1] = np.nan
    with pytest.raises(InferenceError, match=r"answers \[nan, nan\] for row 3"):
        opened("quantiles", sums(tmp_path, 2))(rows)


def test_a_row_is_named_by_its_place_in_the_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_graphs, "MOST_ROWS", 2)
    rows = ROWS.copy()
    rows[3, 1] = np.inf
    with pytest.raises(InferenceError, match="for row 3"):
        opened("quantiles", sums(tmp_path, 2))(rows)


def test_a_reconstruction_error_that_ran_over_is_an_answer(tmp_path: Path) -> None:
    """The measure takes it for as strange as can be; a request far out is not to fail of it."""
    rows = ROWS.copy()
    rows[3, 1], rows[4, 1] = np.inf, np.nan
    found = opened("reconstruction", sums(tmp_path))(rows)
    assert np.isfinite(found).tolist() == [True, True, True, False, False]


def test_an_input_that_the_model_does_not_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"takes 'x'; inputs of the model are \['image'\]"):
        opened("reconstruction", sums(tmp_path), binding=Binding(("image",), "y", "value"))


def test_a_training_mode_without_passes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="takes 'training'"):
        opened("members", stochastic.linear(tmp_path))


def test_some_of_the_model_s_inputs_are_enough(tmp_path: Path) -> None:
    spec = ModelSpec("m", "1", "regression", Schema(models.FEATURES, "columns"))
    nodes = [
        helper.make_node("IsNaN", ["income"], ["gone"]),
        helper.make_node("Cast", ["gone"], ["y"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(nodes, "g", [info("income", FLOAT, None, 1)], [info("y", FLOAT, None, 1)])
    path = tmp_path / "second.onnx"
    opsets = [helper.make_opsetid("", 15)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
    found = opened("reconstruction", path, spec, Binding(("age", "home", "income"), "y", "value"))
    assert found(np.array([[1, 2, np.nan], [1, np.nan, 3]])).tolist() == [1, 0]


def test_a_graph_that_is_not_there_is_named(tmp_path: Path) -> None:
    _, run = open_graphs({}, LINEAR, VALUE)
    with pytest.raises(InferenceError, match="m:1 has no graph of members"):
        run("members", ROWS)
    with pytest.raises(BundleError, match="cannot load"):
        opened("members", tmp_path / "absent.onnx")


@pytest.mark.parametrize("mode", ["input", "constant"])
def test_passes_of_a_linear_network_have_the_mean_and_variance_of_its_masks(
    mode: stochastic.Mode, tmp_path: Path
) -> None:
    passes = 20_000
    run = opened("members", stochastic.linear(tmp_path, mode), passes=passes)
    rows = np.array([[1.0, 2.0, -3.0], [0.0, 0.0, 4.0]], np.float32)
    found = run(rows)[:, :, 0].astype(np.float64)
    parts = np.abs(rows) * WEIGHTS[:, 0]
    variance = (parts**2).sum(axis=1) * RATIO / (1 - RATIO)  # of a kept value over 1 - RATIO
    error = np.sqrt(variance / passes)
    assert (np.abs(found.mean(axis=1) - parts.sum(axis=1)) < 4 * error).all()
    np.testing.assert_allclose(found.var(axis=1), variance, rtol=0.05)


@pytest.mark.parametrize("mode", ["input", "constant"])
def test_dropout_would_be_taken_out_by_the_optimizer_that_is_left_out(
    mode: stochastic.Mode, tmp_path: Path
) -> None:
    path = stochastic.linear(tmp_path, mode)
    feeds: dict[str, Any] = {"x": np.repeat(ROWS[:1], 100, axis=0)}
    feeds |= {"training": np.array(True)} if mode == "input" else {}
    assert np.ptp(open_session(path, CPU).run(None, feeds)[0]) == 0
    assert np.ptp(open_session(path, CPU, without=[second_graphs.DROPOUT]).run(None, feeds)[0]) > 0.1


def test_passes_of_a_network_on_images_are_probabilities_that_differ(tmp_path: Path) -> None:
    images = np.random.default_rng(1).random((6, 16)).astype(np.float32)
    found = opened("members", stochastic.cnn(tmp_path), DIGITS, PROBABILITIES, passes=30)(images)
    assert found.shape == (6, 30, 3)
    np.testing.assert_allclose(found.sum(axis=2), 1, rtol=1e-5)
    assert (found.std(axis=1) > 0.01).any(axis=1).all()


def test_a_seeded_dropout_draws_the_same_in_every_fresh_session(tmp_path: Path) -> None:
    path = stochastic.linear(tmp_path, seed=11)
    first, second = (opened("members", path, passes=10)(ROWS) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_run_goes_on_in_the_sequence_of_the_one_before(tmp_path: Path) -> None:
    run = opened("members", stochastic.linear(tmp_path, seed=11), passes=10)
    assert (run(ROWS) != run(ROWS)).any()


def test_many_rows_and_passes_are_run_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_graphs, "MOST_ROWS", 64)
    rows = np.repeat(ROWS[:1], 50, axis=0)
    found = opened("members", stochastic.linear(tmp_path), passes=30)(rows)
    assert found.shape == (50, 30, 1)
    assert np.unique(found).size > 4  # of eight masks


def test_a_request_of_no_rows_has_no_answers(tmp_path: Path) -> None:
    assert opened("members", stochastic.linear(tmp_path), passes=3)(ROWS[:0]).shape == (0, 3, 1)


def test_dropout_that_is_off_is_found_out_at_packaging(tmp_path: Path) -> None:
    graphs, run = open_graphs(
        {"members": stochastic.linear(tmp_path, "off")}, LINEAR, VALUE, passes=20, providers=CPU
    )
    rows = np.repeat(ROWS, 5, axis=0)
    scores = (np.abs(rows) @ WEIGHTS).astype(np.float32)
    material = Material(LINEAR, rows, scores, np.zeros(len(rows)), rows, graphs, run)
    with pytest.raises(Unfitting, match="its dropout is not live"):
        SPREAD.fit(material)


def test_a_linear_network_s_spread_is_the_variance_of_its_masks(tmp_path: Path) -> None:
    graphs, run = open_graphs(
        {"members": stochastic.linear(tmp_path)}, LINEAR, VALUE, passes=4000, providers=CPU
    )
    rows = np.random.default_rng(2).normal(size=(20, 3)).astype(np.float32)
    scores = (np.abs(rows) @ WEIGHTS).astype(np.float32)
    fitted = SPREAD.fit(Material(LINEAR, rows, scores, scores[:, 0] + 1.0, rows, graphs, run))
    variance = ((np.abs(rows) * WEIGHTS[:, 0]) ** 2).sum(axis=1) * RATIO / (1 - RATIO)
    assert fitted.report["mean"] == pytest.approx(variance.mean(), rel=0.05)
