"""Packaging fits every measure that can serve the model, chooses among them, and says what it found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.bundle import MEASURES, UNCERTAINTY, Bundle
from models.quantifying import write_uncertainty
from models.show import bundle_text
from service.adapters.onnx import OnnxModel
from service.domain.parity import ParityReport
from service.domain.uncertainty.registry import BY_NAME
from service.errors import BundleError

Demo = Callable[[str], Bundle]


def changed(bundle: Bundle, **uncertainty: Any) -> Bundle:
    """The bundle with another section in its manifest."""
    entry = bundle.manifest.uncertainty.model_copy(update=uncertainty)
    return Bundle(bundle.path, bundle.manifest.model_copy(update={"uncertainty": entry}))


def written(bundle: Bundle, folder: Path) -> dict[str, Any]:
    names = list(write_uncertainty(folder, bundle, OnnxModel(bundle.model_path, bundle.spec, bundle.binding)))
    assert {MEASURES, UNCERTAINTY} <= set(names)
    assert all((folder / name).exists() for name in names)
    found: dict[str, Any] = json.loads((folder / UNCERTAINTY).read_text())
    return found


def test_every_measure_is_fitted_or_refused_with_a_reason(demo_bundle: Demo) -> None:
    for tag in ("credit:gbm-1", "diabetes:gbr-1", "digits:mlp-1"):
        report = demo_bundle(tag).uncertainty()
        assert report is not None
        assert set(report["measures"]) | set(report["refused"]) == set(BY_NAME)
        assert not set(report["measures"]) & set(report["refused"])
        assert all(report["refused"].values())
        arrays = demo_bundle(tag).measures()
        for name in report["measures"]:
            BY_NAME[name].restore(demo_bundle(tag).spec, arrays.get(name, {}))


def test_of_each_kind_the_least_held_out_loss_is_chosen(demo_bundle: Demo) -> None:
    for tag in ("credit:gbm-1", "cancer:forest-1", "diabetes:gbr-1", "digits:mlp-1"):
        report = demo_bundle(tag).uncertainty()
        assert report is not None
        for kind, chosen in report["chosen"].items():
            losses = {
                name: found.get("loss")
                for name, found in report["measures"].items()
                if found["kind"] == kind and found.get("loss") is not None
            }
            if losses:
                assert chosen in losses
                assert losses[chosen] == min(losses.values())


def test_a_forest_has_members_and_a_network_without_any_says_so(demo_bundle: Demo) -> None:
    assert demo_bundle("cancer:forest-1").graph_path("members") is not None
    network = demo_bundle("digits:mlp-1")
    assert network.graph_path("members") is None
    report = network.uncertainty()
    assert report is not None
    assert "members" in report["refused"]["spread"]


def test_a_graph_of_reconstruction_decides_about_the_domain(demo_bundle: Demo) -> None:
    report = demo_bundle("digits:mlp-2").uncertainty()
    assert report is not None
    assert report["chosen"]["domain"] == "reconstruction"


def test_the_manifests_choice_is_taken(demo_bundle: Demo, tmp_path: Path) -> None:
    bundle = changed(
        demo_bundle("credit:linear-1"), region="aps-by-class", domain="knn", probability="isotonic"
    )
    chosen = written(bundle, tmp_path)["chosen"]
    assert (chosen["region"], chosen["domain"], chosen["probability"]) == ("aps-by-class", "knn", "isotonic")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (
            {"region": "absolute"},
            "uncertainty.region: absolute cannot serve this model: .*labels are no numbers",
        ),
        ({"region": "knn"}, "uncertainty.region: 'knn' is none of lac, "),
        ({"probability": "platt"}, "uncertainty.probability: 'platt' is none of"),
        ({"domain": "reconstruction"}, "cannot serve this model"),
    ],
)
def test_a_choice_that_cannot_serve_stops_packaging(
    choice: dict[str, str], message: str, demo_bundle: Demo, tmp_path: Path
) -> None:
    bundle = changed(demo_bundle("credit:linear-1"), **choice)
    with pytest.raises(BundleError, match=message):
        written(bundle, tmp_path)


def test_the_same_bundle_always_gives_the_same_measures(demo_bundle: Demo, tmp_path: Path) -> None:
    bundle = demo_bundle("credit:linear-1")
    report = written(bundle, tmp_path)
    assert report == bundle.uncertainty()
    with np.load(tmp_path / MEASURES) as again, np.load(bundle.path / MEASURES) as before:
        assert again.files == before.files
        for name in again.files:
            np.testing.assert_array_equal(again[name], before[name])


def test_the_percentile_of_the_manifest_decides_who_is_out_of_domain(
    demo_bundle: Demo, tmp_path: Path
) -> None:
    bundle = demo_bundle("credit:linear-1")
    strict = written(changed(bundle, in_domain_percentile=80.0), tmp_path)
    usual = bundle.uncertainty()
    assert usual is not None
    for name in ("mahalanobis", "knn"):
        assert strict["measures"][name]["cut"] < usual["measures"][name]["cut"]


def test_passes_without_a_graph_to_pass_through_stop_packaging(demo_bundle: Demo, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"uncertainty\.passes: no graph of members was given"):
        written(changed(demo_bundle("credit:linear-1"), passes=20), tmp_path)


def test_inspect_tells_what_the_manifest_was_edited_to(demo_bundle: Demo) -> None:
    passed = ParityReport(passed=True, rows=1)
    regression = changed(demo_bundle("diabetes:gbr-1"), region="normalised", confidence=0.985)
    text = bundle_text(regression, passed, ["CPU"])
    assert "region     normalised (or absolute)" in text
    assert "calibration rows support at most 0.984" in text
    text = bundle_text(changed(demo_bundle("diabetes:gbr-1"), region="nonsense"), passed, ["CPU"])
    assert "region     nonsense, which this bundle does not have (or absolute, normalised)" in text


def test_inspect_names_the_measures_and_the_confidence_they_cannot_support(demo_bundle: Demo) -> None:
    bundle = demo_bundle("diabetes:gbr-1")
    passed = ParityReport(passed=True, rows=1)
    text = bundle_text(bundle, passed, ["CPU"])
    assert "region     absolute (or normalised)" in text
    assert "support at most" not in text
    assert "92 calibration rows support at most 0.989" in bundle_text(
        changed(bundle, confidence=0.999), passed, ["CPU"]
    )
