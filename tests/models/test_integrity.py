"""Every check of the integrity gate lets a right method pass and catches a method that was planted wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import Bundle
from models.integrity import Certificate, Check, MethodRecord, certify
from models.integrity.agreement import agreement
from models.integrity.games import enumerate_game, symmetric, without
from models.integrity.reduced import MOST_PLAYERS, merge
from models.integrity.scrambled import random_labels, random_network, shuffled_weights
from models.integrity.trial import Goal, trial
from service.adapters.graphs.structure import structure_of
from service.adapters.onnx import OnnxModel
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
    value_function,
)
from service.domain.explainers.linear_exact import LINEAR_EXACT
from service.domain.explainers.permutation import PERMUTATION
from service.domain.explainers.tree_exact import TREE_EXACT
from service.domain.schema import Feature, FeatureBatch, ModelSpec, Schema
from tests.domain.explainers.games import enumerated, subject_of, tangled
from tests.models.toy_methods import ENUMERATION, OCCLUSION, Array, spoiled, with_values

WIDTH = 6


def _subject(seed: int = 4) -> Subject:
    return tangled(width=WIDTH, rows=12, seed=seed, binary=True)


def _rows(subject: Subject, count: int = 40, seed: int = 9) -> FeatureBatch:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, subject.spec.schema.width)).astype(np.float32)


def _record(method: Method, subject: Subject | None = None, **options: Any) -> MethodRecord:
    subject = subject or _subject()
    methods = {method.name: (method, method.build(subject))}
    return certify(subject, methods, _rows(subject), **options).methods[method.name]


def _failed(method: Method, subject: Subject | None = None, **options: Any) -> set[str]:
    record = _record(method, subject, **options)
    assert record.offered == (not record.failed)
    return {check.name for check in record.failed}


def _check(record: MethodRecord, name: str) -> Check:
    return next(check for check in record.checks if check.name == name)


@pytest.mark.parametrize("seed", [4, 5])
def test_enumeration_passes_every_check_that_can_be_held(seed: int) -> None:
    record = _record(ENUMERATION, _subject(seed))
    assert record.offered, record.reason
    assert record.reason is None
    assert all(check.passed for check in record.checks), [
        check for check in record.checks if not check.passed
    ]
    assert len(record.checks) == 10


def test_a_method_that_ignores_the_model_is_caught() -> None:
    pattern = np.linspace(-1, 1, WIDTH)
    failed = _failed(with_values(lambda values, row: pattern * values.sum()))
    assert {"agreement with enumeration", "deletion"} <= failed


def test_a_method_that_shows_the_data_whatever_the_model_is_caught_by_random_models() -> None:
    failed = _failed(with_values(lambda values, row: row.astype(np.float64)))
    assert {"randomised weights", "randomised labels"} <= failed


def test_values_that_do_not_add_up_are_caught() -> None:
    failed = _failed(with_values(lambda values, row: 0.99 * values))
    assert "additivity" in failed


def test_a_gap_that_is_not_admitted_is_caught() -> None:
    def lie(subject: Subject, rows: FeatureBatch, at: int, told: Explanation) -> Explanation:
        return replace(told, additivity_gap=0.25)

    def hide(subject: Subject, rows: FeatureBatch, at: int, told: Explanation) -> Explanation:
        return replace(told, additivity_gap=None)

    assert _failed(spoiled(lie)) == {"additivity"}
    assert _failed(spoiled(hide)) == {"additivity"}


def test_a_method_that_answers_differently_each_time_is_caught() -> None:
    rng = np.random.default_rng(0)

    def jitter(values: Array, row: FeatureBatch) -> Array:
        noise = 1e-7 * rng.normal(size=len(values))
        return values + noise - noise.mean()

    assert _failed(with_values(jitter)) == {"repeatability"}


def test_an_answer_that_depends_on_the_other_rows_is_caught() -> None:
    def swayed(subject: Subject, rows: FeatureBatch, at: int, told: Explanation) -> Explanation:
        tilt = np.zeros(WIDTH)
        tilt[:2] = 0.02 * len(rows), -0.02 * len(rows)
        return replace(told, values=told.values + tilt)

    assert "independence" in _failed(spoiled(swayed))


def test_a_wrong_sign_is_caught() -> None:
    failed = _failed(with_values(lambda values, row: -values))
    assert {"additivity", "agreement with enumeration", "deletion"} <= failed


def test_values_one_feature_off_are_caught() -> None:
    failed = _failed(with_values(lambda values, row: np.roll(values, 1)))
    assert {"agreement with enumeration", "dummy"} <= failed
    assert "additivity" not in failed  # the sum cannot see it


def test_noise_that_hangs_on_the_row_is_caught() -> None:
    def hashed(values: Array, row: FeatureBatch) -> Array:
        digest = hashlib.sha256(row.tobytes()).digest()
        noise = np.random.default_rng(list(digest)).normal(size=len(values))
        return values + 3 * (noise - noise.mean())

    assert {"stability", "agreement with enumeration"} <= _failed(with_values(hashed))


def test_a_favoured_feature_is_caught_by_symmetry() -> None:
    def favour(values: Array, row: FeatureBatch) -> Array:
        share = 0.1 * np.arange(len(values)) * values
        return values + share - share.mean()

    assert {"symmetry", "dummy"} <= _failed(with_values(favour))


def _sampled(sampling: float, claimed: float) -> Method:
    """Enumeration with normal errors of size ``sampling``, said to be ``claimed``; seeded by the row."""

    def noisy(subject: Subject, rows: FeatureBatch, at: int, told: Explanation) -> Explanation:
        seed = int.from_bytes(hashlib.sha256(rows[at].round(1).tobytes()).digest()[:8], "big")
        noise = sampling * np.random.default_rng(seed).normal(size=len(told.values))
        return replace(
            told,
            exact=False,
            values=told.values + noise - noise.mean(),
            standard_errors=np.full(len(told.values), claimed),
        )

    return spoiled(noisy)


def test_honest_standard_errors_pass() -> None:
    record = _record(_sampled(0.02, 0.02))
    assert _check(record, "agreement with enumeration").passed, record


def test_standard_errors_that_are_too_small_are_caught() -> None:
    assert "agreement with enumeration" in _failed(_sampled(0.1, 0.01))


def test_error_bars_so_wide_that_they_say_nothing_are_caught() -> None:
    assert "agreement with enumeration" in _failed(_sampled(3.0, 3.0))


def test_a_method_of_other_values_is_not_held_to_shapley_values() -> None:
    told = _record(OCCLUSION)
    agreement = _check(told, "agreement with enumeration")
    assert agreement.passed is None
    assert agreement.figure is not None
    assert agreement.figure > 0.5
    assert told.offered, told.reason
    assert "agreement with enumeration" in _failed(OCCLUSION, claims={})


def test_a_method_of_other_values_must_still_be_about_the_right_features() -> None:
    off = spoiled(lambda subject, rows, at, told: replace(told, values=np.roll(told.values, 1)), OCCLUSION)
    assert {"dummy", "deletion"} <= _failed(off)


def test_a_sensitivity_is_asked_for_what_moves_the_output_not_which_way() -> None:
    def strength(subject: Subject, rows: FeatureBatch, at: int, told: Explanation) -> Explanation:
        return replace(told, values=np.abs(told.values))

    unsigned = spoiled(strength, OCCLUSION)
    assert _record(unsigned, claims={"occlusion": "sensitivity"}).offered

    def weakness(subject: Subject, rows: FeatureBatch, at: int, told: Explanation) -> Explanation:
        sizes = np.abs(told.values)
        return replace(told, values=sizes.max() - sizes)

    assert "deletion" in _failed(spoiled(weakness, OCCLUSION), claims={"occlusion": "sensitivity"})


def test_a_method_that_raises_is_not_offered_and_the_reason_is_kept() -> None:
    def build(subject: Subject) -> Explainer:
        def explain(rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
            raise ZeroDivisionError("no rows were drawn")

        return explain

    record = _record(Method("broken", build))
    assert not record.offered
    assert record.reason is not None
    assert "ZeroDivisionError: no rows were drawn" in record.reason


def _silent(detail: Callable[[], dict[str, Any]]) -> Method:
    def build(subject: Subject) -> Explainer:
        def explain(rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
            return [Explanation("rule", False, "margin", 1, 0.0, np.empty(0), detail=detail()) for _ in rows]

        return explain

    return Method("rule", build, additive=False)


def test_a_method_without_values_is_only_asked_for_the_same_answer_twice() -> None:
    record = _record(_silent(lambda: {"rule": ["x0 <= 1"]}))
    assert record.offered
    assert [check.name for check in record.checks] == ["repeatability"]
    counter = iter(range(100))
    assert _failed(_silent(lambda: {"rule": [next(counter)]})) == {"repeatability"}


def _wide() -> Subject:
    return tangled(width=10, rows=12, seed=3)


def _only_single(method: Method) -> Method:
    """The method, refusing players of several columns."""

    def build(subject: Subject) -> Explainer:
        if any(len(columns) > 1 for columns in subject.players.columns):
            raise Unsuitable("one column per player only")
        return method.build(subject)

    return replace(method, build=build)


def test_methods_that_refuse_merged_players_are_compared_in_pinned_games() -> None:
    subject = _wide()
    rows = _rows(subject, 3)
    for method, right in (
        (PERMUTATION, True),
        (spoiled(lambda s, r, at, told: replace(told, values=np.roll(told.values, 1)), PERMUTATION), False),
    ):
        single = _only_single(method)
        own = trial(single, single.build(subject), subject, rows, claim="shapley", seed=0)
        check = agreement(own)
        assert check.passed is right, check
        assert f"{MOST_PLAYERS} players on 2 rows" in check.sentence


def test_merging_keeps_every_column_and_most_influential_players_alone() -> None:
    rng = np.random.default_rng(1)
    weights = np.arange(12.0)
    subject = subject_of(lambda x: x @ weights, rng.normal(size=(30, 12)))
    merged = merge(subject, _rows(subject))
    assert len(merged.players) == MOST_PLAYERS
    assert sorted(np.concatenate(merged.players.columns).tolist()) == list(range(12))
    assert {"p11", "p10"} <= set(merged.players.names)
    assert "p0" not in merged.players.names


def test_enumeration_at_the_gate_agrees_with_the_textbook_sum() -> None:
    subject = _subject()
    rows = _rows(subject, 2)
    own = trial(ENUMERATION, ENUMERATION.build(subject), subject, rows, claim="shapley", seed=0)
    found, noise = enumerate_game(own, subject, rows[1], Goal(1), range(WIDTH))
    expected = enumerated(subject, rows[1], value_function(subject, "margin", 1))
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert 0 < noise < 1e-3


def _several_classes() -> Subject:
    """A softmax of three linear scores with its structure."""
    rng = np.random.default_rng(5)
    weights, intercepts = rng.normal(size=(WIDTH, 3)), rng.normal(size=3)
    schema = Schema(tuple(Feature(f"x{index}", "float") for index in range(WIDTH)), "tensor")

    def predict(rows: FeatureBatch) -> NDArray[np.float32]:
        raw = np.exp(rows.astype(np.float64) @ weights + intercepts)
        return (raw / raw.sum(axis=1, keepdims=True)).astype(np.float32)

    return Subject(
        spec=ModelSpec("toy", "3", "multiclass", schema, ("a", "b", "c")),
        predict=predict,
        background=rng.normal(size=(30, WIDTH)).astype(np.float32),
        players=Players(schema.names(), tuple(np.array([index]) for index in range(WIDTH))),
        structure=Structure(lambda rows: rows, np.arange(WIDTH), Linear(weights, intercepts, "softmax")),
    )


def test_raw_scores_of_several_classes_are_held_against_each_other() -> None:
    subject = _several_classes()
    record = _record(LINEAR_EXACT, subject)
    assert record.offered, record.reason
    assert _check(record, "additivity").passed
    assert _check(record, "agreement with enumeration").passed

    def blurred(subject: Subject, rows: FeatureBatch, at: int, told: Explanation) -> Explanation:
        return replace(told, values=told.values * (1.01 if told.label == 0 else 1.0))

    assert {"additivity", "agreement with enumeration"} <= _failed(spoiled(blurred, LINEAR_EXACT), subject)


def test_a_structural_method_that_ignores_its_weights_is_caught_by_shuffled_ones() -> None:
    def data_only(subject: Subject, rows: FeatureBatch, at: int, told: Explanation) -> Explanation:
        return replace(told, values=rows[at].astype(np.float64) * (1 + (told.label or 0)))

    assert "randomised weights" in _failed(spoiled(data_only, LINEAR_EXACT), _several_classes())


def test_a_graph_with_shuffled_weights_still_answers_what_its_structure_says() -> None:
    subject = _several_classes()
    scrambled = shuffled_weights(subject, np.random.default_rng(3))
    assert scrambled is not None
    rows = _rows(subject)
    assert scrambled.predict(rows).dtype == np.float32
    np.testing.assert_allclose(scrambled.predict(rows).sum(axis=1), 1, rtol=1e-5)
    assert not np.allclose(scrambled.predict(rows), subject.predict(rows), atol=0.1)
    LINEAR_EXACT.build(scrambled)  # refuses weights that answer otherwise than the model


def test_certain_answers_are_compared_as_probabilities() -> None:
    smooth = _subject()

    def harden(rows: FeatureBatch) -> NDArray[np.float32]:
        yes = np.clip(4 * smooth.predict(rows)[:, 1] - 1.5, 0, 1)
        return np.column_stack([1 - yes, yes]).astype(np.float32)

    subject = replace(smooth, predict=harden)
    record = _record(ENUMERATION, subject)
    assert record.offered, record.reason
    assert "served probability" in _check(record, "additivity").sentence
    assert "agreement with enumeration" in _failed(
        with_values(lambda values, row: np.roll(values, 1)), subject
    )


def _slope(subject: Subject, row: FeatureBatch, column: int, step: float = 1e-2) -> float:
    ahead, behind = row.copy(), row.copy()
    ahead[:, column] += step
    behind[:, column] -= step
    values = value_function(subject, "margin", 1)
    return float((values(ahead) - values(behind))[0] / (2 * step))


def test_the_random_network_knows_its_own_derivative() -> None:
    subject = _subject()
    network = random_network(replace(subject, gradient=_Nothing()), np.random.default_rng(2))
    rows = _rows(subject, 1)
    assert network.gradient is not None
    slopes = [_slope(network, rows, column) for column in range(WIDTH)]
    np.testing.assert_allclose(network.gradient(rows, 1)[0], slopes, atol=2e-3)
    np.testing.assert_allclose(network.gradient(rows, 0)[0], [-slope for slope in slopes], atol=2e-3)


class _Nothing:
    def __call__(self, rows: FeatureBatch, label: int) -> NDArray[np.float32]:
        return np.zeros_like(rows, dtype=np.float32)

    def maps(self, rows: FeatureBatch, label: int) -> None:
        return None


@pytest.mark.parametrize("change", [lambda s: without(s, 2), lambda s: symmetric(s, 2, 4)])
def test_a_moved_model_has_the_derivative_of_the_moved_model(change: Callable[[Subject], Subject]) -> None:
    plain = replace(_subject(), gradient=_Nothing())
    moved = change(random_network(plain, np.random.default_rng(2)))
    rows = _rows(plain, 1)
    assert moved.gradient is not None
    slopes = [_slope(moved, rows, column) for column in range(WIDTH)]
    np.testing.assert_allclose(moved.gradient(rows, 1)[0], slopes, atol=2e-3)


def test_a_model_of_random_labels_answers_what_the_model_does_not() -> None:
    subject = tangled(width=WIDTH, rows=200, seed=4, binary=True)
    rows = _rows(subject, 300)
    likeness = [
        np.corrcoef(
            random_labels(subject, np.random.default_rng(seed)).predict(rows)[:, 1],
            subject.predict(rows)[:, 1],
        )[0, 1]
        for seed in range(5)
    ]
    assert abs(np.mean(likeness)) < 0.25


def test_the_same_model_rows_and_seed_give_the_same_certificate() -> None:
    subject = _subject()
    methods = {"enumeration": (ENUMERATION, ENUMERATION.build(subject))}
    first, second, other = (certify(subject, methods, _rows(subject), seed=seed) for seed in (0, 0, 1))
    assert first.digest == second.digest
    assert first.digest != other.digest


def test_the_digest_is_that_of_the_document_a_reader_sees() -> None:
    failed = Check("deletion", False, "it is no better than chance", float("nan"), 0.05)
    certificate = Certificate("toy:1", 40, 0, {"m": MethodRecord((failed, Check("dummy", None, "not held")))})
    text = json.dumps(certificate.as_document(), sort_keys=True, separators=(",", ":"), allow_nan=False)
    assert certificate.digest == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    entry = json.loads(text)["methods"]["m"]
    assert entry["offered"] is False
    assert "no better than chance" in entry["reason"]
    assert entry["checks"][0]["figure"] is None


def test_a_soft_check_does_not_cost_a_method_its_place() -> None:
    assert MethodRecord((Check("agreement", False, "it differs", hard=False),)).offered


@pytest.mark.parametrize(
    ("tag", "method"),
    [("credit:linear-1", LINEAR_EXACT), ("credit:linear-1", PERMUTATION), ("credit:gbm-2", TREE_EXACT)],
    ids=lambda part: part if isinstance(part, str) else part.name,
)
def test_the_demo_models_methods_pass(demo_bundle: Callable[[str], Bundle], tag: str, method: Method) -> None:
    bundle = demo_bundle(tag)
    spec, background = bundle.spec, bundle.background()
    model = OnnxModel(bundle.model_path, spec, bundle.binding, providers=("CPUExecutionProvider",))
    columns = tuple(np.array([index]) for index in range(spec.schema.width))
    subject = Subject(
        spec=spec,
        predict=model.predict,
        background=background,
        players=Players(spec.schema.names(), columns),
        structure=structure_of(bundle.model_path, spec, bundle.binding, model.predict, background),
    )
    rows = bundle.calibration()[0]
    certificate = certify(subject, {method.name: (method, method.build(subject))}, rows)
    record = certificate.methods[method.name]
    assert record.offered, record.reason
    assert _check(record, "agreement with enumeration").passed
    assert _check(record, "randomised weights").passed
