"""scikit-learn pipelines on words, counts and amounts, converted to ONNX as people convert them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skl2onnx
from numpy.typing import NDArray
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from service.adapters.graphs.structure import structure_of
from service.adapters.onnx import OnnxModel
from service.domain.explainers.game import Ask, Players, Structure, Subject, explained
from service.domain.explainers.linear_exact import LINEAR_EXACT
from service.domain.schema import Binding, Feature, FeatureBatch, FeatureType, ModelSpec, Schema, Task
from tests.domain.explainers.games import NEVER, enumerated

CPU = ("CPUExecutionProvider",)
TABLE = (
    Feature("age", "int64"),
    Feature("home", "string", ("rent", "owner", "parents"), missing=True),
    Feature("job", "string", ("fixed", "freelance", "partime")),
    Feature("income", "float", missing=True),
    Feature("debt", "float"),
)
NUMBERS = (Feature("a", "float"), Feature("b", "float"), Feature("c", "float"))
CLASSES: dict[Task, tuple[str, ...]] = {
    "binary": ("bad", "good"),
    "multiclass": ("low", "middle", "high"),
    "regression": (),
}
_KINDS: dict[FeatureType, Any] = {
    "float": FloatTensorType,
    "int64": Int64TensorType,
    "string": StringTensorType,
}


@dataclass(frozen=True)
class Served:
    """A graph in a file, ready to be served and to be explained."""

    path: Path
    spec: ModelSpec
    binding: Binding
    rows: FeatureBatch
    """Canonical rows like those of training."""

    @cached_property
    def model(self) -> OnnxModel:
        return OnnxModel(self.path, self.spec, self.binding, providers=CPU)

    def structure(self, background: int = 30) -> Structure:
        return structure_of(self.path, self.spec, self.binding, self.model.predict, self.rows[:background])

    def subject(self, background: int = 30) -> Subject:
        """Every canonical column is a player."""
        schema = self.spec.schema
        players = Players(
            schema.names() or tuple(f"pixel {index}" for index in range(schema.width)),
            tuple(np.array([index]) for index in range(schema.width)),
        )
        structure = self.structure(background)
        return Subject(self.spec, self.model.predict, self.rows[:background], players, structure)


def table_rows(count: int, seed: int = 0) -> FeatureBatch:
    """Rows of ``TABLE``; a seventh of the homes and incomes are missing."""
    rng = np.random.default_rng(seed)
    home, income = rng.integers(0, 3, count).astype(float), rng.normal(50, 10, count)
    home[rng.random(count) < 1 / 7] = np.nan
    income[rng.random(count) < 1 / 7] = np.nan
    age, job, debt = rng.integers(18, 80, count), rng.integers(0, 3, count), rng.exponential(5, count)
    return np.column_stack([age, home, job, income, debt]).astype(np.float32).astype(np.float64)


def number_rows(count: int, seed: int = 0) -> FeatureBatch:
    """Rows of ``NUMBERS``: of several sizes, all positive."""
    rng = np.random.default_rng(seed)
    rows = np.column_stack([rng.normal(50, 9, count), rng.uniform(1, 3, count), rng.exponential(5, count)])
    return rows.astype(np.float32)


def encoded_table(words: Any = None) -> Any:
    """Words one-hot or as told, numbers imputed and scaled, the age as it is."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    return ColumnTransformer(
        [
            ("words", words or OneHotEncoder(handle_unknown="ignore"), ["home", "job"]),
            ("numbers", numbers, ["income", "debt"]),
            ("age", "passthrough", ["age"]),
        ]
    )


def frame(rows: FeatureBatch) -> pd.DataFrame:
    """Rows of ``TABLE`` as scikit-learn and the graph both see them: a missing word is empty."""
    columns: dict[str, NDArray[Any]] = {}
    for index, feature in enumerate(TABLE):
        column = rows[:, index]
        if feature.categories:
            words = np.array([*feature.categories, ""], dtype=object)
            columns[feature.name] = words[np.where(np.isnan(column), -1, column).astype(int)]
        else:
            columns[feature.name] = column.astype(np.int64 if feature.type == "int64" else np.float32)
    return pd.DataFrame(columns)


def of_table(folder: Path, model: Any, task: Task, opset: int = 15) -> Served:
    """``model`` fitted to a table of 300 rows; one graph input for each column."""
    rows = table_rows(300)
    data = frame(rows)
    worth = 0.03 * rows[:, 0] + (data.home == "rent") - 2 * (data.job == "partime") - 0.1 * rows[:, 4]
    types = [(feature.name, _KINDS[feature.type]([None, 1])) for feature in TABLE]
    return _converted(folder, model, task, data, _outcomes(worth, task), types, TABLE, rows, opset)


def of_numbers(folder: Path, model: Any, task: Task, opset: int = 15) -> Served:
    """``model`` fitted to three numbers; one tensor."""
    rows = number_rows(300)
    worth = 0.05 * rows[:, 0] + rows[:, 1] ** 2 - 0.2 * rows[:, 2]
    types = [("x", FloatTensorType([None, 3]))]
    return _converted(folder, model, task, rows, _outcomes(worth, task), types, NUMBERS, rows, opset)


def _outcomes(worth: Any, task: Task) -> NDArray[Any]:
    noisy = np.asarray(worth) + np.random.default_rng(1).normal(size=len(worth))
    cuts = {"binary": [0.5], "multiclass": [0.3, 0.6], "regression": []}[task]
    return np.digitize(noisy, np.quantile(noisy, cuts)) if cuts else noisy - noisy.min()


def _converted(
    folder: Path,
    model: Any,
    task: Task,
    data: Any,
    outcomes: NDArray[Any],
    types: list[Any],
    features: tuple[Feature, ...],
    rows: FeatureBatch,
    opset: int,
) -> Served:
    model.fit(data, outcomes)
    options = {"zipmap": False} if task != "regression" else None
    opsets = {"": opset, "ai.onnx.ml": 3}
    proto = skl2onnx.convert_sklearn(model, initial_types=types, target_opset=opsets, options=options)
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    schema = Schema(features, "tensor" if len(types) == 1 else "columns")
    spec = ModelSpec("m", "1", task, schema, CLASSES[task])
    names = tuple(name for name, _ in types)
    output = "variable" if task == "regression" else "probabilities"
    return Served(
        path, spec, Binding(names, output, "value" if task == "regression" else "probabilities"), rows
    )


def served_margins(served: Served) -> Callable[[FeatureBatch], NDArray[np.float64]]:
    """Log-odds of the second class, or the value, of the served model."""
    output: Any = "margin" if served.spec.classes else "value"
    return lambda rows: explained(served.model.predict(rows), output, 1 if served.spec.classes else 0)


def assert_exact(served: Served, rows: FeatureBatch, tolerance: float = 2e-5) -> None:
    """``linear-exact`` gives what enumerating all coalitions of raw columns gives on the served model."""
    subject = served.subject(background=12)
    explainer = LINEAR_EXACT.build(subject)
    for row, explanation in zip(rows, explainer(rows, Ask(), NEVER), strict=True):
        truth = enumerated(subject, row, served_margins(served))
        assert np.ptp(truth) > 0.01
        np.testing.assert_allclose(explanation.values, truth, atol=tolerance)
        assert explanation.additivity_gap is not None
        assert explanation.additivity_gap < 1e-6 * max(1, np.abs(truth).sum())
