"""The demo: honest splits, models that beat their baseline, and the same bundle from the same data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle
from models.canonical import canonical_rows, label_rows
from models.demo import credit, registry
from models.demo.measures import auc
from models.gate import parity
from models.packaging import untried
from service.adapters.bundles import slices_of
from service.adapters.onnx import OnnxModel
from service.domain.schema import label_indices
from service.domain.slices import ALL, members

CPU = ("CPUExecutionProvider",)
CREDIT = tuple(tag for tag in registry.RECIPES if tag.startswith("credit:"))


def _model(bundle: Bundle) -> OnnxModel:
    return OnnxModel(bundle.model_path, bundle.spec, bundle.binding, providers=CPU)


@pytest.mark.parametrize("tag", registry.RECIPES)
def test_every_demo_bundle_passes_parity(demo_bundle: Callable[[str], Bundle], tag: str) -> None:
    bundle = demo_bundle(tag)
    report = parity(bundle, _model(bundle))
    assert report.passed, report.describe()
    assert report.rows >= 200


@pytest.mark.parametrize("tag", registry.RECIPES)
def test_every_demo_model_beats_its_baseline(demo_bundle: Callable[[str], Bundle], tag: str) -> None:
    training = demo_bundle(tag).manifest.training
    for name, value in training.metrics.items():
        smaller_is_better = name in {"log_loss", "rmse"}
        assert (value < training.baseline[name]) if smaller_is_better else (value > training.baseline[name])


@pytest.mark.parametrize("tag", CREDIT)
def test_golden_rows_show_all_that_the_schema_allows(demo_bundle: Callable[[str], Bundle], tag: str) -> None:
    bundle = demo_bundle(tag)
    assert untried(bundle.spec, bundle.golden()[0]) == []


@pytest.mark.parametrize("tag", CREDIT)
def test_held_out_rows_take_part_in_nothing(demo_bundle: Callable[[str], Bundle], tag: str) -> None:
    bundle = demo_bundle(tag)
    schema = bundle.spec.schema
    held_out = _distinct(canonical_rows(schema, credit.table("held_out")))
    training = _distinct(canonical_rows(schema, credit.table("training")))
    calibration = _distinct(bundle.calibration()[0])
    assert not held_out & training
    assert not held_out & calibration
    assert not training & calibration
    assert _distinct(bundle.background()) <= training
    assert _distinct(bundle.golden()[0]) <= training | calibration
    assert bundle.reference()["feature:Age"].rows == len(credit.rows("training"))
    assert bundle.reference()["score"].rows == len(credit.rows("calibration"))


@pytest.mark.parametrize("tag", CREDIT)
def test_stated_measures_are_those_of_the_served_graph(
    demo_bundle: Callable[[str], Bundle], tag: str
) -> None:
    bundle = demo_bundle(tag)
    table = credit.table("held_out")
    scores = _model(bundle).predict(canonical_rows(bundle.spec.schema, table))
    labels = label_rows(bundle.spec, table[credit.TARGET])
    measured = bundle.manifest.training.metrics
    assert auc(scores[:, 1], labels == 1) == pytest.approx(measured["auc"], abs=1e-4)
    accuracy = np.mean(np.array(label_indices(bundle.spec, scores)) == labels)
    assert accuracy == pytest.approx(measured["accuracy"], abs=1e-4)


def test_the_parts_share_out_the_file_and_none_is_a_sliver() -> None:
    sizes = [len(credit.rows(part)) for part in ("training", "calibration", "held_out")]
    assert sum(sizes) == 4454
    assert np.abs(np.array(sizes) / 4454 - [0.6, 0.2, 0.2]).max() < 0.02


def test_held_out_instances_are_what_a_caller_would_post() -> None:
    applications = credit.held_out()
    assert {label for _, label in applications} == {"bad", "good"}
    missing = {name for instance, _ in applications for name, value in instance.items() if value is None}
    assert {"Income", "Assets", "Debt"} <= missing <= credit.MAY_MISS
    for instance, _ in applications:
        assert tuple(instance) == credit.COLUMNS
        assert isinstance(instance["Age"], int)
        assert instance["Home"] is None or instance["Home"] in credit.CATEGORIES["Home"]
        assert instance["Income"] is None or isinstance(instance["Income"], float)


def test_changing_a_held_out_instance_leaves_the_next_callers_alone() -> None:
    credit.held_out()[0][0]["Age"] = -1
    assert credit.held_out()[0][0]["Age"] != -1


def test_candidate_and_production_disagree_on_some_applications_only(
    demo_bundle: Callable[[str], Bundle],
) -> None:
    answers = []
    for tag in registry.DEFAULT:
        bundle = demo_bundle(tag)
        rows = canonical_rows(bundle.spec.schema, credit.table("held_out"))
        answers.append(np.array(label_indices(bundle.spec, _model(bundle).predict(rows))))
    assert 0.01 < np.mean(answers[0] != answers[1]) < 0.1


def test_the_linear_models_columns_are_words_integers_and_decimals(
    demo_bundle: Callable[[str], Bundle],
) -> None:
    types = {feature.name: feature.type for feature in demo_bundle("credit:linear-1").spec.schema.features}
    assert (types["Home"], types["Age"], types["Income"]) == ("string", "int64", "float")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # training packages warn each other
@pytest.mark.filterwarnings("ignore::FutureWarning")  # same
@pytest.mark.parametrize("tag", ["credit:gbm-2", "cancer:forest-1"])
def test_the_same_data_gives_the_same_bundle(
    demo_bundle: Callable[[str], Bundle], tag: str, tmp_path: Path
) -> None:
    again = registry.build(tag, tmp_path / "again")
    assert again.manifest.digests == demo_bundle(tag).manifest.digests


def test_auc_counts_ties_half() -> None:
    assert auc(np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, True, False, True])) == 0.875
    assert auc(np.zeros(4), np.array([True, False, True, False])) == 0.5


def _distinct(rows: np.ndarray) -> set[bytes]:
    return {row.tobytes() for row in np.ascontiguousarray(rows)}


def test_a_bundle_of_an_earlier_version_is_built_again(
    demo_bundle: Callable[[str], Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = registry.DEFAULT[0]
    demo_bundle(tag)
    assert not registry.due(tag)
    assert registry.due("credit:unbuilt")
    with monkeypatch.context() as earlier:
        earlier.setattr(Bundle, "uncertainty", lambda _: None)
        assert registry.due(tag)
    monkeypatch.setattr(registry, "SLICES", registry.SLICES[:-1])
    assert registry.due(tag)


@pytest.mark.parametrize("tag", CREDIT)
def test_every_slice_of_the_demo_has_rows_and_none_has_all(
    demo_bundle: Callable[[str], Bundle], tag: str
) -> None:
    bundle = demo_bundle(tag)
    rows = canonical_rows(bundle.spec.schema, credit.table("held_out"))
    for name, mask in members(slices_of(bundle), rows).items():
        assert 0.01 < mask.mean() < 0.9 or name == ALL, name


def test_a_bundle_with_another_suite_is_built_again(
    demo_bundle: Callable[[str], Bundle], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tag = registry.DEFAULT[0]
    demo_bundle(tag)
    assert not registry.due(tag)
    changed = tmp_path / "changed.yaml"
    changed.write_text("checks: []")
    monkeypatch.setattr(registry, "suite", lambda _: changed)
    assert registry.due(tag)
