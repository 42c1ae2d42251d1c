"""ONNX Runtime behind one call: every layout, every kind of failure, and an end to endless graphs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import NodeProto, TensorProto, ValueInfoProto, helper

from service.adapters.onnx import OnnxModel, Watchdog, warm_up
from service.domain.schema import Binding, Feature, ModelSpec
from service.errors import BundleError, DeadlineError, InferenceError
from tests.domain.models import spec

ROOT = Path(__file__).parents[2]
CPU = ("CPUExecutionProvider",)
FLOAT, INT64, STRING, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING, TensorProto.BOOL
Place = Callable[[Any], Path]


def info(name: str, kind: int, *shape: int | None) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name: str, kind: int, *values: Any, shape: tuple[int, ...] = ()) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=helper.make_tensor(name, kind, shape, values))


def graph_of(inputs: list[ValueInfoProto], outputs: list[ValueInfoProto], *nodes: NodeProto) -> bytes:
    graph = helper.make_graph(list(nodes), "tiny", inputs, outputs)
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 3)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def model_of(tmp_path: Path, graph: bytes, model: ModelSpec, binding: Binding, **other: Any) -> OnnxModel:
    path = tmp_path / "model.onnx"
    path.write_bytes(graph)
    return OnnxModel(path, model, binding, **{"providers": CPU, **other})


def echo(columns: int = 2, kind: int = FLOAT) -> bytes:
    """Answers its own input, [rows, columns]."""
    return graph_of(
        [info("x", kind, None, columns)],
        [info("y", kind, None, columns)],
        helper.make_node("Identity", ["x"], ["y"]),
    )


def endless() -> bytes:
    """Answers its input, after a loop that ends only where the first value is 0."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["keep"], ["still"]), helper.make_node("Tanh", ["state"], ["next"])],
        "body",
        [info("turn", INT64), info("keep", BOOL), info("state", FLOAT, None, None)],
        [info("still", BOOL), info("next", FLOAT, None, None)],
    )
    return graph_of(
        [info("x", FLOAT, None, 2)],
        [info("y", FLOAT, None, 2)],
        constant("nought", FLOAT, 0.0),
        helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        helper.make_node("Greater", ["largest", "nought"], ["go"]),
        helper.make_node("Loop", ["", "go", "x"], ["y"], body=body),
    )


TWO = (Feature("a", "float"), Feature("b", "float"))
PLAIN = spec("plain", *TWO)
IN_OUT = Binding(("x",), "y", "probabilities")
ROWS = np.array([[0.25, 0.75], [1.0, 0.0]], np.float32)


def test_a_tensor_goes_in_as_it_is(tmp_path: Path) -> None:
    scores = model_of(tmp_path, echo(), PLAIN, IN_OUT).predict(ROWS)
    np.testing.assert_array_equal(scores, ROWS)
    assert scores.dtype == np.float32


def test_an_image_gets_its_shape_in_c_order(tmp_path: Path) -> None:
    model = spec("image", layout="image", shape=(2, 3), task="multiclass")
    last = graph_of(
        [info("x", FLOAT, None, 2, 3)],
        [info("y", FLOAT, None, 3)],
        constant("second", INT64, 1),
        helper.make_node("Gather", ["x", "second"], ["y"], axis=1),
    )
    rows = np.arange(12, dtype=np.float32).reshape(2, 6)
    np.testing.assert_array_equal(model_of(tmp_path, last, model, IN_OUT).predict(rows), rows[:, 3:])


def test_columns_go_in_one_by_one_in_their_own_types(tmp_path: Path) -> None:
    words = ("red", "grün")
    features = (Feature("i", "int64"), Feature("w", "string", words, missing=True), Feature("f", "float"))
    encode = helper.make_node(
        "LabelEncoder",
        ["w"],
        ["code"],
        domain="ai.onnx.ml",
        keys_strings=[*words, ""],
        values_floats=[10.0, 20.0, 30.0],
        default_float=-1.0,
    )
    graph = graph_of(
        [info("f", FLOAT, None, 1), info("w", STRING, None, 1), info("i", INT64, None, 1)],
        [info("y", FLOAT, None, 3)],
        encode,
        constant("odd", INT64, 2**53 - 1),
        helper.make_node("Sub", ["i", "odd"], ["rest"]),  # exact in int64 alone
        helper.make_node("Cast", ["rest"], ["float_rest"], to=FLOAT),
        helper.make_node("Concat", ["float_rest", "code", "f"], ["y"], axis=1),
    )
    model = spec("columns", *features, layout="columns", task="multiclass")
    loaded = model_of(tmp_path, graph, model, Binding(("i", "w", "f"), "y", "probabilities"))
    rows = np.array([[2**53, 0, 0.5], [2**53 - 3, 1, -1.5], [0, np.nan, 1e-3]])
    expected = [[1, 10, 0.5], [-2, 20, -1.5], [1 - 2**53, 30, np.float32(1e-3)]]
    np.testing.assert_array_equal(loaded.predict(rows), np.array(expected, np.float32))
    np.testing.assert_array_equal(loaded.predict(rows[2:]), np.array(expected[2:], np.float32))


@pytest.mark.parametrize("flat", [False, True])
def test_a_positive_probability_gets_its_complement(tmp_path: Path, flat: bool) -> None:
    shape = (None,) if flat else (None, 1)
    graph = graph_of(
        [info("x", FLOAT, None, 2)],
        [info("y", FLOAT, *shape)],
        helper.make_node("ReduceMax", ["x"], ["y"], axes=[1], keepdims=int(not flat)),
    )
    scores = model_of(tmp_path, graph, PLAIN, Binding(("x",), "y", "positive_probability")).predict(ROWS)
    np.testing.assert_array_equal(scores, [[0.25, 0.75], [0.0, 1.0]])


@pytest.mark.parametrize("flat", [False, True])
def test_a_value_is_one_column(tmp_path: Path, flat: bool) -> None:
    shape = (None,) if flat else (None, 1)
    graph = graph_of(
        [info("x", FLOAT, None, 2)],
        [info("y", FLOAT, *shape)],
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=1),
        helper.make_node("ReduceMin", ["x"], ["y"], axes=[1], keepdims=int(not flat)),
    )
    model = spec("value", *TWO, task="regression")
    scores = model_of(tmp_path, graph, model, Binding(("x",), "y", "value")).predict(ROWS)
    np.testing.assert_array_equal(scores, [[0.25], [0.0]])


def test_another_float_type_becomes_float32(tmp_path: Path) -> None:
    graph = graph_of(
        [info("x", FLOAT, None, 2)],
        [info("y", TensorProto.DOUBLE, None, 2)],
        helper.make_node("Cast", ["x"], ["y"], to=TensorProto.DOUBLE),
    )
    assert model_of(tmp_path, graph, PLAIN, IN_OUT).predict(ROWS).dtype == np.float32


@pytest.mark.parametrize(
    ("model", "rows"),
    [(spec("three", *TWO, task="multiclass"), ROWS), (spec("value", *TWO, task="regression"), ROWS)],
    ids=["fewer outputs than classes", "more outputs than one value"],
)
def test_outputs_that_are_no_score_for_every_row_are_an_error(
    tmp_path: Path, model: ModelSpec, rows: np.ndarray
) -> None:
    with pytest.raises(InferenceError, match=rf"m:{model.version} answered shape \(2, 2\)"):
        model_of(tmp_path, echo(), model, IN_OUT).predict(rows)


def test_an_output_without_a_score_for_every_row_is_an_error(tmp_path: Path) -> None:
    graph = graph_of(
        [info("x", FLOAT, None, 2)],
        [info("y", FLOAT, 1, 2)],
        helper.make_node("ReduceMax", ["x"], ["y"], axes=[0]),
    )
    model = model_of(tmp_path, graph, PLAIN, IN_OUT)
    assert model.predict(ROWS[:1]).shape == (1, 2)
    with pytest.raises(InferenceError, match="for 2 rows"):
        model.predict(ROWS)


def test_what_the_runtime_raises_is_an_error_that_names_the_model(tmp_path: Path) -> None:
    rows = np.zeros((1, 3), np.float32)  # the graph takes two columns
    with pytest.raises(InferenceError, match="m:plain failed"):
        model_of(tmp_path, echo(), PLAIN, IN_OUT).predict(rows)


@pytest.mark.parametrize(
    ("binding", "named"),
    [
        (Binding(("input",), "y", "probabilities"), r"graph inputs are \['x'\], manifest binds \['input'\]"),
        (Binding(("x", "z"), "y", "probabilities"), r"manifest binds \['x', 'z'\]"),
        (Binding(("x",), "scores", "probabilities"), r"graph outputs are \['y'\], manifest binds 'scores'"),
    ],
)
def test_names_that_the_graph_does_not_have_are_refused(tmp_path: Path, binding: Binding, named: str) -> None:
    with pytest.raises(BundleError, match=named):
        model_of(tmp_path, echo(), PLAIN, binding)


def test_an_output_of_words_is_refused(tmp_path: Path) -> None:
    graph = graph_of(
        [info("x", FLOAT, None, 2)],
        [info("y", STRING, None, 2)],
        helper.make_node("Cast", ["x"], ["y"], to=STRING),
    )
    with pytest.raises(BundleError, match=r"'y' is tensor\(string\)"):
        model_of(tmp_path, graph, PLAIN, IN_OUT)


def test_a_list_of_dictionaries_is_refused_with_the_remedy(tmp_path: Path) -> None:
    zipped = helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    kind = helper.make_map_type_proto(INT64, helper.make_tensor_type_proto(FLOAT, []))
    output = helper.make_value_info("y", helper.make_sequence_type_proto(kind))
    with pytest.raises(BundleError, match="zipmap=False"):
        model_of(tmp_path, graph_of([info("x", FLOAT, None, 2)], [output], zipped), PLAIN, IN_OUT)


@pytest.mark.parametrize("content", [b"", b"no graph", echo()[:-20], echo()[:40]])
def test_a_broken_file_is_refused_by_its_name(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BundleError, match=r"model\.onnx"):
        model_of(tmp_path, content, PLAIN, IN_OUT)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"absent\.onnx"):
        OnnxModel(tmp_path / "absent.onnx", PLAIN, IN_OUT, providers=CPU)


@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
def test_a_provider_that_was_asked_for_and_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="MadeUpExecutionProvider was asked for"):
        model_of(tmp_path, echo(), PLAIN, IN_OUT, providers=("MadeUpExecutionProvider",))


def cuda_works(tmp_path: Path) -> bool:
    return "CUDAExecutionProvider" in model_of(tmp_path, echo(), PLAIN, IN_OUT, providers=()).providers


def test_a_gpu_that_was_asked_for_and_is_absent_is_refused(tmp_path: Path) -> None:
    if cuda_works(tmp_path):
        pytest.skip("this machine has a GPU")
    with pytest.raises(BundleError, match="CUDAExecutionProvider was asked for"):
        model_of(tmp_path, echo(), PLAIN, IN_OUT, providers=("CUDAExecutionProvider", *CPU))


def test_by_default_it_runs_on_what_there_is_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(echo())
    script = """
import sys
from pathlib import Path
from service.adapters.onnx import OnnxModel
from tests.adapters.test_onnx import IN_OUT, PLAIN, ROWS
model = OnnxModel(Path(sys.argv[1]), PLAIN, IN_OUT)
assert (model.predict(ROWS) == ROWS).all()
print(model.providers[-1])
"""
    command = [sys.executable, "-W", "error", "-c", script, str(tmp_path / "model.onnx")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "CPUExecutionProvider\n", "")


OPEN = """
import sys
from pathlib import Path
from service.adapters.onnx import OnnxModel
from tests.adapters.test_onnx import IN_OUT, PLAIN
print(OnnxModel(Path(sys.argv[1]), PLAIN, IN_OUT, providers=sys.argv[2:]).providers[-1])
"""


def opened_elsewhere(
    model: Path, *providers: str, env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """By a new process with ``env`` over this one's; CI would silence ONNX Runtime by itself."""
    silent = ("CI", "ORT_DISABLE_TELEMETRY")
    inherited = {key: value for key, value in os.environ.items() if key not in silent}
    command = [sys.executable, "-c", OPEN, str(model), *providers]
    return subprocess.run(
        command, cwd=ROOT, env={**inherited, **env}, capture_output=True, text=True, timeout=60, check=True
    )


def test_a_model_is_loaded_without_telling_its_maker(tmp_path: Path) -> None:
    """What ONNX Runtime would send it keeps in these two folders first, with an id of the machine."""
    model, home, temporary = tmp_path / "model.onnx", tmp_path / "home", tmp_path / "tmp"
    model.write_bytes(echo())
    home.mkdir()
    temporary.mkdir()
    opened_elsewhere(model, *CPU, env={"HOME": str(home), "TMPDIR": str(temporary)})
    assert [*home.iterdir(), *temporary.iterdir()] == []


def test_cuda_from_wheels_is_loaded_where_it_is_installed_and_wanted(tmp_path: Path) -> None:
    """An empty package stands for NVIDIA's: each library is missed, which only standard error says."""
    if cuda_works(tmp_path):
        pytest.skip("this machine has a GPU")
    model, wheels = tmp_path / "model.onnx", tmp_path / "wheels"
    (wheels / "nvidia").mkdir(parents=True)
    with_wheels = {"PYTHONPATH": f"{wheels}:{ROOT}"}
    missed = opened_elsewhere(model, env=with_wheels)
    assert missed.stdout == "CPUExecutionProvider\n"
    assert "CUDA: Failed to load libcublasLt" in missed.stderr
    assert opened_elsewhere(model, *CPU, env=with_wheels).stderr == ""
    assert opened_elsewhere(model, env={}).stderr == ""


def test_an_endless_graph_ends_at_its_deadline_and_the_next_run_works(tmp_path: Path) -> None:
    model, watchdog = model_of(tmp_path, endless(), PLAIN, IN_OUT), Watchdog(tick=0.01)
    for _ in range(2):
        start = time.monotonic()
        with pytest.raises(DeadlineError, match="m:plain"):
            watchdog.predict(model, ROWS, start + 0.1)
        assert 0.1 <= time.monotonic() - start < 1.0  # the rest is room for a busy machine
        nought = np.zeros((1, 2), np.float32)
        np.testing.assert_array_equal(watchdog.predict(model, nought, time.monotonic() + 5), nought)
    assert not watchdog._runs


def test_a_run_in_time_is_left_alone_and_a_failed_one_is_forgotten(tmp_path: Path) -> None:
    model, watchdog = model_of(tmp_path, echo(), PLAIN, IN_OUT), Watchdog()
    np.testing.assert_array_equal(watchdog.predict(model, ROWS, time.monotonic() + 5), ROWS)
    with pytest.raises(InferenceError):
        watchdog.predict(model, ROWS[:, :1], time.monotonic() + 5)
    assert not watchdog._runs


def test_a_run_that_was_stopped_before_it_began_is_late(tmp_path: Path) -> None:
    stop = ort.RunOptions()
    stop.terminate = True
    with pytest.raises(DeadlineError):
        model_of(tmp_path, echo(), PLAIN, IN_OUT).predict(ROWS, stop)


def test_warming_up_measures_seconds_of_one_run(tmp_path: Path) -> None:
    model = model_of(tmp_path, echo(), PLAIN, IN_OUT)
    start = time.perf_counter()
    typical = warm_up(model, ROWS, seconds=0.01)
    assert 0 < typical < time.perf_counter() - start
