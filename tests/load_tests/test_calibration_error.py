"""What the report on calibration compares, and when it fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from load_tests import calibration_error
from load_tests.calibration_error import (
    AUTO,
    BENT,
    MODELS,
    PLANTED,
    Outcome,
    findings,
    judge,
    measure,
    section,
)
from models.demo.registry import RECIPES
from service.domain.uncertainty.measure import Fitted, Material
from service.domain.uncertainty.uncalibrated import UNCALIBRATED
from tests.domain.uncertainty.stated import drawn

PLAIN = Outcome(BENT, AUTO, 100, 0.4, 0.4, 0.0, 0.0, 0.1, 0.1, 0.02, 0.02, 0.02, "none 100 %")


@pytest.mark.parametrize(("after", "verdict"), [(0.403, "met"), (0.39, "met"), (0.41, "not met")])
def test_a_good_model_may_lose_next_to_nothing_by_calibration(after: float, verdict: str) -> None:
    (found,) = findings([replace(PLAIN, log_loss=after)])
    assert found.verdict == verdict


@pytest.mark.parametrize(("after", "share", "verdict"), [(0.42, 90, "met"), (0.5, 50, "not met")])
def test_most_of_what_was_planted_is_to_be_regained(after: float, share: float, verdict: str) -> None:
    bent = replace(PLAIN, model=f"{BENT}, bent", log_loss_before=0.6, log_loss=after)
    _, found = findings([PLAIN, bent])
    assert found.value == pytest.approx(share)
    assert found.verdict == verdict


def test_no_row_judges_what_has_learnt_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    learnt: list[set[float]] = []
    judged: list[int] = []

    class Spy(type(UNCALIBRATED)):
        def fit(self, material: Material) -> Fitted:
            learnt.append(set(material.rows[:, 0].tolist()))
            return super().fit(material)

    monkeypatch.setattr(calibration_error, "of_kind", lambda kind: (Spy(),))
    real = calibration_error._figures

    def figures(probabilities: np.ndarray, labels: np.ndarray) -> calibration_error.Figures:
        judged.append(len(labels))
        return real(probabilities, labels)

    monkeypatch.setattr(calibration_error, "_figures", figures)
    judge("m:1", drawn(90), splits=3)
    assert [len(each) for each in learnt] == [60, 60, 60]
    assert set(judged) == {30}
    assert len(set(map(frozenset, learnt))) == 3


def test_auto_mends_what_overstates_and_leaves_alone_what_does_not() -> None:
    honest = {each.measure: each for each in judge("m:1", drawn(600), splits=4)}
    bold = {each.measure: each for each in judge("m:2", drawn(600, times=3.0), splits=4)}
    assert honest[AUTO].chosen == "none 100 %"
    assert honest[AUTO].log_loss == honest["none"].log_loss == honest[AUTO].log_loss_before
    assert bold[AUTO].log_loss < bold["none"].log_loss
    assert bold[AUTO].change_high < 0
    assert bold[AUTO].ece < bold["none"].ece / 2
    assert honest["none"].ece == pytest.approx(honest["none"].ece_by_chance, rel=0.5)


def test_the_planted_models_stand_beside_the_one_they_are_made_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(calibration_error, "material_of", lambda home, tag: drawn(1500))
    outcomes = measure(tmp_path, splits=1)
    names = [each.model for each in outcomes if each.measure == AUTO]
    assert names == [BENT, *(f"{BENT}, {how}" for how in PLANTED), *MODELS[1:]]
    losses = {each.model: each.log_loss_before for each in outcomes if each.measure == AUTO}
    assert all(losses[f"{BENT}, {how}"] > losses[BENT] + 0.02 for how in PLANTED)
    made = section(outcomes)
    assert len(made.lines) == len(made.measured) == len(outcomes)
    assert len(made.findings) == len(MODELS) + len(PLANTED)


def test_every_measured_model_is_of_the_demo() -> None:
    assert set(MODELS) <= set(RECIPES)
