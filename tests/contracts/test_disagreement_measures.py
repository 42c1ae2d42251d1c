"""What every measure of disagreement and of judgement promises, whatever the two models are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.domain.disagreement.measure import Compared, Measure, Pair, Sums
from service.domain.evidence.measures import DISAGREEMENT, JUDGEMENT
from tests.domain.disagreement.oracles import ORACLES
from tests.domain.disagreement.pairs import PAIRS, ROWS, Posed, posed, take

MEASURES = {measure.name: measure for measure in (*DISAGREEMENT, *JUDGEMENT)}
CASES = [
    pytest.param(measure, pair, id=f"{measure.name} of {pair}")
    for measure in MEASURES.values()
    for pair in PAIRS
    if measure.columns(posed(pair).pair)
]
each_case = pytest.mark.parametrize(("measure", "name"), CASES)

SWAPPED = {"production": "candidate", "candidate": "production", "from": "to", "to": "from"} | {
    "production_only": "candidate_only", "candidate_only": "production_only",
    "mean": "reverse_mean", "reverse_mean": "mean",
}  # fmt: skip
NEGATED = {"signed_mean", "difference"}


def sums_of(measure: Measure, given: Posed) -> Sums:
    total: Sums = measure.contributions(given.pair, given.compared).sum(axis=0)
    return total


def shown(measure: Measure, given: Posed) -> dict[str, Any]:
    return measure.show(given.pair, sums_of(measure, given), len(given.compared))


def mirrored(name: str, document: dict[str, Any]) -> dict[str, Any]:
    """What is to be shown once the two models have changed places."""
    if name == "flips":
        table = [{"from": one["to"], "to": one["from"], "rows": one["rows"]} for one in document["matrix"]]
        return {**document, "matrix": sorted(table, key=lambda one: (one["from"], one["to"]))}
    renamed = name in {"accuracy", "nearer", "loss", "cost", "calibration", "kl"}
    found = {
        SWAPPED.get(key, key) if renamed else key: -value if key in NEGATED and value is not None else value
        for key, value in document.items()
    }
    if name == "nearer":
        found["candidate_share"] = 1 - document["candidate_share"]
    return found


def leaves(document: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(document, dict):
        for key, value in document.items():
            yield from leaves(value, f"{path}/{key}")
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from leaves(value, f"{path}/{index}")
    else:
        yield path, document


def rounded(document: Any) -> dict[str, Any]:
    """By path; fractions are the same where they are nearly."""
    return {
        path: pytest.approx(value, rel=1e-9, abs=1e-9) if isinstance(value, float) else value
        for path, value in leaves(document)
    }


def test_every_measure_has_a_name_of_its_own_and_an_oracle() -> None:
    assert len(MEASURES) == len(DISAGREEMENT) + len(JUDGEMENT)
    assert MEASURES.keys() == ORACLES.keys()


def test_every_measure_is_tried_on_some_pair() -> None:
    assert {parameter.values[0].name for parameter in CASES} == MEASURES.keys()


@each_case
def test_columns_are_the_same_for_the_same_pair_and_differ_among_themselves(
    measure: Measure, name: str
) -> None:
    pair = posed(name).pair
    columns = measure.columns(pair)
    assert columns == measure.columns(replace(pair))
    assert len(set(columns)) == len(columns)


@each_case
@pytest.mark.parametrize("rows", [0, 1, ROWS])
def test_contributions_are_finite_and_one_row_each(measure: Measure, name: str, rows: int) -> None:
    given = posed(name).take(slice(rows))
    found = measure.contributions(given.pair, given.compared)
    assert found.shape == (rows, len(measure.columns(given.pair)))
    assert found.dtype == np.float64
    assert np.isfinite(found).all()


@each_case
def test_the_most_extreme_scores_leave_finite_sums(measure: Measure, name: str) -> None:
    given = posed(name)
    largest, least = np.finfo(np.float32).max, np.finfo(np.float32).smallest_subnormal
    rows = np.array([[1, 0], [0, 1], [least, 1], [0.5, 0.5]] if given.pair.production.classes else [[0]] * 4)
    scores = np.zeros((4, given.pair.production.outputs), np.float32)
    scores[:, -rows.shape[1] :] = rows
    if not given.pair.production.classes:
        scores[:, 0] = largest, -largest, least, 0
    compared = replace(take(given.compared, slice(4)), before=scores, after=scores[::-1])
    found = measure.contributions(given.pair, compared).sum(axis=0)
    assert np.isfinite(found).all()
    json.dumps(measure.show(given.pair, found, 4), allow_nan=False)


@each_case
@pytest.mark.parametrize("seed", range(3))
def test_any_split_of_the_rows_adds_up_to_the_same(measure: Measure, name: str, seed: int) -> None:
    given = posed(name)
    cuts = np.sort(np.random.default_rng(seed).integers(0, ROWS, 5))
    places = np.split(np.arange(ROWS), np.concatenate([[0], cuts, cuts[-1:]]))
    parts = sum(sums_of(measure, given.take(part)) for part in places)
    np.testing.assert_allclose(parts, sums_of(measure, given), rtol=1e-12, atol=1e-12)


@each_case
def test_the_order_of_the_rows_does_not_matter(measure: Measure, name: str) -> None:
    given = posed(name)
    other = given.take(np.random.default_rng(1).permutation(ROWS))
    np.testing.assert_allclose(sums_of(measure, other), sums_of(measure, given), rtol=1e-12, atol=1e-12)


@each_case
def test_what_is_shown_is_what_the_rows_themselves_say(measure: Measure, name: str) -> None:
    given = posed(name)
    expected = ORACLES[measure.name](given.pair, given.compared)
    assert dict(leaves(shown(measure, given))) == rounded(expected)


@each_case
def test_swapping_the_models_mirrors_what_is_shown(measure: Measure, name: str) -> None:
    given = posed(name)
    assert given.pair.tolerance.relative == 0  # of production's score: that alone is meant to have a side
    found = shown(measure, given.swapped())
    assert dict(leaves(found)) == rounded(mirrored(measure.name, shown(measure, given)))


NO_DIFFERENCE: dict[str, Callable[[dict[str, Any]], bool]] = {
    "flips": lambda found: found == {"flipped": 0, "rate": 0.0, "matrix": []},
    "gap": lambda found: (
        found["mean"] == 0
        and not found["signed_mean"]
        and found["std"] == 0
        and found["histogram"][0] == {"at_most": 0.0, "rows": ROWS}
        and sum(bucket["rows"] for bucket in found["histogram"]) == ROWS
    ),
    "total_variation": lambda found: found == {"mean": 0.0},
    "kl": lambda found: found == {"mean": 0.0, "reverse_mean": 0.0},
    "tolerance": lambda found: found == {"within": ROWS, "share": 1.0},
    "numeric_gap": lambda found: set(found.values()) == {0.0},
    "rank": lambda found: found == {"spearman": pytest.approx(1), "kendall": pytest.approx(1)},
    "region_overlap": lambda found: found["mean"] == found["same"] and found["mean"] in (1.0, None),
    "beyond": lambda found: found["beyond"] == 0 and not found["share"],
    "accuracy": lambda found: (
        found["difference"] == found["production_only"] == found["candidate_only"] == 0
        and found["production"] == found["candidate"]
    ),
    "nearer": lambda found: (
        found == {"production": 0, "candidate": 0, "equal": ROWS, "candidate_share": None}
    ),
    "loss": lambda found: found["difference"] == 0 and found["production"] == found["candidate"],
    "cost": lambda found: found["difference"] == 0 and found["production"] == found["candidate"],
    "calibration": lambda found: found["production"] == found["candidate"],
}


@each_case
def test_a_model_beside_itself_shows_no_difference(measure: Measure, name: str) -> None:
    assert NO_DIFFERENCE[measure.name](shown(measure, posed(name).itself()))


@each_case
def test_a_difference_shows(measure: Measure, name: str) -> None:
    nothing_to_see = (
        measure.name in ("region_overlap", "beyond") and posed(name).compared.before_region is None
    )
    assert NO_DIFFERENCE[measure.name](shown(measure, posed(name))) == nothing_to_see


@each_case
def test_of_no_rows_counts_are_nought_and_nothing_else_is_said(measure: Measure, name: str) -> None:
    pair = posed(name).pair
    nothing = measure.show(pair, np.zeros(len(measure.columns(pair))), 0)
    json.dumps(nothing, allow_nan=False)
    said = {path: value for path, value in leaves(nothing) if not path.endswith("/at_most")}
    assert all(value is None or (value == 0 and isinstance(value, int)) for value in said.values())
    assert None in said.values()


@each_case
def test_what_is_shown_is_ready_for_json(measure: Measure, name: str) -> None:
    found = shown(measure, posed(name))
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize("measure", JUDGEMENT, ids=lambda measure: measure.name)
@pytest.mark.parametrize("name", PAIRS)
def test_nobody_is_judged_without_the_truth(measure: Measure, name: str) -> None:
    pair: Pair = posed(name).pair
    compared: Compared = replace(posed(name).compared, labels=None)
    if measure.columns(pair):
        with pytest.raises(ValueError, match="truth is not known"):
            measure.contributions(pair, compared)
