"""The figures about sampled explanations: what is measured against what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from load_tests.sampling_explanations import (
    SETTINGS,
    Coverage,
    Point,
    Race,
    findings,
    ten_players,
)
from models.bundle import Bundle


def race(ratio: float) -> Race:
    return Race("m:1", SETTINGS[0], Point(600.0, 0.09, 100_000), Point(6.0, 0.08, 1000), ratio)


@pytest.mark.parametrize(("ratio", "verdict"), [(31.0, "met"), (29.0, "not met")])
def test_thirty_times_faster_at_an_equal_error_is_the_target(ratio: float, verdict: str) -> None:
    (speed,) = findings([race(ratio)], [])
    assert speed.verdict == verdict
    assert speed.value == ratio


@pytest.mark.parametrize(
    ("covered", "verdicts"),
    [(0.95, ["met", "met"]), (0.92, ["not met", "met"]), (0.98, ["met", "not met"])],
)
def test_errors_that_are_too_wide_miss_the_target_as_do_too_narrow_ones(
    covered: float, verdicts: list[str]
) -> None:
    found = findings([], [Coverage("m:1", 4000, 300, covered)])
    assert [finding.verdict for finding in found] == verdicts


def test_the_demo_is_explained_in_ten_players_that_own_every_column(
    demo_home: Path, demo_bundle: Callable[[str], Bundle]
) -> None:
    subject, rows = ten_players(demo_home, "credit:gbm-1", 3)
    assert len(subject.players) == 10
    assert sorted(np.concatenate(subject.players.columns)) == list(range(13))
    assert rows.shape == (3, 13)
    assert subject.players.columns[subject.players.names.index("Amount")].tolist() == [11, 12]
