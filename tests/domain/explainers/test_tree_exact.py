"""What ``tree-exact`` says of a model: the output it explains, its sign, its gap, and when it declines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.bundle import Bundle
from service.adapters.graphs.structure import structure_of
from service.adapters.onnx import OnnxModel
from service.domain.explainers.game import Ask, Linear, Players, Structure, Subject, Unsuitable
from service.domain.explainers.tree_exact import TREE_EXACT, TreeExplainer, build
from service.domain.schema import Task
from service.domain.trees import Post
from tests.domain.explainers.forests import enumerated, forest, rows_of
from tests.domain.explainers.games import NEVER
from tests.domain.explainers.tree_subjects import tree_subject

EXACT: dict[str, Any] = {"rtol": 0, "atol": 1e-6}


def small(
    task: Task = "regression", post: Post = "none", outputs: int = 1, seed: int = 0, **rest: Any
) -> Subject:
    """A subject of a random forest over five columns."""
    rng = np.random.default_rng(seed)
    trees = forest(rng, outputs=outputs, post=post, **rest)
    if task != "regression" and post == "none":  # shares that add up to one, as forests of classifiers give
        shares = rng.dirichlet(np.ones(max(2, outputs)), size=len(trees.leaf_values))[:, :outputs]
        trees = replace(trees, leaf_values=shares, base=np.zeros(outputs), aggregate="average")
    return tree_subject(trees, rows_of(rng, 30), task)


ROWS = rows_of(np.random.default_rng(99), 6)


@pytest.mark.parametrize(
    ("subject", "output", "label"),
    [
        (small(), "value", None),
        (small("binary", "logistic", complement=True), "margin", 1),
        (small("binary", "none", complement=True), "probability", 1),
        (small("binary", "none", outputs=2), "probability", 1),
        (small("binary", "logistic", outputs=2), "margin", 1),
    ],
)
def test_what_the_trees_add_up_to_is_explained(subject: Subject, output: str, label: int | None) -> None:
    trees = subject.structure.head if subject.structure else None
    margin = trees.outputs - 1
    expected = enumerated(trees, ROWS, subject.background, range(5), margin)
    for found, values in zip(build(subject)(ROWS, Ask(), NEVER), expected, strict=True):
        assert (found.output, found.label, found.exact, found.method) == (output, label, True, "tree-exact")
        np.testing.assert_allclose(found.values, values, **EXACT)
        assert found.base_value == pytest.approx(trees.margins(subject.background)[:, margin].mean())
        assert found.additivity_gap is not None
        assert found.additivity_gap < 1e-6


@pytest.mark.parametrize("post", ["logistic", "none"])
def test_the_first_class_of_two_is_the_second_turned_round(post: Post) -> None:
    explainer = build(small("binary", post, complement=True))
    second, first = explainer(ROWS, Ask(), NEVER), explainer(ROWS, Ask(label=0), NEVER)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.values, -other.values)
        assert one.base_value == (1 if post == "none" else 0) - other.base_value
        assert one.label == 0
        assert one.additivity_gap is not None
        assert one.additivity_gap < 1e-6


def test_a_softmax_of_two_is_explained_by_its_log_odds() -> None:
    subject = small("binary", "softmax", outputs=2)
    trees = subject.structure.head if subject.structure else None
    odds = [enumerated(trees, ROWS, subject.background, range(5), output) for output in (0, 1)]
    found = build(subject)(ROWS, Ask(), NEVER)
    np.testing.assert_allclose([each.values for each in found], odds[1] - odds[0], **EXACT)
    served = subject.predict(ROWS)[:, 1]
    totals = np.array([each.base_value + each.values.sum() for each in found])
    np.testing.assert_allclose(totals, np.log(served / (1 - served)), atol=1e-5)


@pytest.mark.parametrize("post", ["softmax", "none", "logistic"])
def test_of_many_classes_the_answered_one_is_explained_unless_another_is_asked_for(post: Post) -> None:
    subject = small("multiclass", post, outputs=3)
    explainer = build(subject)
    answered = subject.predict(ROWS).argmax(axis=1)
    found = explainer(ROWS, Ask(), NEVER)
    assert [each.label for each in found] == answered.tolist()
    for label in range(3):
        expected = enumerated(
            subject.structure.head if subject.structure else None, ROWS, subject.background, range(5), label
        )
        asked = explainer(ROWS, Ask(label=label), NEVER)
        np.testing.assert_allclose([each.values for each in asked], expected, **EXACT)
        assert {each.label for each in asked} == {label}
        assert max(each.additivity_gap or 0 for each in asked) < 1e-6


def test_columns_made_of_one_callers_column_act_as_one_player() -> None:
    rng = np.random.default_rng(4)
    background, rows = rng.integers(0, 4, (30, 2)).astype(np.float32), np.array([[1, 2], [3, 0]], np.float32)

    def encode(asked: Any) -> Any:
        return np.concatenate([(asked[:, :1] == np.arange(4)).astype(np.float32), asked[:, 1:]], axis=1)

    trees = forest(rng, depth=5)
    subject = replace(
        tree_subject(trees, background),
        structure=Structure(encode, np.array([0, 0, 0, 0, 1]), trees),
        predict=lambda asked: trees.margins(encode(asked)).astype(np.float32),
    )
    expected = enumerated(trees, encode(rows), encode(background), [0, 0, 0, 0, 1])
    found = build(subject)(rows, Ask(), NEVER)
    np.testing.assert_allclose([each.values for each in found], expected, **EXACT)


def test_rows_are_explained_alone_or_together_with_the_same_result() -> None:
    explainer = build(small("binary", "logistic", complement=True))
    together = explainer(ROWS, Ask(), NEVER)
    for at, one in enumerate(together):
        (alone,) = explainer(ROWS[at : at + 1], Ask(), NEVER)
        np.testing.assert_allclose(alone.values, one.values, rtol=0, atol=1e-12)
        assert alone.base_value == one.base_value


def test_rows_that_were_answered_already_are_not_answered_again() -> None:
    subject = small("binary", "logistic", complement=True)
    scores = subject.predict(ROWS)
    calls: list[int] = []

    def counting(rows: Any) -> Any:
        calls.append(len(rows))
        return subject.predict(rows)

    explainer = build(replace(subject, predict=counting))
    calls.clear()
    found = explainer.explain_scored(ROWS, scores, Ask())
    assert calls == []
    again = explainer(ROWS, Ask(), NEVER)
    assert calls == [len(ROWS)]
    np.testing.assert_array_equal([each.values for each in found], [each.values for each in again])


def test_the_gap_shows_when_the_served_score_is_another() -> None:
    subject = small("binary", "logistic", complement=True)
    scores = subject.predict(ROWS)
    scores[2] = scores[2, ::-1]
    gaps = [each.additivity_gap or 0 for each in build(subject).explain_scored(ROWS, scores, Ask())]
    assert gaps[2] == pytest.approx(abs(scores[2, 0] - scores[2, 1]), abs=1e-6)
    assert max(gaps[:2] + gaps[3:]) < 1e-6


@pytest.mark.parametrize(
    ("task", "post", "asked"),
    [("regression", "none", "margin"), ("binary", "logistic", "probability"), ("binary", "none", "margin")],
)
def test_an_output_that_is_no_sum_of_trees_is_declined(task: Task, post: Post, asked: Any) -> None:
    explainer = build(small(task, post, complement=task == "binary"))
    with pytest.raises(Unsuitable, match=rf"add up to its \w+, not to its {asked}"):
        explainer(ROWS, Ask(output=asked), NEVER)


def test_a_model_that_is_not_one_of_trees_is_declined() -> None:
    subject = small()
    with pytest.raises(Unsuitable, match="the graph is not one of trees"):
        build(replace(subject, structure=None))
    linear = Structure(lambda rows: rows, np.arange(5), Linear(np.ones((5, 1)), np.zeros(1), "none"))
    with pytest.raises(Unsuitable, match="not one of trees"):
        build(replace(subject, structure=linear))


def test_trees_that_answer_otherwise_than_the_model_are_declined() -> None:
    subject = small()
    with pytest.raises(Unsuitable, match="answer otherwise than the model, by up to"):
        build(replace(subject, predict=lambda rows: subject.predict(rows) + np.float32(1e-3)))
    with pytest.raises(Unsuitable, match="by up to nan"):
        build(replace(subject, predict=lambda rows: subject.predict(rows) * np.float32("nan")))
    with pytest.raises(Unsuitable, match="the trees answer 1 scores, the model 2"):
        build(replace(subject, predict=lambda rows: np.tile(subject.predict(rows), 2)))


def test_a_model_without_background_is_declined() -> None:
    with pytest.raises(Unsuitable, match="no background rows"):
        build(replace(small(), background=np.empty((0, 5), np.float32)))


def test_a_transform_that_leaves_no_margin_is_declined() -> None:
    with pytest.raises(Unsuitable, match="softmax_zero leaves no margin"):
        build(small("multiclass", "softmax_zero", outputs=3))


def test_it_is_offered_at_the_edge() -> None:
    assert TREE_EXACT.quick
    assert TREE_EXACT.additive


@pytest.fixture(scope="session")
def explained_bundle(
    demo_bundle: Callable[[str], Bundle],
) -> Callable[[str], tuple[Bundle, Subject, TreeExplainer]]:
    """A demo bundle with its subject and ``tree-exact`` on it."""

    def explained(tag: str) -> tuple[Bundle, Subject, TreeExplainer]:
        bundle = demo_bundle(tag)
        spec, background = bundle.spec, bundle.background()
        model = OnnxModel(Path(bundle.model_path), spec, bundle.binding, providers=("CPUExecutionProvider",))
        structure = structure_of(bundle.model_path, spec, bundle.binding, model.predict, background)
        names = spec.schema.names()
        players = Players(names, tuple(np.array([column]) for column in range(len(names))))
        subject = Subject(spec, model.predict, background, players, structure)
        return bundle, subject, build(subject)

    return explained


@pytest.mark.parametrize(
    "tag", ["credit:gbm-1", "credit:gbm-2", "diabetes:gbr-1", "cancer:xgb-1", "cancer:forest-1"]
)
def test_explanations_of_every_demo_model_of_trees_add_up_to_what_it_serves(
    tag: str, explained_bundle: Callable[[str], tuple[Bundle, Subject, TreeExplainer]]
) -> None:
    bundle, _, explainer = explained_bundle(tag)
    rows = bundle.calibration()[0][:200]
    found = explainer(rows, Ask(), NEVER)
    scale = 1 if bundle.spec.classes else 350  # diabetes progression, 25 to 346
    assert max(each.additivity_gap or 0 for each in found) <= 1e-6 * scale
    assert np.abs([each.values for each in found]).max() > 1e-3


def test_explanations_of_the_demo_regression_are_its_shapley_values(
    explained_bundle: Callable[[str], tuple[Bundle, Subject, TreeExplainer]],
) -> None:
    bundle, subject, _ = explained_bundle("diabetes:gbr-1")
    row, background = bundle.calibration()[0][:1], subject.background[:20]
    assert subject.structure is not None
    expected = enumerated(subject.structure.head, row, background, range(10))
    (found,) = build(replace(subject, background=background))(row, Ask(), NEVER)
    np.testing.assert_allclose(found.values[None], expected, rtol=0, atol=2e-5)
