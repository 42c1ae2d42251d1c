"""Certain ranks: what is claimed is right at least as often as promised, and something is claimed."""

from __future__ import annotations

import numpy as np
import pytest

from service.domain.explainers.certainty import rank_certain_k


def test_exact_values_have_a_certain_order() -> None:
    assert rank_certain_k(np.array([3.0, 1.0, 2.0]), None) == 3
    assert rank_certain_k(np.array([3.0, 1.0, 2.0]), np.zeros(3)) == 3


@pytest.mark.parametrize(
    ("values", "errors", "certain"),
    [
        ([10, -5, 1], [0.1, 0.1, 0.1], 3),
        ([10, -5, 4.9], [0.1, 0.1, 0.1], 1),
        ([5, -5, 1], [0.1, 0.1, 0.1], 0),
        ([10, 1, 0.9, 5], [0.1, 0.5, 0.5, 0.1], 2),
        ([10, 5, 0.1, 0], [0.1, 0.1, 6, 0.1], 0),  # the third may well be the largest
        ([0.1], [9], 1),
        ([], [], 0),
    ],
)
def test_ranks_are_certain_down_to_the_first_doubt(values: list, errors: list, certain: int) -> None:
    assert rank_certain_k(np.array(values, dtype=float), np.array(errors, dtype=float)) == certain


def test_a_higher_level_claims_no_more() -> None:
    values, errors = np.array([4.0, 3.0, 1.0]), np.array([0.13, 0.13, 0.13])
    claims = [rank_certain_k(values, errors, level) for level in (0.5, 0.9, 0.99, 0.999999)]
    assert claims == sorted(claims, reverse=True)
    assert claims[0] > claims[-1]


@pytest.mark.parametrize("shared", [-0.24, 0.0, 0.9])
def test_the_claimed_order_is_right_in_95_percent_of_cases(shared: float) -> None:
    rng = np.random.default_rng(0)
    truth = np.array([1.5, 1.0, -0.98, 0.0, 0.0])
    size = np.array([0.1, 0.02, 0.06, 0.05, 0.05])
    correlation = np.full((5, 5), shared) + (1 - shared) * np.eye(5)
    draws = truth + size * (rng.normal(size=(4000, 5)) @ np.linalg.cholesky(correlation).T)
    wrong = claimed = 0
    for values in draws:
        certain = rank_certain_k(values, size)
        order = np.argsort(-np.abs(values))
        sizes = np.abs(truth)[order]
        wrong += any(sizes[rank] < sizes[rank + 1 :].max(initial=0) for rank in range(certain))
        claimed += certain
    assert wrong / len(draws) <= 0.05
    assert claimed > len(draws) / 2  # never to claim anything would be right too


def test_equal_features_are_told_apart_in_at_most_5_percent_of_cases() -> None:
    rng = np.random.default_rng(1)
    claims = [rank_certain_k(rng.normal(size=4), np.ones(4)) > 0 for _ in range(4000)]
    assert np.mean(claims) <= 0.05


def test_clear_differences_are_claimed() -> None:
    rng = np.random.default_rng(2)
    truth, size = np.array([3.0, -2.0, 1.0, 0.0]), np.full(4, 0.1)
    assert all(rank_certain_k(truth + size * rng.normal(size=4), size) == 4 for _ in range(200))
