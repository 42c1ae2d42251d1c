from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from models.bundle import Bundle
from service.adapters.onnx import OnnxModel
from service.domain.explainers.anchor import ANCHOR
from service.domain.explainers.budget import Budget, Spent
from service.domain.explainers.game import Ask, Explanation, Players, Subject, Unsuitable
from service.domain.explainers.predicates import predicates_of
from service.domain.explainers.rules import CONFIDENCE, PRECISION, Certificate, RuleSearch, lower_bound
from service.domain.schema import Feature, FeatureBatch, ModelSpec, Schema, label_indices
from service.errors import DeadlineError
from tests.domain.explainers.deciders import (
    DEBT,
    FEATURES,
    HOME,
    INCOME,
    JOB,
    JOBS,
    applicants,
    decider,
    jagged,
    numbers,
)

NEVER = float("inf")
BACKGROUND = applicants(600)


def explain(
    subject: Subject, rows: FeatureBatch, ask: Ask | None = None, due: float = NEVER
) -> list[Explanation]:
    return ANCHOR.build(subject)(rows, ask or Ask(), due)


def obey(schema: Schema, phrase: str, rows: FeatureBatch) -> tuple[int, NDArray[np.bool_]]:
    """The column that a phrase is about, and which rows it is true of; read from its words."""
    names = schema.names()
    if phrase.endswith(" is missing"):
        column = names.index(phrase.removesuffix(" is missing"))
        return column, np.isnan(rows[:, column])
    between = re.fullmatch(r"(\S+) < (\S+) <= (\S+)", phrase)
    if between:
        low, name, high = between.groups()
        values = rows[:, names.index(name)]
        return names.index(name), (values > np.float32(low)) & (values <= np.float32(high))
    name, relation, word = re.fullmatch(r"(\S+) (=|<=|>) (\S+)", phrase).groups()
    column = names.index(name)
    feature, values = schema.features[column], rows[:, column]
    value = np.float32(feature.categories.index(word) if feature.categories else word)
    return column, {"=": values == value, "<=": values <= value, ">": values > value}[relation]


def obeying(subject: Subject, rule: list[str], count: int, seed: int) -> FeatureBatch:
    """Rows as the definition of precision draws them, made without the code under test."""
    rng = np.random.default_rng(seed)
    rows = subject.background[rng.integers(len(subject.background), size=count)]
    for phrase in rule:
        column, broken = obey(subject.spec.schema, phrase, rows)
        donors = subject.background[obey(subject.spec.schema, phrase, subject.background)[1], column]
        rows[~broken, column] = rng.choice(donors, size=int((~broken).sum()))
    return rows


def precision(subject: Subject, told: Explanation, rule: list[str], count: int = 20_000) -> float:
    rows = obeying(subject, rule, count, seed=999)
    return float(np.mean(np.array(label_indices(subject.spec, subject.predict(rows))) == told.label))


def test_a_planted_rule_of_two_conditions_is_recovered() -> None:
    cut = float(np.nanquantile(BACKGROUND[:, INCOME].astype(float), 0.3, method="lower"))
    formula = lambda x: np.where((x[:, JOB] == 2) & (x[:, INCOME] <= cut), -3.0, 3.0)  # noqa: E731  # a formula
    subject = decider(formula, BACKGROUND)
    rows = BACKGROUND[(BACKGROUND[:, JOB] == 2) & (BACKGROUND[:, INCOME] <= cut)][:5]
    for told in explain(subject, rows):
        assert told.detail["rule"] == [f"income <= {np.float32(cut)!s}", f"job = {JOBS[2]}"]
        assert precision(subject, told, told.detail["rule"]) == 1


def test_a_planted_category_and_a_planted_missing_value_are_recovered() -> None:
    home = decider(lambda x: np.where(x[:, HOME] == 1, 3.0, -3.0), BACKGROUND)
    row = BACKGROUND[BACKGROUND[:, HOME] == 1][:1]
    assert explain(home, row)[0].detail["rule"] == ["home = rent"]
    missing = decider(lambda x: np.where(np.isnan(x[:, INCOME]), 3.0, -3.0), BACKGROUND)
    row = BACKGROUND[np.isnan(BACKGROUND[:, INCOME])][:1]
    assert explain(missing, row)[0].detail["rule"] == ["income is missing"]


def test_a_planted_interval_is_told_as_one() -> None:
    background = np.random.default_rng(0).uniform(0, 10, size=(800, 3))
    subject = decider(lambda x: np.where((x[:, 1] > 3) & (x[:, 1] <= 7), 3.0, -3.0), background, numbers(3))
    told = explain(subject, np.array([[5, 5, 5]], dtype=np.float32))[0]
    (phrase,) = told.detail["rule"]
    low, high = map(float, re.fullmatch(r"(\S+) < x1 <= (\S+)", phrase).groups())
    assert 2.9 < low < high < 7.1
    assert told.detail["coverage"] >= 0.29


def test_of_the_rules_that_hold_the_one_that_covers_most_is_told() -> None:
    background = np.random.default_rng(0).uniform(0, 1, size=(1000, 2))
    subject = decider(lambda x: np.where(x[:, 0] <= 0.52, 3.0, -3.0), background, numbers(2))
    told = explain(subject, np.array([[0.05, 0.5]], dtype=np.float32))[0]
    assert told.detail["coverage"] == pytest.approx(0.5, abs=0.01)


def planted() -> RuleSearch:
    """A search whose row keeps its answer wherever x0 <= 0.5."""
    background = np.random.default_rng(0).uniform(0, 1, size=(1001, 3)).astype(np.float32)
    schema = Schema(numbers(3), "tensor")
    row = np.array([0.01, 0.01, 0.01], dtype=np.float32)
    predicates = predicates_of(schema, row, background)
    border = max(
        predicate.value for predicate in predicates if predicate.column == 0 and predicate.value < 0.52
    )
    kept = lambda rows: rows[:, 0] <= border  # noqa: E731  # scores are the rows themselves here
    return RuleSearch(predicates, row, background, kept(background), kept, seed=0)


def rows_as_scores(most: int) -> Budget:
    return Budget(lambda rows: np.asarray(rows, dtype=np.float32), most, NEVER)


def test_a_rule_that_holds_is_widened_until_it_would_not() -> None:
    search = planted()
    first, second = search.predicates[0], next(p for p in search.predicates if p.column == 1)
    narrow = frozenset([0, search.predicates.index(second)])
    assert (first.column, first.relation, second.relation) == (0, "<=", "<=")
    rule, certificate = search._widened(rows_as_scores(9000), narrow, Certificate(1, 0.96, 128))
    (left,) = (search.predicates[index] for index in rule)
    assert left.column == 0
    assert search.coverage(rule) == pytest.approx(0.5, abs=0.03)
    assert certificate.lower_bound >= PRECISION


def test_a_rule_is_kept_as_it_is_where_widening_would_spend_too_much() -> None:
    kept = Certificate(1, 0.96, 128)
    assert planted()._widened(rows_as_scores(10), frozenset([0]), kept) == (frozenset([0]), kept)


def test_certificates_are_looked_at_no_more_often_than_their_errors_allow() -> None:
    search, budget = planted(), rows_as_scores(10**6)
    for _ in range(30):
        assert search.certify(budget, frozenset([0])).samples == 128
    with pytest.raises(Spent, match="30 looks"):
        search.certify(budget, frozenset([0]))


def runs() -> list[tuple[Subject, Explanation]]:
    """Many searches over soft and jagged models, where few rules are perfect."""
    found = []
    for seed in range(30):
        weights = np.random.default_rng(seed).normal(size=5)
        soft = decider(
            lambda x, w=weights: x @ w, np.random.default_rng(seed).normal(size=(500, 5)), numbers(5)
        )
        rough = decider(jagged(seed), applicants(500, seed=seed))
        for subject, rows in ((soft, soft.background[:3]), (rough, rough.background[:3])):
            for told in explain(subject, rows, Ask(seed=seed)):
                found.append((subject, told))  # noqa: PERF401  # reads better than a nested comprehension
    return found


@pytest.fixture(scope="module")
def searches() -> list[tuple[Subject, Explanation]]:
    return runs()


Searches = list[tuple[Subject, Explanation]]


def test_the_lower_bound_holds_on_fresh_samples_as_often_as_claimed(searches: Searches) -> None:
    found = [(subject, told) for subject, told in searches if told.detail["found"] and told.detail["rule"]]
    assert len(found) >= 80
    wrong = sum(
        precision(subject, told, told.detail["rule"]) < told.detail["precision_lower_bound"]
        for subject, told in found
    )
    assert all(told.detail["precision_lower_bound"] >= PRECISION for _, told in found)
    # More errors than this would be seen in one of a thousand sound searches.
    assert wrong <= binom.ppf(0.999, len(found), 1 - CONFIDENCE)


def test_the_coverage_is_the_share_of_background_rows_that_obey(searches: Searches) -> None:
    for subject, told in searches:
        document = told.detail if told.detail["found"] else told.detail["best"]
        masks = [obey(subject.spec.schema, phrase, subject.background)[1] for phrase in document["rule"]]
        true = np.logical_and.reduce([np.ones(len(subject.background), dtype=bool), *masks])
        assert document["coverage"] == pytest.approx(float(true.mean()))


def test_the_row_itself_obeys_its_rule(searches: Searches) -> None:
    for seed, (subject, told) in enumerate(searches):
        row = subject.background[[seed % 3]]
        document = told.detail if told.detail["found"] else told.detail["best"]
        assert all(obey(subject.spec.schema, phrase, row)[1].all() for phrase in document["rule"])


def test_where_no_rule_is_good_enough_the_best_is_told_with_the_reason(searches: Searches) -> None:
    missed = [told for _, told in searches if not told.detail["found"]]
    assert missed
    for told in missed:
        assert told.detail["best"]["precision_lower_bound"] < PRECISION
        assert "certain to hold in 95% of cases" in told.detail["reason"]


def test_a_rule_of_another_class_than_was_asked_for_says_so(searches: Searches) -> None:
    subject = searches[0][0]
    row = subject.background[:1]
    answered = label_indices(subject.spec, subject.predict(row))[0]
    explain = ANCHOR.build(subject)
    for label in range(len(subject.spec.classes)):
        (found,) = explain(row, Ask(label=label), NEVER)
        assert found.label == answered
        assert (found.degraded == "the row does not get the class that is asked for") == (label != answered)


def test_the_same_question_gets_the_same_answer_and_it_is_json(searches: Searches) -> None:
    again = runs()
    assert [told.detail for _, told in searches] == [told.detail for _, told in again]
    for _, told in searches:
        assert json.loads(json.dumps(dict(told.detail), allow_nan=False)) == told.detail
        assert told.values.shape == (0,)
        assert told.label is not None


def test_a_lower_bound_is_wrong_no_more_often_than_its_share_of_the_errors() -> None:
    for share in (0.9, 0.95, 0.99):
        for drawn in (128, 256, 1024):
            bounds = np.array([lower_bound(held, drawn) for held in range(drawn + 1)])
            wrong = binom.pmf(np.arange(drawn + 1), drawn, share)[bounds > share].sum()
            assert wrong <= (1 - CONFIDENCE) / 30 + 1e-12
    assert lower_bound(128, 128) >= PRECISION
    assert lower_bound(0, 128) == 0


def test_no_rule_is_needed_where_nearly_every_row_gets_the_answer() -> None:
    subject = decider(lambda x: np.where(x[:, DEBT] < -2.2, -3.0, 3.0), BACKGROUND)
    told = explain(subject, BACKGROUND[BACKGROUND[:, DEBT] > 0][:1])[0]
    share = float(np.mean(np.array(label_indices(subject.spec, subject.predict(BACKGROUND))) == 1))
    assert told.detail["rule"] == []
    assert told.detail["precision"] == told.detail["precision_lower_bound"] == pytest.approx(share)
    assert (told.detail["coverage"], told.rows_evaluated) == (1, 1)


def test_a_decision_by_noise_has_no_anchor() -> None:
    subject = decider(
        lambda x: np.sin(x.sum(axis=1) * 1e5), np.random.default_rng(0).normal(size=(400, 4)), numbers(4)
    )
    told = explain(subject, subject.background[:1])[0]
    assert told.detail["found"] is False
    assert told.detail["best"]["precision"] < 0.9


def test_no_more_rows_are_evaluated_than_allowed_and_all_are_counted() -> None:
    inner = decider(jagged(4), BACKGROUND)
    counted = [0]

    def predict(rows: FeatureBatch) -> Any:
        counted[0] += len(rows)
        return inner.predict(rows)

    explainer = ANCHOR.build(Subject(inner.spec, predict, inner.background, inner.players))
    for most in (1, 2, 50, 500, 4000):
        for row in applicants(4, seed=9):
            counted[0] = 0
            told = explainer(row[None], Ask(max_evals=most), NEVER)[0]
            assert told.rows_evaluated == counted[0] <= most
            if most <= 50:
                assert told.detail["found"] is False
                assert told.degraded is not None
                assert "max_evals" in told.degraded


def test_rows_that_come_at_the_deadline_get_an_error_and_a_search_it_cuts_short_says_so() -> None:
    inner = decider(jagged(4), BACKGROUND)
    with pytest.raises(DeadlineError):
        explain(inner, applicants(1), due=time.monotonic())
    due = [NEVER]

    def late(rows: FeatureBatch) -> Any:
        if due[0] < NEVER:
            while time.monotonic() < due[0]:
                pass
        return inner.predict(rows)

    explainer = ANCHOR.build(Subject(inner.spec, late, inner.background, inner.players))
    due[0] = time.monotonic() + 0.02
    told = explainer(applicants(1), Ask(), due[0])[0]
    assert told.detail["found"] is False
    assert told.detail["best"]["samples"] == 0
    assert told.degraded == "the search stopped at the deadline: a better rule may exist"


def test_a_value_the_background_never_saw_anchors_on_itself() -> None:
    background = BACKGROUND.copy()
    background[:, JOB] = np.where(background[:, JOB] == 3, 0, background[:, JOB])
    subject = decider(lambda x: np.where(x[:, JOB] == 3, 3.0, -3.0), background)
    row = background[:1].copy()
    row[0, JOB] = 3
    told = explain(subject, row)[0]
    assert told.detail["rule"] == ["job = none"]
    assert told.detail["coverage"] == 0


def test_what_has_no_decision_or_no_columns_is_refused_with_the_reason() -> None:
    spec = ModelSpec("m", "1", "regression", Schema(FEATURES, "tensor"))
    with pytest.raises(Unsuitable, match="regression makes no decision"):
        ANCHOR.build(Subject(spec, lambda rows: rows[:, :1], BACKGROUND, Players((), ())))
    image = ModelSpec("m", "1", "binary", Schema((), "image", (2, 2)), ("no", "yes"))
    with pytest.raises(Unsuitable, match="pixels"):
        ANCHOR.build(Subject(image, lambda rows: rows[:, :2], BACKGROUND[:, :4], Players((), ())))
    with pytest.raises(Unsuitable, match="no output 'value'"):
        explain(decider(jagged(0), BACKGROUND), BACKGROUND[:1], Ask(output="value"))


def test_a_number_of_few_values_may_be_said_to_equal_one() -> None:
    background = np.random.default_rng(0).integers(0, 4, size=(400, 2))
    features = (Feature("rooms", "int64"), Feature("floor", "int64"))
    subject = decider(lambda x: np.where(x[:, 0] == 2, 3.0, -3.0), background, features)
    assert explain(subject, np.array([[2, 1]], dtype=np.float32))[0].detail["rule"] == ["rooms = 2"]


def test_most_decisions_of_the_demo_have_an_anchor_that_holds(demo_bundle: Callable[[str], Bundle]) -> None:
    bundle = demo_bundle("credit:gbm-1")
    model = OnnxModel(bundle.model_path, bundle.spec, bundle.binding, providers=("CPUExecutionProvider",))
    names = bundle.spec.schema.names()
    players = Players(names, tuple(np.array([column]) for column in range(len(names))))
    subject = Subject(bundle.spec, model.predict, bundle.background(), players)
    told = explain(subject, bundle.calibration()[0][:12])
    found = [one for one in told if one.detail["found"]]
    assert len(found) >= 8
    for one in found:
        assert precision(subject, one, one.detail["rule"], 5000) >= PRECISION - 0.01
