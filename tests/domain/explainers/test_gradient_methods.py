"""Saliency, SmoothGrad, integrated gradients and Grad-CAM on networks whose derivatives are known."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from service.domain.explainers.game import Ask, Explanation, Method, Subject, Unsuitable, explained
from service.domain.explainers.grad_cam import GRAD_CAM, stretch
from service.domain.explainers.integrated_gradients import INTEGRATED_GRADIENTS
from service.domain.explainers.saliency import SALIENCY
from service.domain.explainers.smoothgrad import NOISE, SMOOTHGRAD
from service.domain.schema import Feature, FeatureBatch, ModelSpec, Schema
from service.errors import DeadlineError
from tests.domain.explainers.networks import (
    NEVER,
    Network,
    merged,
    network_of,
    picture,
    table,
    with_gradient,
)

BY_GRADIENT = (SALIENCY, SMOOTHGRAD, INTEGRATED_GRADIENTS)
SAMPLED = (SMOOTHGRAD, INTEGRATED_GRADIENTS)


def explain(method: Method, subject: Subject, rows: FeatureBatch, ask: Ask = Ask()) -> list[Explanation]:  # noqa: B008 - frozen
    return method.build(subject)(rows, ask, NEVER)


def some_rows(subject: Subject, count: int = 3, seed: int = 9) -> FeatureBatch:
    rng = np.random.default_rng(seed)
    return rng.permutation(subject.background)[:count] * np.float32(0.8) + np.float32(0.1)


@pytest.mark.parametrize("method", BY_GRADIENT, ids=lambda method: method.name)
@pytest.mark.parametrize("subject", [table(), table(classes=2), table(classes=4), picture()])
def test_the_same_row_and_seed_give_the_same_explanation(method: Method, subject: Subject) -> None:
    rows = some_rows(subject)
    once = explain(method, subject, rows, Ask(seed=3))
    again = explain(method, subject, rows[1:2], Ask(seed=3))
    np.testing.assert_allclose(once[1].values, again[0].values, rtol=1e-9)
    assert once[1].method == method.name
    assert not once[1].exact
    json.dumps(dict(once[1].detail), allow_nan=False)


@pytest.mark.parametrize("method", BY_GRADIENT, ids=lambda method: method.name)
def test_a_column_that_the_model_ignores_gets_nothing(method: Method) -> None:
    subject = table(classes=3)
    for one in explain(method, subject, some_rows(subject)):
        assert abs(one.values[-1]) < 1e-9
        assert np.abs(one.values[:-1]).min() > 1e-6


@pytest.mark.parametrize("method", BY_GRADIENT, ids=lambda method: method.name)
def test_players_of_several_columns_get_the_sum_of_their_columns(method: Method) -> None:
    subject = table()
    rows = some_rows(subject)
    single = explain(method, subject, rows, Ask(max_evals=4 * 60 + 1))[0].values
    both = explain(method, merged(subject, [0, 5], [2], [1, 3, 4]), rows, Ask(max_evals=4 * 60 + 1))[0].values
    np.testing.assert_allclose(
        both, [single[0] + single[5], single[2], single[[1, 3, 4]].sum()], rtol=0.02, atol=0.02
    )


@pytest.mark.parametrize("method", BY_GRADIENT, ids=lambda method: method.name)
def test_what_has_no_gradient_is_refused_with_the_reason(method: Method) -> None:
    subject = table(classes=2)
    with pytest.raises(Unsuitable, match="no gradient"):
        method.build(with_gradient(subject, None))
    with pytest.raises(Unsuitable, match="of the margin"):
        explain(method, subject, some_rows(subject), Ask(output="probability"))
    hole = some_rows(subject)
    hole[1, 2] = np.nan
    with pytest.raises(Unsuitable, match="missing"):
        explain(method, subject, hole)
    with pytest.raises(Unsuitable, match="every background row"):
        method.build(replace(subject, background=np.full_like(subject.background, np.nan)))


@pytest.mark.parametrize("method", SAMPLED, ids=lambda method: method.name)
@pytest.mark.parametrize("most", [5, 37, 300, 4000])
def test_no_more_rows_are_evaluated_than_are_allowed(method: Method, most: int) -> None:
    subject = table()
    one = explain(method, subject, some_rows(subject, 1), Ask(max_evals=most))[0]
    assert one.rows_evaluated <= most
    assert network_of(subject).rows == one.rows_evaluated - 1


@pytest.mark.parametrize("method", SAMPLED, ids=lambda method: method.name)
def test_too_small_a_budget_is_refused(method: Method) -> None:
    subject = table()
    with pytest.raises(Unsuitable, match="max_evals 4 "):
        explain(method, subject, some_rows(subject), Ask(max_evals=4))


@pytest.mark.parametrize("method", SAMPLED, ids=lambda method: method.name)
def test_a_deadline_makes_errors_wider_and_is_told(method: Method) -> None:
    subject = table(rows=400)
    explainer, rows = method.build(subject), some_rows(subject, 1)
    (whole,) = explainer(rows, Ask(), NEVER)
    network_of(subject).seconds = 0.002
    (cut,) = explainer(rows, Ask(), time.monotonic() + 0.2)
    assert cut.degraded is not None
    assert "deadline" in cut.degraded
    assert cut.rows_evaluated < whole.rows_evaluated
    assert whole.degraded is None
    assert cut.standard_errors is not None
    assert whole.standard_errors is not None
    assert cut.standard_errors[0] > whole.standard_errors[0]
    with pytest.raises(DeadlineError):
        explainer(rows, Ask(), time.monotonic() - 1)


def test_saliency_is_the_change_of_the_margin_for_one_standard_deviation() -> None:
    subject = table(classes=3)
    rows = some_rows(subject)
    for one, row in zip(explain(SALIENCY, subject, rows, Ask(label=2)), rows, strict=True):
        slope = network_of(subject)(row[None], 2)[0]
        np.testing.assert_allclose(one.values, slope * subject.background.std(axis=0), rtol=1e-5)
        assert one.label == 2
        assert one.output == "margin"


@pytest.mark.parametrize("method", [SALIENCY, SMOOTHGRAD], ids=lambda method: method.name)
def test_gradients_are_of_log_odds_also_where_other_methods_explain_probabilities(method: Method) -> None:
    subject = table(classes=3)
    certain = replace(subject, output="probability")
    for plain, own in zip(
        *(explain(method, each, some_rows(subject)) for each in (subject, certain)), strict=True
    ):
        assert own.output == "margin"
        assert own.base_value == plain.base_value
        np.testing.assert_array_equal(own.values, plain.values)


def test_answers_without_log_odds_are_nothing_for_gradients_to_add_up_to() -> None:
    with pytest.raises(Unsuitable, match="so certain that there are no log-odds"):
        INTEGRATED_GRADIENTS.build(replace(table(classes=3), output="probability"))


def test_a_picture_has_the_size_of_each_pixels_share_in_c_order() -> None:
    subject = picture((3, 4, 5))
    row = some_rows(subject, 1)
    (one,) = explain(SALIENCY, subject, row)
    assert one.label is not None
    slope = network_of(subject)(row, one.label)[0] * subject.background.std()
    np.testing.assert_allclose(one.detail["pixels"], np.abs(slope), atol=1e-4 * np.abs(slope).max())
    assert len(one.detail["pixels"]) == 60
    assert "pixels" not in explain(SALIENCY, table(), some_rows(table(), 1))[0].detail


def test_smoothgrad_is_the_mean_gradient_under_noise_within_its_errors() -> None:
    subject = table(scale=2.0)
    row = some_rows(subject, 1)
    rng = np.random.default_rng(77)
    ranges = np.ptp(subject.background, axis=0)
    noisy = row + NOISE * ranges * rng.standard_normal((200_000, row.shape[1]))
    truth = network_of(subject)(noisy, 0).mean(axis=0, dtype=np.float64) * subject.background.std(axis=0)
    scores = []
    for seed in range(60):
        (one,) = explain(SMOOTHGRAD, subject, row, Ask(seed=seed))
        assert one.standard_errors is not None
        scores.append(((one.values - truth) / np.where(one.standard_errors > 0, one.standard_errors, 1))[:-1])
    assert 0.9 < (np.abs(scores) < 1.96).mean() < 0.99


def by_dense_integration(
    subject: Subject, row: NDArray[np.float32], label: int, places: int = 400
) -> NDArray[np.float64]:
    """Integrated gradients averaged over the whole background, by many midpoints; [width]."""
    total = np.zeros(len(row))
    for start in subject.background.astype(np.float64):
        way = row.astype(np.float64) - start
        points = start + (np.arange(places)[:, None] + 0.5) / places * way
        total += network_of(subject)(points, label).mean(axis=0, dtype=np.float64) * way
    return total / len(subject.background)


def test_integrated_gradients_of_a_linear_model_are_its_shapley_values() -> None:
    rng = np.random.default_rng(0)
    weights, background = rng.normal(size=5), rng.normal(size=(40, 5)).astype(np.float32)

    class Linear(Network):
        def logits(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
            return rows.astype(np.float64) @ weights[:, None]

        def __call__(self, rows: FeatureBatch, label: int) -> NDArray[np.float32]:
            return np.tile(weights, (len(rows), 1)).astype(np.float32)

    network = Linear(np.empty((5, 0)), np.empty((0, 1)))
    schema = Schema(tuple(Feature(f"c{column}", "float") for column in range(5)), "tensor")
    spec = ModelSpec("linear", "1", "regression", schema)
    subject = replace(table(5), spec=spec, predict=network.predict, background=background, gradient=network)
    row = rng.normal(size=(1, 5)).astype(np.float32)
    (one,) = explain(INTEGRATED_GRADIENTS, subject, row)
    np.testing.assert_allclose(one.values, weights * (row[0] - background.mean(axis=0)), atol=1e-5)
    assert one.standard_errors is not None
    assert one.standard_errors.max() < 1e-6
    assert one.base_value == pytest.approx(float((background @ weights).mean()), abs=1e-5)


@pytest.mark.parametrize("subject", [table(), table(classes=2), table(classes=4), picture()])
def test_integrated_gradients_add_up_to_the_served_score(subject: Subject) -> None:
    rows = some_rows(subject)
    scores = subject.predict(rows)
    for index, one in enumerate(explain(INTEGRATED_GRADIENTS, subject, rows)):
        served = explained(scores[index : index + 1], one.output, one.label or 0)[0]
        assert one.base_value + one.values.sum() == pytest.approx(served, abs=2e-5)
        assert one.additivity_gap is not None
        assert one.additivity_gap < 1e-5
        assert abs(one.detail["completeness_gap"]) < 0.05


def test_a_gradient_of_another_model_leaves_a_gap_for_all_to_see() -> None:
    subject = table()
    network = network_of(subject)
    (one,) = explain(
        INTEGRATED_GRADIENTS,
        with_gradient(subject, Network(network.inner, network.outer * 1.5)),
        some_rows(subject, 1),
    )
    assert one.additivity_gap is not None
    assert one.additivity_gap > 0.05
    assert abs(one.detail["completeness_gap"]) == pytest.approx(one.additivity_gap)


@pytest.mark.parametrize("most", [41, 121, 241])
def test_the_errors_of_integrated_gradients_cover_the_truth(most: int) -> None:
    subject = table(width=5, rows=60, scale=1.5)
    rows = some_rows(subject, 4)
    inside, errors = [], []
    for row in rows:
        truth = by_dense_integration(subject, row, 0)
        for seed in range(25):
            (one,) = explain(INTEGRATED_GRADIENTS, subject, row[None], Ask(seed=seed, max_evals=most))
            assert one.standard_errors is not None
            gaps = np.abs(one.values - truth)[:-1]
            inside.append(gaps < 1.96 * one.standard_errors[:-1])
            errors.append(gaps)
    assert np.mean(inside) > 0.92
    assert np.mean(errors) < 0.15


def test_more_evaluations_make_integrated_gradients_more_accurate() -> None:
    subject = table(rows=200)
    row = some_rows(subject, 1)
    truth = by_dense_integration(subject, row[0], 0, places=100)
    errors = []
    for most in (101, 801, 6401):
        found = [
            explain(INTEGRATED_GRADIENTS, subject, row, Ask(seed=s, max_evals=most))[0] for s in range(8)
        ]
        errors.append(float(np.sqrt(np.mean([(one.values - truth) ** 2 for one in found]))))
    assert errors[2] < errors[1] / 2 < errors[0] / 4


class WithMaps(Network):
    """Its one feature map is the picture's own 3 x 3 block means, its margin the map's weighted sum."""

    def maps(self, rows: FeatureBatch, label: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        features = rows.reshape(-1, 1, 3, 2, 3, 2).mean(axis=(3, 5))
        slopes = np.full_like(features, -1.0 if label == 0 else 2.0)
        return features, slopes


def test_grad_cam_is_hot_where_the_maps_that_speak_for_the_class_are() -> None:
    plain = picture((1, 6, 6), classes=2)
    network = network_of(plain)
    subject = with_gradient(plain, WithMaps(network.inner, network.outer, 2))
    row = np.zeros((1, 36), np.float32)
    row.reshape(6, 6)[4:, :2] = 1
    (one,) = explain(GRAD_CAM, subject, row, Ask(label=1))
    heat = np.array(one.detail["map"])
    assert heat.shape == (6, 6)
    assert heat[5, 0] == heat.max() == pytest.approx(2.0)
    assert heat[:2].max() == heat[:, 4:].max() == 0
    np.testing.assert_allclose(one.detail["pixels"], heat.ravel())
    assert one.values.sum() == pytest.approx(heat.sum())
    (against,) = explain(GRAD_CAM, subject, row, Ask(label=0))
    assert not against.values.any()


def test_grad_cam_is_refused_without_a_picture_or_convolutions() -> None:
    for subject in (table(), picture()):
        with pytest.raises(Unsuitable, match="convolutions"):
            GRAD_CAM.build(subject)


def test_stretching_keeps_constants_and_slopes() -> None:
    assert (stretch(np.full((2, 3), 7.0), (5, 9)) == 7).all()
    ramp = stretch(np.arange(4.0)[None] * np.ones((4, 1)), (8, 8))
    np.testing.assert_allclose(ramp[0], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
    np.testing.assert_allclose(stretch(np.arange(6.0).reshape(2, 3), (2, 3)), np.arange(6.0).reshape(2, 3))
