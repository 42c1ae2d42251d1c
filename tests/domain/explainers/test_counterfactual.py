from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import Bundle
from service.adapters.onnx import OnnxModel
from service.domain.distance import learn_distance
from service.domain.explainers.counterfactual import COUNTERFACTUAL
from service.domain.explainers.game import Ask, Explanation, Mutability, Players, Subject, Unsuitable
from service.domain.schema import Feature, FeatureBatch, ModelSpec, Schema, label_indices
from service.errors import DeadlineError
from tests.domain.explainers.deciders import (
    AGE,
    FEATURES,
    HOME,
    INCOME,
    JOB,
    applicants,
    decider,
    jagged,
    numbers,
)

NEVER = float("inf")
RULES: tuple[Mutability, ...] = ("increase", "free", "free", "fixed", "decrease")


def explain(
    subject: Subject, rows: FeatureBatch, ask: Ask | None = None, due: float = NEVER
) -> list[Explanation]:
    return COUNTERFACTUAL.build(subject)(rows, ask or Ask(), due)


def changed(subject: Subject, row: FeatureBatch, detail: Any) -> FeatureBatch:
    """The row that a counterfactual tells of, [width], read from its words."""
    after = row.copy()
    for column, feature in enumerate(subject.spec.schema.features):
        if feature.name in detail["changes"]:
            to = detail["changes"][feature.name]["to"]
            after[column] = (
                np.nan if to is None else feature.categories.index(to) if feature.categories else to
            )
    return after


def answers(subject: Subject, rows: FeatureBatch) -> list[int]:
    return label_indices(subject.spec, subject.predict(rows))


def cases() -> list[tuple[Subject, FeatureBatch, Explanation]]:
    """Mixed rows under jagged binary and multi-class models, each with what was found."""
    found = []
    for seed in range(6):
        subject = decider(jagged(seed, outputs=1 + 2 * (seed % 2)), applicants(seed=seed), mutability=RULES)
        rows = applicants(8, seed=100 + seed)
        found += [(subject, row, told) for row, told in zip(rows, explain(subject, rows), strict=True)]
    return found


@pytest.fixture(scope="module")
def found() -> list[tuple[Subject, FeatureBatch, Explanation]]:
    some = [case for case in cases() if case[2].detail["found"]]
    assert len(some) > 20
    return some


Found = list[tuple[Subject, FeatureBatch, Explanation]]


def test_the_change_really_flips_the_decision_alone_and_in_a_batch(found: Found) -> None:
    for subject, row, told in found:
        after = changed(subject, row, told.detail)
        before, alone = answers(subject, row[None])[0], answers(subject, after[None])[0]
        assert before != alone
        assert answers(subject, np.stack([row, after, after])) == [before, alone, alone]
        assert told.detail["label"] == subject.spec.classes[alone]
        assert told.detail["score"] == pytest.approx(float(subject.predict(after[None])[0, alone]))
        assert told.label == before


def test_undoing_any_one_change_returns_the_old_decision(found: Found) -> None:
    for subject, row, told in found:
        assert told.degraded is None
        after = changed(subject, row, told.detail)
        before = answers(subject, row[None])[0]
        for name in told.detail["changes"]:
            column = subject.spec.schema.names().index(name)
            undone = after.copy()
            undone[column] = row[column]
            assert answers(subject, undone[None])[0] == before


def test_features_change_only_as_the_manifest_allows(found: Found) -> None:
    for subject, row, told in found:
        after = changed(subject, row, told.detail)
        assert after[JOB] == row[JOB]
        assert after[AGE] >= row[AGE]
        assert after[4] <= row[4]


def test_values_stay_whole_known_and_inside_what_the_background_has_seen(found: Found) -> None:
    for subject, row, told in found:
        after = changed(subject, row, told.detail)
        low, high = np.nanmin(subject.background, axis=0), np.nanmax(subject.background, axis=0)
        for name, change in told.detail["changes"].items():
            column = subject.spec.schema.names().index(name)
            assert FEATURES[column].missing or change["to"] is not None
            assert np.isnan(after[column]) or low[column] <= after[column] <= high[column]
        assert isinstance(told.detail["changes"].get("age", {"to": 0})["to"], int)


def test_the_told_figures_are_those_of_the_change(found: Found) -> None:
    for subject, row, told in found:
        distance = learn_distance(subject.spec.schema, subject.background)
        after = changed(subject, row, told.detail)
        points = distance.scaled(np.stack([row, after]))
        assert told.detail["distance"] == pytest.approx(float(distance.between(points[0], points[1])))
        assert told.detail["features_changed"] == len(told.detail["changes"])
        nearest = distance.between(distance.scaled(subject.background), points[1]).min()
        assert told.detail["nearest_distance"] == pytest.approx(float(nearest))
        assert told.detail["plausible"] == (nearest <= told.detail["usual_distance"])


def test_nothing_is_attributed_to_features_and_the_document_is_json(found: Found) -> None:
    for subject, _, told in found:
        assert told.values.shape == (0,)
        assert told.base_value == pytest.approx(
            float(subject.predict(subject.background)[:, told.label].mean())
        )
        assert json.loads(json.dumps(dict(told.detail), allow_nan=False)) == told.detail
        assert (told.method, told.exact, COUNTERFACTUAL.additive) == ("counterfactual", False, False)


def test_the_same_question_gets_the_same_answer() -> None:
    assert [told.detail for *_, told in cases()] == [told.detail for *_, told in cases()]


def test_no_more_rows_are_evaluated_than_allowed_and_all_are_counted() -> None:
    for most in (2, 3, 10, 100, 700, 4000):
        inner = decider(jagged(3), applicants())
        counted = [0]

        def predict(rows: FeatureBatch, inner: Subject = inner, counted: list[int] = counted) -> Any:
            counted[0] += len(rows)
            return inner.predict(rows)

        subject = Subject(inner.spec, predict, inner.background, inner.players)
        explainer = COUNTERFACTUAL.build(subject)
        for row in applicants(5, seed=9):
            counted[0] = 0
            told = explainer(row[None], Ask(max_evals=most), NEVER)[0]
            assert told.rows_evaluated == counted[0] <= most
            if not told.detail["found"] and most < 100:
                assert "max_evals" in told.detail["reason"]


def linear(seed: int, width: int = 5) -> tuple[Subject, NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    weights, scales = rng.normal(size=width), rng.uniform(0.1, 100, width)
    background = rng.normal(size=(500, width)) * scales
    weights /= scales
    return (
        decider(lambda x: x @ weights + 0.5, background, numbers(width)),
        weights,
        background.astype(np.float32),
    )


def cheapest(subject: Subject, weights: NDArray[np.float64], row: FeatureBatch, count: int) -> float:
    """Least distance of a flip by ``count`` columns of a linear model: all but one go to their bounds."""
    low, high = subject.background.min(axis=0), subject.background.max(axis=0)
    scale = learn_distance(subject.spec.schema, subject.background).scale
    margin = float(row @ weights + 0.5)
    best = np.inf
    for columns in permutations(range(len(row)), count):
        need, paid = abs(margin), 0.0
        for column in columns:
            bound = (high if weights[column] * margin < 0 else low)[column]
            most = max(0.0, (bound - row[column]) * weights[column] * -np.sign(margin))
            step = min(need, most)
            need, paid = need - step, paid + step / abs(weights[column]) / scale[column]
        if need <= 1e-9:
            best = min(best, paid)
    return best


@pytest.mark.parametrize("seed", range(4))
def test_a_linear_models_smallest_change_of_one_feature_is_the_closed_form(seed: int) -> None:
    subject, weights, _ = linear(seed)
    rows = np.random.default_rng(seed + 50).choice(subject.background, 12)
    singles = 0
    for row, told in zip(rows, explain(subject, rows), strict=True):
        best = cheapest(subject, weights, row, 1)
        if np.isfinite(best):
            singles += 1
            assert told.detail["features_changed"] == 1
            assert told.detail["distance"] == pytest.approx(best, rel=1e-3, abs=1e-3)
    assert singles >= 6


def test_where_one_feature_cannot_flip_two_that_can_are_found_and_nearly_as_cheaply_as_possible() -> None:
    pairs = 0
    for seed in range(12):
        subject, weights, background = linear(seed, width=8)
        far = background[np.argsort(-np.abs(background @ weights + 0.5))[:10]]
        for row, told in zip(far, explain(subject, far), strict=True):
            one, two = cheapest(subject, weights, row, 1), cheapest(subject, weights, row, 2)
            if np.isinf(one) and np.isfinite(two):
                pairs += 1
                assert told.detail["features_changed"] == 2
                assert two * (1 - 1e-6) <= told.detail["distance"] <= two * 1.1
    assert pairs >= 10


def test_two_features_that_only_flip_together_are_found() -> None:
    background = np.random.default_rng(0).normal(size=(300, 6))
    subject = decider(
        lambda x: np.where((x[:, 1] > 0.5) & (x[:, 4] < -0.5), 3.0, -3.0), background, numbers(6)
    )
    told = explain(subject, np.zeros((1, 6), dtype=np.float32))[0]
    changes = told.detail["changes"]
    assert changes["x1"]["to"] == pytest.approx(0.5, abs=1e-3)
    assert changes["x4"]["to"] == pytest.approx(-0.5, abs=1e-3)
    assert len(changes) == 2


def test_five_features_that_only_flip_together_are_found_through_the_nearest_unlike_row() -> None:
    background = np.random.default_rng(0).normal(size=(300, 8))
    subject = decider(lambda x: np.where((x[:, :5] > 0).all(axis=1), 3.0, -3.0), background, numbers(8))
    row = np.full((1, 8), -0.5, dtype=np.float32)
    told = explain(subject, row)[0]
    assert set(told.detail["changes"]) == {"x0", "x1", "x2", "x3", "x4"}
    assert all(0 < change["to"] < 1e-3 for change in told.detail["changes"].values())


def test_a_category_and_a_missing_value_are_told_in_the_callers_words() -> None:
    background = applicants()
    home = decider(lambda x: np.where(x[:, HOME] == 0, 2.0, -2.0), background)
    row = background[~np.isnan(background[:, HOME]) & (background[:, HOME] != 0)][:1]
    told = explain(home, row)[0]
    assert told.detail["changes"] == {
        "home": {"from": FEATURES[HOME].categories[int(row[0, HOME])], "to": "owner"}
    }
    income = decider(lambda x: np.where(np.isnan(x[:, INCOME]), -2.0, 2.0), background)
    row = background[np.isnan(background[:, INCOME])][:1]
    change = explain(income, row)[0].detail["changes"]["income"]
    assert change["from"] is None
    assert np.quantile(background[~np.isnan(background[:, INCOME]), INCOME], (0.4, 0.6))[0] < change["to"]


def test_withholding_a_value_is_proposed_only_where_no_value_would_do() -> None:
    background = applicants()
    row = background[~np.isnan(background[:, INCOME])][:1]
    either = decider(lambda x: np.where(np.isnan(x[:, INCOME]) | (x[:, 4] > 2), 2.0, -2.0), background)
    assert list(explain(either, row)[0].detail["changes"]) == ["debt"]
    only = decider(lambda x: np.where(np.isnan(x[:, INCOME]), 2.0, -2.0), background)
    assert explain(only, row)[0].detail["changes"]["income"]["to"] is None


def test_none_found_is_an_answer_that_says_what_was_tried() -> None:
    told = explain(decider(lambda x: np.full(len(x), 3.0), applicants()), applicants(1))[0]
    assert told.detail["found"] is False
    assert told.detail["searched"] > 100
    assert told.detail["reason"] == "no allowed change that was tried flips the decision"
    assert told.degraded is None


def test_a_row_that_cannot_move_is_told_so() -> None:
    rules: tuple[Mutability, ...] = ("increase", "fixed", "fixed", "fixed", "fixed")
    subject = decider(jagged(0), applicants(), mutability=rules)
    oldest = subject.background[[subject.background[:, AGE].argmax()]]
    told = explain(subject, oldest)[0]
    assert told.detail["found"] is False
    assert "no feature of this row may change" in told.detail["reason"]


def test_of_several_classes_the_wanted_one_is_reached() -> None:
    subject = decider(jagged(1, outputs=3), applicants())
    rows = applicants(10, seed=5)
    reached = 0
    for row, before in zip(rows, answers(subject, rows), strict=True):
        for wanted in range(3):
            told = explain(subject, row[None], Ask(label=wanted))[0]
            assert told.detail["found"]
            reached += told.detail["label"] == "abc"[wanted]
            assert told.detail["label"] != "abc"[before]
            assert wanted == before or told.detail["label"] == "abc"[wanted]
    assert reached == 20


def test_a_threshold_is_the_border() -> None:
    background = np.random.default_rng(0).normal(size=(300, 1))
    subject = decider(lambda x: x[:, 0], background, numbers(1), threshold=0.8)
    for start in (0.0, 2.5):
        to = explain(subject, np.array([[start]], dtype=np.float32))[0].detail["changes"]["x0"]["to"]
        assert to == pytest.approx(np.log(4), abs=1e-3)


def test_rows_that_come_at_the_deadline_get_an_error_and_a_search_it_cuts_short_says_so() -> None:
    inner = decider(jagged(3), applicants())
    with pytest.raises(DeadlineError):
        explain(inner, applicants(1), due=time.monotonic())
    due = [NEVER]

    def late(rows: FeatureBatch) -> Any:
        if due[0] < NEVER:
            while time.monotonic() < due[0]:
                pass
        return inner.predict(rows)

    explainer = COUNTERFACTUAL.build(Subject(inner.spec, late, inner.background, inner.players))
    due[0] = time.monotonic() + 0.02
    told = explainer(applicants(1), Ask(), due[0])[0]
    assert told.rows_evaluated == 1
    assert told.degraded == "the search stopped at the deadline: a smaller change may exist"
    assert told.detail["reason"] == "no flip was found before the search stopped at the deadline"


def test_what_has_no_decision_or_no_features_is_refused_with_the_reason() -> None:
    rows = applicants(20)
    spec = ModelSpec("m", "1", "regression", Schema(FEATURES, "tensor"))
    players = Players((), ())
    with pytest.raises(Unsuitable, match="regression makes no decision"):
        COUNTERFACTUAL.build(Subject(spec, lambda batch: batch[:, :1], rows, players))
    image = ModelSpec("m", "1", "binary", Schema((), "image", (2, 2)), ("no", "yes"))
    with pytest.raises(Unsuitable, match="image"):
        COUNTERFACTUAL.build(Subject(image, lambda batch: batch[:, :2], rows[:, :4], players))
    with pytest.raises(Unsuitable, match="no feature of this model may change"):
        COUNTERFACTUAL.build(decider(jagged(0), rows, mutability=("fixed",) * 5))
    with pytest.raises(Unsuitable, match="no output 'value'"):
        explain(decider(jagged(0), rows), rows[:1], Ask(output="value"))


def test_a_model_that_answers_otherwise_in_a_batch_is_not_trusted() -> None:
    inner = decider(jagged(3), applicants())

    def moody(rows: FeatureBatch) -> Any:
        return inner.predict(rows) if len(rows) > 1 else np.array([[0.9, 0.1]], dtype=np.float32)

    subject = Subject(inner.spec, moody, inner.background, inner.players)
    row = next(row for row in applicants(20) if answers(inner, row[None]) == [0])
    told = explain(subject, row[None])[0]
    assert told.detail["found"] is False
    assert "alone" in told.detail["reason"]


@pytest.mark.parametrize("tag", ["credit:gbm-1", "credit:linear-1", "cancer:forest-1"])
def test_the_served_demo_models_decisions_flip(tag: str, demo_bundle: Callable[[str], Bundle]) -> None:
    bundle = demo_bundle(tag)
    model = OnnxModel(bundle.model_path, bundle.spec, bundle.binding, providers=("CPUExecutionProvider",))
    names = bundle.spec.schema.names()
    players = Players(names, tuple(np.array([column]) for column in range(len(names))))
    subject = Subject(bundle.spec, model.predict, bundle.background(), players)
    rows = bundle.calibration()[0][:12]
    found = explain(subject, rows, Ask(max_evals=6000))
    for row, told in zip(rows, found, strict=True):
        assert told.detail["found"]
        after = changed(subject, row, told.detail)
        assert answers(subject, after[None]) != answers(subject, row[None])
        for name in told.detail["changes"] if told.degraded is None else ():
            undone = after.copy()
            undone[names.index(name)] = row[names.index(name)]
            assert answers(subject, undone[None]) == answers(subject, row[None])


def test_whole_numbers_in_float_columns_stay_whole() -> None:
    background = np.random.default_rng(0).integers(0, 1000, size=(200, 1))
    subject = decider(lambda x: x[:, 0] - 333.3, background, (Feature("amount", "float"),))
    assert explain(subject, np.array([[900]], dtype=np.float32))[0].detail["changes"]["amount"]["to"] == 333
