"""A bundle's measures come back from disk as packaging left them, or the bundle is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from models.bundle import MEASURES, UNCERTAINTY, Bundle
from service.adapters.onnx import OnnxModel
from service.adapters.quantities import quantifier_of
from service.domain.uncertainty.quantifier import Doubt, Quantifier
from service.errors import BundleError

Demo = Callable[[str], Bundle]
CPU = ("CPUExecutionProvider",)


def changed(bundle: Bundle, **uncertainty: Any) -> Bundle:
    entry = bundle.manifest.uncertainty.model_copy(update=uncertainty)
    return Bundle(bundle.path, bundle.manifest.model_copy(update={"uncertainty": entry}))


def opened(bundle: Bundle) -> Quantifier:
    found = quantifier_of(bundle, providers=CPU, threads=1)
    assert found is not None
    return found


def bare(bundle: Bundle) -> Bundle:
    """The bundle as one that was packaged without measures."""
    kept = {
        name: digest
        for name, digest in bundle.manifest.digests.items()
        if name not in (MEASURES, UNCERTAINTY)
    }
    return Bundle(bundle.path, bundle.manifest.model_copy(update={"digests": kept}))


def test_a_bundle_without_measures_has_nothing_to_say(demo_bundle: Demo) -> None:
    assert quantifier_of(bare(demo_bundle("credit:gbm-1")), providers=CPU, threads=1) is None


@pytest.mark.parametrize(
    ("relied", "named"),
    [
        ({"abstain": ("out_of_domain",)}, "uncertainty.abstain"),
        ({"region": "aps", "domain": "knn"}, "uncertainty.region, uncertainty.domain"),
    ],
)
def test_a_bundle_without_the_measures_that_its_manifest_relies_on_is_refused(
    relied: dict[str, Any], named: str, demo_bundle: Demo
) -> None:
    """Else a model that is to abstain would answer everything."""
    bundle = changed(bare(demo_bundle("credit:gbm-1")), **relied)
    with pytest.raises(BundleError, match=f"{named}: the bundle was packaged without measures"):
        quantifier_of(bundle, providers=CPU, threads=1)


@pytest.mark.parametrize(
    "tag", ["credit:gbm-1", "credit:linear-1", "diabetes:gbr-1", "digits:mlp-2", "cancer:forest-1"]
)
def test_live_regions_cover_the_calibration_rows_as_often_as_promised(tag: str, demo_bundle: Demo) -> None:
    bundle = demo_bundle(tag)
    rows, scores, labels = bundle.calibration()
    found = opened(bundle).quantify(rows, scores, Doubt(confidence=0.9))
    if bundle.spec.classes:
        covered = found.columns["set"][np.arange(len(labels)), labels]
    else:
        low, high = found.columns["interval"].T
        covered = (low <= labels) & (labels <= high)
    assert 0.9 <= covered.mean() <= 0.9 + 2 / len(labels) + 0.02
    assert 0.97 <= found.columns["in_domain"].mean() <= 1


def test_the_spread_is_asked_of_the_bundles_own_members(demo_bundle: Demo) -> None:
    bundle = demo_bundle("cancer:forest-1")
    rows, scores, _ = bundle.calibration()
    columns = opened(bundle).quantify(rows, scores, Doubt(extra=frozenset({"spread"}))).columns
    np.testing.assert_allclose(columns["total"], columns["aleatoric"] + columns["epistemic"], atol=1e-9)
    model = OnnxModel(bundle.model_path, bundle.spec, bundle.binding, providers=CPU)
    mean = model.predict(rows).astype(np.float64).clip(1e-12, 1)
    np.testing.assert_allclose(columns["total"], -(mean * np.log2(mean)).sum(axis=1), atol=1e-4)


def test_an_edited_manifest_chooses_anew(demo_bundle: Demo) -> None:
    bundle = changed(demo_bundle("credit:gbm-1"), region="aps", domain="knn", confidence=0.8)
    found = opened(bundle)
    assert (found.chosen["region"], found.chosen["domain"], found.confidence) == ("aps", "knn", 0.8)


@pytest.mark.parametrize("tag", ["credit:gbm-1", "digits:mlp-2"])
def test_an_edited_percentile_moves_the_cut(tag: str, demo_bundle: Demo) -> None:
    bundle = demo_bundle(tag)
    rows, scores, _ = bundle.calibration()
    for percentile in (50.0, 80.0, 99.0):
        edited = opened(changed(bundle, in_domain_percentile=percentile))
        for name in edited.quantities["domain"]:
            inside = edited.quantify(rows, scores, Doubt(domain=name)).columns["in_domain"]
            assert percentile / 100 <= inside.mean() <= percentile / 100 + 0.01
    usual, same = (
        each.quantify(rows, scores, Doubt()).columns["in_domain"]
        for each in (opened(bundle), opened(changed(bundle, in_domain_percentile=99.0)))
    )
    np.testing.assert_array_equal(usual, same)


def test_a_row_whose_reconstruction_error_runs_over_is_out_of_domain(demo_bundle: Demo) -> None:
    bundle = demo_bundle("digits:mlp-2")
    rows, scores, _ = bundle.calibration()
    far = rows[:2].copy()
    far[0, 7] = 1e30
    found = opened(bundle).quantify(far, scores[:2], Doubt(domain="reconstruction")).columns
    assert found["in_domain"].tolist() == [False, True]
    assert np.isfinite(found["domain_score"]).all()


@pytest.mark.parametrize("kind", ["region", "probability", "domain"])
def test_a_measure_that_the_bundle_does_not_have_is_refused_by_name(kind: str, demo_bundle: Demo) -> None:
    with pytest.raises(BundleError, match=f"uncertainty.{kind} is 'nonsense', and the bundle has"):
        opened(changed(demo_bundle("credit:gbm-1"), **{kind: "nonsense"}))


def test_a_model_that_is_to_abstain_needs_what_decides_it(
    demo_bundle: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = changed(demo_bundle("credit:gbm-1"), abstain=("ambiguous", "out_of_domain"))
    assert opened(bundle).chosen["domain"] is not None
    report = bundle.uncertainty()
    assert report is not None
    without = {name: found for name, found in report["measures"].items() if found["kind"] != "domain"}
    less = report | {"measures": without, "chosen": report["chosen"] | {"domain": None}}
    monkeypatch.setattr(Bundle, "uncertainty", lambda _: less)
    with pytest.raises(BundleError, match="abstain when out_of_domain, and has no measure of the domain"):
        opened(bundle)


def test_a_number_of_passes_that_nothing_was_fitted_to_is_refused(demo_bundle: Demo) -> None:
    with pytest.raises(BundleError, match=r"uncertainty\.passes is 20, and the measures were fitted to 0"):
        opened(changed(demo_bundle("cancer:forest-1"), passes=20))


def test_a_measure_of_a_later_version_is_refused_by_name(
    demo_bundle: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = demo_bundle("credit:gbm-1")
    report = bundle.uncertainty()
    assert report is not None
    later = report | {"measures": {**report["measures"], "later": {"kind": "region"}}}
    monkeypatch.setattr(Bundle, "uncertainty", lambda _: later)
    with pytest.raises(BundleError, match="'later' is unknown to this version"):
        opened(bundle)
