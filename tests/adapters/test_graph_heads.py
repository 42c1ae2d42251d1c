"""Heads are read however they are written: plain products, decomposed sigmoids, what follows trees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, helper

from service.domain.explainers.game import Ask
from service.domain.explainers.linear_exact import LINEAR_EXACT
from service.domain.trees import TreeEnsemble
from tests.adapters.pipelines import assert_exact, number_rows
from tests.adapters.written import FLOAT, INT64, ONE, B, W, node, written
from tests.domain.explainers.games import NEVER

WRITTEN: dict[str, tuple[list[NodeProto], dict[str, Any], str, Any]] = {
    "gemm and softmax": (
        [node("Gemm", "x w b", "z"), node("Softmax", "z", "y")],
        {"w": W, "b": B},
        "probabilities",
        "binary",
    ),
    "gemm with its weights turned, scaled": (
        [node("Gemm", "x w b", "z", transB=1, alpha=0.5, beta=2.0), node("Softmax", "z", "y", axis=1)],
        {"w": W.T.copy(), "b": B},
        "probabilities",
        "binary",
    ),
    "product, bias and sigmoid": (
        [node("MatMul", "x w", "m"), node("Add", "b m", "z"), node("Sigmoid", "z", "y")],
        {"w": W[:, :1], "b": B[:1]},
        "positive_probability",
        "binary",
    ),
    "normalised batches before a vector's product": (
        [
            node("BatchNormalization", "x s o mean var", "n"),
            node("MatMul", "n w", "m"),
            node("Sigmoid", "m", "y"),
        ],
        {
            "s": np.float32([1, 2, 3]),
            "o": np.float32([0, 1, 0]),
            "mean": np.float32([0.5, 0, 0]),
            "var": np.float32([1, 2, 1]),
            "w": W[:, 0],
        },
        "positive_probability",
        "binary",
    ),
    "sigmoid written out, both classes": (
        [
            node("MatMul", "x w", "m"),
            node("Sub", "m b", "z"),
            node("Neg", "z", "negative"),
            node("Exp", "negative", "e"),
            node("Add", "one e", "sum"),
            node("Div", "one sum", "p"),
            node("Sub", "one p", "q"),
            node("Concat", "q p", "y", axis=1),
        ],
        {"w": W[:, :1], "b": B[:1], "one": ONE},
        "probabilities",
        "binary",
    ),
    "temperature": (
        [
            node("MatMul", "x w", "m"),
            node("Add", "m b", "s"),
            node("Div", "s t", "z"),
            node("Softmax", "z", "y"),
        ],
        {"w": W, "b": B, "t": np.float32(2.5)},
        "probabilities",
        "binary",
    ),
    "standardised target": (
        [
            node("MatMul", "x w", "m"),
            node("Mul", "s m", "scaled"),
            node("Sub", "b scaled", "z"),
            node("Reshape", "z shape", "y"),
        ],
        {"w": W[:, :1], "b": B[:1], "s": np.float32(40), "shape": np.array([-1, 1])},
        "value",
        "regression",
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_plain_products_are_read_however_they_are_written(name: str, tmp_path: Path) -> None:
    nodes, constants, kind, task = WRITTEN[name]
    assert_exact(written(tmp_path, nodes, constants, kind, task), number_rows(3, seed=2) / 10)


def test_equal_answers_have_equal_reasons_however_a_softmax_is_parameterised(tmp_path: Path) -> None:
    nodes = [node("Gemm", "x w b", "z"), node("Softmax", "z", "y")]
    weights, biases = np.column_stack([W, W.sum(axis=1)]), np.float32([0.1, -0.4, 0.2])
    common = np.float32([[0.5], [-0.25], [1]])
    found = []
    for number, added in enumerate((0, common)):
        folder = tmp_path / str(number)
        folder.mkdir()
        served = written(folder, nodes, {"w": weights + added, "b": biases + number}, task="multiclass")
        found.append(LINEAR_EXACT.build(served.subject())(served.rows[:5], Ask(label=2), NEVER))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one.values, other.values, atol=1e-6)
        assert one.base_value == pytest.approx(other.base_value, abs=1e-6)


STUMP: dict[str, Any] = {
    "nodes_treeids": [0, 0, 0],
    "nodes_nodeids": [0, 1, 2],
    "nodes_featureids": [1, 0, 0],
    "nodes_values": [0.2, 0.0, 0.0],
    "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
    "nodes_truenodeids": [1, 0, 0],
    "nodes_falsenodeids": [2, 0, 0],
    "target_treeids": [0, 0],
    "target_nodeids": [1, 2],
    "target_ids": [0, 0],
    "target_weights": [-0.5, 1.5],
    "n_targets": 1,
}
TREE_TAILS: dict[str, tuple[list[NodeProto], str, Any]] = {
    "a value scaled and shifted": (
        [node("Add", "t b", "s"), node("Mul", "s two", "y")],
        "value",
        "regression",
    ),
    "a sigmoid of the sum": (
        [node("Add", "t b", "z"), node("Sigmoid", "z", "y")],
        "positive_probability",
        "binary",
    ),
    "both classes of a sigmoid": (
        [node("Sigmoid", "t", "p"), node("Sub", "one p", "q"), node("Concat", "q p", "y", axis=1)],
        "probabilities",
        "binary",
    ),
}


@pytest.mark.parametrize("name", TREE_TAILS)
def test_what_happens_to_the_sum_of_trees_belongs_to_the_head(name: str, tmp_path: Path) -> None:
    tail, kind, task = TREE_TAILS[name]
    trees = helper.make_node("TreeEnsembleRegressor", ["x"], ["t"], domain="ai.onnx.ml", **STUMP)
    served = written(tmp_path, [trees, *tail], {"b": B[:1], "two": 2 * ONE, "one": ONE}, kind, task)
    head = served.structure().head
    assert isinstance(head, TreeEnsemble)
    np.testing.assert_allclose(
        head.scores(head.margins(served.rows)), served.model.predict(served.rows), atol=1e-6
    )


def test_numbers_that_are_cut_to_whole_ones_are_encoded(tmp_path: Path) -> None:
    nodes = [
        node("Cast", "x", "whole", to=INT64),
        node("Cast", "whole", "f", to=FLOAT),
        node("Gemm", "f w b", "z"),
        node("Softmax", "z", "y"),
    ]
    served = written(tmp_path, nodes, {"w": W / 4, "b": B})
    served = replace(served, rows=3 * served.rows)
    assert_exact(served, served.rows[:3])


def test_an_image_model_of_one_layer_is_read_without_an_encoder(tmp_path: Path) -> None:
    nodes = [node("Flatten", "x", "f"), node("Gemm", "f w b", "z"), node("Softmax", "z", "y")]
    served = written(tmp_path, nodes, {"w": W, "b": B}, shape=(1, 3, 1))
    assert served.structure().encode(served.rows) is served.rows
    assert_exact(served, served.rows[:2])


def test_columns_may_be_turned_around_and_left_out(tmp_path: Path) -> None:
    nodes = [node("Gather", "x pick", "g", axis=1), node("Gemm", "g w b", "z"), node("Softmax", "z", "y")]
    served = written(tmp_path, nodes, {"pick": np.array([2, 0]), "w": W[:2], "b": B})
    assert served.structure().sources.tolist() == [2, 0]
    assert_exact(served, served.rows[:3])


def test_what_is_missing_may_be_a_column_of_its_own(tmp_path: Path) -> None:
    nodes = [
        node("IsNaN", "x", "missing"),
        node("Where", "missing fill x", "filled"),
        node("Cast", "missing", "flags", to=FLOAT),
        node("Concat", "filled flags", "all", axis=1),
        node("MatMul", "all w", "z"),
        node("Softmax", "z", "y"),
    ]
    served = written(tmp_path, nodes, {"fill": np.float32([1, 2, 3]), "w": np.concatenate([W, 2 * W[::-1]])})
    rows = served.rows.copy()
    rows[::3, 1] = np.nan
    served = replace(served, rows=rows)
    assert served.structure().sources.tolist() == [0, 1, 2, 0, 1, 2]
    assert_exact(served, rows[:4])
