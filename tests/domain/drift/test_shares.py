"""Missing and unseen shares: of all live rows, whatever the reference data has."""

from __future__ import annotations

import numpy as np
import pytest

from service.domain.drift.missing_share import MissingShare
from service.domain.drift.unseen_share import UnseenShare
from tests.domain.drift.samples import cut_by, ordered, sample_of, words


def test_missing_values_are_a_share_of_all_live_rows() -> None:
    assert MissingShare().value(ordered([0, 9, 0, 9], [1, 2, 0, 7])) == 0.7
    assert MissingShare().value(words([9, 9, 0], [3, 1, 0])) == 0.25


def test_values_beyond_either_end_and_words_without_a_row_are_unseen() -> None:
    assert UnseenShare().value(ordered([0, 9, 9, 0, 9], [1, 4, 0, 3, 2])) == 0.4
    assert UnseenShare().value(words([9, 9, 0], [0, 1, 3])) == 0.75


def test_about_one_healthy_row_in_as_many_as_the_reference_has_is_beyond_either_end() -> None:
    rng = np.random.default_rng(1)
    found = [
        UnseenShare().value(sample_of(cut_by(rng.normal(size=500)), rng.normal(size=500))) for _ in range(400)
    ]
    assert np.mean(found) == pytest.approx(2 / 501, rel=0.2)
