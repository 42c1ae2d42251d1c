from __future__ import annotations

import numpy as np
import pytest

from load_tests.conformal_oracles import crepes_sets, mapie_sets
from service.domain.uncertainty.label_sets import SLACK
from service.domain.uncertainty.lac import LAC, unlikeliness
from service.domain.uncertainty.measure import Asked
from tests.domain.uncertainty.shams import CLASSES, spec_of


@pytest.mark.parametrize("model", CLASSES)
@pytest.mark.parametrize("confidence", [0.7, 0.8, 0.9, 0.95])
def test_sets_are_those_of_mapie_and_crepes(model: str, confidence: float) -> None:
    known, new = CLASSES[model](203, 0), CLASSES[model](400, 5)
    region = LAC.restore(known.spec, LAC.fit(known).arrays)
    ours = region.columns(Asked(new.rows, new.scores, confidence))["set"]
    scores = known.scores.astype(float), new.scores.astype(float)
    np.testing.assert_array_equal(ours, mapie_sets(scores[0], known.labels, scores[1], confidence))
    np.testing.assert_array_equal(ours, crepes_sets(region.scores, unlikeliness(new.scores), confidence))


def test_labels_that_are_likely_enough_are_in_the_set_by_hand() -> None:
    """Seven rows whose true labels had 1/8 to 7/8: at 0.75 the sixth smallest unlikeliness is 6/8."""
    spec = spec_of(CLASSES["three classes"])
    region = LAC.restore(spec, {"scores": np.arange(1, 8) / 8})
    scores = np.array([[6, 1, 1], [2, 3, 3], [0, 8, 0]], dtype=np.float32) / 8
    rows = np.zeros((3, 3), dtype=np.float32)
    assert region.columns(Asked(rows, scores, 0.75))["set"].tolist() == [
        [True, False, False],
        [True, True, True],
        [False, True, False],
    ]
    assert region.columns(Asked(rows, scores, 0.5))["set"].tolist() == [
        [True, False, False],
        [False, False, False],  # none is as likely as the true label of every second row was
        [False, True, False],
    ]
    p_values = region.columns(Asked(rows, scores, 0.75, frozenset({"p_values"})))["p_values"]
    assert (p_values * 8).tolist() == [[7, 2, 2], [3, 4, 4], [1, 8, 1]]


def test_scores_of_float32_are_judged_without_another_rounding() -> None:
    """A row with the very scores of a calibration row stands level with it, whatever the digits."""
    known = CLASSES["three classes"](99, 0)
    region = LAC.restore(known.spec, LAC.fit(known).arrays)
    for confidence in np.arange(51, 99) / 100:
        threshold = region.thresholds(confidence)[0]
        own = region.nonconformity(region.evidence(Asked(known.rows, known.scores)), known.labels)
        (row,) = np.flatnonzero(own + SLACK == threshold)
        found = region.columns(Asked(known.rows[[row]], known.scores[[row]], confidence))["set"]
        assert found[0, known.labels[row]]
