"""What every explanation method promises, whatever it does and whatever model it explains."""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, softmax

from service.adapters.explainers import METHODS
from service.adapters.shap_trees import TREE_SHAP
from service.domain.explainers.game import (
    Ask,
    Explainer,
    Explanation,
    OutputKind,
    Subject,
    Unsuitable,
    explained,
)
from service.domain.schema import FeatureBatch, Scores, label_indices
from service.errors import DeadlineError
from tests.contracts.subjects import MAKERS, Posed
from tests.contracts.watching import ROUNDING, Counted, alike, answer, is_a_sentence, same
from tests.domain.explainers.games import NEVER, enumerated

TREES = ("trees on columns", "trees of three classes", "trees for a value")
WEIGHTS = ("weights of two classes", "weights of three classes")
SLOPES = ("network", "picture", "sure of itself")
DECIDING = tuple(name for name in MAKERS if name not in ("trees for a value", "network", "picture"))
EVERY = tuple(MAKERS)
FEW = tuple(name for name in EVERY if name not in ("picture", "thirty columns"))

SERVES = {
    "tree-exact": TREES,
    "tree-exact by shap": TREES[1:],
    "linear-exact": WEIGHTS,
    "exhaustive": FEW,
    "permutation": EVERY,
    "kernel": EVERY,
    "lime": EVERY,
    "occlusion": EVERY,
    "occlusion-superpixels": ("picture",),
    "saliency": SLOPES,
    "smoothgrad": SLOPES,
    "integrated-gradients": SLOPES[:2],
    "grad-cam": ("picture",),
    "counterfactual": DECIDING,
    "anchor": DECIDING,
}
"""Which models each method explains; it declines all others."""
NAMED = {f"{m.name} by shap" if m is TREE_SHAP else m.name: m for m in METHODS}
CASES = [pytest.param(name, model, id=f"{name}, {model}") for name in SERVES for model in SERVES[name]]

OF_DECISIONS = ("counterfactual", "anchor")
"""They say what the decision hangs on, and divide nothing."""
READS_RAW_SCORES = ("tree-exact", "tree-exact by shap", "linear-exact")
UNBOUNDED = ("exhaustive",)
"""Methods that ``max_evals`` does not stop, because less would not be exact."""
EVALS = 500

each_case = pytest.mark.parametrize(("name", "model"), CASES)


@cache
def posed(model: str) -> Posed:
    return MAKERS[model]()


@cache
def at_work(name: str, model: str) -> Explainer:
    return NAMED[name].build(posed(model).subject)


@cache
def told(name: str, model: str, label: int | None = None) -> list[Explanation]:
    """What a method says about the rows of a model, with all the time in the world."""
    return at_work(name, model)(posed(model).rows, Ask(label=label, max_evals=EVALS), NEVER)


def served(model: str) -> Scores:
    return posed(model).subject.predict(posed(model).rows)


def test_every_method_is_held_to_these_laws() -> None:
    assert SERVES.keys() == NAMED.keys()


@pytest.mark.parametrize("name", NAMED)
def test_a_model_that_cannot_be_explained_is_declined_in_a_sentence(name: str) -> None:
    for model in MAKERS.keys() - set(SERVES[name]):
        with pytest.raises(Unsuitable) as declined:
            at_work(name, model)
        assert is_a_sentence(declined.value), model


@each_case
def test_an_explanation_is_whole_finite_and_can_be_written_down(name: str, model: str) -> None:
    subject = posed(model).subject
    players = 0 if name in OF_DECISIONS else len(subject.players)
    for explanation in told(name, model):
        assert explanation.method == NAMED[name].name
        assert explanation.values.shape == (players,)
        assert explanation.values.dtype == np.float64
        assert np.isfinite([explanation.base_value, *explanation.values]).all()
        assert explanation.degraded is None or name in OF_DECISIONS  # their search is never through
        if explanation.standard_errors is not None:
            assert explanation.standard_errors.shape == (players,)
            assert np.isfinite(explanation.standard_errors).all()
            assert (explanation.standard_errors >= 0).all()
            assert not explanation.exact
        if explanation.off_manifold_share is not None:
            assert 0 <= explanation.off_manifold_share <= 1
        assert json.loads(json.dumps(dict(explanation.detail), allow_nan=False)) == explanation.detail


@each_case
def test_values_add_up_to_the_served_score_as_nearly_as_is_said(name: str, model: str) -> None:
    for row, explanation in enumerate(told(name, model)):
        if not NAMED[name].additive:
            assert explanation.additivity_gap is None
            continue
        assert explanation.additivity_gap == pytest.approx(gap(name, model, row), abs=1e-6)
        assert gap(name, model, row) < ROUNDING


def gap(name: str, model: str, row: int) -> float:
    """|base value + sum of the values - output|, in units of the served score."""
    spec, own = posed(model).subject.spec, told(name, model)[row]
    total = own.base_value + float(own.values.sum())
    score = float(served(model)[row, own.label or 0])
    if is_raw(name, model):
        every = [told(name, model, label)[row] for label in range(spec.outputs)]
        totals = np.array([each.base_value + each.values.sum() for each in every])
        return abs(float(softmax(totals)[own.label or 0]) - score)
    return abs(float(expit(total)) - score) if own.output == "margin" else abs(total - score)


@pytest.mark.parametrize(
    ("name", "model"),
    [case for case in CASES if case.values[0] in (*READS_RAW_SCORES, "exhaustive")],
)
def test_exact_values_are_those_of_enumerating_every_coalition(name: str, model: str) -> None:
    subject = posed(model).subject
    for index, explanation in enumerate(told(name, model)):
        row, values, label = posed(model).rows[index], explanation.values, explanation.label or 0
        number = partial(one_number, subject, explanation.output, label)
        if is_raw(name, model):  # known but for what all classes share, so two are compared
            other = 0 if label else 1
            values = values - told(name, model, other)[index].values
            number = partial(log_ratio, subject, label, other)
        assert explanation.exact
        np.testing.assert_allclose(values, enumerated(subject, row, number), rtol=0, atol=ROUNDING)


def one_number(subject: Subject, output: OutputKind, label: int, rows: FeatureBatch) -> NDArray[np.float64]:
    return explained(subject.predict(rows), output, label)


def log_ratio(subject: Subject, one: int, other: int, rows: FeatureBatch) -> NDArray[np.float64]:
    """How much more likely one class is than another, as the log of the ratio; [rows]."""
    shares = np.log(subject.predict(rows).astype(np.float64))
    ratio: NDArray[np.float64] = shares[:, one] - shares[:, other]
    return ratio


def is_raw(name: str, model: str) -> bool:
    """Whether what is explained is one of several raw scores, which a softmax makes probabilities of."""
    return name in READS_RAW_SCORES and posed(model).subject.spec.task == "multiclass"


@each_case
def test_the_same_question_gets_the_same_answer(name: str, model: str) -> None:
    ask = Ask(max_evals=EVALS)
    again = at_work(name, model)(posed(model).rows, ask, NEVER)
    anew = NAMED[name].build(posed(model).subject)(posed(model).rows, ask, NEVER)
    for first, *others in zip(told(name, model), again, anew, strict=True):
        assert all(same(first, other) for other in others)


@each_case
def test_a_row_is_explained_alone_as_among_others(name: str, model: str) -> None:
    rows, ask = posed(model).rows, Ask(max_evals=EVALS)
    for index, together in enumerate(told(name, model)):
        (alone,) = at_work(name, model)(rows[index : index + 1], ask, NEVER)
        assert alike(together, alone)


@each_case
def test_rows_and_background_are_only_read(name: str, model: str) -> None:
    subject, rows = posed(model).subject, posed(model).rows.copy()
    assert not subject.background.flags.writeable  # nor was it while the method was built and has explained
    at_work(name, model)(rows, Ask(max_evals=EVALS), NEVER)
    np.testing.assert_array_equal(rows, posed(model).rows)


@each_case
def test_no_more_rows_are_evaluated_than_are_allowed_and_all_are_told(name: str, model: str) -> None:
    counter = Counted(posed(model).subject)
    explain = NAMED[name].build(counter.subject)
    counter.rows = 0
    (explanation,) = explain(posed(model).rows[:1], Ask(max_evals=EVALS, seed=1), NEVER)
    if name in READS_RAW_SCORES:
        assert (explanation.rows_evaluated, counter.rows) == (0, 1)  # the row's own answer, if not at hand
        return
    assert explanation.rows_evaluated == counter.rows
    assert explanation.rows_evaluated <= EVALS or name in UNBOUNDED


@each_case
@pytest.mark.parametrize("evals", [2, 12, 41])
def test_too_few_evaluations_are_declined_or_kept_to(name: str, model: str, evals: int) -> None:
    found = answer(at_work(name, model), posed(model).rows[:1], Ask(max_evals=evals), NEVER)
    if isinstance(found, list):
        assert found[0].rows_evaluated <= evals or name in UNBOUNDED
    else:
        assert is_a_sentence(found)


@each_case
def test_the_class_that_is_asked_for_is_explained(name: str, model: str) -> None:
    spec = posed(model).subject.spec
    answered = label_indices(spec, served(model))
    for label in (None, *range(len(spec.classes))):
        own = [label] * len(answered)
        if label is None or name in OF_DECISIONS:
            own = [1] * len(answered) if spec.task == "binary" and name not in OF_DECISIONS else [*answered]
        if not spec.classes:
            own = [None] * len(answered)
        assert [each.label for each in told(name, model, label)] == own


@each_case
def test_a_class_that_the_model_does_not_have_is_declined(name: str, model: str) -> None:
    for label in (-1, 3):
        with pytest.raises(Unsuitable) as declined:
            at_work(name, model)(posed(model).rows, Ask(label=label, max_evals=EVALS), NEVER)
        assert is_a_sentence(declined.value)


@each_case
def test_the_output_that_is_asked_for_is_explained_or_declined(name: str, model: str) -> None:
    usual = told(name, model)[0].output
    for output in get_args(OutputKind):
        found = answer(at_work(name, model), posed(model).rows, Ask(output=output, max_evals=EVALS), NEVER)
        if not isinstance(found, list):
            assert output != usual
            assert is_a_sentence(found)
            continue
        assert {each.output for each in found} == {output}
        if output == usual:
            assert all(map(same, found, told(name, model)))


@each_case
def test_a_question_that_comes_too_late_costs_next_to_nothing(name: str, model: str) -> None:
    counter = Counted(posed(model).subject)
    explain = NAMED[name].build(counter.subject)
    counter.rows = 0
    rows = posed(model).rows
    found = answer(explain, rows, Ask(max_evals=EVALS), time.monotonic() - 1)
    assert len(found) == len(rows) if isinstance(found, list) else isinstance(found, DeadlineError)
    assert counter.rows <= 2 * len(rows)


@pytest.mark.parametrize("name", SERVES)
def test_a_slow_model_does_not_make_an_explanation_late(name: str) -> None:
    """A row takes a millisecond and there is time for 50; to be a second late is to evaluate 1,000 more."""
    for model in set(SERVES[name]) & {"thirty columns", "picture", "weights of two classes"}:
        counter = Counted(posed(model).subject)
        explain = NAMED[name].build(counter.subject)
        counter.rows, counter.seconds = 0, 0.001
        found = answer(explain, posed(model).rows[:1], Ask(max_evals=4000), time.monotonic() + 0.05)
        assert counter.rows <= 1000, model
        if isinstance(found, list) and found[0].degraded is None:
            assert found[0].rows_evaluated <= 50, model


@each_case
def test_two_threads_get_the_answers_that_one_gets(name: str, model: str) -> None:
    rows, ask = posed(model).rows, Ask(max_evals=EVALS)
    explain, together = NAMED[name].build(posed(model).subject), threading.Barrier(2)

    def both_at_once(_: int) -> list[Explanation]:
        together.wait(10)
        return explain(rows, ask, NEVER)

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(2) as threads:
            answers = list(threads.map(both_at_once, range(2)))
    finally:
        sys.setswitchinterval(usual)
    for expected, *others in zip(told(name, model), *answers, strict=True):
        assert all(same(expected, other) for other in others)
