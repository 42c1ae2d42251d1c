"""The noise floor: what production does to itself is no difference between models."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from service.domain.disagreement.measure import Compared, Pair
from service.domain.evidence.measures import DISAGREEMENT
from service.domain.evidence.noise import beyond, flipped, floor
from service.domain.evidence.sheet import Sheet, sheet
from tests.domain.models import spec

ITSELF = sheet(Pair(spec(), spec()), DISAGREEMENT)
VALUES = sheet(Pair(spec(task="regression"), spec("new", task="regression"), spread=10.0), DISAGREEMENT)


def sums(*gaps: float, base: float = 0.25, on: Sheet = ITSELF) -> NDArray[np.float64]:
    """Of rows whose positive class moves from ``base`` by each of ``gaps``."""
    before = np.full(len(gaps), base)
    after = before + np.array(gaps)
    if not on.pair.production.classes:
        columns = before[:, None], after[:, None]
    else:
        columns = np.stack([1 - before, before], axis=1), np.stack([1 - after, after], axis=1)
    compared = Compared(*(np.asarray(each, np.float32) for each in columns))
    return np.asarray(on.tally(compared, {"all": np.ones(len(gaps), np.bool_)})["all"])


def test_production_that_was_never_run_again_has_no_noise() -> None:
    assert floor(ITSELF, []) == 0.0
    assert floor(ITSELF, [ITSELF.empty()]) == 0.0


def test_production_that_repeats_itself_to_the_bit_has_no_noise() -> None:
    assert floor(ITSELF, [sums(0.0, 0.0, 0.0)]) == 0.0


def test_the_floor_is_the_bound_above_the_largest_gap_of_any_variant() -> None:
    assert floor(ITSELF, [sums(0.0, 3e-6), sums(0.0015, 1e-7)]) == 0.002
    assert floor(ITSELF, [sums(3e-6)]) == 1e-5


def test_more_noise_never_lowers_the_floor() -> None:
    rng = np.random.default_rng(0)
    parts = [sums(*(10.0 ** -rng.uniform(1, 8, size=4))) for _ in range(30)]
    floors = [floor(ITSELF, [np.sum(parts[:count], axis=0)]) for count in range(1, 31)]
    assert floors == sorted(floors)


def test_rows_within_the_floor_do_not_count_and_all_others_do() -> None:
    compared = sums(0.0, 1e-6, 0.0015, 0.004, 0.3)
    assert beyond(ITSELF, compared, 0.0) == 4
    assert beyond(ITSELF, compared, floor(ITSELF, [sums(0.0012)])) == 2
    assert beyond(ITSELF, compared, math.inf) == 0


def test_a_model_beside_itself_is_never_beyond_its_own_noise() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        again = sums(*rng.choice([0.0, 2e-7, 5e-5, 0.003], size=20))
        assert beyond(ITSELF, again, floor(ITSELF, [again])) == 0


def test_gaps_of_a_regression_are_in_spreads() -> None:
    noise = sums(0.5, on=VALUES)  # a twentieth of the spread
    assert floor(VALUES, [noise]) == 0.05
    assert beyond(VALUES, sums(0.4, 0.6, 20.0, 1e6, on=VALUES), 0.05) == 3
    assert flipped(VALUES, noise) == 0.0


@pytest.mark.parametrize(("gap", "rows"), [(0.2, 0), (0.3, 1)])
def test_flips_of_production_with_itself_are_counted(gap: float, rows: int) -> None:
    assert flipped(ITSELF, sums(gap, 0.0)) == rows
