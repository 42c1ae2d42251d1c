"""Measures of disagreement over a handful of rows, held against values worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from service.domain.disagreement.flips import Flips, changes
from service.domain.disagreement.gap import BOUNDS, PROBABILITY_BUCKETS, Gap, cap, gap_buckets, gaps
from service.domain.disagreement.kl import KullbackLeibler
from service.domain.disagreement.measure import Compared, Measure, Pair, Tolerance
from service.domain.disagreement.numeric_gap import NumericGap
from service.domain.disagreement.tolerance import WithinTolerance
from service.domain.disagreement.total_variation import TotalVariation
from tests.domain.models import spec

BINARY = Pair(spec(), spec("new"))
THREE = Pair(spec(task="multiclass"), spec("new", task="multiclass"))
VALUES = Pair(spec(task="regression"), spec("new", task="regression"), spread=10.0)


def seen(before: Any, after: Any, **other: Any) -> Compared:
    scores = [np.array(each, np.float32).reshape(len(each), -1) for each in (before, after)]
    return Compared(*scores, **other)


def sums(measure: Measure, pair: Pair, compared: Compared) -> dict[str, float]:
    total = measure.contributions(pair, compared).sum(axis=0).tolist()
    return dict(zip(measure.columns(pair), total, strict=True))


def test_flips_have_a_column_for_each_change_of_label() -> None:
    assert Flips().columns(BINARY) == ("bad -> good", "good -> bad")
    one_hot = np.eye(3)
    every = seen(np.repeat(one_hot, 3, axis=0), np.tile(one_hot, (3, 1)))
    found = sums(Flips(), THREE, every)
    assert found == {f"{a} -> {b}": 1 for a in "abc" for b in "abc" if a != b}
    assert list(found) == [f"{a} -> {b}" for a, b in changes(THREE)]


def test_of_very_many_classes_only_the_label_that_was_left_is_told() -> None:
    names = tuple(f"c{place}" for place in range(400))
    pair = Pair(*(spec(name, task="multiclass", classes=names) for name in ("old", "new")))
    before, after = (np.eye(400, dtype=np.float32)[places] for places in ([7, 7, 399, 0], [8, 9, 0, 0]))
    found = sums(Flips(), pair, seen(before, after))
    assert len(found) == 400
    assert {name: rows for name, rows in found.items() if rows} == {"c7 -> (other)": 2, "c399 -> (other)": 1}
    shown = Flips().show(pair, Flips().contributions(pair, seen(before, after)).sum(axis=0), 4)
    assert (shown["flipped"], shown["matrix"][0]) == (3, {"from": "c7", "to": "(other)", "rows": 2})


def test_each_model_labels_by_its_own_threshold() -> None:
    pair = Pair(spec(threshold=0.3), spec("new", threshold=0.6))
    scores = [[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]]
    assert sums(Flips(), pair, seen(scores, scores)) == {"bad -> good": 0, "good -> bad": 1}


def test_classes_that_are_named_like_changes_still_have_columns_of_their_own() -> None:
    names = ("a", "a -> a", '"a -> a"')
    model = spec(task="multiclass", classes=names)
    columns = Flips().columns(Pair(model, model))
    assert len(set(columns)) == 6


def test_a_regression_has_no_flips() -> None:
    assert Flips().columns(VALUES) == ()


def test_the_gap_is_the_largest_difference_of_any_output() -> None:
    compared = seen([[0.5, 0.3, 0.2]], [[0.25, 0.75, 0.0]])
    assert gaps(compared.before, compared.after) == pytest.approx([0.45])


def test_a_gap_of_nought_means_equal_to_the_bit() -> None:
    scores = np.random.default_rng(4).dirichlet(np.ones(2), 50).astype(np.float32)
    near = np.nextafter(scores, np.float32(2))
    assert not gaps(scores, scores.copy()).any()
    assert (gaps(scores, near) > 0).all()


def test_gaps_of_the_largest_values_are_finite() -> None:
    largest = np.finfo(np.float32).max
    found = gaps(np.array([[largest]], np.float32), np.array([[-largest]], np.float32))
    assert found == [2 * float(largest)]


def test_totals_of_the_gap_are_in_spreads() -> None:
    found = sums(Gap(), VALUES, seen([0, 10, 100], [5, -10, 100], expected={"gap": 0.5}))
    totals = {"sum": 2.5, "signed": -1.5, "squares": 4.25, "capped": 2.5, "deviation": 0 + 2.25 + 0.25}
    assert {name: found[name] for name in totals} == pytest.approx(totals)
    buckets = {name: rows for name, rows in found.items() if rows and name.startswith("le:")}
    assert buckets == {"le:0": 1, "le:0.5": 1, "le:inf": 1}


def test_a_huge_gap_counts_as_the_cap_where_bounds_are_computed() -> None:
    found = sums(Gap(), VALUES, seen([0, 0], [1e6, 10], expected={"gap": 1e9}))
    assert (found["sum"], found["capped"], cap(VALUES)) == (100_001, 6, 5)
    assert found["deviation"] == 0 + 16  # no guess beyond the cap is believed
    assert cap(BINARY) == 1


def test_a_gap_on_a_bound_belongs_below_it_and_the_buckets_hold_every_row_once() -> None:
    bounds = np.array(BOUNDS[:-1])
    after = np.concatenate([bounds, np.nextafter(bounds, np.inf)]).astype(np.float64)
    pair = Pair(VALUES.production, VALUES.candidate)
    found = sums(Gap(), pair, Compared(np.zeros((len(after), 1)), after[:, None]))  # type: ignore[arg-type]
    counts = [found[f"le:{bound:g}"] for bound in BOUNDS]
    assert counts == [1] + [2] * (len(BOUNDS) - 2) + [1]


def test_gap_bounds_of_prometheus_grow_from_exact_agreement() -> None:
    assert gap_buckets(True, 7.0) == PROBABILITY_BUCKETS
    values = gap_buckets(False, 40.0)
    assert values[0] == 0.0
    assert values[-1] == 40.0
    assert list(values) == sorted(set(values))
    assert set(PROBABILITY_BUCKETS) < set(BOUNDS)


def test_more_than_two_classes_have_no_one_direction() -> None:
    compared = seen([[0.5, 0.3, 0.2]], [[0.25, 0.75, 0.0]])
    assert sums(Gap(), THREE, compared)["signed"] == 0
    total = Gap().contributions(THREE, compared).sum(axis=0)
    assert Gap().show(THREE, total, 1)["signed_mean"] is None


def test_total_variation_is_the_probability_that_moved() -> None:
    compared = seen([[0.5, 0.3, 0.2], [1, 0, 0]], [[0.25, 0.75, 0.0], [0, 0, 1]])
    assert sums(TotalVariation(), THREE, compared) == pytest.approx({"sum": 0.45 + 1})


def test_divergence_is_in_bits_and_has_a_direction() -> None:
    found = sums(KullbackLeibler(), BINARY, seen([[0.5, 0.5]], [[0.75, 0.25]]))
    assert found["sum"] == pytest.approx(1 - math.log2(3) / 2)
    assert found["reverse"] == pytest.approx(0.75 * math.log2(1.5) - 0.25)


def test_a_certain_answer_that_changes_costs_23_bits_and_not_infinitely_many() -> None:
    found = sums(KullbackLeibler(), BINARY, seen([[1, 0]], [[0, 1]]))
    assert found["sum"] == found["reverse"] == pytest.approx(math.log2(1e7), rel=1e-5)


def test_the_tolerance_has_an_absolute_part_and_one_relative_to_production() -> None:
    pair = Pair(VALUES.production, VALUES.candidate, Tolerance(0.5, 0.01))
    compared = seen([0, 0, 100, 100, -100, -100], [0.5, 0.75, 101.5, 101.75, -101.5, -98])
    assert WithinTolerance().contributions(pair, compared)[:, 0].tolist() == [1, 0, 1, 0, 1, 0]


def test_an_answer_is_the_same_only_where_every_output_is() -> None:
    pair = Pair(THREE.production, THREE.candidate, Tolerance(0.1))
    compared = seen([[0.5, 0.25, 0.25]] * 2, [[0.45, 0.3, 0.25], [0.5, 0.0, 0.5]])
    assert WithinTolerance().contributions(pair, compared)[:, 0].tolist() == [1, 0]


def test_numeric_gaps_are_absolute_and_relative_to_the_larger_value() -> None:
    found = NumericGap().contributions(VALUES, seen([8, -5, 0, 0], [10, 5, 0, 3]))
    assert found[:, 0].tolist() == [2, 10, 0, 3]
    assert found[:, 1] == pytest.approx([0.2, 2, 0, 1])
    assert found[:, 2].tolist() == [4, 100, 0, 9]
