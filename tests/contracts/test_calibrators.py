"""What every calibration of probabilities promises, whatever the model states."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Mapping
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from service.domain.schema import Scores
from service.domain.uncertainty.measure import COLUMNS, Fitted, Material, Quantity, Unfitting
from service.domain.uncertainty.registry import BY_NAME, of_kind
from service.domain.uncertainty.reliability import log_losses, proper
from tests.contracts.watching import is_a_sentence
from tests.domain.uncertainty.stated import answers, asked, drawn, material, spec, two

TIMES = {"too sure": 3.0, "unsure": 0.3, "five classes": 2.0}
"""How far some models overstate their log-odds."""
MODELS: Mapping[str, Material] = {
    "honest": drawn(300),
    "too sure": drawn(300, times=TIMES["too sure"]),
    "unsure": drawn(300, times=TIMES["unsure"]),
    "forest with zeros and ones": drawn(300, times=3.0, decimals=1),
    "few rows": drawn(20),
    "one score for all": material(spec(2), two(np.full(240, 0.3)), (np.arange(240) % 4 == 0).astype(np.intp)),
    "always the wrong way round": material(spec(2), two(1 - np.arange(240.0) % 2), np.arange(240) % 2),
    "always right": material(spec(2), two(np.arange(240.0) % 2), np.arange(240) % 2),
    "five classes": drawn(300, 5, times=TIMES["five classes"]),
    "five classes with zeros and ones": drawn(300, 5, times=3.0, decimals=1),
    "a class without rows": material(spec(3), drawn(240, 3).scores, np.arange(240) % 2),
}
EVERY = [measure.name for measure in of_kind("probability")]
TWO_CLASSES = [name for name, rows in MODELS.items() if rows.spec.task == "binary"]
DECLINES = {"venn-abers": MODELS.keys() - set(TWO_CLASSES), "isotonic": {"few rows"}}
CASES = [(name, model) for name in EVERY for model in MODELS if model not in DECLINES.get(name, ())]

each_case = pytest.mark.parametrize(("name", "model"), CASES)


@cache
def fit(name: str, model: str) -> Fitted:
    return BY_NAME[name].fit(MODELS[model])


@cache
def at_work(name: str, model: str) -> Quantity:
    return BY_NAME[name].restore(MODELS[model].spec, fit(name, model).arrays)


def unheard_of(model: str) -> Scores:
    """What the model might answer to other rows, with certainties of each class among them."""
    classes = MODELS[model].spec.outputs
    return np.concatenate([np.eye(classes, dtype=np.float32), drawn(40, classes, times=2.0, seed=9).scores])


def calibrated(name: str, model: str, scores: Scores) -> NDArray[np.float64]:
    found: NDArray[np.float64] = at_work(name, model).columns(asked(scores))["calibrated"]
    return found


def test_the_measures_are_those_of_the_manual_with_doing_nothing_first() -> None:
    assert EVERY == ["none", "temperature", "venn-abers", "isotonic"]


@each_case
def test_probabilities_lie_within_0_and_1_and_add_up(name: str, model: str) -> None:
    scores = unheard_of(model)
    for some in (scores, MODELS[model].scores, scores[:0]):
        found = calibrated(name, model, some)
        assert found.dtype == np.float64
        assert found.shape == some.shape
        assert ((found >= 0) & (found <= 1)).all()  # which no NaN is
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-12)


@each_case
def test_a_row_alone_is_calibrated_as_among_others(name: str, model: str) -> None:
    scores = unheard_of(model)
    extra = ("venn_abers",) if name == "venn-abers" else ()
    together = at_work(name, model).columns(asked(scores, *extra))
    alone = [at_work(name, model).columns(asked(row[None], *extra)) for row in scores]
    assert together.keys() <= COLUMNS.keys()
    for column, found in together.items():
        np.testing.assert_allclose([each[column][0] for each in alone], found, rtol=1e-9, atol=1e-15)
        assert all(each.keys() == together.keys() and each[column].dtype == found.dtype for each in alone)


@pytest.mark.parametrize(("name", "model"), [case for case in CASES if case[1] in TWO_CLASSES])
def test_a_higher_score_of_two_classes_never_gets_a_lower_probability(name: str, model: str) -> None:
    found = calibrated(name, model, two(np.linspace(0, 1, 401)))[:, 1]
    assert (np.diff(found) >= -1e-15).all()


@each_case
def test_the_same_rows_teach_the_same(name: str, model: str) -> None:
    again = BY_NAME[name].fit(MODELS[model])
    assert again.report == fit(name, model).report
    assert again.arrays.keys() == fit(name, model).arrays.keys()
    for key, array in again.arrays.items():
        np.testing.assert_array_equal(array, fit(name, model).arrays[key])


@each_case
def test_what_was_learnt_survives_a_file(name: str, model: str) -> None:
    file = io.BytesIO()
    np.savez(file, **fit(name, model).arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as kept:
        restored = BY_NAME[name].restore(MODELS[model].spec, dict(kept))
    scores = unheard_of(model)
    found = restored.columns(asked(scores))["calibrated"]
    np.testing.assert_array_equal(found, calibrated(name, model, scores))


@each_case
def test_rows_are_only_read(name: str, model: str) -> None:
    rows = MODELS[model]
    scores, labels = rows.scores.copy(), rows.labels.copy()
    for array in (scores, labels):
        array.setflags(write=False)
    answers(BY_NAME[name], material(rows.spec, scores, labels), scores)
    np.testing.assert_array_equal(scores, rows.scores)


@each_case
def test_all_are_judged_by_the_same_ruler(name: str, model: str) -> None:
    """What the served probabilities lose is the same in every report, and what doing nothing loses."""
    report, none = fit(name, model).report, fit("none", model).report
    assert report["before"] == none["before"] == none["after"]
    assert report["loss"] == pytest.approx(report["after"]["log_loss"] + report["gain"]["standard_error"])
    assert none["gain"] == {"log_loss": 0, "standard_error": 0}


@pytest.mark.parametrize(
    ("name", "model"), [case for case in CASES if case[0] != "none" and case[1] in TIMES]
)
def test_a_model_that_misstates_itself_loses_less_on_new_rows_once_calibrated(name: str, model: str) -> None:
    fresh = drawn(20_000, MODELS[model].spec.outputs, TIMES[model], seed=77)
    before = log_losses(proper(fresh.scores), fresh.labels).mean()
    after = log_losses(calibrated(name, model, fresh.scores), fresh.labels).mean()
    assert after < before


@pytest.mark.parametrize("name", DECLINES)
def test_a_model_that_cannot_be_calibrated_is_declined_in_a_sentence(name: str) -> None:
    for model in DECLINES[name]:
        with pytest.raises(Unfitting) as declined:
            fit(name, model)
        assert is_a_sentence(declined.value), model


@pytest.mark.parametrize("name", EVERY)
def test_a_regression_is_declined_in_a_sentence(name: str) -> None:
    rows = np.zeros((300, 1), np.float32)
    with pytest.raises(Unfitting) as declined:
        BY_NAME[name].fit(Material(spec(1), rows, rows, np.arange(300.0), rows))
    assert is_a_sentence(declined.value)


def test_answering_needs_no_scipy() -> None:
    """It would cost every worker 75 MB."""
    program = (
        "import sys; from service.domain.uncertainty.registry import MEASURES; assert MEASURES;"
        "import service.domain.uncertainty.entropy; print('scipy' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
