"""What packaging finds by a suite decides, stays with the bundle, and is found again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from models.asking import on_cpu
from models.behaviour import run_suite
from models.behaviour_suite import read_suite
from models.bundle import BEHAVIOUR, SUITE, Bundle
from models.demo import registry
from models.packaging import package
from service.adapters.bundles import behaviour_of
from service.errors import BundleError
from tests.models.graphs import Tiny
from tests.models.rules import made

Make = Callable[[str], Tiny]


TELLING = """
checks:
  - {name: renting changes little, kind: invariance, change: {home: {to: rent}}, within: 0.9, at_least: 0.5}
  - {name: age leaves good alone, kind: directional, change: {age: {add: 1}}, must_not: fall, severity: warn}
  - {name: some are bad, kind: minimum_functionality, on: {sample: 20}, expect: {label: bad}, at_least: 0.1}
"""
GENERAL = """
checks:
  - {name: a little noise, kind: invariance, change: {CHANGED}, within: 5, severity: warn}
"""


def written(folder: Path, kind: str) -> Path:
    path = folder / "suite.yaml"
    changed = "pixels: {noise: 0.01}" if kind == "image" else "age: {to: [0, 4]}"
    telling = kind not in ("image", "regression")
    path.write_text(TELLING if telling else GENERAL.replace("CHANGED", changed))
    return path


def test_check_finds_what_packaging_stored(any_tiny: Tiny, tmp_path: Path) -> None:
    path = written(tmp_path, any_tiny.manifest.version)
    bundle = package(
        any_tiny.graph,
        any_tiny.manifest,
        any_tiny.material,
        tmp_path / "bundle",
        explain=False,
        quantify=False,
        suite=path,
        allow_failing=True,
    )
    assert bundle.suite_path is not None
    assert bundle.suite_path.read_bytes() == path.read_bytes()
    assert {SUITE, BEHAVIOUR} <= bundle.manifest.digests.keys()
    stored = bundle.behaviour()
    assert stored is not None
    assert stored == run_suite(read_suite(bundle.suite_path), bundle, on_cpu(bundle)).as_document()
    assert all(0 <= check["rate"] <= 1 and check["rows"] > 0 for check in stored["checks"])


def test_a_failing_model_is_refused_with_the_check_its_rate_and_the_worst_row(
    make: Make, tmp_path: Path
) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(
        "checks:\n"
        "  - {name: everyone is good, kind: minimum_functionality, expect: {label: good}}\n"
        "  - {name: homes are equal, kind: invariance, change: {home: {others: true}}, within: 0}\n"
    )
    small = make("tensor")
    with pytest.raises(BundleError) as caught:
        package(small.graph, small.manifest, small.material, tmp_path / "bundle", suite=path)
    message = str(caught.value)
    for part in ("tiny:tensor fails", "'everyone is good' holds for", "of 40 rows", "worst row", "home "):
        assert part in message
    assert not (tmp_path / "bundle").exists()
    allowed = package(
        small.graph,
        small.manifest,
        small.material,
        tmp_path / "bundle",
        suite=path,
        allow_failing=True,
        explain=False,
    )
    stored = allowed.behaviour()
    assert stored is not None
    assert stored["passed"] is False


def test_what_is_shown_of_behaviour_has_no_rows_of_the_training_data(make: Make, tmp_path: Path) -> None:
    small, path = make("tensor"), tmp_path / "suite.yaml"
    path.write_text("checks: [{name: good, kind: minimum_functionality, expect: {label: good}}]")
    bundle = package(
        small.graph,
        small.manifest,
        small.material,
        tmp_path / "bundle",
        explain=False,
        quantify=False,
        suite=path,
        allow_failing=True,
    )
    stored, shown = bundle.behaviour(), behaviour_of(bundle)
    assert stored is not None
    assert shown is not None
    assert stored["checks"][0].pop("examples")
    assert shown == stored
    assert behaviour_of(made(make, "regression", tmp_path)) is None


@pytest.mark.parametrize("tag", [tag for tag in registry.RECIPES if tag.startswith("credit:")])
def test_the_credit_models_keep_their_promises_and_do_so_again(
    tag: str, demo_bundle: Callable[[str], Bundle]
) -> None:
    bundle = demo_bundle(tag)
    stored = bundle.behaviour()
    assert stored is not None
    assert bundle.suite_path is not None
    assert stored["passed"]
    assert stored == run_suite(read_suite(bundle.suite_path), bundle, on_cpu(bundle)).as_document()


def test_the_candidate_depends_less_on_marital_status_than_production(
    demo_bundle: Callable[[str], Bundle],
) -> None:
    rates = {}
    for tag in ("credit:gbm-1", "credit:gbm-2", "credit:linear-1"):
        stored = demo_bundle(tag).behaviour()
        assert stored is not None
        (check,) = [check for check in stored["checks"] if "marital" in check["name"]]
        rates[tag] = check["rate"]
    assert rates["credit:linear-1"] < rates["credit:gbm-1"] < 0.95 < rates["credit:gbm-2"]
