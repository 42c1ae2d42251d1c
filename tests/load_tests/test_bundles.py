"""The candidates of the isolation run are what their names say."""

from __future__ import annotations

import threading

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from load_tests.bundles import MARK, hanging, slowed
from load_tests.bundles import load_data as load

ROWS = load().held_out.astype(np.float32)


@pytest.fixture(scope="module")
def production() -> onnx.ModelProto:
    from skl2onnx import to_onnx
    from sklearn.ensemble import GradientBoostingClassifier

    data = load()
    model = GradientBoostingClassifier(n_estimators=10, random_state=0)
    model.fit(data.train.astype(np.float32), data.train_labels)
    return to_onnx(model, ROWS[:1], options={id(model): {"zipmap": False}})


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def scores(model: onnx.ModelProto, rows: np.ndarray = ROWS) -> np.ndarray:
    return session(model).run(["probabilities"], {"X": rows})[0]


def test_the_slow_model_has_every_tree_as_often_as_asked_and_the_same_answers(
    production: onnx.ModelProto,
) -> None:
    slow = slowed(production, 7)
    assert np.allclose(scores(slow), scores(production), atol=1e-6)
    trees = [
        set(next(a.ints for a in node.attribute if a.name == "nodes_treeids"))
        for model in (production, slow)
        for node in model.graph.node
        if node.op_type == "TreeEnsembleClassifier"
    ]
    assert [len(each) for each in trees] == [10, 70]


def test_the_hanging_model_answers_as_production_does_without_the_mark(production: onnx.ModelProto) -> None:
    assert np.array_equal(scores(hanging(production, "probabilities")), scores(production))


def test_the_hanging_model_never_ends_once_one_row_has_the_mark(production: onnx.ModelProto) -> None:
    rows, stop = ROWS[:4].copy(), ort.RunOptions()
    stop.log_severity_level = 4
    rows[2, -1] = MARK
    timer = threading.Timer(0.3, lambda: setattr(stop, "terminate", True))
    timer.start()
    with pytest.raises(Exception, match="terminate flag"):
        session(hanging(production, "probabilities")).run(["probabilities"], {"X": rows}, stop)
    assert not timer.is_alive()
    timer.join()
