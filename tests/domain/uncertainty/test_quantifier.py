"""One call says all that a bundle's measures know, and only that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from service.domain.uncertainty.adaptation import GRID, NOUGHT, Adaptation
from service.domain.uncertainty.entropy import entropy
from service.domain.uncertainty.measure import Asked, Columns, Kind, Material, Unfitting
from service.domain.uncertainty.quantifier import EXTRA, Doubt, Quantifier
from service.domain.uncertainty.registry import MEASURES
from tests.domain.uncertainty import shams


@dataclass
class Recorded:
    """A quantity of one column that notes what it was asked."""

    name: str
    asked: list[Asked] = field(default_factory=list)

    def columns(self, asked: Asked) -> Columns:
        self.asked.append(asked)
        return {self.name: np.full(len(asked.rows), 7.0)}


def quantifier(material: Material, but: Iterable[str] = ()) -> Quantifier:
    """Every measure that fits, the registry's first of each kind chosen."""
    quantities: dict[Kind, dict[str, Any]] = {"region": {}, "probability": {}, "domain": {}, "spread": {}}
    for measure in MEASURES:
        try:
            found = measure.fit(material)
        except Unfitting:
            continue
        if measure.name not in but:
            quantities[measure.kind][measure.name] = measure.restore(material.spec, found.arrays)
    chosen = {kind: next(iter(known), None) for kind, known in quantities.items()}
    return Quantifier(material.spec, quantities, chosen, 0.9, material.run)


@pytest.fixture(scope="module")
def labelled() -> Material:
    return shams.classes(200, 5, task="binary")


@pytest.fixture(scope="module")
def numbers() -> Material:
    return shams.values(200, 6)


def test_by_default_it_says_what_is_possible_how_likely_and_whether_in_domain(labelled: Material) -> None:
    found = quantifier(labelled).quantify(labelled.rows, labelled.scores, Doubt())
    wanted = {"set", "calibrated", "in_domain", "domain_score", "domain_percentile"}
    assert wanted <= set(found.columns) <= wanted | {"venn_abers"}
    assert (found.confidence, found.region, found.degraded) == (0.9, "lac", None)
    assert {len(column) for column in found.columns.values()} == {200}


def test_of_a_regression_it_says_an_interval_instead(numbers: Material) -> None:
    found = quantifier(numbers).quantify(numbers.rows, numbers.scores, Doubt())
    assert {"interval", "in_domain"} <= set(found.columns)
    assert not {"set", "calibrated", "entropy"} & set(found.columns)


def test_each_result_is_its_measures_own(labelled: Material) -> None:
    whole = quantifier(labelled)
    asked = Asked(labelled.rows, labelled.scores, 0.8)
    for kind, column in (("region", "set"), ("probability", "calibrated"), ("domain", "domain_score")):
        for name, quantity in whole.quantities[kind].items():  # type: ignore[index]  # literals
            found = whole.quantify(labelled.rows, labelled.scores, Doubt(0.8, **{kind: name}))  # type: ignore[arg-type]  # names of measures
            np.testing.assert_array_equal(found.columns[column], quantity.columns(asked)[column])


def test_what_is_asked_beside_comes_only_then(labelled: Material) -> None:
    whole = quantifier(labelled)
    plain = whole.quantify(labelled.rows, labelled.scores, Doubt())
    for name in ("p_values", "entropy", "venn_abers"):
        more = whole.quantify(labelled.rows, labelled.scores, Doubt(extra=frozenset({name})))
        assert name in more.columns
        for column in plain.columns:
            np.testing.assert_array_equal(plain.columns[column], more.columns[column])
    assert not {"p_values", "entropy"} & set(plain.columns)
    bits = whole.quantify(labelled.rows, labelled.scores, Doubt(extra=frozenset({"entropy"}))).columns[
        "entropy"
    ]
    np.testing.assert_array_equal(bits, entropy(labelled.scores))


def test_the_spread_is_asked_of_the_members_and_only_on_request(labelled: Material) -> None:
    whole = quantifier(labelled)
    recorded = Recorded("total")
    whole = replace(whole, quantities={**whole.quantities, "spread": {"spread": recorded}})
    whole.quantify(labelled.rows, labelled.scores, Doubt())
    assert recorded.asked == []
    found = whole.quantify(labelled.rows, labelled.scores, Doubt(extra=frozenset({"spread"})))
    assert found.columns["total"].tolist() == [7.0] * 200


def test_what_the_bundle_cannot_say_is_refused_by_name(labelled: Material, numbers: Material) -> None:
    of_classes, of_values = quantifier(labelled), quantifier(numbers)
    for doubt in (Doubt(), Doubt(region="aps"), Doubt(probability="none"), Doubt(domain="knn")):
        of_classes.check(doubt)
    with pytest.raises(Unfitting, match=r"region: m:prod has lac, .*not 'absolute'"):
        of_classes.check(Doubt(region="absolute"))
    with pytest.raises(Unfitting, match=r"domain: .* not 'lac'"):
        of_classes.check(Doubt(domain="lac"))
    with pytest.raises(Unfitting, match=r"include: .* no members"):
        of_classes.check(Doubt(extra=frozenset({"spread"})))
    for name in ("p_values", "entropy", "venn_abers"):
        with pytest.raises(Unfitting, match=f"include: {name} is about classes"):
            of_values.check(Doubt(extra=frozenset({name})))
    with pytest.raises(Unfitting, match="probability: m:prod has none"):
        of_values.check(Doubt(probability="isotonic"))
    without = quantifier(labelled, but=["venn-abers"])
    with pytest.raises(Unfitting, match="no venn-abers"):
        without.check(Doubt(extra=frozenset({"venn_abers"})))
    assert set(EXTRA) == {"p_values", "venn_abers", "entropy", "spread"}


def test_a_bundle_without_some_kind_of_measure_says_the_rest(labelled: Material) -> None:
    whole = quantifier(labelled)
    for kind, lost in (("region", "set"), ("probability", "calibrated"), ("domain", "in_domain")):
        less = replace(whole, quantities={**whole.quantities, kind: {}}, chosen={**whole.chosen, kind: None})
        found = less.quantify(labelled.rows, labelled.scores, Doubt())
        assert lost not in found.columns
        assert len(found.columns) >= 2
        assert (found.region is None) == (kind == "region")


def test_too_few_calibration_rows_are_said_to_be_too_few() -> None:
    few = shams.classes(30, 5, task="binary")
    found = quantifier(few).quantify(few.rows, few.scores, Doubt(confidence=0.99))
    assert found.columns["set"].all()
    assert found.degraded == "30 calibration rows are too few to rule out every wrong answer at 0.99"
    assert quantifier(few).quantify(few.rows, few.scores, Doubt(confidence=0.9)).degraded is None


def adaptation(level: float, scores: Any = ()) -> Adaptation:
    return Adaptation(np.array(scores, np.float64), (level,) * len(GRID), 100)


def test_labels_move_the_chosen_region_and_no_other(labelled: Material) -> None:
    whole = quantifier(labelled)
    moved = whole.adapted(adaptation(0.4))
    rows, scores = labelled.rows, labelled.scores
    static = whole.quantify(rows, scores, Doubt(confidence=0.6)).columns["set"]
    now = moved.quantify(rows, scores, Doubt(confidence=0.95)).columns["set"]
    assert (now == static).all()
    for region in ("aps", "lac-by-class"):
        doubt = Doubt(region=region)
        same = [each.quantify(rows, scores, doubt).columns["set"] for each in (whole, moved)]
        np.testing.assert_array_equal(*same)


def test_p_values_are_those_of_the_scores_in_force(labelled: Material) -> None:
    whole = quantifier(labelled)
    doubt = Doubt(extra=frozenset({"p_values"}))
    moved = whole.adapted(adaptation(0.1, [0.0] * 50))
    found = moved.quantify(labelled.rows, labelled.scores, doubt).columns["p_values"]
    np.testing.assert_allclose(found[labelled.scores < 1], 1 / 51)
    kept = whole.adapted(adaptation(0.1)).quantify(labelled.rows, labelled.scores, doubt).columns["p_values"]
    np.testing.assert_array_equal(
        kept, whole.quantify(labelled.rows, labelled.scores, doubt).columns["p_values"]
    )


def test_at_the_lowest_level_everything_is_possible_and_that_is_said(labelled: Material) -> None:
    found = quantifier(labelled).adapted(adaptation(NOUGHT)).quantify(labelled.rows, labelled.scores, Doubt())
    assert found.columns["set"].all()
    assert found.degraded is not None


def test_a_model_without_regions_cannot_be_adapted(labelled: Material) -> None:
    whole = quantifier(labelled)
    none = replace(
        whole, quantities={**whole.quantities, "region": {}}, chosen={**whole.chosen, "region": None}
    )
    assert none.adapted(adaptation(0.4)) is none
