"""Two models side by side: the same background, class and coalitions, so that only the models differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from service.domain.explainers.game import (
    Ask,
    Explainer,
    Explanation,
    Linear,
    Method,
    Players,
    Structure,
    Subject,
    Unsuitable,
)
from service.domain.explainers.linear_exact import LINEAR_EXACT
from service.domain.explainers.offer import offer
from service.domain.explainers.pair import Pair, pair
from service.domain.explainers.permutation import PERMUTATION
from service.domain.projection import projection
from service.domain.schema import Feature, FeatureBatch, ModelSpec, Schema, Scores
from service.errors import DeadlineError
from tests.domain.explainers.games import NEVER, tangled

METHODS = (LINEAR_EXACT, PERMUTATION)
NAMES = ("a", "b", "c")
BACKGROUND = np.random.default_rng(5).normal(size=(50, 3)).astype(np.float32)
ROWS = np.random.default_rng(6).normal(size=(4, 3)).astype(np.float32)


def linear(
    weights: Any, names: tuple[str, ...] = NAMES, background: NDArray[Any] = BACKGROUND, version: str = "1"
) -> Subject:
    """A model that is linear in its columns: binary by one column of weights, else a softmax of many."""
    weights = np.asarray(weights, dtype=np.float64).reshape(len(names), -1)
    several = weights.shape[1] > 1
    schema = Schema(tuple(Feature(name, "float") for name in names), "tensor")
    classes = tuple(f"class {label}" for label in range(weights.shape[1])) if several else ("no", "yes")
    spec = ModelSpec("m", version, "multiclass" if several else "binary", schema, classes)
    post: Literal["softmax", "logistic"] = "softmax" if several else "logistic"
    head = Linear(weights, np.zeros(weights.shape[1]), post)

    def predict(rows: FeatureBatch) -> Scores:
        margins = rows @ weights if several else np.column_stack([np.zeros(len(rows)), rows @ weights])
        shares = np.exp(margins - margins.max(axis=1, keepdims=True))
        return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)

    players = Players(names, tuple(np.array([column]) for column in range(len(names))))
    structure = Structure(lambda rows: rows, np.arange(len(names)), head)
    return Subject(spec, predict, np.ascontiguousarray(background), players, structure)


def paired(production: Subject, candidate: Subject, **other: Any) -> Pair:
    methods = other.pop("methods", METHODS)
    asked = {"max_evals": 400, **other}
    project = projection(production.spec, candidate.spec)
    return pair(offer(production, methods), candidate, project, methods, **asked)


def compared(found: Pair, production: Subject, rows: FeatureBatch = ROWS, due: float = NEVER) -> Any:
    return found.compare(rows, production.predict(rows), due)


def without_structure(subject: Subject) -> Subject:
    return replace(subject, structure=None)


@pytest.mark.parametrize("strip", [lambda subject: subject, without_structure], ids=["exact", "sampled"])
def test_two_equal_models_have_the_same_reasons_to_the_bit(strip: Callable[[Subject], Subject]) -> None:
    first, second = strip(linear([1, 2, 3])), strip(linear([1, 2, 3], version="2"))
    found = paired(first, second)
    assert found.method == ("permutation" if first.structure is None else "linear-exact")
    assert compared(found, first).distances.tolist() == [0.0] * 4


@pytest.mark.parametrize("strip", [lambda subject: subject, without_structure], ids=["exact", "sampled"])
def test_two_features_that_swap_their_roles_are_seen_though_no_answer_changes(
    strip: Callable[[Subject], Subject],
) -> None:
    background = BACKGROUND.copy()
    background[:, 1] = background[:, 0]  # in all that was ever seen, a and b are the same
    first = strip(linear([2, 1, 0], background=background))
    second = strip(linear([1, 2, 0], background=background))
    rows = ROWS.copy()
    rows[:, 1] = rows[:, 0]
    np.testing.assert_array_equal(first.predict(rows), second.predict(rows))
    reasons = compared(paired(first, second), first, rows)
    np.testing.assert_allclose(reasons.distances, 1 / 3, atol=0.01)
    np.testing.assert_allclose(reasons.moved, [[1 / 3, 1 / 3, 0]] * 4, atol=0.01)


def test_a_candidate_with_fewer_features_in_another_order_is_compared_by_name() -> None:
    first, second = linear([1, 2, 3]), linear([3, 1], names=("c", "a"), background=BACKGROUND[:, [2, 0]])
    change = ROWS - BACKGROUND.mean(axis=0)
    p, q = change * [1, 2, 3], change * [1, 0, 3]
    p, q = (x / np.abs(x).sum(axis=1, keepdims=True) for x in (p, q))
    for strip in (lambda subject: subject, without_structure):
        reasons = compared(paired(strip(first), strip(second), max_evals=4_000), first)
        assert reasons.features == NAMES
        np.testing.assert_allclose(reasons.distances, np.abs(p - q).sum(axis=1) / 2, atol=1e-4)


def test_both_models_are_explained_relative_to_productions_background() -> None:
    first, second = linear([1, 2, 3]), linear([1, 2, 3], background=BACKGROUND + 10)
    assert compared(paired(first, second), first).distances.tolist() == [0.0] * 4


def test_what_sampling_adds_to_both_models_cancels() -> None:
    first = tangled()
    second = replace(first, predict=lambda rows: 2 * first.predict(rows))  # other scores, the same reasons
    found = paired(first, second, max_evals=200)
    rows = np.random.default_rng(9).normal(size=(5, 7)).astype(np.float32)
    same = compared(found, first, rows).distances
    other = replace(found.candidate, explain=reseeded(found.candidate.explain))
    apart = compared(replace(found, candidate=other), first, rows).distances
    assert same.max() < 1e-5
    assert apart.min() > 0.01


def reseeded(explain: Explainer) -> Explainer:
    return lambda rows, ask, due: explain(rows, replace(ask, seed=ask.seed + 1), due)


def test_of_more_than_two_classes_both_models_are_explained_for_productions_answer() -> None:
    weights = np.array([[3.0, 0, 0], [0, 3, 0], [0, 0, 3]])
    first, second = linear(weights), linear(weights[:, ::-1])
    found = paired(first, second)
    assert found.method == "permutation"
    asked: list[int | None] = []

    def spy(rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
        asked.append(ask.label)
        return found.candidate.explain(rows, ask, due)

    compared(replace(found, candidate=replace(found.candidate, explain=spy)), first)
    assert asked == first.predict(ROWS).argmax(axis=1).tolist()
    assert asked != second.predict(ROWS).argmax(axis=1).tolist()


def test_raw_scores_that_only_differ_in_what_all_classes_share_are_the_same_reasons() -> None:
    weights = np.random.default_rng(1).normal(size=(3, 3))
    first, second = linear(weights), linear(weights + np.array([[5.0], [0.0], [0.0]]))
    np.testing.assert_allclose(first.predict(ROWS), second.predict(ROWS), atol=1e-6)
    assert compared(paired(first, second), first).distances.max() < 1e-4


def test_exact_methods_of_two_kinds_can_be_compared() -> None:
    trees = Method("tree-exact", lambda subject: relabelled(LINEAR_EXACT.build(subject), "margin"))
    stump = linear([1, 2, 3])
    found = pair(offer(stump, (trees,)), linear([1, 2, 3]), lambda rows: rows, (LINEAR_EXACT,), max_evals=100)
    assert (found.method, found.exact) == ("tree-exact and linear-exact", True)
    assert compared(found, stump).distances.tolist() == [0.0] * 4


def relabelled(explain: Explainer, output: Any) -> Explainer:
    return lambda rows, ask, due: [replace(found, output=output) for found in explain(rows, ask, due)]


def test_a_log_odds_is_never_compared_with_a_probability() -> None:
    forest = Method("tree-exact", lambda subject: relabelled(LINEAR_EXACT.build(subject), "probability"))
    production = offer(linear([1, 2, 3]), (forest, PERMUTATION))
    found = pair(production, linear([1, 2, 3]), lambda rows: rows, METHODS, max_evals=400)
    assert found.method == "permutation"


@pytest.mark.parametrize("side", ["production", "candidate"])
def test_a_model_without_an_exact_method_has_both_sampled(side: str) -> None:
    subjects = {"production": linear([1, 2, 3]), "candidate": linear([1, 2, 3])}
    subjects[side] = without_structure(subjects[side])
    assert paired(**subjects).method == "permutation"


def test_a_method_that_failed_the_candidates_gate_does_not_explain_it() -> None:
    first, second = linear([1, 2, 3]), linear([1, 2, 3])
    assert paired(first, second, forbidden={"linear-exact": "it lies"}).method == "permutation"
    with pytest.raises(Unsuitable, match="permutation cannot explain m:1: so does it"):
        paired(first, second, forbidden={"linear-exact": "it lies", "permutation": "so does it"})


def test_a_production_that_nothing_explains_is_named() -> None:
    with pytest.raises(Unsuitable, match="permutation cannot explain m:1: it is not among the methods"):
        paired(without_structure(linear([1, 2, 3])), linear([1, 2, 3], version="2"), methods=(LINEAR_EXACT,))


def test_too_few_evaluations_are_found_out_beforehand() -> None:
    with pytest.raises(Unsuitable, match="max_evals 4 is too few"):
        paired(without_structure(linear([1, 2, 3])), linear([1, 2, 3]), max_evals=4)


def timed(cut: dict[int, int], stop: int) -> Method:
    """Explains ``stop`` rows; ``cut`` gives the model rows after which some of them were cut short."""

    def build(subject: Subject) -> Explainer:
        calls = 0

        def explain(rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
            nonlocal calls
            calls += 1
            if due == NEVER:  # the trial at preparation
                calls = 0
            elif calls > stop:
                raise DeadlineError("too late")
            values = rows[0].astype(np.float64)
            return [
                Explanation("permutation", False, "margin", 1, 0.0, values, rows_evaluated=cut.get(calls, 9))
            ]

        return explain

    return Method("permutation", build)


def test_rows_for_which_time_was_too_short_are_left_out() -> None:
    first, second = without_structure(linear([1, 2, 3])), linear([1, 2, 3])
    whole, short = timed({}, stop=3), timed({2: 5}, stop=99)
    found = pair(offer(first, (whole,)), second, lambda rows: rows, (short,), max_evals=9)
    rows = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]], np.float32)
    reasons = compared(found, first, rows, due=1e18)
    assert reasons.distances.tolist() == [0.0, 0.0]  # the second was cut short, the fourth never begun


def test_no_time_at_all_gives_no_rows() -> None:
    first = without_structure(linear([1, 2, 3]))
    found = paired(first, without_structure(linear([3, 2, 1])))
    assert len(compared(found, first, due=0.0)) == 0
    exact = paired(linear([1, 2, 3]), linear([3, 2, 1]))
    assert len(compared(exact, first, due=0.0)) == 0


def test_the_patches_of_an_image_are_the_features() -> None:
    schema = Schema((), "image", (1, 2, 2))
    patches = Players(("left", "right"), (np.array([0, 2]), np.array([1, 3])))

    def image(weights: list[float]) -> Subject:
        spec = ModelSpec("digits", "1", "regression", schema)
        background = np.random.default_rng(2).random((20, 4)).astype(np.float32)
        return Subject(spec, lambda rows: (rows @ np.float32(weights))[:, None], background, patches)

    first, second = image([1, 0, 1, 0]), image([0, 1, 0, 1])
    reasons = compared(paired(first, second), first, np.ones((2, 4), np.float32))
    assert reasons.features == ("left", "right")
    np.testing.assert_allclose(reasons.distances, 1.0, atol=1e-5)
