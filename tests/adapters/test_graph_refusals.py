"""Graphs that cannot be taken apart are refused with the reason; what was read is checked by numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import NodeProto
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from service.adapters.graphs.encoder import check_columns
from service.adapters.graphs.structure import check_scores, structure_of
from service.domain.explainers.game import Linear, Unsuitable
from service.domain.schema import FeatureBatch
from tests.adapters.pipelines import encoded_table, number_rows, of_table, table_rows
from tests.adapters.written import ONE, B, W, node, softmax_of_a_product, written

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # any weights


def test_an_operator_that_is_not_known_is_named(tmp_path: Path) -> None:
    nodes = [node("CumSum", "x axis", "c"), node("Gemm", "c w b", "z"), node("Softmax", "z", "y")]
    with pytest.raises(Unsuitable, match="what the graph's CumSum does to columns is not known"):
        written(tmp_path, nodes, {"axis": np.array(1), "w": W, "b": B}).structure()


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([node("Softmax", "x", "y")], "answers its own input"),
        ([node("Gemm", "x w b", "z"), node("Sigmoid", "z", "s"), node("Softmax", "s", "y")], "changed again"),
        ([node("Gemm", "x w b", "z"), node("Sigmoid", "z", "s"), node("Mul", "s b", "y")], "changed again"),
        ([node("Gemm", "x w b", "z"), node("Relu", "z", "y")], "Relu, not from trees or weights"),
        ([node("Gemm", "x w b", "y")], "not probabilities made by a sigmoid or a softmax"),
        ([node("ReduceMean", "x", "r", axes=[0]), node("Sub", "x r", "c"), node("Gemm", "c w b", "z"),
          node("Softmax", "z", "y")], "ReduceMean makes one number of several"),
    ],
)  # fmt: skip
def test_scores_that_are_made_otherwise_are_refused(
    nodes: list[NodeProto], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(Unsuitable, match=reason):
        written(tmp_path, nodes, {"w": W, "b": B}).structure()


def test_a_file_that_is_no_graph_is_refused_rather_than_raised(tmp_path: Path) -> None:
    served = softmax_of_a_product(tmp_path)
    (tmp_path / "other.onnx").write_bytes(b"no graph")
    served.model.predict(served.rows)
    broken = replace(served, path=tmp_path / "other.onnx")
    with pytest.raises(Unsuitable, match="cannot be followed"):
        structure_of(broken.path, served.spec, served.binding, served.model.predict, served.rows)


def test_columns_that_are_wrong_are_found_by_shuffling(tmp_path: Path) -> None:
    structure = of_table(tmp_path, make_pipeline(encoded_table(), LogisticRegression()), "binary").structure()
    check_columns(structure.encode, structure.sources, table_rows(40))
    for place in range(len(structure.sources)):
        wrong = structure.sources.copy()
        wrong[place] = (wrong[place] + 1) % 5
        with pytest.raises(Unsuitable, match="which is of another"):
            check_columns(structure.encode, wrong, table_rows(40))


def test_rows_that_touch_each_other_are_found() -> None:
    def from_the_average(rows: FeatureBatch) -> NDArray[Any]:
        return rows - rows.mean(axis=0)

    with pytest.raises(Unsuitable, match="otherwise alone than among others"):
        check_columns(from_the_average, np.arange(3), number_rows(20))


def test_rows_that_change_places_are_found(tmp_path: Path) -> None:
    nodes = [
        node("Slice", "x from to axis step", "turned"),
        node("Gemm", "turned w b", "z"),
        node("Softmax", "z", "y"),
    ]
    ends = {"from": np.array([-1]), "to": np.array([-(2**31)]), "axis": np.array([0]), "step": np.array([-1])}
    with pytest.raises(Unsuitable, match="mixes rows"):
        written(tmp_path, nodes, {**ends, "w": W, "b": B}).structure()


def test_a_column_that_matters_only_where_it_is_missing_is_found(tmp_path: Path) -> None:
    """Nothing seems to be left of a column times 0, but of NaN there is."""
    nodes = [
        node("Gather", "x second", "b_alone", axis=1),
        node("Mul", "b_alone zero", "nothing"),
        node("IsNaN", "nothing", "missing"),
        node("Where", "missing zero x", "f"),
        node("Gemm", "f w b", "z"),
        node("Softmax", "z", "y"),
    ]
    served = written(tmp_path, nodes, {"second": np.array([1]), "zero": 0 * ONE, "w": W, "b": B})
    assert served.structure().sources.tolist() == [0, 1, 2]
    rows = served.rows.copy()
    rows[::4, 1] = np.nan
    with pytest.raises(Unsuitable, match="column 1 changes the encoded column 0, which is of another"):
        replace(served, rows=rows).structure()


def test_weights_that_are_not_the_served_ones_are_found(tmp_path: Path) -> None:
    served = softmax_of_a_product(tmp_path)
    structure = served.structure()
    assert isinstance(structure.head, Linear)
    check_scores(structure, served.spec, served.model.predict, served.rows)
    off = replace(structure.head, weights=structure.head.weights + 1e-3)
    with pytest.raises(Unsuitable, match=r"differ by .* from those served"):
        check_scores(replace(structure, head=off), served.spec, served.model.predict, served.rows)


def test_a_normaliser_that_changes_probabilities_is_found(tmp_path: Path) -> None:
    one_against_rest = node(
        "LinearClassifier",
        "x",
        "label scores",
        coefficients=[*W[:, 0].tolist(), *W[:, 1].tolist(), 0.3, 0.2, 0.1],
        intercepts=[0.0, 0.1, 0.2],
        classlabels_ints=[0, 1, 2],
        post_transform="LOGISTIC",
        multi_class=1,
    )
    nodes = [one_against_rest, node("LpNormalization", "scores", "y", axis=1, p=1)]
    with pytest.raises(Unsuitable, match=r"differ by .* from those served"):
        written(tmp_path, nodes, {}, task="multiclass").structure()
