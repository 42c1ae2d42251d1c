"""Regions that follow the traffic keep their promise, whatever becomes of the data and the labels."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.domain.uncertainty.adaptation import GRID, NOUGHT, POOL
from service.domain.uncertainty.adaptive import (
    CLOCK,
    AdaptiveState,
    Outcome,
    Pace,
    adaptation,
    start,
    state_of,
    update,
)
from tests.domain.uncertainty.plain_region import PlainRegion, calibrated

Floats = NDArray[np.float64]
FIXED = Pace(steps=(0.01,), window=0, slow=0.0, ceiling=math.inf)
"""Plain adaptive conformal inference with one fixed step."""


@dataclass(frozen=True)
class Run:
    """A stream of errors, answered one by one; each label comes ``delay`` rows after its answer."""

    region: PlainRegion
    errors: Floats
    pace: Pace = FIXED
    delay: int = 0
    confidence: float = 0.9

    def covered(self) -> NDArray[np.bool_]:
        """[rows], as answered."""
        return np.array([error <= limit for error, limit in self.answers()])

    def answers(self) -> Iterator[tuple[float, float]]:
        """Each row's error beside the threshold in force."""
        state, limits = start(self.pace), []
        for now, error in enumerate(self.errors):
            in_force = adaptation(state, self.pace, self.region, self.confidence).thresholds(
                self.region, self.confidence
            )
            limits.append(in_force)
            yield float(error), float(in_force[0])
            due = now - self.delay
            if due >= 0:
                state, _ = learn(
                    state, self.pace, self.region, self.errors[due : due + 1], limits[due][None],
                    answered=np.array([float(due)]), labelled=np.array([float(now)]),
                    confidence=self.confidence,
                )  # fmt: skip


def learn(
    state: AdaptiveState,
    pace: Pace,
    region: PlainRegion,
    errors: Floats,
    in_force: Floats | None = None,
    *,
    answered: Floats | None = None,
    labelled: Floats | None = None,
    confidence: float = 0.9,
) -> tuple[AdaptiveState, Outcome]:
    """``update`` with rows of a regression that is off by ``errors``."""
    times = np.arange(len(errors), dtype=np.float64) + state.labelled
    limits = np.tile(region.thresholds(confidence), (len(errors), 1)) if in_force is None else in_force
    return update(
        state, pace, region, np.zeros((len(errors), 1)), np.asarray(errors, np.float64), limits,
        times if answered is None else answered, times if labelled is None else labelled, confidence,
    )  # fmt: skip


def drifting(rows: int = 3000, seed: int = 1) -> Floats:
    """Errors that grow, jump and fall back."""
    rng = np.random.default_rng(seed)
    scale = 1 + np.linspace(0, 3, rows) + 2 * (np.arange(rows) % 1000 > 600)
    return np.abs(rng.normal(size=rows)) * scale


def twice_as_wrong(rows: int = 3000, seed: int = 2) -> Floats:
    """Errors that double once, after a third."""
    rng = np.random.default_rng(seed)
    return np.abs(rng.normal(size=rows)) * np.where(np.arange(rows) < rows // 3, 1.0, 2.0)


@pytest.mark.parametrize("step", [0.005, 0.05])
@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.95])
def test_long_run_coverage_is_within_the_bound_of_the_theorem_on_drifting_data(
    step: float, confidence: float
) -> None:
    pace = replace(FIXED, steps=(step,))
    errors = drifting()
    covered = Run(calibrated(), errors, pace, confidence=confidence).covered()
    level = 1 - confidence
    own = step * level * (1 - level) / 0.09  # steps are given for a confidence of 0.9
    bound = (max(level, 1 - level) + own) / (own * len(errors))
    assert abs(covered.mean() - confidence) <= bound
    static = errors <= calibrated().thresholds(confidence)
    assert confidence - static.mean() > bound, "data on which the static region would do proves nothing"


def test_nothing_that_data_can_do_causes_more_misses_than_the_bound() -> None:
    pace = replace(FIXED, ceiling=4.0)
    region = calibrated()
    state, missed, rows = start(pace), 0, 2000
    for _ in range(rows):  # the worst that can be: a miss wherever one is possible
        in_force = adaptation(state, pace, region, 0.9).thresholds(region, 0.9)
        error = np.minimum(in_force + 1.0, 1e6)
        state, outcome = learn(state, pace, region, error, in_force[None])
        missed += int(not outcome.covered[0])
    assert missed / rows - 0.1 <= (0.1 + 0.01) / (0.01 * rows)
    assert missed > 0


def test_the_default_pace_keeps_its_promise_through_a_shift_that_the_static_region_breaks_at() -> None:
    errors = twice_as_wrong()
    region = calibrated()
    covered = Run(region, errors, Pace()).covered()
    static = errors <= region.thresholds(0.9)
    windows = np.lib.stride_tricks.sliding_window_view
    assert windows(static, 500)[1000:].mean(axis=1).max() < 0.75
    assert windows(covered, 500).mean(axis=1).min() > 0.85
    assert abs(covered.mean() - 0.9) < 0.01


def test_late_labels_do_not_make_it_oscillate_where_plain_steps_do() -> None:
    errors = np.abs(np.random.default_rng(3).normal(size=4000))
    region, late = calibrated(), 500
    ours = Run(region, errors, Pace(), delay=late).covered()
    plain = plain_steps(region, errors, 0.01, late)
    worst = {
        name: np.lib.stride_tricks.sliding_window_view(found, 500).mean(axis=1).min()
        for name, found in {"ours": ours, "plain": plain}.items()
    }
    assert worst["plain"] < 0.75
    assert worst["ours"] > 0.84


def plain_steps(region: PlainRegion, errors: Floats, step: float, delay: int) -> NDArray[np.bool_]:
    """Adaptive conformal inference that judges labels by the levels of their answers."""
    level, covered = 0.1, np.zeros(len(errors), np.bool_)
    for now, error in enumerate(errors):
        covered[now] = level <= 0 or error <= region.thresholds(1 - level)[0]
        if now >= delay:
            level = min(level + step * (0.1 - (not covered[now - delay])), 0.99)
    return covered


def test_a_longer_delay_makes_shorter_steps_of_misses_as_answered() -> None:
    pace, region = Pace(), calibrated()
    steps = []
    for delay in (0, 10, 100, 1000):
        times = np.arange(300.0)
        _, outcome = learn(start(pace), pace, region, np.ones(300), answered=times, labelled=times + delay)
        assert outcome.delay == pytest.approx(delay)
        assert outcome.step * outcome.delay <= pace.product
        steps.append(outcome.step)
    assert steps[0] == pace.slow
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] < 0.2 * steps[0]


def test_the_delay_is_counted_in_labelled_rows_and_a_few_stragglers_do_not_move_it() -> None:
    pace, region = Pace(), calibrated()
    answered = np.arange(200) * 4.0  # every fourth row of one a second gets a label
    labelled = answered + 100
    labelled[::5] += 1e6
    _, outcome = learn(start(pace), pace, region, np.ones(200), answered=answered, labelled=labelled)
    assert outcome.delay == pytest.approx(25)


def test_rows_answered_at_one_moment_are_taken_to_wait_for_each_other() -> None:
    pace = Pace()
    _, outcome = learn(
        start(pace), pace, calibrated(), np.ones(50), answered=np.zeros(50), labelled=np.full(50, 3.0)
    )
    assert outcome.delay == 50


def test_clocks_that_disagree_or_say_nothing_do_no_harm() -> None:
    pace, region = Pace(), calibrated()
    times = np.arange(40.0)
    _, early = learn(start(pace), pace, region, np.ones(40), answered=times, labelled=times - 5)
    assert early.delay == 0
    nothing = np.full(40, np.nan)
    state, unknown = learn(start(pace), pace, region, np.ones(40), answered=nothing, labelled=nothing)
    assert (unknown.delay, len(state.clock)) == (0.0, 0)


def test_misses_as_answered_are_made_up_for_where_labels_always_come_too_late() -> None:
    errors = np.abs(np.random.default_rng(4).normal(size=6000)) * np.linspace(1, 12, 6000)
    region = calibrated()
    pace = replace(Pace(), ceiling=math.inf)
    without = Run(region, errors, replace(pace, slow=0.0), delay=200).covered().mean()
    assert without < 0.88
    assert without + 0.01 < Run(region, errors, pace, delay=200).covered().mean() < 0.91


def test_labelled_scores_take_the_calibration_scores_place_one_after_the_other() -> None:
    pace = replace(Pace(), window=100)
    region, state = calibrated(400), start(pace)
    for labelled, kept in ((0, None), (25, 300), (25, 200), (50, 0), (70, 0)):
        state, _ = learn(state, pace, region, np.full(labelled, 50.0))
        found = adaptation(state, pace, region, 0.9)
        if kept is None:
            assert len(found.scores) == 0
            continue
        assert int((found.scores < 50).sum()) == kept
        assert int((found.scores == 50).sum()) == min(state.labelled, 100)
        assert np.isin(found.scores, [*region.scores, 50.0]).all()
    assert found.labelled == 170


def test_the_window_holds_the_newest_rows_whatever_the_batches() -> None:
    pace, region = replace(Pace(), window=10), calibrated()
    errors = np.arange(37.0)
    for cuts in ([37], [5, 5, 27], [1] * 37):
        state, at = start(pace), 0
        for rows in cuts:
            state, _ = learn(state, pace, region, errors[at : at + rows])
            at += rows
        assert state.window.tolist() == list(range(27, 37))


def test_cutting_a_stream_into_batches_changes_nothing() -> None:
    pace, region, errors = replace(Pace(), slow=0.0), calibrated(), drifting(300)
    at_once, _ = learn(start(pace), pace, region, errors)
    state = start(pace)
    for cut in range(0, 300, 60):
        state, _ = learn(state, pace, region, errors[cut : cut + 60])
    assert state.levels.tolist() == at_once.levels.tolist()
    assert state.weights.tolist() == at_once.weights.tolist()


def test_the_order_within_a_batch_changes_no_count_and_hardly_a_level() -> None:
    pace, region = Pace(), calibrated()
    errors = np.abs(np.random.default_rng(5).normal(size=400)) * 1.5
    found = []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(400)
        state, outcome = learn(start(pace), pace, region, errors[order])
        found.append((int(outcome.covered.sum()), state.surplus, adaptation(state, pace, region, 0.9)))
    assert len({covered for covered, _, _ in found}) == 1
    assert np.ptp([surplus for _, surplus, _ in found]) < 1e-12
    assert len({each.scores.tobytes() for _, _, each in found}) == 1
    assert np.ptp([each.levels[2] for _, _, each in found]) < 0.06


def test_a_batch_without_rows_changes_nothing() -> None:
    pace, region = Pace(), calibrated()
    state, _ = learn(start(pace), pace, region, drifting(50))
    after, outcome = learn(state, pace, region, np.empty(0))
    assert after.to_document() == state.to_document()
    assert len(outcome.covered) == 0


@given(
    seed=st.integers(0, 2**32 - 1),
    confidence=st.sampled_from(GRID),
    errors=st.lists(
        st.floats(0, 1e308) | st.sampled_from([math.nan, math.inf, 0.0, 1.0]), min_size=1, max_size=60
    ),
    window=st.sampled_from([0, 1, 7, 1000]),
    slow=st.sampled_from([0.0, 0.002, 0.5]),
)
@settings(max_examples=60, deadline=None)
def test_levels_are_always_numbers_that_never_rise_and_stay_below_their_ceilings(
    seed: int, confidence: float, errors: list[float], window: int, slow: float
) -> None:
    pace = replace(Pace(), window=window, slow=slow)
    region = calibrated(50)
    answered = np.random.default_rng(seed).uniform(-1e9, 1e9, len(errors))
    state, _ = learn(
        start(pace), pace, region, np.array(errors), answered=answered, labelled=-answered,
        confidence=confidence,
    )  # fmt: skip
    found = adaptation(state, pace, region, confidence)
    assert all(NOUGHT <= level <= most for level, most in zip(found.levels, pace.ceilings(), strict=True))
    assert list(found.levels) == sorted(found.levels, reverse=True)
    assert np.isfinite(found.scores).all()
    limits = [float(found.thresholds(region, each)[0]) for each in (0.5, 0.6, 0.9, 0.97, 0.999)]
    assert not np.isnan(limits).any()
    assert limits == sorted(limits)
    document = json.loads(json.dumps(state.to_document(), allow_nan=False))
    assert state_of(document, pace).to_document() == state.to_document()


def test_labels_that_are_all_easy_do_not_empty_the_sets() -> None:
    region = calibrated()
    for pace in (Pace(), Pace(window=0)):
        state, _ = learn(start(pace), pace, region, np.full(3000, 0.01))
        level = adaptation(state, pace, region, 0.9).levels[2]
        assert level == pytest.approx(4 / (4 + 9)), "four times the odds of one in ten"


def test_labels_that_are_all_missed_end_in_regions_that_hold_everything() -> None:
    pace, region = Pace(), calibrated()
    state = start(pace)
    for growing in range(400):
        state, _ = learn(state, pace, region, np.array([10.0 * (growing + 1)]))
    assert adaptation(state, pace, region, 0.9).thresholds(region, 0.9).tolist() == [math.inf]


def test_an_edge_is_handed_two_thousand_scores_at_most() -> None:
    pace, region = Pace(), calibrated(30_000)
    state, _ = learn(start(pace), pace, region, np.ones(3))
    found = adaptation(state, pace, region, 0.9)
    assert POOL - 5 <= len(found.scores) <= POOL
    of_all = region.thresholds(1 - found.level(0.9))[0]
    assert found.thresholds(region, 0.9)[0] == pytest.approx(of_all, abs=0.005)


def test_a_state_goes_on_from_its_document_as_if_nothing_had_happened() -> None:
    pace, region, errors = Pace(), calibrated(), drifting(700)
    state, _ = learn(start(pace), pace, region, errors[:400])
    again = state_of(json.loads(json.dumps(state.to_document())), pace)
    assert again.to_document() == state.to_document()
    on, _ = learn(state, pace, region, errors[400:])
    on_again, _ = learn(again, pace, region, errors[400:])
    assert on_again.to_document() == on.to_document()
    assert len(on.clock) == CLOCK


def test_a_state_for_a_shorter_window_keeps_the_newest_rows() -> None:
    state, _ = learn(start(Pace()), Pace(), calibrated(), np.arange(90.0))
    kept = state_of(state.to_document(), replace(Pace(), window=20)).window
    assert kept.tolist() == list(range(70, 90))
    assert len(state_of(state.to_document(), replace(Pace(), window=0)).window) == 0


@pytest.mark.parametrize(
    "damage",
    [
        {"levels": [[0.1]]},
        {"levels": None},
        {"weights": [[math.nan] * 4] * len(GRID)},
        {"surplus": math.inf},
        {"window": [math.nan]},
        {"window": [[1.0]]},
        {"clock": [1.0, 2.0, 3.0]},
        {"labelled": "many"},
    ],
)
def test_a_damaged_state_is_refused(damage: dict[str, Any]) -> None:
    document = start(Pace()).to_document()
    assert state_of(document, Pace()).labelled == 0
    with pytest.raises(ValueError, match=r".+"):
        state_of(document | damage, Pace())
    with pytest.raises(ValueError, match=next(iter(damage))):
        state_of({name: value for name, value in document.items() if name not in damage}, Pace())


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": ()},
        {"steps": (-0.1,)},
        {"window": POOL + 1},
        {"window": -1},
        {"memory": 0},
        {"ceiling": 0.5},
    ],
)
def test_an_impossible_pace_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="found Pace"):
        Pace(**wrong)


def test_a_region_of_classes_is_judged_by_each_labels_own_threshold() -> None:
    region = replace(calibrated(), classes=2)
    pace = Pace()
    evidence = np.array([[0.5, 0.2], [0.5, 0.2], [0.2, 0.5]])
    _, outcome = update(
        start(pace), pace, region, evidence, np.array([0, 1, 0]), np.tile([0.4, 0.1], (3, 1)),
        np.arange(3.0), np.arange(3.0), 0.9,
    )  # fmt: skip
    assert outcome.covered.tolist() == [False, False, True]
