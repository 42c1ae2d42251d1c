from __future__ import annotations

import numpy as np
import pytest

from load_tests.conformal_oracles import Fixed, crepes_sets, mapie_sets
from service.domain.uncertainty.aps import APS, likelier_mass
from service.domain.uncertainty.label_sets import SLACK
from service.domain.uncertainty.lac import LAC
from service.domain.uncertainty.measure import Asked
from tests.domain.uncertainty.shams import CLASSES


@pytest.mark.parametrize("confidence", [0.7, 0.8, 0.9, 0.95])
def test_sets_are_those_of_mapie_whose_random_numbers_are_all_one(confidence: float) -> None:
    """MAPIE then takes all of the last label's probability off, and keeps that label."""
    known, new = CLASSES["three classes"](203, 0), CLASSES["three classes"](400, 5)
    region = APS.restore(known.spec, APS.fit(known).arrays)
    ours = region.columns(Asked(new.rows, new.scores, confidence))["set"]
    scores = known.scores.astype(float), new.scores.astype(float)
    theirs = mapie_sets(scores[0], known.labels, scores[1], confidence, "aps", Fixed(1.0))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("model", CLASSES)
@pytest.mark.parametrize("confidence", [0.7, 0.8, 0.9, 0.95])
def test_sets_are_those_of_crepes(model: str, confidence: float) -> None:
    known, new = CLASSES[model](203, 0), CLASSES[model](400, 5)
    region = APS.restore(known.spec, APS.fit(known).arrays)
    ours = region.columns(Asked(new.rows, new.scores, confidence))["set"]
    level = region.scores + SLACK  # sums that only rounding keeps apart
    np.testing.assert_array_equal(ours, crepes_sets(level, likelier_mass(new.scores), confidence))


def test_a_label_waits_for_all_that_are_likelier_and_the_first_of_equals() -> None:
    scores = np.array([[0.5, 0.125, 0.375], [0.25, 0.5, 0.25], [1, 0, 0]], dtype=np.float32)
    assert likelier_mass(scores).tolist() == [[0, 0.875, 0.5], [0.5, 0, 0.75], [0, 1, 1]]
    many = np.full((1, 1024), 1 / 1024, dtype=np.float32)
    many[0, 100] = 0
    assert likelier_mass(many)[0, [0, 1, 99, 101, 1023, 100]].tolist() == [
        place / 1024 for place in (0, 1, 99, 100, 1022, 1023)
    ]


@pytest.mark.parametrize("confidence", [0.5, 0.6, 0.8, 0.9, 0.99])
@pytest.mark.parametrize("model", CLASSES)
def test_no_set_is_empty_or_leaves_out_a_likelier_label(model: str, confidence: float) -> None:
    known, new = CLASSES[model](203, 0), CLASSES[model](400, 5)
    found = APS.restore(known.spec, APS.fit(known).arrays).columns(Asked(new.rows, new.scores, confidence))
    for labels, scores in zip(found["set"], new.scores, strict=True):
        assert labels[scores.argmax()]
        assert labels.all() or scores[labels].min() >= scores[~labels].max()


def test_sure_and_unsure_rows_are_covered_more_evenly_than_by_lac() -> None:
    known, new = CLASSES["three classes"](3000, 0), CLASSES["three classes"](20_000, 5)
    surest = new.scores.max(axis=1)
    ranges = {}
    for measure in (LAC, APS):
        region = measure.restore(known.spec, measure.fit(known).arrays)
        covered = region.columns(Asked(new.rows, new.scores, 0.9))["set"][np.arange(20_000), new.labels]
        shares = [covered[(surest >= low) & (surest < low + 0.2)].mean() for low in (0.3, 0.5, 0.7)]
        ranges[measure] = np.ptp(shares)
    assert ranges[APS] < 0.7 * ranges[LAC]


def test_of_two_classes_sets_are_those_of_lac_where_the_confidence_asks_for_more_than_one_label() -> None:
    """Both then rule a label out by the other one's probability alone."""
    known, new = CLASSES["two classes"](2000, 0), CLASSES["two classes"](1000, 5)
    right = float((known.scores.argmax(axis=1) == known.labels).mean())
    asked = Asked(new.rows, new.scores, min(0.99, right + 0.05))
    found = [measure.restore(known.spec, measure.fit(known).arrays).columns(asked) for measure in (LAC, APS)]
    np.testing.assert_array_equal(found[0]["set"], found[1]["set"])
