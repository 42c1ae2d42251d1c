from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from load_tests.conformal_oracles import crepes_sets
from service.domain.uncertainty.aps import APS, APS_BY_CLASS, likelier_mass
from service.domain.uncertainty.conformal import part
from service.domain.uncertainty.label_sets import SetMeasure
from service.domain.uncertainty.lac import LAC, LAC_BY_CLASS, unlikeliness
from service.domain.uncertainty.measure import Asked, Material
from tests.domain.uncertainty.shams import classes


def asked(material: Material, confidence: float) -> Asked:
    return Asked(material.rows, material.scores, confidence)


@pytest.mark.parametrize("measure", [LAC_BY_CLASS, APS_BY_CLASS], ids=lambda measure: measure.name)
@pytest.mark.parametrize("confidence", [0.7, 0.8, 0.9, 0.95])
def test_sets_by_class_are_those_of_crepes_with_a_class_for_a_bin(
    measure: SetMeasure, confidence: float
) -> None:
    known, new = classes(203, 0), classes(400, 5)
    region = measure.restore(known.spec, measure.fit(known).arrays)
    own = measure.of_labels(known.scores)[np.arange(203), known.labels]
    theirs = crepes_sets(own, measure.of_labels(new.scores), confidence, known.labels)
    np.testing.assert_array_equal(region.columns(asked(new, confidence))["set"], theirs)


@pytest.mark.parametrize("measure", [LAC, APS, LAC_BY_CLASS, APS_BY_CLASS], ids=lambda measure: measure.name)
def test_rows_that_tie_with_calibration_rows_do_so_whatever_the_last_digits(measure: SetMeasure) -> None:
    """As a forest's do on more threads than packaging had; tenths of the rows would fall out at once."""
    known, new = classes(203, 0, digits=1), classes(400, 5, digits=1)
    region = measure.restore(known.spec, measure.fit(known).arrays)
    moved = np.random.default_rng(0).choice([-8e-7, 0, 8e-7], new.scores.shape)
    rounded = replace(new, scores=np.where(new.scores > 0, new.scores + moved, 0).astype(np.float32))
    rows = np.sort(new.scores, axis=1)
    apart = (np.diff(rows, axis=1) > 0.01).all(axis=1)  # else which of two comes first is rounding's to say
    for confidence in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        exact, found = (region.columns(asked(each, confidence))["set"][apart] for each in (new, rounded))
        np.testing.assert_array_equal(exact, found)


def test_every_class_is_covered_as_often_as_asked_for_though_the_model_neglects_one() -> None:
    """A model that gives the third class too little: one threshold for all covers it in half of the cases."""
    rates = {LAC: np.zeros(3), LAC_BY_CLASS: np.zeros(3)}
    splits = 40
    for split in range(splits):
        known, new = (neglecting(classes(count, seed + split)) for count, seed in ((400, 100), (2000, 500)))
        for measure, rate in rates.items():
            region = measure.restore(known.spec, measure.fit(known).arrays)
            covered = region.columns(asked(new, 0.9))["set"][np.arange(2000), new.labels]
            rate += np.bincount(new.labels, weights=covered, minlength=3) / np.bincount(new.labels) / splits
    assert rates[LAC][2] < 0.8
    assert rates[LAC_BY_CLASS] == pytest.approx([0.9, 0.9, 0.9], abs=0.015)


def neglecting(material: Material) -> Material:
    scores = material.scores * np.array([1, 1, 0.3], dtype=np.float32)
    return replace(material, scores=scores / scores.sum(axis=1, keepdims=True))


def test_a_class_with_too_few_rows_is_never_ruled_out_and_the_others_are() -> None:
    material = classes(300, 2)
    rare = np.flatnonzero(material.labels == 1)[8:]  # 8 are left, and 0.9 needs 9
    known = part(material, np.setdiff1d(np.arange(300), rare))
    fitted = LAC_BY_CLASS.fit(known)
    region = LAC_BY_CLASS.restore(known.spec, fitted.arrays)
    assert np.isinf(region.thresholds(0.9)).tolist() == [False, True, False]
    found = region.columns(asked(material, 0.9))["set"]
    assert found[:, 1].all()
    assert not found[:, [0, 2]].all()
    assert fitted.report["class_rows"]["b"] == 8
    assert fitted.report["most_confidence"] == 8 / 9


def test_a_class_that_no_calibration_row_has_is_never_ruled_out() -> None:
    known = part(classes(300, 2), np.flatnonzero(classes(300, 2).labels != 2))
    fitted = LAC_BY_CLASS.fit(known)
    region = LAC_BY_CLASS.restore(known.spec, fitted.arrays)
    found = region.columns(Asked(known.rows, known.scores, 0.5, frozenset({"p_values"})))
    assert found["set"][:, 2].all()
    assert (found["p_values"][:, 2] == 1).all()
    assert fitted.report["class_rows"] == {
        "a": int((known.labels == 0).sum()),
        "b": int((known.labels == 1).sum()),
        "c": 0,
    }
    assert fitted.report["at"][0]["class_coverage"]["c"] is None


def test_the_report_tells_what_happens_to_rows_that_were_not_learnt_from() -> None:
    """Of 2,000 rows, so that 0.03 is four standard deviations of a coverage."""
    known, new = classes(2000, 0), classes(100_000, 7)
    fitted = LAC.fit(known)
    region = LAC.restore(known.spec, fitted.arrays)
    for told in fitted.report["at"]:
        found = region.columns(asked(new, told["confidence"]))["set"]
        assert told["coverage"] == pytest.approx(told["confidence"], abs=0.03)
        assert told["size"] == pytest.approx(found.sum(axis=1).mean(), abs=0.06)
        assert told["empty"] == pytest.approx((found.sum(axis=1) == 0).mean(), abs=0.03)
        shares = [told["class_coverage"][name] for name in known.spec.classes]
        weights = np.bincount(known.labels) / 2000
        assert float(shares @ weights) == pytest.approx(told["coverage"])


def test_a_measure_is_any_way_to_judge_labels() -> None:
    doubled = SetMeasure("doubled", lambda scores: 2 * unlikeliness(scores))
    known, new = classes(99, 0), classes(50, 5)
    found = [
        measure.restore(known.spec, measure.fit(known).arrays).columns(asked(new, 0.9))["set"]
        for measure in (LAC, doubled, SetMeasure("other", likelier_mass))
    ]
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()
