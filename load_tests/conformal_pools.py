"""Rows that no model was trained on, with what models answered for them.

Loan applications under the demo's production model, through its served graph; handwritten digits and the
progress of diabetes, which ship with scikit-learn, under models that are trained here on half of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from load_tests import bundles
from models.bundle import open_bundle
from models.canonical import canonical_rows, label_rows
from models.demo import credit
from service.adapters.onnx import OnnxModel
from service.domain.schema import Feature, FeatureBatch, ModelSpec, Schema, Task
from service.domain.uncertainty.measure import Graph, Material

QUANTILES = (0.05, 0.95)


def pools(home: Path) -> dict[str, Material]:
    """Every pool by name; ``home`` is a model store that holds the demo's bundles."""
    return {"credit": credit_pool(home), "digits": digits_pool(), "diabetes": diabetes_pool()}


def credit_pool(home: Path) -> Material:
    """Calibration rows and held-out rows of ``credit:gbm-1``, about 1,760."""
    bundle = open_bundle(bundles.locate(home, bundles.CREDIT))
    model = OnnxModel(bundle.model_path, bundle.spec, bundle.binding, providers=("CPUExecutionProvider",))
    known, _, labels = bundle.calibration()
    table = credit.table("held_out")
    rows = np.concatenate([known, canonical_rows(bundle.spec.schema, table)])
    truth = np.concatenate([labels, label_rows(bundle.spec, table[credit.TARGET])])
    return Material(bundle.spec, rows, model.predict(rows), truth, bundle.background())


def digits_pool() -> Material:
    """899 digits under a perceptron with one hidden layer."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    rows, labels = load_digits(return_X_y=True)
    rows = (rows / 16).astype(np.float32)
    mine, others = _halves(len(rows))
    model = MLPClassifier((48,), max_iter=200, random_state=1, early_stopping=True)
    model.fit(rows[mine], labels[mine])
    spec = _spec("digits", rows.shape[1], tuple("0123456789"))
    scores = model.predict_proba(rows[others]).astype(np.float32)
    return Material(spec, rows[others], scores, labels[others].astype(np.intp), rows[mine])


def diabetes_pool() -> Material:
    """221 patients under a random forest; its trees are the members, two boostings give the quantiles."""
    from sklearn.datasets import load_diabetes
    from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor

    rows, values = load_diabetes(return_X_y=True, scaled=False)
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    mine, others = _halves(len(rows))
    forest = RandomForestRegressor(200, min_samples_leaf=5, random_state=1).fit(rows[mine], values[mine])
    boosted = [
        GradientBoostingRegressor(loss="quantile", alpha=share, n_estimators=60, max_depth=2, random_state=1)
        for share in QUANTILES
    ]
    for boosting in boosted:
        boosting.fit(rows[mine], values[mine])
    known = rows[others]
    answers: Mapping[Graph, NDArray[np.float64]] = {
        "members": np.stack([tree.predict(known) for tree in forest.estimators_], axis=1)[:, :, None],
        "quantiles": np.stack([boosting.predict(known) for boosting in boosted], axis=1),
    }
    places = {row.tobytes(): place for place, row in enumerate(known)}

    def run(graph: Graph, asked: FeatureBatch) -> NDArray[np.floating[Any]]:
        return answers[graph][[places[row.tobytes()] for row in asked]]

    scores = forest.predict(known)[:, None].astype(np.float32)
    spec = _spec("diabetes", rows.shape[1], ())
    return Material(spec, known, scores, values[others], rows[mine], frozenset(answers), run)


def _halves(count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    order = np.random.default_rng(0).permutation(count)
    return order[: count // 2], order[count // 2 :]


def _spec(name: str, width: int, classes: tuple[str, ...]) -> ModelSpec:
    features = tuple(Feature(f"column {number}", "float") for number in range(width))
    task: Task = "multiclass" if classes else "regression"
    return ModelSpec(name, "1", task, Schema(features, "tensor"), classes)
