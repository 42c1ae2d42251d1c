"""Labels: which are possible, which are news, and which may not be taken back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.labels import Answerer, LabelConflict, LabelCount, Labels, answerer, misfits, news
from service.domain.schema import label_indices
from tests.domain.models import spec

LABELS = st.lists(st.sampled_from(["good", "bad", None]), min_size=3, max_size=3).map(tuple)


@pytest.mark.parametrize("wrong", ["splendid", "", 1, 1.0, True, ["good"], {"good": 1}])
def test_a_class_is_one_of_the_models(wrong: object) -> None:
    assert misfits("binary", ("bad", "good"), ["good", wrong, None, "bad"]) == [
        (1, "expected one of bad, good, or null")
    ]


@pytest.mark.parametrize("wrong", ["12", True, math.nan, math.inf, -math.inf, 10**400, [1.0], {}])
def test_a_value_is_a_finite_number(wrong: object) -> None:
    expected = [(2, "expected a finite number or null")]
    assert misfits("regression", (), [1, -2.5, wrong, None, 1e308, 10**300]) == expected


def test_only_what_was_not_said_before_is_news() -> None:
    before: list[Labels] = [("good", None, None), (None, None, "bad")]
    assert news(("good", "bad", "bad"), before, 3) == (None, "bad", None)
    assert news(("good", None, "bad"), before, None) is None
    assert news((None, "bad", None), before, None) == (None, "bad", None)
    assert news(("good", None), [], None) == ("good", None)


def test_a_label_that_was_given_is_final() -> None:
    with pytest.raises(LabelConflict, match="label 2 was given before as 'bad'"):
        news(("good", "bad", "good"), [("good", None, None), (None, None, "bad")], 3)


def test_numbers_that_are_the_same_are_no_contradiction() -> None:
    assert news((1.0, 2.0), [(1.0, None)], 2) == (None, 2.0)
    with pytest.raises(LabelConflict):
        news((1.5,), [(1.0,)], 1)


def test_there_are_as_many_labels_as_rows_and_as_before() -> None:
    with pytest.raises(LabelCount, match="expected 3 labels, one for each row of the request, found 1"):
        news(("good",), [], 3)
    with pytest.raises(LabelConflict, match="3 labels were given before, not 1"):
        news(("good",), [("good", None, None)], None)


@given(st.lists(LABELS, max_size=6))
def test_whatever_comes_the_sum_of_the_news_is_what_was_said_first(deliveries: list[Labels]) -> None:
    known: list[str | float | None] = [None] * 3
    filed: list[Labels] = []
    for given_now in deliveries:
        clash = any(old and new and old != new for old, new in zip(known, given_now, strict=True))
        try:
            fresh = news(given_now, filed, None)
        except LabelConflict:
            assert clash
            continue
        assert not clash
        wanted = [new if old is None else None for old, new in zip(known, given_now, strict=True)]
        assert fresh == (tuple(wanted) if any(wanted) else None)
        if fresh is not None:
            filed.append(fresh)
            known = [old or new for old, new in zip(known, fresh, strict=True)]


@pytest.mark.parametrize(
    "model", [spec(), spec(threshold=0.8), spec(task="multiclass"), spec(task="regression")]
)
def test_a_record_remembers_what_was_answered_as_the_model_answers_it(model: object) -> None:
    assert isinstance(model, type(spec()))
    scores = np.random.default_rng(0).random((50, model.outputs), dtype=np.float32)
    who = answerer(model, "canary", ["young"], "lac")
    assert who.predicted(scores).tolist() == label_indices(model, scores)
    assert who.outputs == model.outputs
    assert who == Answerer("m:prod", "canary", model.task, model.classes, model.threshold, ("young",), "lac")
