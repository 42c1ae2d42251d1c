"""Evaluation on labelled rows: the live report's own numbers, with intervals, slice by slice."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.asking import answers, on_cpu
from models.bundle import Bundle
from models.canonical import canonical_rows, label_rows
from models.compared import ToleranceEntry
from models.demo import credit
from models.demo.measures import auc
from models.evaluation import evaluate
from models.packaging import package
from models.pair import pair_of
from service.domain.disagreement.measure import Tolerance
from service.domain.evidence.verdict import Rules
from service.domain.schema import label_indices
from service.errors import BundleError
from service.wiring.studying import study_of
from tests.models.graphs import HOMES, Tiny, affine

Demo = Callable[[str], Bundle]
WEIGHTS = np.array([[1.0], [0.5], [-0.3]])


def measured(document: dict[str, Any], part: str = "all") -> dict[str, Any]:
    found: dict[str, Any] = document["slices"][part]["measures"]
    return found


def regression(make: Callable[[str], Tiny], folder: Path, version: str, weights: np.ndarray) -> Bundle:
    """A packaged linear regression of age, home and income."""
    small = make("regression")
    manifest = small.manifest.model_copy(
        update={
            "version": version,
            "output": small.manifest.output.model_copy(update={"name": "z"}),
        }
    )
    golden = small.material.golden
    material = replace(small.material, outputs=np.nan_to_num(golden.astype(np.float64)) @ weights)
    graph = affine(weights, np.zeros(1))
    return package(graph, manifest, material, folder / version, explain=False, quantify=False)


def traffic(rows: int, seed: int) -> dict[str, list[Any]]:
    """Raw columns whose target is what ``WEIGHTS`` say, and a little noise."""
    rng = np.random.default_rng(seed)
    age, home, income = rng.integers(0, 5, rows), rng.integers(0, 3, rows), rng.normal(size=rows)
    value = np.stack([age, home, income], axis=1) @ WEIGHTS[:, 0] + rng.normal(0, 0.1, rows)
    return {
        "age": age.tolist(),
        "home": [HOMES[code] for code in home],
        "income": income.tolist(),
        "outcome": value.tolist(),
    }


@pytest.mark.parametrize("candidate", ["credit:gbm-2", "credit:linear-1"])
def test_the_numbers_are_those_of_both_models_on_the_same_rows(candidate: str, demo_bundle: Demo) -> None:
    production, other = demo_bundle("credit:gbm-1"), demo_bundle(candidate)
    table = credit.table("held_out")
    document = evaluate(production, other, table, credit.TARGET)
    labels = label_rows(production.spec, table[credit.TARGET])
    right, brier, areas = [], [], []
    for bundle in (production, other):
        scores = answers(on_cpu(bundle), canonical_rows(bundle.spec.schema, table))
        right.append(np.array(label_indices(bundle.spec, scores)) == labels)
        brier.append(np.square(scores[:, 1].astype(np.float64) - labels))
        areas.append(auc(scores[:, 1], labels == 1))
    found = measured(document)
    for name, (before, after) in {
        "accuracy": (right[0].mean(), right[1].mean()),
        "brier": (brier[0].mean(), brier[1].mean()),
        "auc": (areas[0], areas[1]),
    }.items():
        assert found[name]["production"]["value"] == pytest.approx(before)
        assert found[name]["candidate"]["value"] == pytest.approx(after)
        assert found[name]["difference"]["value"] == pytest.approx(after - before)
        for which in ("production", "candidate", "difference"):
            assert found[name][which]["low"] < found[name][which]["value"] < found[name][which]["high"]
    renters = np.array(table["Home"]) == "rent"
    part = document["slices"]["Home=rent"]
    assert part["rows"] == renters.sum()
    assert part["measures"]["accuracy"]["production"]["value"] == pytest.approx(right[0][renters].mean())
    assert part["measures"]["brier"]["candidate"]["value"] == pytest.approx(brier[1][renters].mean())
    assert list(document["slices"]) == ["all", *(entry.name for entry in production.manifest.slices)]


def test_measures_are_those_of_the_live_report(demo_bundle: Demo) -> None:
    production, candidate = demo_bundle("credit:gbm-1"), demo_bundle("credit:gbm-2")
    document = evaluate(production, candidate, credit.table("held_out"), credit.TARGET)
    for part in document["slices"].values():
        judged, found = part["judgement"], part["measures"]
        assert judged["rows"] == part["rows"]
        for which in ("production", "candidate", "difference"):
            assert found["accuracy"][which]["value"] == pytest.approx(judged["accuracy"][which])
            assert found["brier"][which]["value"] == pytest.approx(judged["loss"][which])


@pytest.mark.parametrize("tags", [("credit:gbm-1", "credit:linear-1"), ("diabetes:gbr-1", "diabetes:gbr-1")])
def test_the_pair_is_the_one_that_the_shadow_compares(tags: tuple[str, str], demo_bundle: Demo) -> None:
    production, candidate = (demo_bundle(tag) for tag in tags)
    here, live = pair_of(production, candidate), study_of(production, candidate, Rules()).judgement.pair
    for name in ("production", "candidate", "tolerance", "spread", "cuts"):
        assert getattr(here, name) == getattr(live, name)
    assert here.costs is live.costs is None
    costs = {"bad": {"good": 5.0}, "good": {"bad": 1.0}}
    if production.spec.classes:
        dear = Bundle(production.path, production.manifest.model_copy(update={"costs": costs}))
        live = study_of(dear, candidate, Rules()).judgement.pair
        assert live.costs is not None
        np.testing.assert_array_equal(pair_of(dear, candidate).costs, live.costs)
        assert live.costs.tolist() == [[0.0, 5.0], [1.0, 0.0]], "in the unit of the manifest"


def test_a_regression_whose_manifest_names_no_tolerance_has_one_in_spreads(
    make: Callable[[str], Tiny], tmp_path: Path
) -> None:
    old, new = (regression(make, tmp_path, each, WEIGHTS * by) for each, by in (("old", 1.0), ("new", 1.01)))
    pair = pair_of(old, new)
    assert pair.tolerance == Tolerance(absolute=0.1 * pair.spread)
    exact = old.manifest.model_copy(update={"tolerance": ToleranceEntry(absolute=0.0, relative=0.02)})
    assert pair_of(Bundle(old.path, exact), new).tolerance == Tolerance(0.0, 0.02)


def test_a_better_candidate_is_found_and_a_like_one_is_not(
    make: Callable[[str], Tiny], tmp_path: Path
) -> None:
    near, nearer = WEIGHTS * 1.2, WEIGHTS * 1.02
    production = regression(make, tmp_path, "one", near)
    better = regression(make, tmp_path, "two", nearer)
    document = evaluate(production, better, traffic(200, 1), "outcome")
    for name in ("mae", "rmse"):
        found = measured(document)[name]
        assert found["favours"] == "candidate"
        assert found["difference"]["high"] < 0
        assert (
            measured(evaluate(better, production, traffic(200, 1), "outcome"))[name]["favours"]
            == "production"
        )
    same = measured(evaluate(production, production, traffic(200, 1), "outcome"))
    assert same["mae"]["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert same["mae"]["favours"] is None
    assert set(same) == {"mae", "rmse"}
    table = traffic(200, 1)
    rows = canonical_rows(production.spec.schema, table)
    errors = answers(on_cpu(production), rows)[:, 0] - np.array(table["outcome"])
    assert measured(document)["rmse"]["production"]["value"] == pytest.approx(math.sqrt((errors**2).mean()))
    assert measured(document)["mae"]["production"]["value"] == pytest.approx(np.abs(errors).mean())


def test_a_candidate_that_is_more_often_right_is_found_by_its_discordant_rows(
    make: Callable[[str], Tiny], tmp_path: Path
) -> None:
    right = make("tensor")
    noisy = package(
        right.graph, right.manifest, right.material, tmp_path / "right", explain=False, quantify=False
    )
    strict = noisy.manifest.model_copy(update={"threshold": 0.97})
    production = Bundle(noisy.path, strict)
    table = traffic(300, 4)
    rows = canonical_rows(noisy.spec.schema, table)
    truth = answers(on_cpu(noisy), rows).argmax(axis=1)
    table["outcome"] = [noisy.spec.classes[code] for code in truth]
    found = measured(evaluate(production, noisy, table, "outcome"))["accuracy"]
    assert found["candidate"]["value"] == 1.0
    assert found["favours"] == "candidate"
    wrong = round(300 * (1 - found["production"]["value"]))
    assert found["p"] == pytest.approx(2 * 0.5**wrong)
    assert wrong > 10


def test_classes_beyond_two_have_no_area_and_half_the_sum_of_squares(demo_bundle: Demo) -> None:
    first, second = demo_bundle("digits:mlp-1"), demo_bundle("digits:mlp-2")
    rows, _, labels = first.calibration()
    table: dict[str, list[Any]] = {
        f"pixel:{index}": rows[:, index].tolist() for index in range(rows.shape[1])
    }
    table["digit"] = [first.spec.classes[code] for code in labels]
    found = measured(evaluate(first, second, table, "digit"))
    assert set(found) == {"accuracy", "brier", "log_loss"}
    scores = answers(on_cpu(first), rows).astype(np.float64)
    squares = np.square(scores - np.eye(len(first.spec.classes))[labels]).sum(axis=1) / 2
    assert found["brier"]["production"]["value"] == pytest.approx(squares.mean())
    surprise = -np.log(np.clip(scores[np.arange(len(labels)), labels], 1e-7, 1))
    assert found["log_loss"]["production"]["value"] == pytest.approx(surprise.mean())


def test_the_same_file_and_seed_give_the_same_document(demo_bundle: Demo) -> None:
    bundles = demo_bundle("credit:gbm-1"), demo_bundle("credit:gbm-2")
    table = credit.table("held_out")
    assert evaluate(*bundles, table, credit.TARGET) == evaluate(*bundles, table, credit.TARGET)
    other = evaluate(*bundles, table, credit.TARGET, seed=1)
    assert measured(other)["brier"] != measured(evaluate(*bundles, table, credit.TARGET))["brier"]
    narrow = measured(evaluate(*bundles, table, credit.TARGET, confidence=0.5))["accuracy"]["difference"]
    wide = measured(other)["accuracy"]["difference"]
    assert wide["low"] < narrow["low"] < narrow["high"] < wide["high"]


def test_a_slice_without_a_row_is_left_out_and_one_with_few_has_no_bootstrap(
    make: Callable[[str], Tiny], tmp_path: Path
) -> None:
    production = regression(make, tmp_path, "one", WEIGHTS * 1.2)
    table = traffic(40, 2)
    table["home"] = ["rent"] * 5 + ["owner"] * 35
    found = measured(evaluate(production, production, table, "outcome"), "renters")["mae"]
    assert found["difference"] == {"value": 0.0, "low": None, "high": None}
    assert found["favours"] is None
    table["home"] = ["owner"] * 40
    assert list(evaluate(production, production, table, "outcome")["slices"]) == ["all"]


def test_what_cannot_be_compared_or_read_is_refused(demo_bundle: Demo) -> None:
    production = demo_bundle("credit:gbm-1")
    table: dict[str, list[Any]] = dict(credit.table("held_out"))
    with pytest.raises(BundleError, match=r"credit:gbm-1 answers bad, good, diabetes:gbr-1 a value"):
        evaluate(production, demo_bundle("diabetes:gbr-1"), table, credit.TARGET)
    with pytest.raises(BundleError, match="target column 'Outcome' is not in the data"):
        evaluate(production, production, table, "Outcome")
    with pytest.raises(BundleError, match="row 0: label 'maybe' is not one of"):
        evaluate(
            production, production, {**table, credit.TARGET: ["maybe"] * len(table["Age"])}, credit.TARGET
        )
    with pytest.raises(BundleError, match="'Age' is not in the data"):
        evaluate(
            production, production, {name: table[name] for name in table if name != "Age"}, credit.TARGET
        )
