"""A case is explained by both models in the same words, and no value of the row is among them."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from service.domain.explainers.game import Players, Subject
from service.domain.explainers.offer import offer
from service.domain.explainers.pair import pair
from service.domain.explainers.permutation import PERMUTATION
from service.domain.schema import FeatureBatch, Scores
from service.paths.case_reasons import MOST_FEATURES, PairReasons
from tests.domain.models import Feature, spec

NEVER = float("inf")


def subject(version: str, weights: NDArray[np.float64]) -> Subject:
    """A logistic model of as many numbers as there are weights."""
    names = tuple(f"f{index}" for index in range(len(weights)))

    def predict(rows: FeatureBatch) -> Scores:
        positive = 1 / (1 + np.exp(-rows @ weights))
        return np.stack([1 - positive, positive], axis=1).astype(np.float32)

    background = np.random.default_rng(0).normal(size=(40, len(weights))).astype(np.float32)
    players = Players(names, tuple(np.array([column]) for column in range(len(names))))
    return Subject(spec(version, *(Feature(name, "float") for name in names)), predict, background, players)


def reasons(before: NDArray[np.float64], after: NDArray[np.float64]) -> tuple[PairReasons, Subject]:
    production = subject("prod", before)
    found = pair(
        offer(production, (PERMUTATION,)),
        subject("new", after),
        lambda rows: rows,
        (PERMUTATION,),
        max_evals=40 * len(before),
    )
    return PairReasons(found), production


def test_both_models_reasons_are_told_by_feature() -> None:
    found, production = reasons(np.array([2.0, 0.0, 0.0]), np.array([0.0, 0.0, -2.0]))
    row = np.array([[4.0, 1.0, 4.0]], np.float32)
    told = found(row, production.predict(row), NEVER)
    assert told is not None
    before, after = told["production"], told["candidate"]
    assert (before["method"], before["label"]) == ("permutation", "good")
    assert before["values"]["f0"] > 5 > 0.1 > abs(before["values"]["f2"])
    assert after["values"]["f2"] < -5 < -0.1 < after["values"]["f0"]
    logit = np.log(production.predict(row)[0, 1] / production.predict(row)[0, 0])
    assert before["base_value"] + sum(before["values"].values()) == pytest.approx(logit, abs=1e-2)


def test_no_value_of_the_row_is_among_the_reasons() -> None:
    found, production = reasons(np.array([1e-4, 1.0]), np.array([1e-4, -1.0]))
    row = np.array([[4711.5, 0.25]], np.float32)
    text = json.dumps(found(row, production.predict(row), NEVER), allow_nan=False)
    assert "4711" not in text


def test_a_row_for_which_there_is_no_time_has_no_reasons() -> None:
    found, production = reasons(np.ones(3), np.ones(3))
    row = production.background[:1]
    assert found(row, production.predict(row), time.monotonic() - 1) is None


def test_contributions_that_are_no_numbers_are_refused() -> None:
    found, production = reasons(np.ones(3), np.array([np.nan, 1.0, 1.0]))
    row = production.background[:1]
    with pytest.raises(ValueError, match="no numbers"):
        found(row, production.predict(row), NEVER)


def test_of_very_many_features_the_most_influential_are_named() -> None:
    weights = np.zeros(MOST_FEATURES + 50)
    weights[::50] = 3.0
    found, production = reasons(weights, weights)
    row = np.full((1, len(weights)), 2.0, np.float32)
    told = found(row, production.predict(row), NEVER)
    assert told is not None
    assert len(told["production"]["values"]) == MOST_FEATURES
    assert {"f0", "f50", "f100"} <= set(told["production"]["values"])
