"""``linear-exact``: the Shapley values of a linear margin, whatever encodes the caller's columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from service.domain.explainers.game import Ask, Explanation, Linear, Players, Structure, Subject, Unsuitable
from service.domain.explainers.linear_exact import LINEAR_EXACT, LinearExact, scores_of
from service.domain.schema import FeatureBatch, ModelSpec, Schema, Scores, Task
from service.errors import DeadlineError
from tests.domain.explainers.games import NEVER, enumerated
from tests.domain.models import spec

HOMES = 3
SOURCES = np.array([1, 0, 1, 2, 1, 0])
"""The encoded columns: a home in three, the age and its square, the income."""


def encode(rows: FeatureBatch) -> NDArray[Any]:
    """Age, its square, one-hot home (none of them where it is missing) and income, 50 where it is missing."""
    age, home, income = rows.T.astype(np.float64)
    owner, rent, parents = (home == place for place in range(HOMES))
    return np.column_stack([owner, age, rent, np.where(np.isnan(income), 50, income), parents, age**2 / 50])


def subject_of(
    task: Task, post: Literal["none", "logistic", "softmax"], players: Players | None = None, seed: int = 0
) -> Subject:
    """Age, home and income; the served model is the encoder and the head, in float32."""
    rng = np.random.default_rng(seed)
    model: ModelSpec = spec(task=task)
    outputs = 3 if task == "multiclass" else 1
    weights = rng.normal(size=(6, outputs)) / np.array([[1], [30], [1], [50], [1], [30]])
    head = Linear(weights, rng.normal(size=outputs), post)

    def predict(rows: FeatureBatch) -> Scores:
        return scores_of(head, encode(rows) @ head.weights + head.intercepts).astype(np.float32)

    if players is None:
        players = Players(("age", "home", "income"), tuple(np.array([index]) for index in range(3)))
    return Subject(model, predict, some_rows(25, seed), players, Structure(encode, SOURCES, head))


def some_rows(count: int, seed: int) -> FeatureBatch:
    rng = np.random.default_rng(seed)
    home, income = rng.integers(0, HOMES, count).astype(float), rng.normal(60, 20, count)
    home[::5], income[::4] = np.nan, np.nan
    return np.column_stack([rng.integers(18, 80, count), home, income]).astype(np.float32)


def margin_of(subject: Subject, label: int) -> Callable[[FeatureBatch], NDArray[np.float64]]:
    assert subject.structure is not None
    head = subject.structure.head

    def margin(rows: FeatureBatch) -> NDArray[np.float64]:
        return np.asarray(encode(rows) @ head.weights[:, label] + head.intercepts[label])

    return margin


def explain(subject: Subject, rows: FeatureBatch, ask: Ask | None = None) -> list[Explanation]:
    return LINEAR_EXACT.build(subject)(rows, ask or Ask(), NEVER)


@pytest.mark.parametrize(
    ("task", "post"), [("regression", "none"), ("binary", "logistic"), ("multiclass", "softmax")]
)
def test_values_are_those_of_enumerating_every_coalition(task: Any, post: Any) -> None:
    subject, rows = subject_of(task, post), some_rows(6, seed=4)
    for label in range(3) if task == "multiclass" else [None]:
        margin = margin_of(subject, label or 0)
        for row, explanation in zip(rows, explain(subject, rows, Ask(label=label)), strict=True):
            np.testing.assert_allclose(explanation.values, enumerated(subject, row, margin), atol=1e-12)
            assert explanation.base_value == pytest.approx(
                float(margin(subject.background).mean()), abs=1e-12
            )
            assert explanation.output == ("value" if task == "regression" else "margin")
            assert explanation.exact
            assert explanation.standard_errors is None


def test_columns_of_one_player_are_explained_together() -> None:
    alone = explain(subject_of("binary", "logistic"), some_rows(4, seed=4))
    pair = Players(("home", "age and income"), (np.array([1]), np.array([0, 2])))
    together = explain(subject_of("binary", "logistic", pair), some_rows(4, seed=4))
    for one, two in zip(alone, together, strict=True):
        np.testing.assert_allclose(two.values, [one.values[1], one.values[0] + one.values[2]], atol=1e-12)


@pytest.mark.parametrize(
    ("task", "post"), [("regression", "none"), ("binary", "logistic"), ("multiclass", "softmax")]
)
def test_contributions_add_up_to_the_served_score(task: Any, post: Any) -> None:
    subject = subject_of(task, post)
    for explanation in explain(subject, some_rows(50, seed=8)):
        assert explanation.additivity_gap is not None
        assert explanation.additivity_gap < 1e-5


def test_a_model_that_serves_something_else_shows_in_the_gap() -> None:
    subject = subject_of("binary", "logistic")
    rows = some_rows(3, seed=8)
    explainer = LINEAR_EXACT.build(subject)
    other = subject.predict(rows) + np.float32([[-0.01, 0.01]])
    for explanation in explainer.explain_scored(rows, other.astype(np.float32), Ask()):
        assert explanation.additivity_gap == pytest.approx(0.01, abs=1e-5)


def test_the_first_class_has_the_opposite_reasons() -> None:
    subject, rows = subject_of("binary", "logistic"), some_rows(5, seed=3)
    for good, bad in zip(explain(subject, rows), explain(subject, rows, Ask(label=0)), strict=True):
        assert (good.label, bad.label) == (1, 0)
        np.testing.assert_array_equal(bad.values, -good.values)
        assert bad.base_value == -good.base_value
        assert bad.additivity_gap is not None
        assert bad.additivity_gap < 1e-6


def test_a_row_of_several_classes_is_explained_by_its_own_answer() -> None:
    subject, rows = subject_of("multiclass", "softmax"), some_rows(30, seed=3)
    answers = subject.predict(rows).argmax(axis=1)
    assert len(set(answers.tolist())) > 1
    assert [explanation.label for explanation in explain(subject, rows)] == answers.tolist()


def test_a_column_without_weight_explains_nothing() -> None:
    subject = subject_of("regression", "none")
    assert subject.structure is not None
    weights = subject.structure.head.weights.copy()
    weights[SOURCES == 2] = 0
    head = replace(subject.structure.head, weights=weights)
    subject = replace(subject, structure=replace(subject.structure, head=head))
    for explanation in explain(subject, some_rows(5, seed=3)):
        assert explanation.values[2] == 0
        assert explanation.values[:2].all()


def test_served_scores_are_not_inferred_again() -> None:
    subject, rows = subject_of("binary", "logistic"), some_rows(4, seed=1)
    expected = explain(subject, rows)
    scores = subject.predict(rows)

    def refuse(rows: FeatureBatch) -> Scores:
        raise AssertionError("inferred again")

    again = LINEAR_EXACT.build(replace(subject, predict=refuse)).explain_scored(rows, scores, Ask())
    for one, two in zip(expected, again, strict=True):
        np.testing.assert_array_equal(one.values, two.values)
        assert one.additivity_gap == two.additivity_gap


def test_extreme_margins_have_scores_and_no_warning() -> None:
    subject = subject_of("binary", "logistic")
    assert subject.structure is not None
    head = replace(subject.structure.head, weights=subject.structure.head.weights * 1e5)
    rows = some_rows(20, seed=2)
    structure = replace(subject.structure, head=head)
    with np.errstate(all="raise", under="ignore"):
        served = scores_of(head, encode(rows) @ head.weights + head.intercepts).astype(np.float32)
        explained = LINEAR_EXACT.build(replace(subject, structure=structure)).explain_scored(
            rows, served, Ask()
        )
    assert np.ptp(served) == 1
    assert all(explanation.additivity_gap < 1e-6 for explanation in explained)


@pytest.mark.parametrize(
    ("task", "output"), [("binary", "probability"), ("binary", "value"), ("regression", "margin")]
)
def test_an_output_that_is_not_linear_is_refused(task: Any, output: Any) -> None:
    subject = subject_of(task, "logistic" if task == "binary" else "none")
    with pytest.raises(Unsuitable, match=f"for the {output} ask for another method"):
        explain(subject, some_rows(1, seed=1), Ask(output=output))


def test_the_margin_may_be_asked_for_by_name() -> None:
    subject, rows = subject_of("binary", "logistic"), some_rows(1, seed=1)
    (named,), (unnamed,) = explain(subject, rows, Ask(output="margin")), explain(subject, rows)
    np.testing.assert_array_equal(named.values, unnamed.values)


def test_a_model_whose_graph_is_not_understood_is_refused_with_the_reason() -> None:
    subject = replace(subject_of("binary", "logistic"), structure=None, why_no_structure="it is a network")
    with pytest.raises(Unsuitable, match="it is a network"):
        LINEAR_EXACT.build(subject)


def test_a_model_of_trees_is_refused() -> None:
    subject = subject_of("binary", "logistic")
    assert subject.structure is not None
    with pytest.raises(Unsuitable, match="not linear"):
        LINEAR_EXACT.build(replace(subject, structure=replace(subject.structure, head=object())))


def test_nothing_is_computed_when_the_time_is_over() -> None:
    explainer: LinearExact = LINEAR_EXACT.build(subject_of("binary", "logistic"))
    with pytest.raises(DeadlineError, match="its time was over"):
        explainer(some_rows(1, seed=1), Ask(), due=0.0)


def test_no_rows_are_no_explanations() -> None:
    assert explain(subject_of("binary", "logistic"), some_rows(0, seed=1)) == []


def test_pixels_without_a_weight_of_their_own_belong_to_a_player_all_the_same() -> None:
    """A head that reads one pixel of four: the patches it does not read explain nothing."""
    model = replace(spec(task="regression"), schema=Schema((), "image", (1, 2, 2)))
    head = Linear(np.array([[2.0]]), np.array([1.0]), "none")
    structure = Structure(lambda rows: rows[:, 3:], np.array([3]), head)
    players = Players(("left", "right"), (np.array([0, 2]), np.array([1, 3])))
    background = np.zeros((5, 4), dtype=np.float32)
    subject = Subject(model, lambda rows: 2 * rows[:, 3:] + 1, background, players, structure)
    (explanation,) = explain(subject, np.full((1, 4), 7, dtype=np.float32))
    assert explanation.values.tolist() == [0, 14]
