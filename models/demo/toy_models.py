"""Small models on data that scikit-learn ships: one for each layout, task and tree dialect we serve."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.canonical import Labels
from models.demo import measures
from models.demo.autoencoder import reconstruction
from models.demo.recipe import GOLDEN_ROWS, OPSETS, Trained, from_sklearn, serialised, training_note
from models.manifest import FeatureEntry, InputEntry, Manifest, OutputEntry
from models.packaging import Material, golden_choice
from service.domain.schema import FeatureBatch

Rows = NDArray[np.float32]

_IMAGES = ("image", (1, 8, 8))
"""The digits' input and its shape."""


@dataclass(frozen=True, slots=True)
class _Data:
    """A data set cut into training 60%, calibration 20% and held-out 20% by a digest of each row."""

    name: str
    training: Rows
    training_labels: Labels
    calibration: Rows
    calibration_labels: Labels
    held_out: Rows
    held_out_labels: Labels


def held_out(name: str) -> Rows:
    """Rows of ``digits``, ``diabetes`` or ``cancer`` that took part in no bundle; [rows, width]."""
    if name == "digits":
        return _digits_data().held_out
    data, _ = _diabetes_data() if name == "diabetes" else _cancer_data()
    return data.held_out


def digits_mlp() -> Trained:
    """Handwritten digits as 8x8 images, ten classes; a perceptron with one hidden layer."""
    return _digits("mlp-1", hidden=48)


def digits_mlp_with_autoencoder() -> Trained:
    """A wider perceptron, and a second graph that says how unlike a digit an image is."""
    trained = _digits("mlp-2", hidden=96)
    autoencoder = reconstruction(trained.material.reference)
    proto = _taking_images(autoencoder, *_IMAGES)
    return replace(trained, graphs={"reconstruction": serialised(proto, "digits-reconstruction")})


def _digits(version: str, hidden: int) -> Trained:
    from sklearn.neural_network import MLPClassifier

    data = _digits_data()
    model = MLPClassifier(hidden_layer_sizes=(hidden,), max_iter=200, random_state=1, early_stopping=True)
    model.fit(data.training, data.training_labels)
    name, shape = _IMAGES
    manifest = Manifest(
        name="digits",
        version=version,
        task="multiclass",
        input=InputEntry(layout="image", name=name, shape=shape),
        output=OutputEntry(name="probabilities", kind="probabilities"),
        classes=tuple(str(digit) for digit in range(10)),
    )
    graph = _taking_images(from_sklearn(model, 64, zipmap=False), name, shape)
    return _finished(manifest, graph, model.predict_proba, data, "scikit-learn")


def _digits_data() -> _Data:
    from sklearn.datasets import load_digits

    source = load_digits()
    return _split("scikit-learn digits", source.data / 16, source.target)


def diabetes_gbr() -> Trained:
    """Disease progression after a year; gradient boosted regression trees."""
    from sklearn.ensemble import GradientBoostingRegressor

    data, names = _diabetes_data()
    model = GradientBoostingRegressor(
        n_estimators=120, max_depth=3, learning_rate=0.05, subsample=0.7, random_state=1
    )
    model.fit(data.training, data.training_labels)
    manifest = _tabular("diabetes", "gbr-1", "regression", names, "variable", ())
    graph = from_sklearn(model, data.training.shape[1])
    return _finished(manifest, graph, lambda rows: model.predict(rows)[:, None], data, "scikit-learn")


def _diabetes_data() -> tuple[_Data, Sequence[str]]:
    """The data, and the names of its columns."""
    from sklearn.datasets import load_diabetes

    source = load_diabetes(scaled=False)
    return _split("scikit-learn diabetes", source.data, source.target), source.feature_names


def cancer_xgb() -> Trained:
    """Breast tumours, malignant or benign; XGBoost."""
    import onnxmltools
    import xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    data, manifest = _cancer("xgb-1")
    model = xgboost.XGBClassifier(
        n_estimators=120, max_depth=4, learning_rate=0.1, tree_method="hist", n_jobs=1, random_state=1
    )
    model.fit(data.training, data.training_labels)
    graph = onnxmltools.convert_xgboost(
        model,
        initial_types=[("input", FloatTensorType([None, data.training.shape[1]]))],
        target_opset=OPSETS[""],
    )
    return _finished(manifest, graph, model.predict_proba, data, "xgboost-cpu")


def cancer_forest() -> Trained:
    """Breast tumours, malignant or benign; a random forest."""
    from sklearn.ensemble import RandomForestClassifier

    data, manifest = _cancer("forest-1")
    model = RandomForestClassifier(n_estimators=100, max_depth=6, n_jobs=1, random_state=1)
    model.fit(data.training, data.training_labels)
    graph = from_sklearn(model, data.training.shape[1], zipmap=False)
    return _finished(manifest, graph, model.predict_proba, data, "scikit-learn")


def _cancer(version: str) -> tuple[_Data, Manifest]:
    data, names = _cancer_data()
    return data, _tabular("cancer", version, "binary", names, "probabilities", ("malignant", "benign"))


def _cancer_data() -> tuple[_Data, Sequence[str]]:
    """The data, and the names of its columns."""
    from sklearn.datasets import load_breast_cancer

    source = load_breast_cancer()
    data = _split("scikit-learn breast cancer (Wisconsin)", source.data, source.target)
    return data, source.feature_names


def _tabular(
    name: str, version: str, task: Any, columns: Any, output: str, classes: tuple[str, ...]
) -> Manifest:
    return Manifest(
        name=name,
        version=version,
        task=task,
        features=tuple(FeatureEntry(name=str(column), type="float") for column in columns),
        input=InputEntry(layout="tensor", name="input"),
        output=OutputEntry(name=output, kind="probabilities" if classes else "value"),
        classes=classes,
    )


def _split(name: str, rows: Any, labels: Any) -> _Data:
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    labels = labels.astype(np.float64 if labels.dtype.kind == "f" else np.intp)
    part = np.array([hashlib.sha256(row.tobytes()).digest()[0] % 5 for row in rows])
    training, calibration, held_out = part >= 2, part == 1, part == 0
    return _Data(
        name,
        rows[training],
        labels[training],
        rows[calibration],
        labels[calibration],
        rows[held_out],
        labels[held_out],
    )


def _taking_images(proto: Any, name: str, shape: tuple[int, ...]) -> Any:
    """The graph with a flattening node in front: it takes [rows, *shape] instead of [rows, pixels]."""
    from onnx import TensorProto, helper

    flat = proto.graph.input[0].name
    proto.graph.node.insert(0, helper.make_node("Flatten", [name], [flat], axis=1))
    proto.graph.input.pop(0)
    proto.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, *shape]))
    return proto


def _finished(
    manifest: Manifest, proto: Any, predict: Callable[[FeatureBatch], Any], data: _Data, package: str
) -> Trained:
    spec = manifest.spec
    measure = measures.classification if spec.classes else measures.regression
    measured = measure(np.squeeze(predict(data.held_out)), data.held_out_labels, data.training_labels)
    pool = np.concatenate([data.training, data.calibration])
    golden = pool[golden_choice(spec, pool, GOLDEN_ROWS)]
    note = training_note(package, data.name, len(data.training), measured)
    material = Material(
        data.training, data.calibration, data.calibration_labels, golden, np.asarray(predict(golden))
    )
    graph = serialised(proto, spec.tag.replace(":", "-"))
    return Trained(graph, manifest.model_copy(update={"training": note}), material)
