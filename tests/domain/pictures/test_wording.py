"""Numbers, titles and sentences."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.pictures.stories import story
from service.domain.pictures.wording import (
    MINUS,
    Numbers,
    answer,
    certain_order,
    clean,
    exactness,
    headline,
    labelled,
    number,
    told,
    unit,
    warnings,
)
from tests.domain.pictures.documents import ANCHOR, COUNTERFACTUAL, LIME, MODEL, SAMPLED, document, typed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (129.0, "129"), (2026, "2026"), (-0.25, "-0.25"), (42.2, "42.2"), (1234567.891, "1234568"),
        (1e-9, "1e-9"), (3e12, "3e12"), (0.0, "0"), (None, "missing"), (True, "true"), ("rent", "rent"),
    ],
)  # fmt: skip
def test_a_column_value_is_told_as_its_sender_would_write_it(value: Any, text: str) -> None:
    assert typed(told(value)) == text


@given(st.floats(-1e12, 1e12))
def test_a_number_is_told_to_six_digits(value: float) -> None:
    assert float(typed(number(value))) == pytest.approx(value, rel=5.1e-6)


@pytest.mark.parametrize(
    ("largest", "value", "text"),
    [
        (1.125, 0.625, "+0.62"), (1.125, -0.001, "-0.00"), (1.125, 0.0, "0"), (31.2, -0.2, "-0.2"),
        (1500, 1234.5, "+1,234"), (3e-9, -1e-9, "-1e-9"), (0, 0, "0"),
    ],
)  # fmt: skip
def test_contributions_share_their_decimals_and_keep_their_sign(
    largest: float, value: float, text: str
) -> None:
    assert typed(Numbers.of(largest).signed(value)) == text


def test_what_is_negative_has_a_minus_sign_and_no_hyphen() -> None:
    found = [number(-2.0), Numbers.of(2.0).signed(-2.0), number(1e-9)]
    assert found == [f"{MINUS}2", f"{MINUS}2.00", f"1e{MINUS}9"]


@given(st.text(max_size=30))
def test_clean_text_holds_nothing_that_has_no_shape(text: str) -> None:
    found = clean(text)
    assert len(found) == len(text)
    assert not any(unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co"} for character in found)


def test_a_long_label_keeps_both_the_feature_and_its_value() -> None:
    found = labelled("a name that is longer than any column of labels", "129", 13, 150)
    assert found.startswith("a name")
    assert found.endswith("… = 129")
    both = labelled("n" * 100, "v" * 100, 13, 200)
    assert "n… = v" in both
    assert both.endswith("…")


def test_the_title_says_what_the_model_answered_where_that_is_known() -> None:
    said = document(prediction={"label": "bad", "probabilities": {"bad": 0.8, "good": 0.2}})
    assert headline(said, MODEL) == "Why credit:gbm-1 says bad"
    assert unit(said) == "log-odds of good"


def test_the_title_claims_no_answer_that_it_does_not_know() -> None:
    assert answer(document()) is None
    assert headline(document(), MODEL) == "What credit:gbm-1 holds for and against good"


def test_a_regression_says_its_value() -> None:
    told_value = document(output="value", label=None, prediction={"value": 175.4})
    assert headline(told_value, MODEL) == "Why credit:gbm-1 says 175.4"
    assert unit(told_value) == "value"
    assert headline(document({"a": 2.0}, output="value", label=None), MODEL) == "Why credit:gbm-1 says 2.5"


def test_a_margin_is_called_log_odds_only_where_there_are_two_classes() -> None:
    three = document(prediction={"label": "good", "probabilities": {"a": 0.1, "b": 0.1, "good": 0.8}})
    assert unit(three) == unit(document()) == "margin of good (log-odds scale)"
    assert unit(document(output="probability")) == "probability of good"


def test_an_explanation_says_how_exact_it_is() -> None:
    assert exactness(document()) == "exact"
    assert exactness(SAMPLED) == "± 1.96 standard errors"
    assert exactness(LIME) == "approximate, its error is not known"


@pytest.mark.parametrize(
    ("certain", "said"),
    [
        (None, None),
        (0, "the order of the features is not certain"),
        (1, "the first feature is certain"),
        (4, "the order of the first 4 is certain"),
    ],
)
def test_the_order_of_features_is_claimed_as_far_as_it_is_certain(
    certain: int | None, said: str | None
) -> None:
    assert certain_order(document(rank_certain_k=certain)) == said


def test_what_degrades_misleads_or_does_not_add_up_is_a_warning() -> None:
    assert warnings(document()) == []
    assert warnings(SAMPLED) == [
        "Stopped after 1,204 of 4,000 rows.",
        "Made-up rows say little about real ones.",
    ]
    assert warnings(document(additivity_gap=0.0125)) == ["The values miss the served output by 0.013."]


def test_a_counterfactual_is_told_in_words() -> None:
    assert story(COUNTERFACTUAL) == [
        "With Income 87.5 instead of 129 and Home missing instead of rent, the answer would be bad.",
        "No reference row looks like that: the change may not be possible.",
    ]


def test_a_counterfactual_is_told_with_digits_enough_to_be_tried() -> None:
    change = {"found": True, "changes": {"Income": {"from": 0, "to": 87.654321}}, "label": "bad"}
    assert story({**COUNTERFACTUAL, "detail": change}) == [
        "With Income 87.654321 instead of 0, the answer would be bad."
    ]


def test_no_counterfactual_is_an_answer_too() -> None:
    none = {"found": False, "searched": 4000, "reason": "nothing that may change flips it"}
    assert story({**COUNTERFACTUAL, "detail": none}) == [
        "No change of the features that may change was found that flips the decision.",
        "4,000 rows were tried.",
        "Nothing that may change flips it.",
    ]


def test_an_anchor_is_told_in_words_and_claims_no_answer_that_it_does_not_know() -> None:
    holds, covers = story(ANCHOR)
    assert holds.startswith(
        "Wherever Home = rent and Income <= 90, the answer stays the same in 97.3 % of cases"
    )
    assert holds.endswith(" of cases (at least 95.3 %).")
    assert covers == "The rule applies to 12.4 % of the reference rows."
    assert "the answer is bad in" in story({**ANCHOR, "prediction": {"label": "bad"}})[0]


def test_a_rule_that_holds_too_little_is_not_sold_as_one() -> None:
    best = {"rule": [], "precision": 0.7, "precision_lower_bound": 0.6, "coverage": 1.0}
    none = {"found": False, "reason": "no rule reaches a precision of 0.95", "best": best}
    assert story({**ANCHOR, "detail": none}) == [
        "No rule was found that holds the decision firmly enough.",
        "No rule reaches a precision of 0.95.",
        "The best that was found:",
        "Whatever the row, the answer stays the same in 70 % of cases (at least 60 %).",
        "The rule applies to 100 % of the reference rows.",
    ]


def test_an_attribution_has_no_story_but_lime_tells_its_fidelity() -> None:
    assert story(document()) == []
    assert "R² of 0.834" in story(LIME)[0]
