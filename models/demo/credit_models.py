"""The credit models: a boosted production model, its retrained candidate, and a linear pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.canonical import Labels, canonical_rows, label_rows
from models.compared import SliceEntry
from models.demo import credit, measures
from models.demo.recipe import GOLDEN_ROWS, OPSETS, Trained, serialised, training_note
from models.manifest import FeatureEntry, InputEntry, Manifest, OutputEntry
from models.packaging import Material, golden_choice
from service.domain.schema import FeatureBatch, FeatureType, ModelSpec

DATA = "credit_data, 4,454 loan applications (modeldata, MIT)"
WATCHED = (("Home", "rent"), ("Home", "owner"), ("Job", "freelance"), ("Job", "fixed"), ("Records", "yes"))
SLICES = (
    *(SliceEntry(name=f"{column}={value}", column=column, value=value) for column, value in WATCHED),
    SliceEntry(name="Age<25", column="Age", range=(None, 25)),
    SliceEntry(name="Income missing", column="Income", missing=True),
    SliceEntry(name="newcomers", where="Seniority < 2 and Home not in ('owner', 'parents')"),
)
"""One of each kind: a value, a range, missing values, and a condition on two columns."""
INTEGERS = frozenset({"Seniority", "Time", "Age"})
"""Counted in whole years and months; sums of money may have decimals in a request."""


def gbm_1() -> Trained:
    """LightGBM with native categorical features and missing values."""
    settings = {
        "learning_rate": 0.04,
        "num_leaves": 15,
        "min_data_in_leaf": 20,
        "lambda_l2": 5.0,
        "cat_smooth": 20.0,
        "seed": 1,
    }
    return _boosted("gbm-1", settings, native_categories=True, notes="categories split natively")


def gbm_2() -> Trained:
    """The candidate: smaller trees that see categories as ordered codes and a share of the columns each."""
    settings = {
        "learning_rate": 0.05,
        "num_leaves": 7,
        "min_data_in_leaf": 10,
        "feature_fraction": 0.6,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "seed": 2,
    }
    notes = "retraining of gbm-1: smaller trees, row and column sampling, categories as ordered codes"
    return _boosted("gbm-2", settings, native_categories=False, notes=notes)


def linear_1() -> Trained:
    """Logistic regression in a scikit-learn pipeline: one graph input per column, words and integers."""
    import skl2onnx
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType

    manifest = _manifest("linear-1", "columns", None, "probabilities")
    spec = manifest.spec
    training, labels = _rows(spec, "training")
    model = _pipeline(spec).fit(_frame(spec, training), labels)
    kinds = {"float": FloatTensorType, "int64": Int64TensorType, "string": StringTensorType}
    inputs = [(feature.name, kinds[feature.type]([None, 1])) for feature in spec.schema.features]
    proto = skl2onnx.convert_sklearn(
        model, initial_types=inputs, target_opset=OPSETS, options={"zipmap": False}
    )
    notes = "one-hot words (missing is a word of its own), median for missing numbers, scaled"
    return _finished(
        manifest,
        serialised(proto, "credit-linear-1"),
        lambda rows: model.predict_proba(_frame(spec, rows)),
        ("scikit-learn", notes),
    )


def _boosted(version: str, settings: dict[str, Any], native_categories: bool, notes: str) -> Trained:
    import lightgbm
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    manifest = _manifest(version, "tensor", "input", "probabilities")
    spec = manifest.spec
    training, labels = _rows(spec, "training")
    words = [index for index, feature in enumerate(spec.schema.features) if feature.categories]
    data = lightgbm.Dataset(training, labels, categorical_feature=words if native_categories else [])
    fixed = {"objective": "binary", "deterministic": True, "force_row_wise": True, "num_threads": 1}
    model = lightgbm.train({**settings, **fixed, "verbosity": -1}, data, num_boost_round=200)
    proto = onnxmltools.convert_lightgbm(
        model,
        initial_types=[("input", FloatTensorType([None, spec.schema.width]))],
        target_opset=OPSETS[""],
        zipmap=False,
    )

    def predict(rows: FeatureBatch) -> NDArray[np.float64]:
        good = np.asarray(model.predict(rows, num_threads=1))
        return np.stack([1 - good, good], axis=1)

    return _finished(manifest, serialised(proto, f"credit-{version}"), predict, ("lightgbm", notes))


def _finished(manifest: Manifest, graph: bytes, predict: Any, made: tuple[str, str]) -> Trained:
    """Adds held-out measures to the manifest and picks golden rows from the training part."""
    spec, (package, notes) = manifest.spec, made
    training, labels = _rows(spec, "training")
    calibration, calibration_labels = _rows(spec, "calibration")
    held_out, outcomes = _rows(spec, "held_out")
    measured = measures.classification(predict(held_out), outcomes, labels)
    pool = np.concatenate([training, calibration])
    golden = pool[golden_choice(spec, pool, GOLDEN_ROWS)]
    note = training_note(package, DATA, len(training), measured, notes)
    material = Material(training, calibration, calibration_labels, golden, predict(golden))
    return Trained(graph, manifest.model_copy(update={"training": note}), material)


def _manifest(version: str, layout: Any, name: str | None, output: str) -> Manifest:
    features = tuple(
        FeatureEntry(
            name=column,
            type=_type(column),
            categories=credit.CATEGORIES.get(column, ()),
            missing="allow" if column in credit.MAY_MISS else "refuse",
        )
        for column in credit.COLUMNS
    )
    return Manifest(
        name="credit",
        version=version,
        task="binary",
        features=features,
        input=InputEntry(layout=layout, name=name),
        output=OutputEntry(name=output, kind="probabilities"),
        classes=credit.CLASSES,
        slices=SLICES,
    )


def _type(column: str) -> FeatureType:
    if column in credit.WORDS:
        return "string"
    return "int64" if column in INTEGERS else "float"


def _rows(spec: ModelSpec, part: credit.Part) -> tuple[FeatureBatch, Labels]:
    table = credit.table(part)
    return canonical_rows(spec.schema, table), label_rows(spec, table[credit.TARGET])


def _pipeline(spec: ModelSpec) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    features = spec.schema.features
    by_type = {
        kind: [feature.name for feature in features if feature.type == kind]
        for kind in ("float", "int64", "string")
    }
    columns = ColumnTransformer(
        [
            ("words", OneHotEncoder(handle_unknown="ignore"), by_type["string"]),
            ("integers", StandardScaler(), by_type["int64"]),
            ("decimals", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), by_type["float"]),
        ]
    )
    return make_pipeline(columns, LogisticRegression(C=1.0, max_iter=1000))


def _frame(spec: ModelSpec, rows: FeatureBatch) -> Any:
    """The rows as the pipeline and the graph both see them: a missing word is the empty string."""
    import pandas

    columns: dict[str, NDArray[Any]] = {}
    for index, feature in enumerate(spec.schema.features):
        column = rows[:, index]
        if feature.categories:
            words = np.array([*feature.categories, ""], dtype=object)
            columns[feature.name] = words[np.where(np.isnan(column), -1, column).astype(int)]
        else:
            columns[feature.name] = column.astype(np.int64 if feature.type == "int64" else np.float32)
    return pandas.DataFrame(columns)
