"""The candidate's CPU beside production's: a ratio of totals, with bounds that hold what they say."""

from __future__ import annotations

import numpy as np
import pytest

from service.domain.evidence.speed import COLUMNS, LEAST_RUNS, run, show


def test_nothing_is_said_of_nothing() -> None:
    assert show(np.zeros(len(COLUMNS))) == {
        "rows": 0,
        "production_seconds_per_row": None,
        "candidate_seconds_per_row": None,
        "ratio": None,
        "low": None,
        "high": None,
    }


def test_totals_of_runs_add_up() -> None:
    shown = show(run(100, 0.5, 1.0) + run(300, 1.5, 1.0))
    assert (shown["rows"], shown["ratio"]) == (400, 1.0)
    assert (shown["production_seconds_per_row"], shown["candidate_seconds_per_row"]) == (0.005, 0.005)


def test_few_runs_have_a_ratio_without_bounds() -> None:
    few = sum(run(10, 1.0, 2.0 + index) for index in range(LEAST_RUNS - 1))
    assert show(np.asarray(few))["low"] is None
    assert show(np.asarray(few) + run(10, 1.0, 5.0))["low"] is not None


def test_models_that_always_differ_by_the_same_factor_are_told_exactly() -> None:
    sums = sum(run(10, 0.1 * index, 0.3 * index) for index in range(1, 30))
    shown = show(np.asarray(sums))
    assert (shown["low"], shown["ratio"], shown["high"]) == pytest.approx((3.0, 3.0, 3.0), rel=1e-6)


def test_a_clock_too_coarse_to_see_production_gives_no_ratio() -> None:
    sums = sum(run(10, 0.0, 0.1) for _ in range(20))
    assert show(np.asarray(sums))["ratio"] is None


def test_the_bounds_hold_the_true_ratio_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(1_000):
        load = rng.gamma(4.0, size=60)  # busy moments slow down both
        production = load * rng.gamma(20.0, 1 / 20, size=60)
        candidate = 1.7 * load * rng.gamma(20.0, 1 / 20, size=60)
        shown = show(np.sum([run(1, p, c) for p, c in zip(production, candidate, strict=True)], axis=0))
        held += shown["low"] <= 1.7 <= shown["high"]
    assert 0.925 <= held / 1_000 <= 0.975  # 95%, give or take 3.5 binomial standard errors
