"""Coverage through a shift: how streams shift, when labels come, and what the figures mean."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from load_tests.adaptive_coverage import (
    CONTESTANTS,
    SETTLED,
    WINDOW,
    Case,
    Figures,
    Ours,
    Plain,
    Static,
    figures,
    findings,
    followed,
    measure,
)
from load_tests.shifting_traffic import (
    LABELS,
    LATE,
    ROWS,
    SHIFT,
    Labels,
    Stream,
    Traffic,
    arrivals,
    credit_traffic,
    diabetes_traffic,
    drawn,
)
from models.bundle import Bundle
from tests.domain.uncertainty.plain_region import calibrated

GOOD = Figures(worst=0.88, settled=0.88, recovery=0.0, coverage=0.9, everything=0.1)


def traffic() -> Traffic:
    """Errors of a regression that double with the shift, when the second half of the rows comes alone."""
    labels = np.abs(np.random.default_rng(0).normal(size=400))
    odds = np.repeat([0.0, 1 / 200], 200)
    return Traffic("m:1", calibrated(), np.zeros((400, 1)), labels, odds, lambda own, _: 2 * own)


def test_a_stream_is_a_function_of_its_seed_and_shifts_where_it_says() -> None:
    source = traffic()
    stream, again, other = (drawn(source, seed) for seed in (1, 1, 2))
    assert stream.labels.tolist() == again.labels.tolist() != other.labels.tolist()
    assert len(stream.labels) == ROWS
    assert set(stream.labels[:SHIFT]) <= set(source.labels)
    assert set(stream.labels[SHIFT:]) <= set(2 * source.labels[200:])


@pytest.mark.parametrize("labels", LABELS)
def test_no_label_comes_before_its_answer_nor_twice(labels: Labels) -> None:
    come = arrivals(labels, 3)
    assert len(come) == ROWS
    assert all((rows < now).all() for now, rows in enumerate(come))
    every = np.concatenate(come).tolist()
    assert len(set(every)) == len(every)
    assert every == sorted(every)


def test_labels_are_as_late_and_as_rare_as_their_names_say() -> None:
    assert [rows.tolist() for rows in arrivals("immediate", 0)[:3]] == [[], [0], [1]]
    late = arrivals("500 late", 0)
    assert not any(len(rows) for rows in late[: LATE + 1])
    assert late[LATE + 1].tolist() == [0]
    bursts = [len(rows) for rows in arrivals("intermittent", 0) if len(rows)]
    assert 0.25 < sum(bursts) / ROWS < 0.35
    assert len(bursts) < ROWS / 100


def test_figures_tell_the_worst_window_and_when_it_was_over() -> None:
    covered = np.ones(ROWS, np.bool_)
    covered[: SHIFT - WINDOW] = False  # before the shift: nobody's business
    covered[SHIFT : SHIFT + 100] = False
    found = figures(covered, ~covered)
    assert found.worst == 0.8
    assert found.settled == 1.0
    # of the 500 rows up to row 534 after the shift, 65 are among the missed hundred: 0.87
    assert found.recovery == WINDOW + 35
    assert found.coverage == pytest.approx(1 - 100 / (ROWS - SHIFT))
    assert found.everything == pytest.approx(100 / (ROWS - SHIFT))


def test_coverage_that_stays_away_never_recovers_and_coverage_that_stays_needs_not_to() -> None:
    covered = np.arange(ROWS) < SHIFT
    assert figures(covered, ~covered).recovery == math.inf
    assert figures(np.ones(ROWS, np.bool_), covered).recovery == 0


def test_followers_are_told_labels_when_they_come_with_the_thresholds_of_their_answers() -> None:
    class Noting:
        def __init__(self) -> None:
            self.told: list[tuple[list[int], list[float], float]] = []

        def thresholds(self) -> np.ndarray:
            return np.array([float(len(self.told))])

        def learn(self, rows: np.ndarray, in_force: np.ndarray, now: float) -> None:
            self.told.append((rows.tolist(), in_force[:, 0].tolist(), now))

    region = calibrated()
    stream = Stream(region, np.zeros((4, 1)), np.array([0.0, 0.5, 1.5, math.inf]))
    none, noting = np.empty(0, np.intp), Noting()
    covered, nothing = followed(stream, noting, [none, none, np.array([0, 1]), np.array([2])])
    assert noting.told == [([0, 1], [0.0, 0.0], 2.0), ([2], [1.0], 3.0)]
    assert covered.tolist() == [True, False, False, False]
    assert not nothing.any()


def test_contestants_begin_alike_and_only_the_static_one_stays_so() -> None:
    stream = drawn(traffic(), 4)
    everybody = {name: make(stream) for name, make in CONTESTANTS.items()}
    assert {type(each) for each in everybody.values()} == {Ours, Static, Plain}
    assert len({float(each.thresholds()[0]) for each in everybody.values()}) == 1
    rows = np.arange(SHIFT, SHIFT + 50)
    before = {name: float(each.thresholds()[0]) for name, each in everybody.items()}
    for each in everybody.values():
        each.learn(rows, np.zeros((50, 1)), 3000.0)
    for name, each in everybody.items():
        assert (float(each.thresholds()[0]) > before[name]) == (name != "static")


def test_a_measured_shift_shows_who_adapts() -> None:
    cases, cost = measure([traffic()], [5])
    found = {(case.labels, case.contestant): case.figures for case in cases}
    assert len(found) == len(cases) == len(LABELS) * len(CONTESTANTS)
    assert found["immediate", "static"].recovery == math.inf
    assert found["immediate", "adaptive"].worst > 0.84
    assert found["500 late", "adaptive"].settled > found["500 late", "plain, step 0.01"].settled + 0.1
    assert cost > 0


@pytest.mark.parametrize(
    ("labels", "worse", "missed"),
    [
        ("immediate", {}, 0),
        ("immediate", {"worst": 0.8}, 1),
        ("500 late", {"worst": 0.4, "recovery": 990.0}, 0),
        ("500 late", {"settled": 0.8}, 1),
        ("500 late", {"recovery": math.inf}, 1),
        ("intermittent", {"coverage": 0.93}, 1),
    ],
)
def test_targets_are_about_what_labels_make_possible(
    labels: Labels, worse: dict[str, float], missed: int
) -> None:
    own = Figures(**{name: getattr(GOOD, name) for name in Figures.__dataclass_fields__} | worse)
    found = list(findings([Case("m:1", labels, "adaptive", own, 3), Case("m:1", labels, "static", own, 3)]))
    assert sum(finding.verdict == "not met" for finding in found) == missed
    assert len(found) in (3, 4)


def test_settled_windows_lie_behind_the_latest_labels() -> None:
    assert SETTLED - SHIFT >= LATE + WINDOW
    assert SETTLED + 4 * WINDOW < ROWS


@pytest.mark.parametrize(
    ("make", "tag"), [(credit_traffic, "credit:gbm-1"), (diabetes_traffic, "diabetes:gbr-1")]
)
def test_demo_streams_are_made_of_rows_that_calibration_has_not_seen(
    make: Callable[[Path], Traffic], tag: str, demo_home: Path, demo_bundle: Callable[[str], Bundle]
) -> None:
    found = make(demo_home)
    _, scores, labels = demo_bundle(tag).calibration()
    assert found.name == tag
    assert len(found.region.scores) == len(labels)
    assert len(found.evidence) == len(found.labels) > 80
    assert found.odds.sum() == pytest.approx(1)
    known = {row.tobytes() for row in np.column_stack([scores.astype(np.float64), labels])}
    served = 1 - found.evidence if found.region.thresholds(0.9).size > 1 else found.evidence
    again = [row.tobytes() in known for row in np.column_stack([served, found.labels])]
    assert np.mean(again) < 0.05
