"""Graphs are taken apart: pipelines are explained in the caller's columns, and what cannot be is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    Binarizer,
    KBinsDiscretizer,
    MinMaxScaler,
    Normalizer,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    StandardScaler,
)

from models.bundle import Bundle
from service.adapters.onnx import OnnxModel
from service.domain.explainers.game import Ask, Unsuitable
from service.domain.explainers.linear_exact import LINEAR_EXACT
from service.domain.schema import FeatureBatch
from service.domain.trees import TreeEnsemble
from tests.adapters import pipelines
from tests.adapters.pipelines import (
    CPU,
    Served,
    assert_exact,
    encoded_table,
    number_rows,
    of_numbers,
    of_table,
    served_margins,
    table_rows,
)
from tests.domain.explainers.games import NEVER, enumerated

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"
)  # any weights will do

SGD = {"loss": "log_loss", "alpha": 1.0, "random_state": 0}
OF_TABLE: dict[str, Callable[[], Any]] = {
    "logistic": LogisticRegression,
    "sgd": lambda: SGDClassifier(**SGD),
    "ridge": Ridge,
}
OF_NUMBERS: dict[str, Callable[[], Any]] = {
    "least squares": LinearRegression,
    "scaled to a range, then over a limit or not": lambda: make_pipeline(
        MinMaxScaler(), Binarizer(threshold=0.4)
    ),
    "binned": lambda: KBinsDiscretizer(4, encode="onehot-dense", quantile_method="averaged_inverted_cdf"),
    "power": PowerTransformer,
    "quantiles": lambda: QuantileTransformer(n_quantiles=20),
    "scaled twice, side by side": lambda: make_union(StandardScaler(), MinMaxScaler()),
}
MIXING: dict[str, tuple[Callable[[], Any], str]] = {
    "principal components": (lambda: PCA(2), "MatMul makes one number of several columns"),
    "rows of length one": (Normalizer, "Normalizer makes one number of several columns"),
    "products of columns": (lambda: PolynomialFeatures(2), "makes one number of several columns"),
}
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


@pytest.mark.parametrize("name", OF_TABLE)
def test_a_linear_pipeline_is_explained_exactly_in_raw_columns(name: str, tmp_path: Path) -> None:
    task: Any = "regression" if name == "ridge" else "binary"
    served = of_table(tmp_path, make_pipeline(encoded_table(), OF_TABLE[name]()), task)
    assert_exact(served, table_rows(4, seed=5))


@pytest.mark.parametrize("name", OF_NUMBERS)
def test_encoders_of_single_columns_are_followed(name: str, tmp_path: Path) -> None:
    first = OF_NUMBERS[name]()
    whole = hasattr(first, "predict")
    model = first if whole else make_pipeline(first, LogisticRegression())
    served = of_numbers(tmp_path, model, "regression" if whole else "binary")
    assert_exact(served, number_rows(4, seed=5))


def test_every_category_of_a_word_is_of_its_column(tmp_path: Path) -> None:
    served = of_table(tmp_path, make_pipeline(encoded_table(), LogisticRegression()), "binary")
    assert served.structure().sources.tolist() == [1, 1, 1, 1, 2, 2, 2, 3, 4, 0]


def test_columns_are_known_even_of_categories_that_no_row_has(tmp_path: Path) -> None:
    served = of_table(tmp_path, make_pipeline(encoded_table(), LogisticRegression()), "binary")
    renters = served.rows[served.rows[:, 1] == 0]
    assert replace(served, rows=renters).structure().sources.tolist() == [1, 1, 1, 1, 2, 2, 2, 3, 4, 0]


def test_encoding_does_what_the_fitted_pipeline_does(tmp_path: Path) -> None:
    model = make_pipeline(encoded_table(), LogisticRegression())
    structure, rows = of_table(tmp_path, model, "binary").structure(), table_rows(50, seed=9)
    np.testing.assert_allclose(structure.encode(rows), model[0].transform(pipelines.frame(rows)), atol=1e-6)


def test_each_class_of_a_softmax_has_its_own_reasons(tmp_path: Path) -> None:
    served = of_table(tmp_path, make_pipeline(encoded_table(), LogisticRegression()), "multiclass")
    subject, rows = served.subject(background=10), table_rows(2, seed=5)
    explainer = LINEAR_EXACT.build(subject)

    def centred(label: int) -> Callable[[FeatureBatch], NDArray[np.float64]]:
        def values(rows: FeatureBatch) -> NDArray[np.float64]:
            logs = np.log(served.model.predict(rows).astype(np.float64))
            return np.asarray(logs[:, label] - logs.mean(axis=1))

        return values

    for label in range(3):
        for row, explanation in zip(rows, explainer(rows, Ask(label=label), NEVER), strict=True):
            truth = enumerated(subject, row, centred(label))
            np.testing.assert_allclose(explanation.values, truth, atol=2e-5)
            assert explanation.additivity_gap is not None
            assert explanation.additivity_gap < 1e-6


@pytest.mark.parametrize(
    ("model", "task"),
    [
        (GradientBoostingClassifier(n_estimators=20, random_state=0), "binary"),
        (GradientBoostingClassifier(n_estimators=8, random_state=0), "multiclass"),
        (GradientBoostingRegressor(n_estimators=20, random_state=0), "regression"),
        (RandomForestClassifier(10, max_depth=4, random_state=0), "binary"),
    ],
)
@pytest.mark.parametrize("words", [None, OrdinalEncoder()], ids=["one-hot", "ordinal"])
def test_trees_behind_encoders_are_read_with_the_columns_they_split(
    model: Any, task: Any, words: Any, tmp_path: Path
) -> None:
    served = of_table(tmp_path, make_pipeline(encoded_table(words), model), task)
    structure, rows = served.structure(), table_rows(200, seed=7)
    head = structure.head
    assert isinstance(head, TreeEnsemble)
    assert structure.sources.tolist() == ([1, 2] if words else [1, 1, 1, 1, 2, 2, 2]) + [3, 4, 0]
    own = head.scores(head.margins(structure.encode(rows)))
    np.testing.assert_allclose(own, served.model.predict(rows), atol=1e-5)


def test_the_demo_pipeline_is_explained_in_its_raw_columns(demo_bundle: Callable[[str], Bundle]) -> None:
    bundle = demo_bundle("credit:linear-1")
    model = OnnxModel(bundle.model_path, bundle.spec, bundle.binding, providers=CPU)
    served = Served(bundle.model_path, bundle.spec, bundle.binding, bundle.background())
    subject, golden = served.subject(background=1000), bundle.golden()[0][:5]
    explainer = LINEAR_EXACT.build(subject)
    explanations = explainer.explain_scored(golden, model.predict(golden), Ask())
    home = subject.players.names.index("Home")
    renting = golden.copy()
    renting[:, home] = bundle.spec.schema.features[home].categories.index("rent")
    moved = explainer(renting, Ask(), NEVER)
    change = served_margins(served)(renting) - served_margins(served)(golden)
    for before, after, by in zip(explanations, moved, change, strict=True):
        assert len(before.values) == len(bundle.spec.schema.features) == 13
        assert before.additivity_gap is not None
        assert before.additivity_gap < 1e-6
        differs = np.flatnonzero(np.abs(after.values - before.values) > 1e-9)
        assert set(differs) <= {home}
        assert after.values[home] - before.values[home] == pytest.approx(by, abs=1e-5)


@pytest.mark.parametrize(
    "tag", ["credit:gbm-1", "credit:gbm-2", "cancer:xgb-1", "cancer:forest-1", "diabetes:gbr-1"]
)
def test_encoding_costs_nothing_where_trees_read_the_columns_themselves(
    tag: str, demo_bundle: Callable[[str], Bundle]
) -> None:
    bundle = demo_bundle(tag)
    structure = Served(bundle.model_path, bundle.spec, bundle.binding, bundle.background()).structure()
    rows = bundle.background()
    assert structure.encode(rows) is rows
    assert structure.sources.tolist() == list(range(bundle.spec.schema.width))


@pytest.mark.parametrize("name", MIXING)
def test_an_encoder_that_mixes_columns_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    first, reason = MIXING[name]
    model = make_pipeline(StandardScaler(), first(), LogisticRegression())
    with pytest.raises(Unsuitable, match=reason):
        of_numbers(tmp_path, model, "binary").structure()


@pytest.mark.parametrize(
    ("model", "task", "reason"),
    [
        (MLPClassifier((4,), max_iter=20, random_state=0), "binary", "MatMul makes one number of several"),
        (PoissonRegressor(), "regression", "Exp, not from trees or weights"),
        (CalibratedClassifierCV(LogisticRegression(), cv=2), "binary", "Sum, not from trees or weights"),
        (OneVsRestClassifier(LogisticRegression()), "multiclass", "Concat of several models' answers"),
    ],
)
def test_a_model_of_another_kind_is_refused_with_the_reason(
    model: Any, task: Any, reason: str, tmp_path: Path
) -> None:
    served = of_numbers(tmp_path, make_pipeline(StandardScaler(), model), task)
    with pytest.raises(Unsuitable, match=reason):
        served.structure()
