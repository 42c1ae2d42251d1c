"""Drift: what arrived, compared or left out, against the reference data."""

from __future__ import annotations

import json

import numpy as np
import pytest

from service.domain.binning import numbers
from service.domain.drift.alerting import LEAST_ROWS
from service.domain.drift.measure import Sample
from service.domain.drift.psi import Psi
from service.domain.drift.psi_excess import PsiExcess
from service.domain.drift.psi_z import PsiZ
from service.domain.evidence.drift import MOST_SHOWN, drift
from service.domain.evidence.tallied import COLUMNS, Tallied


def tallied(name: str, kept: list[float], left_out: list[float]) -> Tallied:
    """A variable with an even reference in two bins; rows in these, and without a value."""
    variable = numbers(f"feature:{name}", (1_000, 1_000), 0, (0.5,), 0.0, 1.0).variable
    compared, others = np.zeros((5, COLUMNS)), np.zeros(5)
    compared[[1, 2, 4], 0] = kept
    others[[1, 2, 4]] = left_out
    return Tallied(variable, compared, others)


def test_rows_count_whether_they_were_compared_or_not() -> None:
    (found,) = drift([tallied("a", [400, 100, 0], [300, 100, 100])])
    whole = Sample(np.array([1_000.0, 1_000, 0]), np.array([700.0, 200, 100]), 2, 2, ())
    for name, measure in {"psi": Psi(), "excess": PsiExcess(), "z": PsiZ()}.items():
        assert found[name] == pytest.approx(measure.value(whole))
    assert found["rows"] == 1_000
    assert found["bins"] == [
        {"label": "00 below 0", "reference": 0.0, "live": 0.0},
        {"label": "01 0 to 0.5", "reference": 0.5, "live": 0.7},
        {"label": "02 0.5 to 1", "reference": 0.5, "live": 0.2},
        {"label": "03 above 1", "reference": 0.0, "live": 0.0},
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
    assert [each["live"] for each in found["bins"]] == [0, 0, 0, 0, 0]


def test_what_changed_most_comes_first_and_the_list_is_short() -> None:
    tallies = [tallied(str(n), [500 + n, 500 - n, 0], [0] * 3) for n in range(2 * MOST_SHOWN)]
    found = drift(tallies)
    assert len(found) == MOST_SHOWN
    assert found[0]["variable"] == f"feature:{2 * MOST_SHOWN - 1}"
    assert [each["excess"] for each in found] == pytest.approx(
        sorted((each["excess"] for each in found), reverse=True)
    )
