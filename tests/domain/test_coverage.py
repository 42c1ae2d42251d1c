"""Live coverage: what counts as covered, what adds up, and what is said of it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from service.domain.coverage import (
    Count,
    Part,
    count,
    counts_of,
    document,
    interval,
    judge,
    keepsake,
    parted,
    together,
)
from service.domain.uncertainty.adaptation import Adaptation
from tests.domain.uncertainty.plain_region import calibrated

COUNTS = {
    Part("m:prod", "production", "all"): Count(400, 340),
    Part("m:prod", "canary", "all"): Count(100, 90),
    Part("m:prod", "production", "renters"): Count(50, 49),
    Part("m:prod", "canary", "renters"): Count(10, 8),
    Part("m:new", "canary", "all"): Count(7, 7),
}


def test_a_row_is_covered_where_the_region_as_answered_holds_its_label() -> None:
    region = replace(calibrated(), classes=2)
    evidence = np.array([[0.3, 0.7], [0.3, 0.7], [0.3, 0.7]])
    labels = np.array([0, 1, 1])
    for in_force in (
        np.array([[0.3, 0.6], [0.3, 0.6], [0.3, 0.7]]),  # by class, changing between answers
        np.array([[0.3], [0.6], [0.7]]),
    ):
        judged = judge(region, evidence, labels, in_force)
        sets = region.regions(evidence, in_force)["set"]
        assert judged.covered.tolist() == sets[np.arange(3), labels].tolist() == [True, False, True]
        assert judged.nonconformity.tolist() == [0.3, 0.7, 0.7]


def test_a_value_at_the_end_of_its_interval_is_covered() -> None:
    judged = judge(calibrated(), np.full((3, 1), 10.0), np.array([8.0, 12.0, 12.5]), np.full((3, 1), 2.0))
    assert judged.covered.tolist() == [True, True, False]


def test_what_is_no_number_is_covered_only_where_nothing_is_ruled_out() -> None:
    judged = judge(calibrated(), np.full((2, 1), math.nan), np.ones(2), np.array([[1e300], [math.inf]]))
    assert judged.covered.tolist() == [False, True]


@pytest.mark.parametrize("classes", [0, 3])
def test_evidence_and_thresholds_come_apart_as_they_were_put_together(classes: int) -> None:
    evidence = np.random.default_rng(0).normal(size=(5, 4))
    thresholds = np.array([0.5, math.inf, 0.1]) if classes else np.array([2.0])
    kept = keepsake(evidence, thresholds)
    again, in_force = parted(kept, classes or 1)
    assert again.tolist() == evidence.tolist()
    assert in_force.tolist() == [thresholds.tolist()] * 5


def test_rows_are_counted_in_all_and_in_each_of_their_slices() -> None:
    covered = np.array([True, False, True, True])
    slices = {"renters": np.array([True, True, False, False]), "owners": np.zeros(4, np.bool_)}
    assert count("m:prod", "canary", slices, covered) == {
        Part("m:prod", "canary", "all"): Count(4, 3),
        Part("m:prod", "canary", "renters"): Count(2, 1),
    }
    assert count("m:prod", "canary", {}, np.empty(0, np.bool_)) == {}


@given(st.permutations(range(40)), st.lists(st.integers(0, 40), max_size=4))
def test_counts_add_up_whatever_the_order_and_the_batches(order: list[int], cuts: list[int]) -> None:
    rng = np.random.default_rng(6)
    covered, mask = rng.random(40) < 0.8, rng.random(40) < 0.3
    parts = np.split(np.array(order), sorted(cuts))
    summed = together(count("m:prod", "production", {"s": mask[rows]}, covered[rows]) for rows in parts)
    assert summed == count("m:prod", "production", {"s": mask}, covered)


def test_samples_of_other_families_and_models_are_not_counted() -> None:
    mine = {"model": "m", "version": "prod", "arm": "production", "slice": "all"}
    samples = {
        ("understudy_coverage_rows_total", tuple(sorted({**mine, **other}.items()))): rows
        for other, rows in (
            ({"covered": "true"}, 9.0),
            ({"covered": "false"}, 2.0),
            ({"covered": "true", "version": "new"}, 5.0),
        )
    } | {("understudy_coverage_rows_created", tuple(sorted({**mine, "covered": "true"}.items()))): 1e9}
    assert counts_of(samples, "m:prod") == {Part("m:prod", "production", "all"): Count(11, 9)}


@given(st.integers(1, 5000), st.floats(0, 1))
def test_the_interval_is_the_one_that_scipy_gives(labelled: int, share: float) -> None:
    covered = round(labelled * share)
    oracle = binomtest(covered, labelled).proportion_ci(0.95, method="wilson")
    assert interval(Count(labelled, covered)) == pytest.approx((oracle.low, oracle.high), abs=1e-9)


def test_without_a_label_the_coverage_may_be_anything() -> None:
    assert interval(Count()) == (0.0, 1.0)
    found = document({}, "m:prod", 0.9)
    assert (found["labelled"], found["coverage"], found["interval"]) == (0, None, None)
    assert found["under"] is False


def test_the_document_shows_the_model_its_arms_and_its_slices() -> None:
    found = document(COUNTS, "m:prod", 0.9)
    assert (found["labelled"], found["covered"], found["coverage"]) == (500, 430, 0.86)
    assert found["arms"]["canary"]["coverage"] == 0.9
    assert found["slices"]["renters"]["labelled"] == 60
    assert "all" not in found["slices"]
    assert found["adaptive"] is None
    assert document(COUNTS, "m:new", 0.9)["labelled"] == 7


def test_the_document_shows_the_confidence_that_is_in_force() -> None:
    levels = (0.5, 0.2, 0.04, 0.02, 0.01, 0.001)
    found = document(COUNTS, "m:prod", 0.9, Adaptation(np.arange(30.0), levels, 500, 12.5))["adaptive"]
    assert found == {
        "confidence": pytest.approx(0.96), "labelled": 500, "scores": 30, "delay_rows": 12.5
    }  # fmt: skip


def test_too_little_coverage_is_called_so_only_where_chance_is_no_excuse() -> None:
    found = document(COUNTS, "m:prod", 0.9)
    assert found["under"], "430 of 500 at 0.9"
    assert not found["slices"]["renters"]["under"], "57 of 60"
    assert not document(COUNTS, "m:prod", 0.87)["under"]
    assert not document(COUNTS, "m:prod", 0.5)["under"], "too much is not too little"
