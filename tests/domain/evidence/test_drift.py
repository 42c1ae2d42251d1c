"""Drift: what arrived, compared or left out, against the reference data."""

from __future__ import annotations

import json

import numpy as np
import pytest

from service.domain.evidence.drift import LEAST_ROWS, MOST_SHOWN, drift
from service.domain.evidence.psi import shift
from service.domain.evidence.tallied import COLUMNS, Tallied, Variable


def tallied(name: str, kept: list[float], left_out: list[float]) -> Tallied:
    """A variable with an even reference of three bins."""
    variable = Variable(f"feature:{name}", (1_000, 1_000, 0), edges=(0.5,))
    compared = np.zeros((3, COLUMNS))
    compared[:, 0] = kept
    return Tallied(variable, compared, np.array(left_out))


def test_rows_count_whether_they_were_compared_or_not() -> None:
    (found,) = drift([tallied("a", [400, 100, 0], [300, 100, 100])])
    whole = shift(np.array([1_000.0, 1_000, 0]), np.array([700.0, 200, 100]))
    assert (found["psi"], found["excess"], found["z"]) == (whole.psi, whole.excess, whole.z)
    assert found["rows"] == 1_000
    assert found["bins"] == [
        {"label": "below 0.5", "reference": 0.5, "live": 0.7},
        {"label": "0.5 or more", "reference": 0.5, "live": 0.2},
        {"label": "missing", "reference": 0.0, "live": 0.1},
    ]
    assert found["drifted"] is True
    json.dumps(found, allow_nan=False)


def test_few_rows_and_small_changes_are_no_drift() -> None:
    few, small = drift(
        [tallied("few", [LEAST_ROWS - 1, 0, 0], [0] * 3), tallied("small", [5_600, 4_400, 0], [0] * 3)]
    )
    assert few["excess"] > 0.1
    assert few["drifted"] is False
    assert small["z"] > 4
    assert small["drifted"] is False


def test_without_traffic_nothing_has_drifted() -> None:
    (found,) = drift([tallied("a", [0] * 3, [0] * 3)])
    assert (found["psi"], found["rows"], found["drifted"]) == (0, 0, False)
    assert [each["live"] for each in found["bins"]] == [0, 0, 0]


def test_what_changed_most_comes_first_and_the_list_is_short() -> None:
    tallies = [tallied(str(n), [500 + n, 500 - n, 0], [0] * 3) for n in range(2 * MOST_SHOWN)]
    found = drift(tallies)
    assert len(found) == MOST_SHOWN
    assert found[0]["variable"] == f"feature:{2 * MOST_SHOWN - 1}"
    assert [each["excess"] for each in found] == pytest.approx(
        sorted((each["excess"] for each in found), reverse=True)
    )
