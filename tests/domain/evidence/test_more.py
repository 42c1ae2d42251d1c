"""How many more rows a decision needs."""

from __future__ import annotations

import pytest

from service.domain.evidence.bets import Difference, Evidence, Mean, Proportion
from service.domain.evidence.criteria import Direction, Question
from service.domain.evidence.more import MOST, more_rows

ALPHA = 0.01


@pytest.mark.parametrize(
    ("direction", "margin", "evidence"),
    [
        ("at_most", 0.05, Proportion(8.0, 200.0)),
        ("at_most", 0.05, Proportion(12.0, 200.0)),
        ("at_least", -0.01, Difference(10.0, 8.0, 400.0)),
        ("at_least", -0.01, Difference(10.0, 19.0, 400.0)),
        ("at_most", 0.01, Mean(0.9, 0.4, 100.0, -1.0)),
        ("at_most", 0.05, Mean(0.0, 0.0, 30.0)),
    ],
)
def test_that_many_more_rows_of_the_same_kind_decide_and_a_little_fewer_do_not(
    direction: Direction, margin: float, evidence: Evidence
) -> None:
    question = Question("any", direction, margin, evidence)
    more = more_rows(question, ALPHA)
    assert more is not None
    assert not question.decided(ALPHA)
    assert question.times(1 + more / question.rows).decided(ALPHA)
    assert not question.times(1 + 0.95 * more / question.rows).decided(ALPHA)


@pytest.mark.parametrize(
    "evidence",
    [
        Proportion(0.0, 0.0),
        Proportion(5.0, 100.0),
        Proportion(0.0, 5_000.0),
        Proportion(500.0, 1_000.0),
        Proportion(0.05 * MOST, MOST),
    ],
    ids=["no rows", "at the margin", "passes", "fails", "too many"],
)
def test_nobody_is_told_a_number_where_there_is_none(evidence: Evidence) -> None:
    assert more_rows(Question("any", "at_most", 0.05, evidence), ALPHA) is None


def test_a_value_between_the_margin_and_the_noise_is_never_decided() -> None:
    seen = Proportion(60.0, 1_000.0)
    assert more_rows(Question("any", "at_most", 0.05, seen), ALPHA) is not None
    assert more_rows(Question("any", "at_most", 0.05, seen, noise=0.02), ALPHA) is None


def test_the_nearer_to_the_margin_the_more_rows_it_takes() -> None:
    needs = [
        more_rows(Question("any", "at_most", 0.05, Proportion(hits, 500.0)), ALPHA)
        for hits in (18, 20, 22, 24)
    ]
    assert needs == sorted(needs, key=lambda need: need or 0)
    assert all(needs)
