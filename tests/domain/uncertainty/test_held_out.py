"""A calibration is judged by rows that it has not seen, and chosen only where it helps beyond chance."""

from __future__ import annotations

import json
from math import sqrt

import numpy as np
import pytest
from numpy.typing import NDArray

from service.domain.schema import ModelSpec, Scores
from service.domain.uncertainty.held_out import FEWEST, FOLDS, REPEATS, fitted
from service.domain.uncertainty.measure import Arrays, Asked, Columns, Material, Measure, Unfitting
from service.domain.uncertainty.registry import of_kind
from service.domain.uncertainty.reliability import log_losses, proper
from service.domain.uncertainty.uncalibrated import UNCALIBRATED
from tests.domain.uncertainty.stated import drawn, material, spec, two


class Recorder:
    """Learns by heart which scores it has seen; asked about one of them, it has failed."""

    def __init__(self) -> None:
        self.learnt: list[set[float]] = []
        self.asked: list[set[float]] = []

    def learn(self, scores: Scores, labels: NDArray[np.intp]) -> Arrays:
        self.learnt.append(set(scores[:, 1].tolist()))
        return {}

    def restore(self, spec: ModelSpec, arrays: Arrays) -> Recorder:
        return self

    def columns(self, asked: Asked) -> Columns:
        self.asked.append(set(asked.scores[:, 1].tolist()))
        return {"calibrated": proper(asked.scores)}


def test_each_row_is_judged_once_in_each_repetition_by_what_has_not_seen_it() -> None:
    rows, recorder = drawn(103), Recorder()
    fitted(rows, recorder.learn, recorder.restore)
    every = set(rows.scores[:, 1].tolist())
    assert len(every) == 103
    assert len(recorder.asked) == FOLDS * REPEATS
    for seen, judged in zip(recorder.learnt, recorder.asked, strict=False):
        assert seen.isdisjoint(judged)
        assert seen | judged == every
    for repeat in range(REPEATS):
        folds = recorder.asked[repeat * FOLDS : (repeat + 1) * FOLDS]
        assert sorted(map(len, folds)) == [20, 20, 21, 21, 21]
        assert set.union(*folds) == every
    assert recorder.learnt[-1] == every  # what is kept is learnt from all


def test_a_rare_label_is_shared_out_among_the_folds() -> None:
    labels = (np.arange(100) < FOLDS).astype(np.intp)
    rows = material(spec(2), two(np.linspace(0.01, 0.99, 100)), labels)
    rare, recorder = set(rows.scores[:FOLDS, 1].tolist()), Recorder()
    fitted(rows, recorder.learn, recorder.restore)
    assert all(len(fold & rare) == 1 for fold in recorder.asked)


def test_the_loss_is_the_unseen_log_loss_and_one_standard_error_of_the_change() -> None:
    rows = drawn(200, times=3.0)

    class Milder(Recorder):
        def columns(self, asked: Asked) -> Columns:
            shares = asked.scores.astype(np.float64) ** (1 / 3)
            return {"calibrated": shares / shares.sum(axis=1, keepdims=True)}

    milder = Milder()
    report = fitted(rows, milder.learn, milder.restore).report
    before = log_losses(proper(rows.scores), rows.labels)
    after = log_losses(milder.columns(Asked(rows.rows, rows.scores))["calibrated"], rows.labels)
    gains = before - after
    assert report["before"]["log_loss"] == pytest.approx(before.mean())
    assert report["after"]["log_loss"] == pytest.approx(after.mean())
    assert report["gain"]["log_loss"] == pytest.approx(gains.mean())
    assert report["gain"]["standard_error"] == pytest.approx(gains.std(ddof=1) / sqrt(200))
    assert report["loss"] == pytest.approx(after.mean() + gains.std(ddof=1) / sqrt(200))


def best(rows: Material) -> str:
    """The measure of the least loss, the first of equals."""
    losses = {}
    for measure in of_kind("probability"):
        try:
            losses[measure.name] = measure.fit(rows).report["loss"]
        except Unfitting:
            continue
    return min(losses, key=lambda name: losses[name])


@pytest.mark.parametrize("classes", [2, 4])
def test_a_model_that_needs_no_calibration_is_left_alone(classes: int) -> None:
    chosen = [best(drawn(300, classes, seed=seed)) for seed in range(30)]
    assert chosen.count("none") >= 28


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("times", [0.4, 2.5])
def test_a_model_that_over_or_understates_is_calibrated(classes: int, times: float) -> None:
    chosen = [best(drawn(300, classes, times, seed)) for seed in range(10)]
    assert "none" not in chosen
    assert chosen.count("temperature") > 5


def test_a_model_whose_mistakes_no_temperature_mends_gets_a_curve() -> None:
    """Scores pushed towards 1: the order tells the truth, one number for both sides does not."""
    rows = drawn(2000)
    pushed = material(rows.spec, two(rows.scores[:, 1] ** 0.2), rows.labels)
    assert best(pushed) in ("isotonic", "venn-abers")


def test_too_few_rows_or_one_label_are_refused_in_a_sentence() -> None:
    few, alike = drawn(FEWEST - 1), drawn(60)
    with pytest.raises(Unfitting, match="19 calibration rows are too few to calibrate by"):
        UNCALIBRATED.fit(few)
    with pytest.raises(Unfitting, match="all calibration rows have the label b"):
        UNCALIBRATED.fit(material(alike.spec, alike.scores, np.ones(60, np.intp)))


@pytest.mark.parametrize("measure", of_kind("probability"), ids=lambda measure: measure.name)
def test_the_report_can_be_written_down_and_its_table_has_every_row(measure: Measure) -> None:
    report = measure.fit(drawn(250)).report
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    for side in ("before", "after"):
        assert sum(row["rows"] for row in report[side]["reliability"]) == report["rows"] == 250
