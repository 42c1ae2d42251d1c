"""The manifest: what people write is read as meant, and a mistake is named where it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from models.compared import ToleranceEntry
from models.manifest import Manifest, Training, read_manifest, write_manifest
from service.errors import BundleError
from tests.models.graphs import Tiny

GOOD: dict[str, Any] = {
    "name": "credit",
    "version": "v1",
    "task": "binary",
    "features": [
        {"name": "Age", "type": "float"},
        {"name": "Records", "type": "string", "categories": ["no", "yes"]},
    ],
    "input": {"layout": "tensor", "name": "input"},
    "output": {"name": "probabilities", "kind": "probabilities"},
    "classes": ["bad", "good"],
}


def _read(tmp_path: Path, document: object) -> Manifest:
    path = tmp_path / "manifest.yaml"
    path.write_text(yaml.safe_dump(document))
    return read_manifest(path)


def test_reads_back_what_was_written(any_tiny: Tiny, tmp_path: Path) -> None:
    training = Training(author="me", at="2024-05-01T10:00:00Z", metrics={"auc": 0.8}, rows=0)
    manifest = any_tiny.manifest.model_copy(update={"training": training})
    write_manifest(manifest, tmp_path / "manifest.yaml")
    assert read_manifest(tmp_path / "manifest.yaml") == manifest


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").write_text(yaml.safe_dump(GOOD) + "version: other\n")
    with pytest.raises(BundleError, match="'version' is there twice"):
        read_manifest(tmp_path / "manifest.yaml")


def test_yes_and_no_are_words_as_people_mean_them(tmp_path: Path) -> None:
    text = yaml.safe_dump(GOOD).replace("'no'", "no").replace("'yes'", "yes")
    assert "- no\n" in text
    (tmp_path / "manifest.yaml").write_text(text)
    assert read_manifest(tmp_path / "manifest.yaml").features[1].categories == ("no", "yes")


def test_spec_and_binding_say_the_same_as_the_file(tmp_path: Path) -> None:
    manifest = _read(tmp_path, GOOD)
    assert manifest.spec.tag == "credit:v1"
    assert manifest.spec.schema.names() == ("Age", "Records")
    assert manifest.binding.inputs == ("input",)
    columns = {**GOOD, "input": {"layout": "columns"}}
    assert _read(tmp_path, columns).binding.inputs == ("Age", "Records")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"name": "Credit"}, "name: String should match"),
        ({"task": "ranking"}, "task: "),
        ({"classes": ["good"]}, "a binary model has exactly 2 classes, found 1"),
        ({"task": "multiclass"}, "a multiclass model has 3 or more classes"),
        ({"task": "regression", "classes": []}, "'value' goes with task regression"),
        ({"output": {"name": "y", "kind": "value"}}, "'value' goes with task regression"),
        ({"features": [{"name": "a", "type": "float"}] * 2}, "a name is listed twice"),
        ({"features": []}, "has named features"),
        ({"features": [{"name": "a", "type": "string"}]}, "'a': categories go with type string"),
        (
            {"features": [{"name": "a", "type": "float", "categories": ["x"]}]},
            "categories go with type string",
        ),
        ({"features": [{"name": "a", "type": "string", "categories": ["x", "x"]}]}, "listed twice"),
        ({"features": [{"name": "a", "type": "string", "categories": [""]}]}, "stands for missing"),
        ({"features": [{"name": "a", "type": "int64", "missing": "allow"}]}, "int64 has no missing value"),
        ({"input": {"layout": "columns", "name": "x"}}, "required for tensor and image, not for columns"),
        ({"input": {"layout": "image", "name": "x", "shape": [1, 8, 8]}}, "no named features"),
        ({"slices": [{"name": "s", "column": "Height", "value": 1}]}, "unknown column 'Height'"),
        ({"slices": [{"name": "s", "column": "Records", "value": "maybe"}]}, "'maybe' is no category"),
        ({"slices": [{"name": "s", "column": "Age", "value": "old"}]}, "'Age' is a number"),
        ({"slices": [{"name": "s", "column": "Age", "value": 1}] * 2}, "slices: a name is listed twice"),
        (
            {"slices": [{"name": f"{n}", "column": "Age", "value": n} for n in range(21)]},
            "slices: 21 are too many to be watched apart; at most 20",
        ),
        (
            {"slices": [{"name": "all", "column": "Age", "value": 1}]},
            "'all' is the slice that every row is in",
        ),
        (
            {"slices": [{"name": "s"}]},
            "slice 's': give a column with one of value, range and missing, or where",
        ),
        ({"slices": [{"name": "s", "column": "Age"}]}, "slice 's': give a column with one of"),
        ({"slices": [{"name": "s", "value": 1}]}, "slice 's': give a column with one of"),
        (
            {"slices": [{"name": "s", "column": "Age", "value": 1, "range": [1, 2]}]},
            "give a column with one of",
        ),
        ({"slices": [{"name": "s", "column": "Age", "where": "Age < 3"}]}, "or where alone"),
        ({"slices": [{"name": "s", "column": "Age", "missing": False}]}, "slices.0.missing: "),
        (
            {"slices": [{"name": "s", "column": "Age", "range": [25, 18]}]},
            "'s': a range of 'Age' has two numbers",
        ),
        (
            {"slices": [{"name": "s", "column": "Age", "range": [None, None]}]},
            "'s': a range of 'Age' has two",
        ),
        ({"slices": [{"name": "s", "column": "Records", "range": [0, 1]}]}, "'Records' holds words"),
        ({"slices": [{"name": "s", "column": "Age", "missing": True}]}, "'s': 'Age' is never missing"),
        ({"slices": [{"name": "s", "where": "Age < 25 and Height > 2"}]}, "'s': unknown column 'Height'"),
        (
            {"slices": [{"name": "s", "where": "Records == 'maybe'"}]},
            "'s': 'maybe' is no category of 'Records'",
        ),
        (
            {
                "features": [],
                "input": {"layout": "image", "name": "x", "shape": [1, 2, 2]},
                "slices": [{"name": "s", "where": "Age < 25"}],
            },
            "slices: 's': unknown column 'Age': an image has none",
        ),
        ({"features": [{"name": "a", "type": "float", "redact": "blur"}]}, "features.0.redact: "),
        ({"input": {"layout": "tensor", "name": "x", "redact": "drop"}}, "input.redact: only for an image"),
        ({"tolerance": {"absolute": -1}}, "tolerance.absolute: "),
        ({"tolerance": {"relative": float("inf")}}, "tolerance.relative: "),
        ({"costs": {"bad": {"good": 5}}}, "costs: what 'bad' costs where 'good' is right is not said"),
        (
            {"costs": {"bad": {"good": 5}, "good": {"poor": 1}}},
            "costs: 'poor' is none of the classes bad, good",
        ),
        ({"costs": {"bad": {"good": -5}, "good": {"bad": 1}}}, "costs.bad.good: "),
        ({"costs": {"bad": {"good": 0}, "good": {"bad": 0}}}, "costs: every answer costs nothing"),
        (
            {
                "task": "regression",
                "classes": [],
                "output": {"name": "y", "kind": "value"},
                "costs": {"bad": {"good": 5}},
            },
            "costs: a regression has no classes",
        ),
        ({"threshold": 1.0}, "threshold: "),
        ({"parity": {"absolute": -1}}, "parity.absolute: "),
        ({"uncertainty": {"confidence": 0.4}}, "uncertainty.confidence: "),
        ({"uncertainty": {"confidence": 0.9999}}, "uncertainty.confidence: "),
        ({"uncertainty": {"in_domain_percentile": 100}}, "uncertainty.in_domain_percentile: "),
        ({"uncertainty": {"passes": 1}}, "one pass has no other to differ from"),
        ({"uncertainty": {"abstain": ["unsure"]}}, "uncertainty.abstain.0: "),
        ({"uncertainty": {"abstain": ["ambiguous"] * 2}}, "a reason is listed twice"),
        ({"uncertainty": {"measure": "lac"}}, "uncertainty.measure: Extra inputs"),
        ({"format": 2}, "format: "),
    ],
)
def test_refuses_a_mistake_and_says_where(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BundleError) as refusal:
        _read(tmp_path, {**GOOD, **change})
    assert complaint in str(refusal.value)
    assert "manifest.yaml" in str(refusal.value)


def test_every_kind_of_slice_is_written_and_read_back(tmp_path: Path) -> None:
    slices = [
        {"name": "yes", "column": "Records", "value": "yes"},
        {"name": "zero", "column": "Age", "value": 0},
        {"name": "young", "column": "Age", "range": [None, 25]},
        {"name": "middle", "column": "Age", "range": [25, 60.5]},
        {"name": "unknown", "column": "Debt", "missing": True},
        {"name": "both", "where": "Age < 25 and (Records != 'yes' or Debt is not missing)"},
    ]
    features = [*GOOD["features"], {"name": "Debt", "type": "float", "missing": "allow"}]
    manifest = _read(tmp_path, {**GOOD, "features": features, "slices": slices})
    rows = np.array([[0, 1, 5], [30, 0, np.nan], [24.9, 1, np.nan]], np.float32)
    found = [part.condition(manifest.spec.schema).mask(rows).tolist() for part in manifest.slices]
    assert found == [
        [True, False, True],
        [True, False, False],
        [True, False, True],
        [False, True, False],
        [False, True, True],
        [True, False, False],
    ]
    write_manifest(manifest, tmp_path / "again.yaml")
    assert read_manifest(tmp_path / "again.yaml") == manifest
    assert "where: Age < 25 and" in (tmp_path / "again.yaml").read_text()


def test_redaction_tolerance_and_costs_are_written_and_read_back(tmp_path: Path) -> None:
    features = [{**GOOD["features"][0], "redact": "hash"}, {**GOOD["features"][1], "redact": "drop"}]
    costs = {"bad": {"good": 5.0}, "good": {"bad": 1.0, "good": 0.5}}
    wanted = {**GOOD, "features": features, "tolerance": {"relative": 0.01}, "costs": costs}
    manifest = _read(tmp_path, wanted)
    assert [entry.redact for entry in manifest.features] == ["hash", "drop"]
    assert manifest.tolerance == ToleranceEntry(absolute=1e-6, relative=0.01)
    assert manifest.costs == costs
    write_manifest(manifest, tmp_path / "again.yaml")
    assert read_manifest(tmp_path / "again.yaml") == manifest


@pytest.mark.parametrize(
    "content", [b"", b"[1, 2]", b"a: b: c", b"\xff", b"!!python/object/new:os.system [ls]"]
)
def test_refuses_what_is_not_a_manifest(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.yaml").write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.yaml"):
        read_manifest(tmp_path / "manifest.yaml")
