"""What packaging learns about the rows that callers will send, and what a manifest may say instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from models.bundle import open_bundle
from models.expectations import FEWEST, MOST_DISTINCT, expecting
from models.manifest import ExpectEntry, FeatureEntry, InputEntry, Manifest, OutputEntry, read_manifest
from models.packaging import package
from service.domain.expectations import Expectation
from service.domain.watch import Watch
from service.errors import BundleError
from tests.models.graphs import Tiny

WORDS = ("own", "rent", "parents")


def manifest(*features: FeatureEntry, **more: Any) -> Manifest:
    made: dict[str, Any] = {
        "name": "tiny",
        "version": "1",
        "task": "regression",
        "features": features,
        "input": InputEntry(layout="tensor", name="x"),
        "output": OutputEntry(name="y", kind="value"),
    }
    return Manifest(**(made | more))


def learnt(entry: FeatureEntry, *values: float) -> FeatureEntry:
    """The entry after packaging with one column of reference rows."""
    return expecting(manifest(entry), np.array([values], np.float32).T).features[0]


def number(**more: Any) -> FeatureEntry:
    return FeatureEntry(name="a", type="float", **more)


def test_the_range_of_the_reference_rows_is_expected() -> None:
    entry = learnt(number(missing="allow"), 2.5, np.nan, -1.5)
    assert entry.range == (-1.5, 2.5)
    assert entry.expected("warn").range == (-1.5, 2.5)


def test_the_share_of_missing_values_is_expected_where_they_are_allowed() -> None:
    assert learnt(number(missing="allow"), 1, 2, np.nan, 4).expect.missing_rate == 0.25
    assert learnt(number(missing="allow"), 1, 2).expect.missing_rate == 0
    assert learnt(number(), 1, 2).expect.missing_rate is None


def test_categories_that_training_never_saw_are_not_expected() -> None:
    entry = FeatureEntry(name="a", type="string", categories=WORDS, missing="allow")
    assert learnt(entry, 0, 2, np.nan).expect.categories == ("own", "parents")
    assert learnt(entry, 0, 2, 1).expect.categories is None
    assert learnt(entry, np.nan, np.nan).expect.categories is None


def test_a_count_is_expected_to_stay_whole_and_an_amount_is_not() -> None:
    counts = [float(n % MOST_DISTINCT) for n in range(FEWEST + 5)]
    assert learnt(number(missing="allow"), *counts, np.nan).expect.whole
    assert learnt(number(), *counts[: FEWEST - 1]).expect.whole is None
    assert learnt(number(), *counts, 0.5).expect.whole is None
    amounts = [float(n) for n in range(MOST_DISTINCT + 1)]
    assert learnt(number(), *amounts).expect.whole is None


def test_what_the_author_says_is_kept() -> None:
    said = ExpectEntry(range=(0, 120), missing_rate=0.5, whole=False, on_violation="refuse")
    entry = learnt(number(missing="allow", expect=said), *[1.0] * 30, np.nan)
    assert entry.expect == said
    assert entry.range == (1, 1)
    assert entry.expected("ignore") == Expectation("refuse", (0, 120), None, 0.5, False)
    words = ExpectEntry(categories=WORDS)
    entry = learnt(FeatureEntry(name="a", type="string", categories=WORDS, expect=words), 0, 0)
    assert entry.expect.categories == WORDS


def test_a_feature_says_what_becomes_of_strange_values_or_the_manifest_does() -> None:
    ignoring = number(expect=ExpectEntry(on_violation="ignore"))
    other = FeatureEntry(name="b", type="float")
    assert [each.on_violation for each in manifest(ignoring, other).expected] == ["ignore", "warn"]
    refusing = manifest(ignoring, other, expectations="refuse")
    assert [each.on_violation for each in refusing.expected] == ["ignore", "refuse"]


def test_no_row_that_training_saw_is_strange(any_tiny: Tiny, tmp_path: Path) -> None:
    bundle = package(any_tiny.graph, any_tiny.manifest, any_tiny.material, tmp_path / "bundle", explain=False)
    reference = np.ascontiguousarray(any_tiny.material.reference, bundle.spec.schema.dtype)
    watch = Watch(bundle.spec.schema, bundle.manifest.expected)
    assert watch.look(reference) is None
    assert all(watch.look(reference[index : index + 1]) is None for index in range(len(reference)))
    beyond = np.nextafter(reference.max(), np.float32(np.inf)).astype(reference.dtype)
    assert watch.look(np.full_like(reference, beyond + 1)) is not None


def test_pixels_have_one_range_together(make: Callable[[str], Tiny]) -> None:
    small = make("image")
    rows = small.material.reference
    learnt_of = expecting(small.manifest, rows)
    assert learnt_of.input.range == (rows.min(), rows.max())
    assert learnt_of.expected == (Expectation("warn", learnt_of.input.range),)
    said = learnt_of.model_copy(update={"input": small.manifest.input.model_copy(update={"range": (0, 255)})})
    assert expecting(said, rows).input.range == (0, 255)


def test_expectations_are_edited_in_the_manifest_of_a_bundle(
    make: Callable[[str], Tiny], tmp_path: Path
) -> None:
    small = make("tensor")
    path = package(small.graph, small.manifest, small.material, tmp_path / "bundle", explain=False).path
    document = yaml.safe_load((path / "manifest.yaml").read_text())
    assert document["features"][1]["expect"]["missing_rate"] == pytest.approx(0.0)
    document["features"][0]["expect"] = {"range": [0, 3], "on_violation": "refuse"}
    document["expectations"] = "ignore"
    (path / "manifest.yaml").write_text(yaml.safe_dump(document))
    age, home, _ = open_bundle(path).manifest.expected
    assert (age.range, age.on_violation) == ((0, 3), "refuse")
    assert home.on_violation == "ignore"


def test_a_manifest_from_before_opens_and_expects_its_ranges(tmp_path: Path) -> None:
    old = {
        "name": "m", "version": "1", "task": "regression", "input": {"layout": "tensor", "name": "x"},
        "output": {"name": "y", "kind": "value"},
        "features": [
            {"name": "a", "type": "float", "range": [0.5, 2], "missing": "allow"},
            {"name": "b", "type": "string", "categories": ["x", "y"], "missing": "allow"},
        ],
    }  # fmt: skip
    (tmp_path / "manifest.yaml").write_text(yaml.safe_dump(old))
    assert read_manifest(tmp_path / "manifest.yaml").expected == (
        Expectation("warn", (0.5, 2)),
        Expectation("warn"),
    )


@pytest.mark.parametrize(
    ("feature", "complaint"),
    [
        ({"type": "float", "range": [2, 1]}, "range: expected two numbers, the smaller one first"),
        ({"type": "float", "expect": {"range": [0, float("inf")]}}, "expect.range: expected two numbers"),
        ({"type": "float", "expect": {"categories": ["x"]}}, "names a word that is no category"),
        ({"type": "float", "expect": {"missing_rate": 0.1}}, "goes with missing: allow"),
        ({"type": "float", "missing": "allow", "expect": {"missing_rate": 1.1}}, "less than or equal to 1"),
        ({"type": "float", "expect": {"on_violation": "shout"}}, "expect.on_violation"),
        ({"type": "int64", "expect": {"whole": True}}, "expect.whole goes with type float"),
        ({"type": "string", "categories": ["x"], "expect": {"range": [0, 1]}}, "goes with numbers"),
        ({"type": "string", "categories": ["x"], "expect": {"categories": ["y"]}}, "no category"),
        ({"type": "string", "categories": ["x"], "expect": {"categories": []}}, "at least 1 item"),
        ({"type": "float", "expect": {"median": 3}}, "expect.median: Extra inputs"),
    ],
)
def test_a_mistake_is_named_where_it_was_made(
    feature: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    document = {
        "name": "m", "version": "1", "task": "regression", "input": {"layout": "tensor", "name": "x"},
        "output": {"name": "y", "kind": "value"}, "features": [{"name": "a", **feature}],
    }  # fmt: skip
    (tmp_path / "manifest.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(BundleError) as refusal:
        read_manifest(tmp_path / "manifest.yaml")
    assert complaint in str(refusal.value)


def test_only_an_image_has_a_range_for_all_its_inputs() -> None:
    with pytest.raises(ValueError, match=r"input\.range: only for an image"):
        manifest(number(), input=InputEntry(layout="tensor", name="x", range=(0, 1)))
