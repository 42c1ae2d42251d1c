"""How undecided a model is, in bits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy as of_scipy

from service.domain.uncertainty.entropy import entropy
from tests.domain.uncertainty.stated import drawn


@pytest.mark.parametrize("classes", [2, 7])
def test_entropy_is_scipys_for_a_row_alone_and_for_many(classes: int) -> None:
    scores = drawn(50, classes, decimals=1).scores
    wanted = of_scipy(scores.astype(np.float64), base=2, axis=1)
    np.testing.assert_allclose(entropy(scores), wanted, atol=1e-6)
    np.testing.assert_allclose([entropy(row[None])[0] for row in scores], entropy(scores), rtol=1e-12)


def test_certainty_has_no_entropy_and_a_toss_up_has_all_there_is() -> None:
    scores = np.array([[0, 1, 0, 0], [0.25, 0.25, 0.25, 0.25], [0.5, 0, 0.5, 0]], np.float32)
    assert entropy(scores).tolist() == [0, 2, 1]
    assert [entropy(row[None]).tolist() for row in scores] == [[0], [2], [1]]


def test_a_score_that_rounding_left_above_one_is_no_negative_entropy() -> None:
    above = np.nextafter(np.float32(1), np.float32(2))
    for rows in (1, 3):
        assert entropy(np.tile(np.array([[0, above]], np.float32), (rows, 1))).tolist() == [0] * rows


def test_no_rows_have_no_entropies() -> None:
    assert entropy(np.empty((0, 3), np.float32)).shape == (0,)
