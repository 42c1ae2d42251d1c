"""The models that are measured, packaged once into a model store of their own.

``bench:gbm200-1`` is a 200-tree boosting over 30 float features (scikit-learn's breast cancer data); its
candidates are a sibling, itself 32 times over (about 30 times slower, with the same answers), and a graph
that never ends once it meets the mark that the isolation run puts into its rows.
``python -m load_tests.bundles`` builds them and the demo's bundles into ``BENTOML_HOME``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from load_tests.server import ROOT

PRODUCTION, SIBLING, SLOW, HANGING = (f"bench:gbm200-{version}" for version in ("1", "2", "slow", "hang"))
CREDIT, CREDIT_CANDIDATE = "credit:gbm-1", "credit:gbm-2"
"""Of the demo."""
HOME = ROOT / ".understudy" / "load-tests"
"""Where the bundles are kept between runs."""
TREES, SLOWDOWN = 200, 32
MARK = 1.0
"""In the last feature (at most 0.21 in the data) this makes the hanging model hang."""
FEATURES = 30


@dataclass(frozen=True, slots=True)
class Data:
    """Breast cancer rows [rows, 30] with labels; ``train`` is the first 60 %, ``held_out`` the rest."""

    train: NDArray[np.float64]
    train_labels: NDArray[np.intp]
    held_out: NDArray[np.float64]
    held_out_labels: NDArray[np.intp]
    names: tuple[str, ...]
    classes: tuple[str, ...]


def load_data() -> Data:
    """Ships with scikit-learn, so nothing is downloaded."""
    from sklearn.datasets import load_breast_cancer

    source = load_breast_cancer()
    order = np.random.default_rng(0).permutation(len(source.data))
    rows, labels = source.data[order], source.target[order]
    cut = int(0.6 * len(rows))
    names = tuple(str(name) for name in source.feature_names)
    classes = tuple(str(name) for name in source.target_names)
    return Data(rows[:cut], labels[:cut], rows[cut:], labels[cut:], names, classes)


def build(home: Path) -> None:
    """Fills the model store under ``home`` unless this code has done so before; takes about half a minute.

    Raises ``subprocess.CalledProcessError`` when a bundle cannot be made; its output says why.
    """
    made_by, code = home / "made-by", _code_digest()
    if made_by.exists() and made_by.read_text(encoding="ascii") == code:
        return
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    _run(home, "models", "demo")
    _run(home, "load_tests.bundles")
    made_by.write_text(code, encoding="ascii")


def build_demo(home: Path) -> None:
    """``build``, and every bundle of the demo; raises as it does."""
    build(home)
    _run(home, "models", "demo", "--all")


def _run(home: Path, *module: str) -> None:
    env = {**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "true"}
    subprocess.run([sys.executable, "-m", *module], cwd=ROOT, env=env, check=True)


def _code_digest() -> str:
    """Of everything that decides what is inside a bundle."""
    digest = hashlib.sha256()
    for path in sorted([*(ROOT / "models").rglob("*.py"), Path(__file__)]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def locate(home: Path, tag: str) -> Path:
    """The bundle's folder in the model store under ``home``."""
    name, version = tag.split(":")
    return home / "models" / name / version


def slowed(model: onnx.ModelProto, times: int) -> onnx.ModelProto:
    """The same answers for ``times`` the work: each tree is there ``times`` times, its weight divided."""
    slow = onnx.ModelProto()
    slow.CopyFrom(model)
    node = _tree_node(slow)
    values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    trees = max(values["nodes_treeids"]) + 1
    for name, value in values.items():
        if name.startswith(("nodes_", "class_")):
            values[name] = _repeated(name, value, times, trees)
    kept = {name: value for name, value in values.items() if value != []}
    node.CopyFrom(
        helper.make_node(node.op_type, node.input, node.output, name=node.name, domain=node.domain, **kept)
    )
    return slow


def hanging(model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """The same answers, but a row whose last feature is above half of ``MARK`` starts an endless loop."""
    hang = onnx.ModelProto()
    hang.CopyFrom(model)
    source = hang.graph.input[0].name
    (last,) = [node for node in hang.graph.node if output in node.output]
    last.output[list(last.output).index(output)] = "answer"
    constants = {
        "hang_column": np.array(FEATURES - 1, np.int64),
        "hang_limit": np.array(MARK / 2, np.float32),
        "hang_rounds": np.array(2**62, np.int64),
        "hang_go_on": np.array(True),
        "hang_zero": np.array(0, np.float32),
    }
    tensors = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    hang.graph.initializer.extend(tensors)
    hang.graph.node.extend(
        [
            helper.make_node("Gather", [source, "hang_column"], ["hang_values"], axis=1),
            helper.make_node("ReduceMax", ["hang_values"], ["hang_largest"], keepdims=0),
            helper.make_node("Greater", ["hang_largest", "hang_limit"], ["hang_marked"]),
            helper.make_node("Cast", ["hang_marked"], ["hang_once"], to=TensorProto.INT64),
            helper.make_node("Mul", ["hang_once", "hang_rounds"], ["hang_trips"]),
            helper.make_node(
                "Loop", ["hang_trips", "hang_go_on", "hang_zero"], ["hang_end"], body=_idle_body()
            ),
            helper.make_node("Add", ["answer", "hang_end"], [output]),
        ]
    )
    return hang


def _idle_body() -> onnx.GraphProto:
    """Loop body that carries its zero on."""
    return helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["go_on_out"]),
            helper.make_node("Abs", ["carried"], ["carried_out"]),
        ],
        "idle",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried_out", TensorProto.FLOAT, []),
        ],
    )


def _tree_node(model: onnx.ModelProto) -> onnx.NodeProto:
    node: onnx.NodeProto
    (node,) = [node for node in model.graph.node if node.op_type == "TreeEnsembleClassifier"]
    return node


def _repeated(name: str, value: list[Any], times: int, trees: int) -> list[Any]:
    if name.endswith("_treeids"):
        return [tree + copy * trees for copy in range(times) for tree in value]
    if name == "class_weights":
        return [weight / times for weight in value] * times
    return list(value) * times


def _train(data: Data, seed: int) -> tuple[Any, onnx.ModelProto]:
    from skl2onnx import to_onnx
    from sklearn.ensemble import GradientBoostingClassifier

    model = GradientBoostingClassifier(n_estimators=TREES, max_depth=4, subsample=0.8, random_state=seed)
    model.fit(data.train.astype(np.float32), data.train_labels)
    sample = data.train[:1].astype(np.float32)
    return model, to_onnx(model, sample, options={id(model): {"zipmap": False}})


def _package(tag: str, data: Data, trained: Any, graph: onnx.ModelProto) -> None:
    from models.manifest import ExpectEntry, FeatureEntry, InputEntry, Manifest, OutputEntry, Training
    from models.packaging import Material, golden_choice, package
    from models.store import exists, save
    from service.domain.expectations import Reaction

    if exists(tag):
        return
    name, version = tag.split(":")
    reactions: list[Reaction | None] = [*[None] * (FEATURES - 1), "ignore"]  # of all, the last bears the mark
    manifest = Manifest(
        name=name,
        version=version,
        task="binary",
        features=tuple(
            FeatureEntry(name=column, type="float", expect=ExpectEntry(on_violation=reaction))
            for column, reaction in zip(data.names, reactions, strict=True)
        ),
        input=InputEntry(layout="tensor", name=graph.graph.input[0].name),
        output=OutputEntry(name="probabilities", kind="probabilities"),
        classes=data.classes,
        training=Training(
            author="load tests", framework="scikit-learn", data="breast cancer", rows=len(data.train)
        ),
    )
    reference, rest = data.train.astype(np.float32), data.held_out.astype(np.float32)
    golden = rest[golden_choice(manifest.spec, rest, 60)]
    outputs = trained.predict_proba(golden)
    material = Material(reference, rest, data.held_out_labels, golden, outputs)
    with tempfile.TemporaryDirectory() as folder:
        # nobody asks these for explanations, and made-up rows would make the hanging model hang
        package(graph.SerializeToString(), manifest, material, Path(folder) / "bundle", explain=False)
        save(Path(folder) / "bundle")


def main() -> None:
    data = load_data()
    production, graph = _train(data, seed=1)
    sibling, sibling_graph = _train(data, seed=2)
    _package(PRODUCTION, data, production, graph)
    _package(SIBLING, data, sibling, sibling_graph)
    _package(SLOW, data, production, slowed(graph, SLOWDOWN))
    _package(HANGING, data, production, hanging(graph, "probabilities"))
    print(f"packaged {PRODUCTION}, {SIBLING}, {SLOW}, {HANGING}")


if __name__ == "__main__":
    main()
