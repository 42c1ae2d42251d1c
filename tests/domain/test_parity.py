"""The parity rule, cell by cell."""

from __future__ import annotations

import numpy as np
import pytest

from service.domain.parity import compare

TRAINED = np.array([[0.2, 0.8], [0.5, 0.5], [0.0, 1.0]])


def test_equal_outputs_pass() -> None:
    report = compare(TRAINED, TRAINED.copy(), 0.0, 0.0)
    assert report.passed
    assert (report.rows, report.broken, report.difference) == (3, 0, 0.0)


@pytest.mark.parametrize(("off", "passes"), [(0.0099, True), (0.0101, False)])
def test_the_absolute_tolerance_is_the_border(off: float, passes: bool) -> None:
    served = TRAINED.copy()
    served[1, 0] += off
    assert compare(TRAINED, served, 0.01, 0.0).passed is passes


@pytest.mark.parametrize(("off", "passes"), [(0.99, True), (1.01, False)])
def test_the_relative_tolerance_grows_with_the_trained_value(off: float, passes: bool) -> None:
    assert compare(np.array([[-100.0]]), np.array([[-100.0 + off]]), 0.0, 0.01).passed is passes


def test_both_tolerances_add_up() -> None:
    report = compare(np.array([[10.0]]), np.array([[10.25]]), 0.2, 0.01)
    assert report.passed
    assert report.tolerance == pytest.approx(0.3)


def test_the_worst_cell_is_named_with_both_values_and_the_difference() -> None:
    served = TRAINED.astype(np.float32)
    served[0, 0] += 0.01
    served[2, 1] -= 0.25
    report = compare(TRAINED, served, 1e-5, 1e-5, ("p:bad", "p:good"))
    assert (report.passed, report.broken) == (False, 2)
    assert (report.worst_row, report.worst_output) == (2, "'p:good'")
    assert (report.expected, report.actual) == (1.0, 0.75)
    assert report.difference == pytest.approx(0.25)
    line = report.describe()
    assert "\n" not in line
    for part in ("row 2", "'p:good'", "0.75", "difference 0.25", "2 outputs"):
        assert part in line


def test_the_worst_cell_is_the_one_furthest_beyond_its_own_tolerance() -> None:
    trained = np.array([[1000.0, 0.0]])
    report = compare(trained, np.array([[1001.0, 0.5]]), 0.0, 0.01)
    assert report.worst_output == "1"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["trained", "served"])
def test_a_number_that_is_not_finite_fails_and_is_named(bad: float, side: str) -> None:
    trained, served = TRAINED.copy(), TRAINED.copy()
    (trained if side == "trained" else served)[1, 1] = bad
    report = compare(trained, served, 1e9, 1e9)
    assert not report.passed
    assert (report.worst_row, report.worst_output) == (1, "1")
    assert repr(bad).lstrip("-") in report.describe()


def test_the_same_infinity_on_both_sides_fails() -> None:
    both = np.array([[np.inf]])
    assert not compare(both, both, 1.0, 1.0).passed


@pytest.mark.parametrize("served", [TRAINED[:, :1], TRAINED[:2], TRAINED[:, 0]])
def test_a_difference_in_shape_fails_and_names_both_shapes(served: np.ndarray) -> None:
    report = compare(TRAINED, served, 1.0, 1.0)
    assert not report.passed
    assert str(TRAINED.shape) in report.describe()
    assert str(served.shape) in report.describe()


def test_no_rows_do_not_pass() -> None:
    report = compare(np.empty((0, 2)), np.empty((0, 2)), 1.0, 1.0)
    assert not report.passed
    assert "no golden rows" in report.describe()
