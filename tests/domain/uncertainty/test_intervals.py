from __future__ import annotations

import numpy as np
import pytest

from service.domain.uncertainty.absolute import ABSOLUTE
from service.domain.uncertainty.intervals import interval_score
from service.domain.uncertainty.measure import Asked, Measure, Unfitting
from service.domain.uncertainty.normalised import NORMALISED
from service.domain.uncertainty.quantile import QUANTILE
from tests.domain.uncertainty.shams import VALUES, values


def test_the_interval_score_is_the_width_and_a_fine_for_what_lies_outside() -> None:
    """Gneiting & Raftery (2007), equation 43, by hand: 2 / 0.1 for each unit outside at 0.9."""
    intervals = np.array([[0.0, 2.0]] * 4 + [[-np.inf, np.inf]])
    truth = np.array([1.0, 2.0, 2.5, -1.0, 7.0])
    assert interval_score(intervals, truth, 0.9).tolist() == pytest.approx([2, 2, 12, 22, np.inf])


@pytest.mark.parametrize("measure", [ABSOLUTE, NORMALISED, QUANTILE], ids=lambda measure: measure.name)
def test_the_loss_is_what_new_rows_will_cost(measure: Measure) -> None:
    known, new = VALUES["values and graphs"](1000, 0), VALUES["values and graphs"](20_000, 5)
    fitted = measure.fit(known)
    for told in fitted.report["at"]:
        found = measure.restore(known.spec, fitted.arrays).columns(
            Asked(new.rows, new.scores, told["confidence"], run=new.run)
        )["interval"]
        live = float(interval_score(found, new.labels, told["confidence"]).mean())
        assert told["loss"] == pytest.approx(live, rel=0.1)
        assert told["width"] == pytest.approx(float(np.diff(found, axis=1).mean()), rel=0.1)
        assert told["coverage"] == pytest.approx(told["confidence"], abs=0.03)
    assert fitted.report["loss"] == fitted.report["at"][1]["loss"]


def test_the_best_intervals_have_the_least_loss() -> None:
    """Noise grows tenfold over the rows: one width for all is worse than widths that follow the noise."""
    for material in (values(1000, 0), VALUES["values and graphs"](1000, 0)):
        assert NORMALISED.fit(material).report["loss"] < 0.9 * ABSOLUTE.fit(material).report["loss"]
    assert QUANTILE.fit(material).report["loss"] < 0.95 * ABSOLUTE.fit(material).report["loss"]


def test_without_rows_enough_for_a_finite_interval_there_is_no_loss() -> None:
    report = ABSOLUTE.fit(values(8, 0)).report
    assert report["loss"] is None
    assert report["at"][1] == {"confidence": 0.9, "coverage": 1.0, "width": None, "loss": None}


def test_a_measure_that_needs_more_rows_says_how_many() -> None:
    with pytest.raises(Unfitting, match="needs 60 calibration rows, there are 59"):
        NORMALISED.fit(values(59, 0))
    assert NORMALISED.fit(values(60, 0)).report["scored_rows"] == 40
