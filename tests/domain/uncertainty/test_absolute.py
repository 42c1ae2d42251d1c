from __future__ import annotations

import numpy as np
import pytest

from load_tests.conformal_oracles import crepes_intervals, mapie_intervals
from service.domain.uncertainty.absolute import ABSOLUTE
from service.domain.uncertainty.measure import Asked
from tests.domain.uncertainty.shams import spec_of, values


@pytest.mark.parametrize("confidence", [0.7, 0.8, 0.9, 0.95])
def test_intervals_are_those_of_mapie_and_crepes(confidence: float) -> None:
    known, new = values(203, 0), values(400, 5)
    region = ABSOLUTE.restore(known.spec, ABSOLUTE.fit(known).arrays)
    ours = region.columns(Asked(new.rows, new.scores, confidence))["interval"]
    served = known.scores.astype(float), new.scores.astype(float)
    theirs = mapie_intervals(served[0], known.labels, served[1], confidence)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    residuals = known.labels - served[0][:, 0]
    np.testing.assert_allclose(ours, crepes_intervals(residuals, served[1][:, 0], confidence), rtol=1e-12)


def test_the_interval_reaches_as_far_as_the_residual_of_the_rank_by_hand() -> None:
    region = ABSOLUTE.restore(spec_of(values), {"scores": np.arange(1.0, 10.0)})
    rows, scores = np.zeros((2, 3), dtype=np.float32), np.array([[10.0], [-2.5]], dtype=np.float32)
    assert region.columns(Asked(rows, scores, 0.8))["interval"].tolist() == [[2, 18], [-10.5, 5.5]]
    assert region.columns(Asked(rows, scores, 0.91))["interval"].tolist() == [[-np.inf, np.inf]] * 2
