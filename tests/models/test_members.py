"""Members made of graphs, against the training frameworks' own trees and stages."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from models.bundle import Bundle
from models.member_plan import STAGES, stages
from models.members import build_members, combine, members_graph
from service.adapters.graphs.trees import OPERATORS
from service.adapters.onnx import OnnxModel, feeder, open_session
from service.domain.explainers.game import Unsuitable
from service.domain.schema import Binding, Feature, FeatureBatch, ModelSpec, Schema, Task
from service.domain.trees import Mode, TreeEnsemble
from service.errors import BundleError
from tests.adapters.pipelines import CLASSES, CPU, Served, encoded_table, of_numbers, of_table
from tests.adapters.tree_nodes import node_of, node_of_opset_5
from tests.domain.explainers.forests import forest, rows_of

Answers = NDArray[np.floating[Any]]
BRANCHES = [mode for mode in Mode if mode is not Mode.MEMBER]
WIDE = tuple(Feature(f"x{column}", "float", missing=True) for column in range(5))


def run(graph: bytes, spec: ModelSpec, binding: Binding, rows: FeatureBatch) -> Answers:
    """What a graph of members answers, [rows, members] or [rows, members, classes]."""
    found: Answers = open_session(graph, CPU).run(None, feeder(spec.schema, binding)(rows))[0]
    return found


def members_of(
    path: Path, spec: ModelSpec, binding: Binding, rows: FeatureBatch, background: int = 256
) -> Answers:
    """[rows, members], of the second class for two, or [rows, members, classes]."""
    found = run(members_graph(path, spec, binding, rows[:background]), spec, binding, rows)
    return found[:, :, 1] if spec.task == "binary" and found.ndim == 3 else found


def served(path: Path, spec: ModelSpec, binding: Binding, rows: FeatureBatch) -> Answers:
    scores = OnnxModel(path, spec, binding, providers=CPU).predict(rows)
    return scores if spec.task == "multiclass" else scores[:, -1]


def data(kind: Task, seed: int) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Rows with missing values and categories in the last column, and what is learnt."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(400, 5)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.1] = np.nan
    rows[:, 4] = rng.integers(0, 6, len(rows))
    filled = np.nan_to_num(rows)
    worth = filled[:, 0] * filled[:, 1] + np.isin(filled[:, 4], [1, 3]) + rng.normal(0, 0.1, len(rows))
    cuts = {"regression": [], "binary": [0.5], "multiclass": [0.0, 1.0]}[kind]
    return rows, np.digitize(worth, cuts) if cuts else worth + 10


def smooth(seed: int) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Rows, and values around nought."""
    rows = np.random.default_rng(seed).normal(size=(400, 5)).astype(np.float32)
    return rows, rows @ np.arange(5) + np.sin(3 * rows[:, 0])


def of(folder: Path, proto: Any, kind: Task) -> tuple[Path, ModelSpec, Binding]:
    """A converted model as it is served."""
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    outputs = [entry.name for entry in proto.graph.output]
    spec = ModelSpec("m", "1", kind, Schema(WIDE, "tensor"), CLASSES[kind])
    return path, spec, Binding(("x",), outputs[-1], "value" if kind == "regression" else "probabilities")


def of_node(folder: Path, node: NodeProto, kind: Task) -> tuple[Path, ModelSpec, Binding]:
    """A tree node alone in its graph."""
    opset = 5 if node.op_type == "TreeEnsemble" else 3
    graph = helper.make_graph(
        [node],
        "trees",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, 5])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None, None])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("ai.onnx.ml", opset)], ir_version=10)
    return of(folder, model, kind)


def sklearn_proto(model: Any, kind: Task, opset: int = 3) -> Any:
    import skl2onnx
    from skl2onnx.common.data_types import FloatTensorType

    return skl2onnx.convert_sklearn(
        model,
        initial_types=[("x", FloatTensorType([None, 5]))],
        target_opset={"": 15, "ai.onnx.ml": opset},
        options=None if kind == "regression" else {"zipmap": False},
    )


def lightgbm_proto(booster: Any) -> Any:
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    return onnxmltools.convert_lightgbm(
        booster, initial_types=[("x", FloatTensorType([None, 5]))], target_opset=15, zipmap=False
    )


@pytest.mark.parametrize("opset", [1, 3])
@pytest.mark.parametrize("maker", ["RandomForest", "ExtraTrees"])
@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
def test_a_forest_s_members_are_its_trees(kind: Task, maker: str, opset: int, tmp_path: Path) -> None:
    from sklearn import ensemble

    rows, labels = data(kind, 1)
    rows = np.nan_to_num(rows)
    name = maker + ("Regressor" if kind == "regression" else "Classifier")
    model = getattr(ensemble, name)(n_estimators=12, max_depth=5, random_state=0, n_jobs=1).fit(rows, labels)
    bundle = of(tmp_path, sklearn_proto(model, kind, opset), kind)
    found = members_of(*bundle, rows)
    trees = [
        tree.predict(rows) if kind == "regression" else tree.predict_proba(rows) for tree in model.estimators_
    ]
    own = np.stack(trees, axis=1)
    np.testing.assert_allclose(found, own[:, :, 1] if kind == "binary" else own, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(found.mean(axis=1), served(*bundle, rows), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
def test_scikit_learn_s_boosting_has_its_stages_for_members(kind: Task, tmp_path: Path) -> None:
    from sklearn import ensemble

    rows, labels = data(kind, 2)
    rows = np.nan_to_num(rows)
    name = "GradientBoosting" + ("Regressor" if kind == "regression" else "Classifier")
    model = getattr(ensemble, name)(n_estimators=30, max_depth=3, random_state=0).fit(rows, labels)
    bundle = of(tmp_path, sklearn_proto(model, kind), kind)
    found = members_of(*bundle, rows)
    staged = list(model.staged_predict(rows) if kind == "regression" else model.staged_predict_proba(rows))
    own = np.stack([staged[count - 1] for count in stages(30)], axis=1)
    np.testing.assert_allclose(found, own[:, :, 1] if kind == "binary" else own, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(found[:, -1], served(*bundle, rows), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
def test_lightgbm_s_members_keep_categories_and_missing_values(kind: Task, tmp_path: Path) -> None:
    import lightgbm

    rows, labels = data(kind, 3)
    settings = {"objective": kind, "num_leaves": 9, "min_data_in_leaf": 5, "verbosity": -1, "num_threads": 1}
    settings |= {"num_class": 3} if kind == "multiclass" else {}
    model = lightgbm.train(settings, lightgbm.Dataset(rows, labels, categorical_feature=[4]), 25)
    proto = lightgbm_proto(model)
    modes = set(_attribute(proto, "nodes_modes"))
    assert b"BRANCH_EQ" in modes
    assert any(_attribute(proto, "nodes_missing_value_tracks_true"))
    bundle = of(tmp_path, proto, kind)
    found = members_of(*bundle, rows)
    own = np.stack([model.predict(rows, num_iteration=int(count)) for count in stages(25)], axis=1)
    np.testing.assert_allclose(found, own, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(found[:, -1], served(*bundle, rows), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
def test_xgboost_s_members_are_ranges_of_its_iterations(kind: Task, tmp_path: Path) -> None:
    import onnxmltools
    import xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    rows, labels = data(kind, 4)
    make = xgboost.XGBRegressor if kind == "regression" else xgboost.XGBClassifier
    model = make(n_estimators=18, max_depth=4, n_jobs=1, random_state=0).fit(rows, labels)
    types = [("x", FloatTensorType([None, 5]))]
    bundle = of(tmp_path, onnxmltools.convert_xgboost(model, initial_types=types, target_opset=15), kind)
    found = members_of(*bundle, rows)
    ask = model.predict if kind == "regression" else model.predict_proba
    own = np.stack([ask(rows, iteration_range=(0, int(count))) for count in stages(18)], axis=1)
    np.testing.assert_allclose(found, own[:, :, 1] if kind == "binary" else own, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[:, -1], served(*bundle, rows), rtol=1e-6, atol=1e-6)


def test_xgboost_s_forest_of_margins_is_a_forest(tmp_path: Path) -> None:
    import onnxmltools
    import xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    rows, labels = smooth(5)
    model = xgboost.XGBRFRegressor(n_estimators=20, max_depth=4, n_jobs=1, random_state=0).fit(rows, labels)
    types = [("x", FloatTensorType([None, 5]))]
    bundle = of(
        tmp_path, onnxmltools.convert_xgboost(model, initial_types=types, target_opset=15), "regression"
    )
    found = members_of(*bundle, rows)
    assert found.shape == (400, 20)
    np.testing.assert_allclose(found.mean(axis=1), model.predict(rows), rtol=1e-5)


@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
def test_a_pipeline_s_encoder_is_part_of_the_members_graph(kind: Task, table: bool, tmp_path: Path) -> None:
    from sklearn import ensemble
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline

    name = "RandomForest" + ("Regressor" if kind == "regression" else "Classifier")
    model = getattr(ensemble, name)(n_estimators=8, max_depth=4, random_state=0, n_jobs=1)
    whole = make_pipeline(encoded_table() if table else PCA(2), model)
    known = (of_table if table else of_numbers)(tmp_path, whole, kind)
    found = members_of(known.path, known.spec, known.binding, known.rows)
    assert found.shape[:2] == (len(known.rows), 8)
    scores = served(known.path, known.spec, known.binding, known.rows)
    np.testing.assert_allclose(found.mean(axis=1), scores, rtol=2e-6, atol=2e-6)
    assert found.std(axis=1).max() > 0.01


def decaying(rng: np.random.Generator, trees: int, **rest: Any) -> TreeEnsemble:
    """Random trees whose leaves get smaller, as a boosting's do."""
    made = forest(rng, trees=trees, **rest)
    values = made.leaf_values.copy()
    at = made.roots
    for tree, root in enumerate(at.tolist()):
        waiting = [root]
        while waiting:
            child = waiting.pop()
            if child < 0:
                values[~child] *= 0.9**tree
            else:
                waiting += [int(made.if_true[child]), int(made.if_false[child])]
    return replace(made, leaf_values=values)


@pytest.mark.parametrize("post", ["logistic", "softmax"])
@pytest.mark.parametrize("dialect", ["TreeEnsembleRegressor", "TreeEnsembleClassifier"])
def test_every_branch_and_post_transform_is_kept(post: Any, dialect: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    trees = decaying(rng, 30, modes=BRANCHES, outputs=3, post=post)
    labels = {"classlabels_int64s": [0, 1, 2]} if dialect.endswith("Classifier") else {}
    bundle = of_node(tmp_path, node_of(trees, dialect, **labels), "multiclass")
    rows = rows_of(rng, 300)
    found = members_of(*bundle, rows)
    for member, count in enumerate(stages(30)):
        part = replace(trees, roots=trees.roots[:count])
        np.testing.assert_allclose(found[:, member], part.scores(part.margins(rows)), atol=2e-6, rtol=1e-6)


def test_operator_set_5_keeps_its_membership_tests(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    trees = decaying(rng, 30, base=np.zeros(1))
    sets = {node: np.unique(rng.integers(0, 30, 3)).astype(np.float32) for node in trees.members}
    trees = replace(trees, members=sets)
    rows = rng.integers(-2, 31, size=(400, 5)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.1] = np.nan
    found = members_of(*of_node(tmp_path, node_of_opset_5(trees), "regression"), rows)
    for member, count in enumerate(stages(30)):
        part = replace(trees, roots=trees.roots[:count])
        np.testing.assert_allclose(found[:, member, None], part.margins(rows), atol=2e-5, rtol=1e-6)


def test_an_average_over_trees_is_a_forest_whatever_they_say(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    trees = decaying(rng, 10, modes=BRANCHES, aggregate="average")
    rows = rows_of(rng, 200)
    found = members_of(*of_node(tmp_path, node_of(trees), "regression"), rows)
    own = trees.leaf_values[trees.leaves(rows)][:, :, 0] + trees.base
    np.testing.assert_allclose(found, own, atol=1e-6, rtol=1e-6)


def test_stages_are_the_same_whatever_order_the_file_has_the_classes_in(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    node = node_of(decaying(rng, 30, modes=BRANCHES, post="softmax"), base_values=None)
    values = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    values |= {"target_ids": [tree % 3 for tree in values["target_treeids"]], "n_targets": 3}
    in_turn = helper.make_node(node.op_type, ["x"], ["y"], domain=node.domain, **values)
    for name in ("nodes_treeids", "target_treeids"):
        values[name] = [tree % 3 * 10 + tree // 3 for tree in values[name]]
    in_blocks = helper.make_node(node.op_type, ["x"], ["y"], domain=node.domain, **values)
    rows = rows_of(rng, 200)
    found = members_of(*of_node(tmp_path, in_turn, "multiclass"), rows)
    assert found.shape == (200, len(stages(10)), 3)
    np.testing.assert_allclose(
        members_of(*of_node(tmp_path, in_blocks, "multiclass"), rows), found, atol=1e-6
    )


def test_doubles_stay_doubles(tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    trees = decaying(rng, 30, modes=BRANCHES, dtype=np.float64)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["wide"], to=onnx.TensorProto.DOUBLE),
            helper.make_node("Add", ["wide", "tiny"], ["near"]),
            _renamed(node_of(trees), "near"),
        ],
        "trees",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, 5])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None, 1])],
        [numpy_helper.from_array(np.array(1e-12), "tiny")],
    )
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 3)]
    bundle = of(tmp_path, helper.make_model(graph, opset_imports=opsets, ir_version=8), "regression")
    rows = rows_of(rng, 300)
    found = members_of(*bundle, rows)
    near = rows.astype(np.float64) + 1e-12
    for member, count in enumerate(stages(30)):
        part = replace(trees, roots=trees.roots[:count])
        np.testing.assert_allclose(found[:, member, None], part.margins(near), atol=2e-6, rtol=1e-6)


@pytest.mark.parametrize("tag", ["credit:gbm-1", "credit:gbm-2", "diabetes:gbr-1", "cancer:xgb-1"])
def test_the_last_member_of_every_demo_boosting_is_what_is_served(
    tag: str, demo_bundle: Callable[[str], Bundle]
) -> None:
    bundle = demo_bundle(tag)
    rows, scores, _ = bundle.calibration()
    found = members_of(bundle.model_path, bundle.spec, bundle.binding, rows)
    assert found.shape[1] == STAGES
    np.testing.assert_allclose(found[:, -1], scores[:, -1], rtol=1e-6, atol=1e-6)
    assert np.ptp(found, axis=1).max() > 0.001


def test_the_members_of_the_demo_forest_agree_on_average_with_what_is_served(
    demo_bundle: Callable[[str], Bundle],
) -> None:
    bundle = demo_bundle("cancer:forest-1")
    rows, scores, _ = bundle.calibration()
    found = members_of(bundle.model_path, bundle.spec, bundle.binding, rows)
    np.testing.assert_allclose(found.mean(axis=1), scores[:, 1], atol=2e-6)


@pytest.mark.parametrize("trees", [3, 10])
def test_a_small_forest_of_values_around_nought_is_a_forest(trees: int, tmp_path: Path) -> None:
    from sklearn.ensemble import RandomForestRegressor

    rows, labels = smooth(12)
    model = RandomForestRegressor(trees, random_state=1, n_jobs=1).fit(rows, labels)
    found = members_of(*of(tmp_path, sklearn_proto(model, "regression"), "regression"), rows)
    own = np.stack([tree.predict(rows) for tree in model.estimators_], axis=1)
    np.testing.assert_allclose(found, own, atol=1e-5)


@pytest.mark.parametrize(("trees", "rate"), [(10, 0.1), (100, 0.02)])
def test_a_slow_boosting_is_a_boosting(trees: int, rate: float, tmp_path: Path) -> None:
    from sklearn.ensemble import GradientBoostingRegressor

    rows, labels = smooth(13)
    model = GradientBoostingRegressor(n_estimators=trees, learning_rate=rate, random_state=0)
    model.fit(rows, labels)
    found = members_of(*of(tmp_path, sklearn_proto(model, "regression"), "regression"), rows)
    np.testing.assert_allclose(found[:, -1], model.predict(rows), atol=1e-5)
    assert found.shape[1] == len(stages(trees))


@pytest.mark.parametrize(
    ("trees", "change", "reason"),
    [
        (1, {}, "one tree"),
        (8, {"aggregate": "max"}, "the max over trees"),
        (8, {"post": "softmax_zero", "outputs": 3}, "its post-transform is softmax_zero"),
    ],
)
def test_what_cannot_be_taken_apart_is_refused_with_the_reason(
    trees: int, change: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(11)
    made = forest(rng, trees=trees, modes=BRANCHES, **change)
    scaled = rng.uniform(0.02, 0.1, made.leaf_values.shape)
    node = node_of(replace(made, leaf_values=scaled, base=np.zeros(made.outputs)))
    bundle = of_node(tmp_path, node, "multiclass" if made.outputs == 3 else "regression")
    with pytest.raises(Unsuitable, match=reason):
        members_graph(*bundle, rows_of(rng, 50))
    assert build_members(*bundle, rows_of(rng, 50)) is None


def test_a_model_without_trees_has_no_members(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    known = of_numbers(tmp_path, LogisticRegression(max_iter=1000), "binary")
    with pytest.raises(Unsuitable, match="it has no trees"):
        members_graph(known.path, known.spec, known.binding, known.rows)


def test_a_file_that_is_no_graph_has_no_members(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no graph")
    spec = ModelSpec("m", "1", "regression", Schema(WIDE, "tensor"))
    with pytest.raises(Unsuitable, match="cannot be followed"):
        members_graph(path, spec, Binding(("x",), "y", "value"), np.zeros((3, 5), np.float32))


@pytest.mark.parametrize("trees", [2, 3, 10, 11, 19, 20, 21, 100, 1001])
def test_stages_go_from_half_of_the_trees_to_all(trees: int) -> None:
    found = stages(trees).tolist()
    assert found[0] == (trees + 1) // 2
    assert found[-1] == trees
    assert found == sorted(set(found))
    assert len(found) == min(STAGES, trees // 2 + 1)


def networks(folder: Path, kind: Task) -> list[tuple[bytes, Any, FeatureBatch]]:
    """Three small networks of the same inputs, as scikit-learn trains them."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    made = []
    for seed in range(3):
        maker = MLPRegressor if kind == "regression" else MLPClassifier
        model = maker(hidden_layer_sizes=(4,), max_iter=20, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            known = of_numbers(folder, model, kind)
        made.append((known.path.read_bytes(), model, known.rows))
    return made


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
def test_several_models_become_one_graph_of_members(kind: Task, tmp_path: Path) -> None:
    parts = networks(tmp_path, kind)
    rows = parts[0][2]
    found = open_session(combine([file for file, _, _ in parts]), CPU).run(None, {"x": rows})[0]
    for member, (_, model, _) in enumerate(parts):
        own = model.predict(rows)[:, None] if kind == "regression" else model.predict_proba(rows)
        np.testing.assert_allclose(found[:, member], own, rtol=1e-4, atol=1e-5)


def test_models_of_words_and_numbers_become_one_graph_of_members(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    def known(strength: float) -> Served:
        linear = LogisticRegression(C=strength, max_iter=2000)
        (tmp_path / str(strength)).mkdir()
        return of_table(tmp_path / str(strength), make_pipeline(encoded_table(), linear), "binary")

    both = [known(1.0), known(0.01)]
    rows = both[0].rows
    found = run(combine([one.path.read_bytes() for one in both]), both[0].spec, both[0].binding, rows)
    np.testing.assert_allclose(found, np.stack([one.model.predict(rows) for one in both], axis=1), atol=1e-6)


def test_models_that_do_not_go_together_are_refused_with_the_reason(tmp_path: Path) -> None:
    (one, *_), (other, *_), _ = networks(tmp_path, "binary")
    renamed, newer = onnx.load_from_string(other), onnx.load_from_string(other)
    renamed.graph.input[0].name = "z"
    for node in renamed.graph.node:
        node.input[:] = ["z" if name == "x" else name for name in node.input]
    for entry in newer.opset_import:
        entry.version += 1 if entry.domain == "" else 0
    labels = onnx.load_from_string(other)
    del labels.graph.output[1]
    for file, reason in {
        b"no graph": "model 2 cannot be read",
        renamed.SerializeToString(): "model 2 does not take the same inputs",
        newer.SerializeToString(): "model 2 is written in operator set",
        labels.SerializeToString(): "model 2 has no output of floating-point numbers",
    }.items():
        with pytest.raises(BundleError, match=reason):
            combine([one, file])
    with pytest.raises(BundleError, match="two members or more"):
        combine([one])


def _attribute(proto: Any, name: str) -> list[Any]:
    (node,) = [node for node in proto.graph.node if node.op_type in OPERATORS]
    return list(next(helper.get_attribute_value(entry) for entry in node.attribute if entry.name == name))


def _renamed(node: NodeProto, source: str) -> NodeProto:
    node.input[0] = source
    return node
