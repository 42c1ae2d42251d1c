"""Who was right: a handful of rows, held against values worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.domain.disagreement.accuracy import Accuracy
from service.domain.disagreement.calibration import Calibration
from service.domain.disagreement.cost import Cost
from service.domain.disagreement.loss import Loss, losses
from service.domain.disagreement.measure import Compared, Measure, Pair, Tolerance
from service.domain.disagreement.nearer import Nearer
from tests.domain.models import spec

BINARY = Pair(spec(), spec("new"), costs=np.array([[0.0, 1.0], [0.25, 0.0]]))
THREE = Pair(spec(task="multiclass"), spec("new", task="multiclass"))
VALUES = Pair(spec(task="regression"), spec("new", task="regression"), Tolerance(1.0), spread=10.0)

BAD, GOOD = [0.9, 0.1], [0.2, 0.8]
JUDGED = {
    "before": [BAD, BAD, GOOD, GOOD, GOOD],
    "after": [BAD, GOOD, BAD, GOOD, BAD],
    "labels": [0, 1, 1, 0, 1],
}


def seen(before: Any, after: Any, labels: Any, **other: Any) -> Compared:
    scores = [np.array(each, np.float32).reshape(len(each), -1) for each in (before, after)]
    return Compared(*scores, labels=np.array(labels), **other)


def sums(measure: Measure, pair: Pair, compared: Compared) -> dict[str, float]:
    total = measure.contributions(pair, compared).sum(axis=0).tolist()
    return dict(zip(measure.columns(pair), total, strict=True))


def test_each_row_was_right_with_both_one_or_none_of_the_models() -> None:
    found = sums(Accuracy(), BINARY, seen(**JUDGED))
    assert found == {"both": 1, "production_only": 2, "candidate_only": 1, "neither": 1}


def test_the_dearer_mistake_weighs_more() -> None:
    found = sums(Cost(), BINARY, seen(**JUDGED))
    # good called bad and bad called good: production once each, the candidate twice and once
    assert found == {"production": 1.25, "candidate": 1.5, "difference": 0.25}


def test_without_declared_costs_none_are_counted() -> None:
    assert Cost().columns(Pair(BINARY.production, BINARY.candidate)) == ()


def test_the_nearer_answer_wins_by_more_than_the_tolerance() -> None:
    compared = seen([0, 0, 0, 5, 8], [4, 10, 1, -5, 9.5], [5, 2, 0.5, 0, 7])
    found = Nearer().contributions(VALUES, compared)
    names = Nearer().columns(VALUES)
    winners = [names[place] for place in found.argmax(axis=1)]
    assert winners == ["candidate", "production", "equal", "equal", "production"]


def test_two_classes_lose_the_square_of_what_was_missing() -> None:
    scores = np.array([[0.75, 0.25], [0, 1], [1, 0]], np.float32)
    assert losses(BINARY, scores, np.array([1, 1, 1])).tolist() == [0.5625, 0, 1]


def test_many_classes_lose_half_the_sum_of_squares() -> None:
    scores = np.array([[0.5, 0.25, 0.25], [1, 0, 0], [0, 0, 1]], np.float32)
    assert losses(THREE, scores, np.array([0, 0, 0])).tolist() == [0.1875, 0, 1]


def test_a_value_loses_its_error_in_spreads_up_to_five() -> None:
    scores = np.array([[0], [25], [-50], [1e30]], np.float32)
    assert losses(VALUES, scores, np.zeros(4)).tolist() == [0, 0.5, 1, 1]


@pytest.mark.parametrize("pair", [BINARY, THREE], ids=["binary", "multiclass"])
def test_no_loss_leaves_its_range_even_where_scores_are_no_probabilities(pair: Pair) -> None:
    scores = np.random.default_rng(1).normal(0, 3, (500, pair.production.outputs)).astype(np.float32)
    found = losses(pair, scores, np.zeros(500, np.intp))
    assert ((found >= 0) & (found <= 1)).all()


def test_a_loss_difference_is_told_with_its_squares_around_nought_and_around_the_guess() -> None:
    found = sums(Loss(), VALUES, seen([5, 0], [0, 10], [0, 0], expected={"loss": 0.1}))
    expected = {"production": 0.1, "candidate": 0.2, "difference": 0.1, "squares": 0.05, "deviation": 0.05}
    assert found == pytest.approx({**expected, "deviation": 0.2**2 + 0.1**2})


def test_calibration_is_of_the_answered_label_by_each_models_own_threshold() -> None:
    pair = Pair(spec(), spec("new", threshold=0.2))
    compared = seen([[0.75, 0.25]] * 4, [[0.75, 0.25]] * 4, [0, 0, 0, 1])
    total = Calibration().contributions(pair, compared).sum(axis=0)
    found = Calibration().show(pair, total, 4)
    assert found["production"] == {
        "ece": 0.0,
        "bins": [{"from": 0.7, "to": 0.8, "rows": 4, "confidence": 0.75, "accuracy": 0.75}],
    }
    assert found["candidate"] == {
        "ece": 0.0,
        "bins": [{"from": 0.2, "to": 0.3, "rows": 4, "confidence": 0.25, "accuracy": 0.25}],
    }


def test_certainty_and_its_opposite_have_a_bin() -> None:
    pair = Pair(spec(threshold=0.0), spec("new"))
    compared = seen([[1, 0]], [[1, 0]], [0])
    found = Calibration().show(pair, Calibration().contributions(pair, compared).sum(axis=0), 1)
    assert [(one["from"], one["to"]) for one in found["production"]["bins"]] == [(0.0, 0.1)]
    assert [(one["from"], one["to"]) for one in found["candidate"]["bins"]] == [(0.9, 1.0)]
    assert (found["production"]["ece"], found["candidate"]["ece"]) == (0.0, 0.0)
