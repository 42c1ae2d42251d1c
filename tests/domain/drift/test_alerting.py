"""Alerting: a change counts where it is large, sure, in enough rows, and in both windows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from service.domain.drift.alerting import (
    ACCURACY,
    EXCESS,
    LEAST_ROWS,
    SURE,
    deviations,
    moved,
    state,
    told_apart,
)
from service.domain.drift.measure import Sample
from service.domain.drift.psi_excess import PsiExcess
from service.domain.drift.psi_z import PsiZ
from service.domain.drift.two_sample import CHANCE
from tests.domain.drift.samples import cut_by, sample_of, words


def shifted(deviation: float, rows: int = 5_000) -> Sample:
    """Live rows whose mean is some standard deviations higher."""
    rng = np.random.default_rng(1)
    return sample_of(cut_by(rng.normal(size=2_700)), rng.normal(deviation, 1, rows))


def test_a_large_change_counts_and_a_small_one_is_only_sure() -> None:
    assert moved(shifted(0.5))
    small = shifted(0.15)
    assert PsiZ().value(small) > SURE
    assert not moved(small)


def test_a_change_needs_rows() -> None:
    reference, live = [500, 500, 0, 0], [LEAST_ROWS // 10, LEAST_ROWS - LEAST_ROWS // 10, 0, 0]
    assert moved(words(reference, live))
    live[1] -= 1
    assert not moved(words(reference, live))
    assert moved(words(reference, live), least_rows=LEAST_ROWS - 1)


def test_a_change_needs_certainty() -> None:
    unsure = words([10] * 12 + [0, 0], [60, 20] * 6 + [0, 0])
    assert PsiExcess().value(unsure) > EXCESS
    assert PsiZ().value(unsure) < SURE
    assert unsure.rows < LEAST_ROWS
    assert not moved(unsure, least_rows=1)


@pytest.mark.parametrize(
    ("hour", "six", "expected"),
    [
        (0.0, 0.0, "quiet"),
        (0.4, 0.0, "quiet"),
        (0.0, 0.8, "quiet"),
        (0.4, 0.4, "ticket"),
        (0.8, 0.4, "ticket"),
        (0.4, 0.8, "ticket"),
        (0.8, 0.8, "page"),
    ],
)
def test_both_windows_have_to_show_it(hour: float, six: float, expected: str) -> None:
    assert state(shifted(hour), shifted(six)) == expected


def test_healthy_traffic_is_quiet() -> None:
    rng = np.random.default_rng(2)
    for _ in range(100):
        cut = cut_by(rng.normal(size=883))
        samples = [sample_of(cut, rng.normal(size=rows)) for rows in (500, 3_000)]
        assert state(*samples) == "quiet"


def test_an_accuracy_is_held_against_guessing_and_against_other_reference_rows() -> None:
    assert deviations(0.5, 100) == 0
    assert deviations(0.6, 1_600) == pytest.approx(0.1 / (CHANCE * math.sqrt(2)))  # both chances are alike
    rows = 10_000_000
    assert told_apart((ACCURACY + 0.001) * rows, rows)
    assert not told_apart((ACCURACY - 0.001) * rows, rows)  # other reference rows might do that
    assert not told_apart((ACCURACY + 0.001) * 10_000, 10_000)
    assert told_apart(0.61 * LEAST_ROWS, LEAST_ROWS)
    assert not told_apart(0.59 * LEAST_ROWS, LEAST_ROWS)  # much, and not sure
    assert not told_apart(LEAST_ROWS - 1, LEAST_ROWS - 1)
    assert not told_apart(0, 0)
