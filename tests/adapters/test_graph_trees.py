"""Tree nodes read from graphs against ONNX Runtime, the only judge of what is served."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, helper

from models.bundle import Bundle
from service.adapters.graphs.trees import OPERATORS, read_trees
from service.domain.explainers.game import Unsuitable
from service.domain.trees import Aggregate, Mode, Post, Rows, TreeEnsemble
from tests.adapters.tree_nodes import answers, node_of, node_of_opset_5
from tests.domain.explainers.forests import forest, rows_of

BRANCHES = [mode for mode in Mode if mode is not Mode.MEMBER]


def agree(node: NodeProto, rows: Rows, atol: float = 2e-6) -> TreeEnsemble:
    """Reads the node and compares its scores of ``rows`` with ONNX Runtime's."""
    trees = read_trees(node)
    found = trees.scores(trees.margins(rows))
    np.testing.assert_allclose(found, answers(node, rows), rtol=1e-6, atol=atol)
    return trees


@pytest.mark.parametrize("mode", BRANCHES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_branch_mode_reads_as_it_is_served(mode: Mode, dtype: Any) -> None:
    rng = np.random.default_rng(int(mode))
    trees = forest(rng, trees=10, modes=[mode], dtype=dtype)
    agree(node_of(trees), rows_of(rng, 500).astype(dtype))


def test_mixed_branch_modes_read_as_they_are_served() -> None:
    rng = np.random.default_rng(20)
    agree(node_of(forest(rng, trees=30, depth=6, modes=BRANCHES)), rows_of(rng, 1000))


def test_rows_would_differ_if_missing_values_went_the_other_way() -> None:
    rng = np.random.default_rng(21)
    trees, rows = forest(rng, trees=10, modes=[Mode.LEQ]), rows_of(rng, 500)
    served = answers(node_of(trees), rows)
    turned = replace(trees, nan_is_true=~trees.nan_is_true)
    assert np.abs(turned.margins(rows) - served).max() > 0.1


@pytest.mark.parametrize("swap", [(Mode.LEQ, Mode.LT), (Mode.GT, Mode.GTE)])
def test_rows_would_differ_if_strict_and_loose_were_mixed_up(swap: tuple[Mode, Mode]) -> None:
    rng = np.random.default_rng(22)
    trees, rows = forest(rng, trees=10, modes=swap[:1]), rows_of(rng, 500)
    mixed_up = replace(trees, modes=np.full_like(trees.modes, swap[1]))
    assert np.abs(mixed_up.margins(rows) - answers(node_of(trees), rows)).max() > 0.1


@pytest.mark.parametrize("aggregate", ["sum", "average", "min", "max"])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("post", ["none", "logistic", "softmax"])
def test_every_aggregate_reads_as_it_is_served(aggregate: Aggregate, outputs: int, post: Post) -> None:
    rng = np.random.default_rng(23)
    trees = forest(rng, modes=BRANCHES, outputs=outputs, aggregate=aggregate, post=post)
    agree(node_of(trees), rows_of(rng, 200))
    agree(node_of(trees, base_values=None), rows_of(rng, 200))


@pytest.mark.parametrize("aggregate", ["SUM", "MIN", "MAX"])
def test_leaves_that_leave_an_output_out_read_as_they_are_served(aggregate: str) -> None:
    rng = np.random.default_rng(24)
    trees, rows = forest(rng, trees=3, depth=3, modes=BRANCHES), rows_of(rng, 200)
    outputs = rng.integers(3, size=len(trees.leaf_values)).tolist()
    some = {"n_targets": 3, "target_ids": outputs, "aggregate_function": aggregate}
    agree(node_of(trees, base_values=None, **some), rows)
    with pytest.raises(Unsuitable, match="whether a base value is added depends on the row"):
        read_trees(node_of(trees, base_values=[0.1, 0.2, 0.3], **some))


def test_a_probit_reads_as_it_is_served_where_it_is_defined() -> None:
    rng = np.random.default_rng(25)
    trees = forest(rng, trees=3, modes=BRANCHES, post="probit")
    trees = replace(trees, leaf_values=rng.uniform(0.1, 0.3, trees.leaf_values.shape), base=np.zeros(1))
    agree(node_of(trees), rows_of(rng, 200), atol=1e-4)


@pytest.mark.parametrize("post", ["none", "logistic", "softmax", "softmax_zero"])
def test_a_multi_class_classifier_reads_as_it_is_served(post: Post) -> None:
    rng = np.random.default_rng(26)
    trees = forest(rng, modes=BRANCHES, outputs=4, post=post)
    agree(node_of(trees, "TreeEnsembleClassifier", classlabels_int64s=[0, 1, 2, 3]), rows_of(rng, 200))


@pytest.mark.parametrize("post", ["none", "logistic", "softmax"])
@pytest.mark.parametrize("base", [None, [0.3]])
def test_two_classes_with_votes_on_both_read_as_they_are_served(post: Post, base: Any) -> None:
    rng = np.random.default_rng(27)
    trees = forest(rng, modes=BRANCHES, outputs=2, post=post)
    node = node_of(trees, "TreeEnsembleClassifier", classlabels_strings=["no", "yes"], base_values=base)
    assert not agree(node, rows_of(rng, 200)).complement


@pytest.mark.parametrize("base", [None, [0.3]])
@pytest.mark.parametrize("positive", [True, False])
def test_two_classes_with_one_logistic_margin_read_as_they_are_served(positive: bool, base: Any) -> None:
    rng = np.random.default_rng(28)
    trees = forest(rng, modes=BRANCHES, post="logistic")
    trees = replace(trees, leaf_values=np.abs(trees.leaf_values)) if positive else trees
    node = node_of(trees, "TreeEnsembleClassifier", classlabels_int64s=[0, 1], base_values=base)
    assert agree(node, rows_of(rng, 200)).complement


@pytest.mark.parametrize("post", ["none", "softmax"])
def test_two_classes_with_one_probability_read_as_they_are_served(post: Post) -> None:
    rng = np.random.default_rng(29)
    trees = forest(rng, trees=4, modes=BRANCHES, post=post)
    trees = replace(trees, leaf_values=rng.uniform(0, 0.25, trees.leaf_values.shape))
    node = node_of(trees, "TreeEnsembleClassifier", classlabels_int64s=[0, 1], base_values=None)
    assert agree(node, rows_of(rng, 200)).complement


@pytest.mark.parametrize("post", ["logistic", "softmax"])
@pytest.mark.parametrize("base", [None, [0.3]])
def test_two_classes_with_votes_on_the_second_alone_read_as_they_are_served(post: Post, base: Any) -> None:
    rng = np.random.default_rng(30)
    trees = forest(rng, modes=BRANCHES, post=post)
    ones = [1] * len(trees.leaf_values)
    agree(
        node_of(trees, "TreeEnsembleClassifier", classlabels_int64s=[0, 1], class_ids=ones, base_values=base),
        rows_of(rng, 200),
    )


@pytest.mark.parametrize("aggregate", ["sum", "average", "min", "max"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_opset_5_reads_as_it_is_served(aggregate: Aggregate, dtype: Any) -> None:
    rng = np.random.default_rng(31)
    trees = forest(rng, trees=20, depth=5, modes=BRANCHES, aggregate=aggregate, dtype=dtype, base=np.zeros(1))
    agree(node_of_opset_5(trees), rows_of(rng, 500).astype(dtype))


def test_opset_5_membership_reads_as_it_is_served() -> None:
    rng = np.random.default_rng(32)
    trees = forest(rng, trees=20, depth=5, base=np.zeros(1))
    sets = {node: np.unique(rng.integers(0, 40, 3)).astype(np.float32) for node in trees.members}
    trees = replace(trees, members=sets)
    rows = rng.integers(-2, 42, size=(500, 5)).astype(
        np.float32
    )  # categories: ONNX Runtime cuts fractions off
    rows[rng.random(rows.shape) < 0.1] = np.nan
    agree(node_of_opset_5(trees), rows)


def test_opset_5_trees_of_one_leaf_read_as_they_are_served() -> None:
    trees = forest(np.random.default_rng(33), trees=2, depth=1, modes=[Mode.LEQ], base=np.zeros(1))
    lone = replace(trees, if_false=trees.if_true)
    assert agree(node_of_opset_5(lone), np.zeros((2, 5), np.float32)).roots.tolist() == [~0, ~2]


@pytest.mark.parametrize("tracks", [[0, 0, 0], [1, 1, 1]])
def test_a_chain_of_equalities_with_one_true_child_is_read_as_one_membership_test(tracks: list[int]) -> None:
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=[0] * 6,
        nodes_nodeids=[0, 1, 2, 3, 4, 5],
        nodes_featureids=[0, 0, 0, 1, 0, 0],
        nodes_modes=["BRANCH_EQ", "BRANCH_EQ", "BRANCH_EQ", "BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_values=[1.0, 4.0, 2.0, 0.5, 0.0, 0.0],
        nodes_truenodeids=[3, 3, 3, 4, 0, 0],
        nodes_falsenodeids=[1, 2, 5, 5, 0, 0],
        nodes_missing_value_tracks_true=[*tracks, 0, 0, 0],
        target_treeids=[0, 0],
        target_nodeids=[4, 5],
        target_ids=[0, 0],
        target_weights=[1.0, 2.0],
    )
    with pytest.raises(Unsuitable, match="do not form trees"):  # leaf 5 has two parents as it stands
        read_trees(node)
    values = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    for name, more in {
        "nodes_treeids": 0,
        "nodes_nodeids": 6,
        "nodes_featureids": 0,
        "nodes_modes": b"LEAF",
        "nodes_values": 0.0,
        "nodes_truenodeids": 0,
        "nodes_falsenodeids": 0,
        "nodes_missing_value_tracks_true": 0,
        "target_treeids": 0,
        "target_nodeids": 6,
        "target_ids": 0,
        "target_weights": 3.0,
    }.items():
        values[name] = [*values[name], more]
    values["nodes_falsenodeids"][2] = 6
    whole = helper.make_node(node.op_type, ["x"], ["y"], domain=node.domain, **values)
    first = np.repeat([-1, 0, 1, 1.5, 2, 3, 4, 5, np.nan], 2).astype(np.float32)
    rows = np.column_stack([first, np.tile([0, 1], 9)]).astype(np.float32)
    trees = agree(whole, rows)
    assert trees.modes.tolist() == [Mode.MEMBER, Mode.LEQ]
    assert sorted(trees.members[0].tolist()) == [1, 2, 4]
    values["nodes_missing_value_tracks_true"][1] = 1 - tracks[1]
    with pytest.raises(Unsuitable, match="sends missing values both ways"):
        read_trees(helper.make_node(node.op_type, ["x"], ["y"], domain=node.domain, **values))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"nodes_falsenodeids": [1, 0, 0]}, "do not form trees"),
        ({"nodes_truenodeids": [0, 0, 0]}, "do not form trees"),
        ({"nodes_truenodeids": [7, 0, 0]}, "cannot be read"),
        ({"nodes_modes": ["BRANCH_ODD", "LEAF", "LEAF"]}, "not known: BRANCH_ODD"),
        ({"target_nodeids": [0, 2]}, "a node that is no leaf"),
        ({"target_ids": [0, 5]}, "cannot be read"),
        ({"nodes_nodeids": [0, 1, 1]}, "not numbered one by one"),
        ({"base_values": [1.0, 2.0]}, "2 base values for 1 outputs"),
        ({"post_transform": "CUBE"}, "'cube' is not known"),
        ({"aggregate_function": "MODE"}, "'mode' is not known"),
        ({"n_targets": None}, "cannot be read"),
    ],
)
def test_a_node_that_contradicts_itself_is_refused_with_the_reason(change: Any, reason: str) -> None:
    trees = forest(np.random.default_rng(1), trees=1, depth=1, modes=[Mode.LEQ])
    with pytest.raises(Unsuitable, match=reason):
        read_trees(node_of(trees, **change))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"base_values": [0.1, 0.2]}, "two base values for two classes"),
        ({"post_transform": "NONE"}, "one margin becomes no probabilities"),
        ({"class_ids": [0, 1]}, "depends on the row"),
        ({"classlabels_int64s": [1]}, "fewer than two classes"),
    ],
)
def test_two_classes_without_a_clear_reading_are_refused(change: Any, reason: str) -> None:
    trees = forest(np.random.default_rng(1), trees=1, depth=1, modes=[Mode.LEQ], post="logistic")
    trees = replace(trees, leaf_values=np.array([[-1.0], [1.0]]))
    labels = {"classlabels_int64s": [0, 1], **change}
    with pytest.raises(Unsuitable, match=reason):
        read_trees(node_of(trees, "TreeEnsembleClassifier", **labels))


def test_another_node_holds_no_trees() -> None:
    with pytest.raises(Unsuitable, match="a Relu node holds no trees"):
        read_trees(helper.make_node("Relu", ["x"], ["y"]))


def _data(rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    rows = rows_of(rng, 600)
    rows[:, 4] = rng.integers(0, 6, len(rows))
    filled = np.nan_to_num(rows)
    return rows, filled[:, 0] * filled[:, 1] + np.isin(filled[:, 4], [1, 3]) + rng.normal(0, 0.1, len(rows))


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
def test_lightgbm_with_categories_and_missing_values_reads_as_it_is_served(kind: str) -> None:
    import lightgbm
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    rows, target = _data(np.random.default_rng(40))
    labels = target if kind == "regression" else np.digitize(target, [0.5] if kind == "binary" else [0, 1])
    settings = {"objective": kind, "num_leaves": 9, "min_data_in_leaf": 5, "verbosity": -1, "num_threads": 1}
    settings |= {"num_class": 3} if kind == "multiclass" else {}
    model = lightgbm.train(settings, lightgbm.Dataset(rows, labels, categorical_feature=[4]), 15)
    proto = onnxmltools.convert_lightgbm(
        model, initial_types=[("x", FloatTensorType([None, 5]))], target_opset=15, zipmap=False
    )
    trees = agree(_tree_node(proto), rows)
    assert Mode.MEMBER in trees.modes or Mode.EQ in trees.modes


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
def test_xgboost_reads_as_it_is_served(kind: str) -> None:
    import onnxmltools
    import xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    rows, target = _data(np.random.default_rng(41))
    labels = target if kind == "regression" else np.digitize(target, [0.5] if kind == "binary" else [0, 1])
    make = xgboost.XGBRegressor if kind == "regression" else xgboost.XGBClassifier
    model = make(n_estimators=15, max_depth=4, n_jobs=1, random_state=0).fit(rows, labels)
    proto = onnxmltools.convert_xgboost(
        model, initial_types=[("x", FloatTensorType([None, 5]))], target_opset=15
    )
    trees = agree(_tree_node(proto), rows)
    assert set(trees.modes.tolist()) == {Mode.LT}


@pytest.mark.parametrize("maker", ["boosting", "forest"])
@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
def test_scikit_learn_reads_as_it_is_served(maker: str, kind: str) -> None:
    import skl2onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn import ensemble

    rows, target = _data(np.random.default_rng(42))
    rows = np.nan_to_num(rows)
    labels = target if kind == "regression" else np.digitize(target, [0.5] if kind == "binary" else [0, 1])
    names = {"boosting": "GradientBoosting", "forest": "RandomForest"}
    ending = "Regressor" if kind == "regression" else "Classifier"
    model = getattr(ensemble, names[maker] + ending)(max_depth=4, random_state=0, n_estimators=10)
    proto = skl2onnx.convert_sklearn(
        model.fit(rows, labels),
        initial_types=[("x", FloatTensorType([None, 5]))],
        target_opset={"": 15, "ai.onnx.ml": 3},
        options=None if kind == "regression" else {"zipmap": False},
    )
    agree(_tree_node(proto), rows)


@pytest.mark.parametrize(
    "tag", ["credit:gbm-1", "credit:gbm-2", "diabetes:gbr-1", "cancer:xgb-1", "cancer:forest-1"]
)
def test_every_demo_model_of_trees_reads_as_it_is_served(
    tag: str, demo_bundle: Callable[[str], Bundle]
) -> None:
    bundle = demo_bundle(tag)
    rows = np.concatenate([bundle.background(), bundle.calibration()[0]])
    agree(_tree_node(onnx.load(bundle.model_path)), rows, atol=1e-6 if bundle.spec.classes else 2e-4)


def _tree_node(proto: Any) -> NodeProto:
    """The graph's tree node, with its scores called y and its input x."""
    (node,) = [node for node in proto.graph.node if node.op_type in OPERATORS]
    node.input[0] = "x"
    node.output[len(node.output) - 1] = "y"
    return node
