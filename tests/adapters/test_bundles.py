"""Bundles out of the store: what passed the gate serves, what did not is refused with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import bentoml
import numpy as np
import pytest

from models import store
from models.bundle import Bundle
from models.compared import SliceEntry, ToleranceEntry
from models.manifest import Parity
from models.packaging import package
from models.pair import pair_of, spread_of
from models.reference import ReferenceVariable, cut_points
from service.adapters import bundles
from service.domain.binning import MOST_VARIABLES
from service.domain.conditions import Both, Compare, Either, Missing
from service.domain.disagreement.measure import Tolerance
from service.domain.slices import Slice
from service.errors import BundleError
from tests.models.graphs import Tiny, tiny

Stored = Callable[[Tiny], str]


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Stored]:
    """Packages a tiny model and puts it into the store until the end of the test; gives its tag."""
    tags: list[str] = []

    def put(small: Tiny) -> str:
        package(small.graph, small.manifest, small.material, tmp_path / small.manifest.version)
        store.save(tmp_path / small.manifest.version)
        tags.append(small.manifest.spec.tag)
        return tags[-1]

    yield put
    for tag in tags:
        bentoml.models.delete(tag)


def load(tag: str) -> bundles.Loaded:
    return bundles.load(tag, providers=("CPUExecutionProvider",), threads=1)


@pytest.mark.parametrize("kind", ["tensor", "columns", "image", "regression"])
def test_a_stored_bundle_serves_what_it_was_packaged_with(stored: Stored, kind: str) -> None:
    small = tiny(kind)
    loaded = load(stored(small))
    rows = bundles.sample_rows(loaded.bundle, 5)
    np.testing.assert_allclose(loaded.model.predict(rows), small.trained(rows), atol=1e-5)
    shown = loaded.describe()
    assert (shown["name"], shown["version"], shown["state"]) == ("tiny", kind, "ready")
    assert shown["parity"]["passed"] is True
    assert shown["threshold"] == (0.5 if shown["task"] == "binary" else None)
    assert shown["providers"] == ["CPUExecutionProvider"]


def test_an_absent_bundle_is_refused_by_its_tag() -> None:
    with pytest.raises(BundleError, match="tiny:nowhere"):
        load("tiny:nowhere")


def test_a_bundle_changed_after_packaging_is_refused(stored: Stored) -> None:
    tag = stored(tiny("tensor"))
    path = store.locate(tag) / "model.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(BundleError, match=r"model\.onnx"):
        load(tag)


def test_says_of_a_refused_bundle_who_and_why() -> None:
    assert bundles.refused("tiny:new", "fails parity") == {
        "name": "tiny",
        "version": "new",
        "state": "refused",
        "reason": "fails parity",
    }


@pytest.mark.parametrize("rows", [1, 40, 100])
def test_sample_rows_are_the_reference_repeated(stored: Stored, rows: int) -> None:
    bundle = load(stored(tiny("tensor"))).bundle
    found, background = bundles.sample_rows(bundle, rows), bundle.background()
    assert found.shape == (rows, 3)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found[-1], background[(rows - 1) % len(background)])


def test_slices_are_columns_and_codes(stored: Stored) -> None:
    small = tiny("tensor")
    parts = (
        SliceEntry(name="parents", column="home", value="parents"),
        SliceEntry(name="two", column="age", value=2.0),
        SliceEntry(name="middle", column="age", range=(1, 3)),
        SliceEntry(name="poor", column="income", missing=True),
        SliceEntry(name="young or poor", where="age < 2 or income is missing"),
    )
    bundle = load(stored(replace(small, manifest=small.manifest.model_copy(update={"slices": parts})))).bundle
    assert bundles.slices_of(bundle) == (
        Slice("parents", Compare(1, "==", 2.0)),
        Slice("two", Compare(0, "==", 2.0)),
        Slice("middle", Both((Compare(0, ">=", 1.0), Compare(0, "<", 3.0)))),
        Slice("poor", Missing(2)),
        Slice("young or poor", Either((Compare(0, "<", 2.0), Missing(2)))),
    )


def test_redaction_tolerance_and_costs_are_the_manifest_s(stored: Stored) -> None:
    small = tiny("tensor")
    age, home, income = small.manifest.features
    features = (age, home.model_copy(update={"redact": "drop"}), income.model_copy(update={"redact": "hash"}))
    update = {
        "features": features,
        "tolerance": ToleranceEntry(absolute=0.01),
        "costs": {"bad": {"good": 4.0}, "good": {"bad": 1.0, "good": 0.5}},
    }
    bundle = load(stored(replace(small, manifest=small.manifest.model_copy(update=update)))).bundle
    assert bundles.redaction_of(bundle) == {"age": "keep", "home": "drop", "income": "hash"}
    pair = pair_of(bundle, bundle)
    assert pair.tolerance == Tolerance(absolute=0.01, relative=0.0)
    assert pair.costs is not None
    assert pair.costs.tolist() == [[0, 4], [1, 0.5]]


def test_what_the_manifest_does_not_say_is_kept_and_alike(stored: Stored) -> None:
    bundle = load(stored(tiny("image"))).bundle
    assert bundles.redaction_of(bundle) == {"image": "keep"}
    pair = pair_of(bundle, bundle)
    assert (pair.tolerance, pair.costs, pair.spread) == (Tolerance(), None, 1.0)
    _, scores, _ = bundle.calibration()
    assert pair.cuts == cut_points(scores.ravel()) != ()


@pytest.mark.parametrize("kind", ["tensor", "image", "regression"])
def test_bins_are_those_of_the_reference_data(stored: Stored, kind: str) -> None:
    bundle = load(stored(tiny(kind))).bundle
    reference = bundle.reference()
    binning = bundles.binning_of(bundle)
    found = {each.name: each for each in binning.variables}
    answered = {"label"} if bundle.spec.classes else set()
    assert found.keys() - {"domain"} == reference.keys() | answered
    for name, known in reference.items():
        each = found[name]
        assert sum(each.reference) == known.rows
        assert each.reference[each.missing] == known.missing
        assert [rows for rows in each.reference if rows] == [
            rows for rows in (*known.counts, known.missing) if rows
        ]
    assert [each.name for each in bundles.bins_of(bundle).variables] == [
        each.name for each in binning.variables if each.name != "domain"
    ]
    if kind != "image":
        assert pair_of(bundle, bundle).cuts == reference["score"].edges


@pytest.mark.parametrize("name", ["knn", "mahalanobis"])
def test_the_domain_is_watched_by_the_measure_that_the_manifest_names(stored: Stored, name: str) -> None:
    small = tiny("tensor")
    entry = small.manifest.uncertainty.model_copy(update={"domain": name})
    manifest = small.manifest.model_copy(update={"uncertainty": entry})
    bundle = load(stored(replace(small, manifest=manifest))).bundle
    found = {each.name: each for each in bundles.binning_of(bundle).variables}["domain"]
    ascending = bundle.measures()[name]["ascending"]
    own = [100.0 * float((ascending < score).mean()) for score in ascending]
    assert list(found.reference[:10]) == np.histogram(own, np.arange(0, 101, 10))[0].tolist()


def test_the_spread_of_values_is_their_standard_deviation(stored: Stored) -> None:
    bundle = load(stored(tiny("regression"))).bundle
    _, scores, _ = bundle.calibration()
    assert spread_of(bundle) == pytest.approx(float(np.std(scores.astype(np.float64))), rel=1e-5)


class Wide(Bundle):
    """One with many more inputs."""

    def reference(self) -> dict[str, ReferenceVariable]:
        first = next(each for each in super().reference().values() if each.edges)
        many = (replace(first, name=f"feature:{number}") for number in range(2 * MOST_VARIABLES))
        return super().reference() | {each.name: each for each in many}


def test_it_is_said_where_not_all_variables_can_be_watched(
    stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = load(stored(tiny("regression"))).bundle
    known = len(bundles.binning_of(bundle).variables)
    assert not caplog.records
    assert len(bundles.binning_of(Wide(bundle.path, bundle.manifest)).variables) == MOST_VARIABLES
    assert f"{MOST_VARIABLES} of {known + 2 * MOST_VARIABLES} variables" in caplog.text


def test_scores_may_lie_beyond_the_ends_by_what_parity_allows_and_inputs_may_not(stored: Stored) -> None:
    small = tiny("regression")
    rule = Parity(absolute=0.25, relative=0.5)
    bundle = load(stored(replace(small, manifest=small.manifest.model_copy(update={"parity": rule})))).bundle
    known = bundle.reference()
    cuts = {each.variable.name: each for each in bundles.binning_of(bundle).cuts}
    low, high = known["score"].minimum or 0.0, known["score"].maximum or 0.0
    slack = 0.25 + 0.5 * max(abs(low), abs(high))
    above = cuts["score"].variable.ordered - 1
    asked = np.array([low - 0.99 * slack, high + 0.99 * slack, low - 1.01 * slack, high + 1.01 * slack])
    assert cuts["score"].codes(asked).tolist() == [1, above - 1, 0, above]
    assert cuts["feature:age"].edges[0] == known["feature:age"].minimum
