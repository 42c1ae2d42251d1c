"""What packaging promises: what it accepts serves as trained, and what it refuses leaves nothing behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, load_model_from_string

from models.bundle import Bundle, open_bundle
from models.canonical import output_names
from models.gate import parity
from models.packaging import MIN_CALIBRATION, golden_choice, package, untried
from service.adapters.onnx import OnnxModel
from service.errors import BundleError
from tests.models.graphs import Tiny, tiny

CPU = ("CPUExecutionProvider",)


def test_every_layout_and_task_round_trips(any_tiny: Tiny, tmp_path: Path) -> None:
    package(any_tiny.graph, any_tiny.manifest, any_tiny.material, tmp_path / "bundle")
    bundle = open_bundle(tmp_path / "bundle")
    model = OnnxModel(bundle.model_path, bundle.spec, bundle.binding, providers=CPU)
    report = parity(bundle, model)
    assert report.passed, report.describe()
    assert report.rows == len(any_tiny.material.golden)
    background = bundle.background()
    assert background.dtype == bundle.spec.schema.dtype
    np.testing.assert_array_equal(background, any_tiny.material.reference)
    np.testing.assert_allclose(model.predict(background), any_tiny.trained(background), atol=1e-5)


def test_calibration_holds_the_scores_the_graph_serves(any_tiny: Tiny, tmp_path: Path) -> None:
    bundle = package(any_tiny.graph, any_tiny.manifest, any_tiny.material, tmp_path / "bundle")
    rows, scores, labels = bundle.calibration()
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, any_tiny.trained(rows), atol=1e-5)
    np.testing.assert_array_equal(labels, any_tiny.material.labels)


def test_takes_the_graph_from_a_file(tmp_path: Path) -> None:
    small = tiny("tensor")
    (tmp_path / "some.onnx").write_bytes(small.graph)
    bundle = package(tmp_path / "some.onnx", small.manifest, small.material, tmp_path / "bundle")
    assert bundle.model_path.read_bytes() == small.graph


def test_the_same_material_gives_the_same_digests(tmp_path: Path) -> None:
    small = tiny("columns")
    first, second = (
        package(small.graph, small.manifest, small.material, tmp_path / name) for name in ("one", "two")
    )
    assert first.manifest.digests == second.manifest.digests
    assert first.digest == second.digest


def test_fills_in_the_ranges_of_numbers_and_keeps_given_ones(tmp_path: Path) -> None:
    small = tiny("tensor")
    age, home, income = small.manifest.features
    given = small.manifest.model_copy(
        update={"features": (age.model_copy(update={"range": (0, 120)}), home, income)}
    )
    packaged = package(small.graph, given, small.material, tmp_path / "bundle").manifest.features
    seen = small.material.reference[:, 2]
    ranges = [(0.0, 120.0), None, (float(np.nanmin(seen)), float(np.nanmax(seen)))]
    assert [entry.range for entry in packaged] == ranges


def test_keeps_at_most_a_thousand_background_rows(tmp_path: Path) -> None:
    small = tiny("regression")
    many = replace(small.material, reference=np.tile(small.material.reference, (40, 1)))
    bundle = package(small.graph, small.manifest, many, tmp_path / "bundle")
    assert len(bundle.background()) == 1000
    assert bundle.reference()["feature:age"].rows == len(many.reference)


def test_refuses_a_model_whose_outputs_differ_from_training_and_says_where(
    any_tiny: Tiny, tmp_path: Path
) -> None:
    outputs = any_tiny.material.outputs.copy()
    outputs[11, -1] += 0.125
    wrong = replace(any_tiny.material, outputs=outputs)
    with pytest.raises(BundleError) as refusal:
        package(any_tiny.graph, any_tiny.manifest, wrong, tmp_path / "bundle")
    message, name = str(refusal.value), output_names(any_tiny.manifest.spec)[-1]
    assert "fails parity" in message
    assert f"row 11, output {name!r}" in message
    assert "difference 0.125" in message
    assert list(tmp_path.iterdir()) == []


def test_refuses_a_graph_that_answers_one_row_otherwise_than_many(tmp_path: Path) -> None:
    bundle = _packaged(tmp_path)

    class Moody(OnnxModel):
        def predict(self, batch, stop=None):  # type: ignore[no-untyped-def]  # as its base
            scores: np.ndarray = super().predict(batch, stop)
            return scores + np.float32(0.5) if len(batch) == 1 else scores

    report = parity(bundle, Moody(bundle.model_path, bundle.spec, bundle.binding, providers=CPU))
    assert not report.passed
    assert "one row at a time" in report.describe()


def test_a_graph_that_raises_fails_parity_instead_of_raising(tmp_path: Path) -> None:
    bundle = _packaged(tmp_path)
    narrow = tiny("image")
    (tmp_path / "other.onnx").write_bytes(narrow.graph)
    report = parity(bundle, OnnxModel(tmp_path / "other.onnx", bundle.spec, bundle.binding, providers=CPU))
    assert not report.passed
    assert "cannot be served" in report.describe()


def test_refuses_a_graph_that_onnx_runtime_cannot_load(tmp_path: Path) -> None:
    small = tiny("tensor")
    with pytest.raises(BundleError, match="cannot load"):
        package(b"not a graph", small.manifest, small.material, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_refuses_a_graph_file_that_is_not_there(tmp_path: Path) -> None:
    small = tiny("tensor")
    with pytest.raises(BundleError, match=r"absent\.onnx"):
        package(tmp_path / "absent.onnx", small.manifest, small.material, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_refuses_a_graph_without_the_bound_output(tmp_path: Path) -> None:
    small = tiny("tensor")
    output = small.manifest.output.model_copy(update={"name": "other"})
    with pytest.raises(BundleError, match="'other'"):
        package(
            small.graph, small.manifest.model_copy(update={"output": output}), small.material, tmp_path / "b"
        )


def test_refuses_a_graph_that_answers_dictionaries_and_says_how_to_convert(tmp_path: Path) -> None:
    small = tiny("tensor")
    model = load_model_from_string(small.graph)
    graph = model.graph
    graph.node[-1].output[0] = "matrix"
    zipped = helper.make_node(
        "ZipMap", ["matrix"], ["y"], domain="ai.onnx.ml", classlabels_strings=["bad", "good"]
    )
    graph.node.append(zipped)
    graph.output.pop()
    kind = helper.make_map_type_proto(
        TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    graph.output.append(helper.make_value_info("y", helper.make_sequence_type_proto(kind)))
    with pytest.raises(BundleError, match="zipmap=False"):
        package(model.SerializeToString(), small.manifest, small.material, tmp_path / "bundle")


def test_refuses_a_graph_that_answers_nan_for_calibration_rows(tmp_path: Path) -> None:
    small = tiny("regression")
    model = load_model_from_string(small.graph)
    for tensor in model.graph.initializer:
        if tensor.name == "nought":
            tensor.raw_data = np.array([np.nan], np.float32).tobytes()
    with pytest.raises(BundleError, match="calibration row"):
        package(model.SerializeToString(), small.manifest, small.material, tmp_path / "bundle")


def test_refuses_to_write_over_a_directory(bundle: Bundle) -> None:
    small = tiny("tensor")
    before = bundle.model_path.read_bytes()
    with pytest.raises(BundleError, match="already exists"):
        package(small.graph, small.manifest, small.material, bundle.path)
    assert bundle.model_path.read_bytes() == before


def test_refuses_data_of_the_wrong_width(tmp_path: Path) -> None:
    small = tiny("tensor")
    for part in ("reference", "calibration", "golden"):
        wrong = replace(small.material, **{part: getattr(small.material, part)[:, :2]})
        with pytest.raises(BundleError, match=f"{part} rows have shape"):
            package(small.graph, small.manifest, wrong, tmp_path / "bundle")


def test_refuses_labels_that_do_not_pair_with_rows(tmp_path: Path) -> None:
    small = tiny("tensor")
    wrong = replace(small.material, labels=small.material.labels[1:])
    with pytest.raises(BundleError, match="30 calibration rows have 29 labels"):
        package(small.graph, small.manifest, wrong, tmp_path / "bundle")


def test_refuses_too_few_calibration_rows(tmp_path: Path) -> None:
    small, few = tiny("tensor"), MIN_CALIBRATION - 1
    wrong = replace(
        small.material, calibration=small.material.calibration[:few], labels=small.material.labels[:few]
    )
    with pytest.raises(BundleError, match="too few"):
        package(small.graph, small.manifest, wrong, tmp_path / "bundle")


def test_refuses_golden_outputs_of_the_wrong_shape(tmp_path: Path) -> None:
    small = tiny("tensor")
    wrong = replace(small.material, outputs=small.material.outputs[:, :1])
    with pytest.raises(BundleError, match="golden outputs have shape"):
        package(small.graph, small.manifest, wrong, tmp_path / "bundle")


def test_golden_choice_shows_every_category_missing_value_and_extreme() -> None:
    small = tiny("tensor")
    rows = np.concatenate([small.material.golden, small.material.reference])
    chosen = rows[golden_choice(small.manifest.spec, rows, 12)]
    assert len(chosen) == 12
    assert untried(small.manifest.spec, chosen) == []
    np.testing.assert_array_equal(np.nanmax(chosen[:, [0, 2]], axis=0), np.nanmax(rows[:, [0, 2]], axis=0))
    np.testing.assert_array_equal(np.nanmin(chosen[:, [0, 2]], axis=0), np.nanmin(rows[:, [0, 2]], axis=0))


def test_golden_choice_repeats_no_row() -> None:
    small = tiny("tensor")
    chosen = golden_choice(small.manifest.spec, small.material.reference, 1000)
    assert sorted(chosen) == list(range(len(small.material.reference)))


def test_untried_names_what_no_golden_row_shows() -> None:
    small = tiny("tensor")
    rows = np.array([[1, 0, 2.0], [2, 1, np.nan]], dtype=np.float32)
    assert untried(small.manifest.spec, rows) == ["home missing", "home=parents"]


def _packaged(tmp_path: Path) -> Bundle:
    small = tiny("tensor")
    return package(small.graph, small.manifest, small.material, tmp_path / "bundle")
