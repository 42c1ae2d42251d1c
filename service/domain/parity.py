"""Does the served graph answer what the training framework answered?

Rule, for every output of every row: |served - trained| <= absolute + relative * |trained|. A number
that is not finite on either side breaks it, and so does a difference in shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Outputs = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class ParityReport:
    """The outcome of one comparison and the cell that came closest to the rule, or broke it most."""

    passed: bool
    rows: int
    """Rows compared."""
    worst_row: int | None = None
    """Index of the row with the largest difference beyond (or nearest to) its tolerance."""
    worst_output: str | None = None
    """Name of the output in that row, or its position where outputs have no names."""
    expected: float = 0.0
    """What training answered there."""
    actual: float = 0.0
    """What the served graph answered there."""
    difference: float = 0.0
    """|actual - expected|; infinite where one of them is not finite."""
    tolerance: float = 0.0
    """absolute + relative * |expected|."""
    broken: int = 0
    """Outputs outside their tolerance, over all rows."""
    problem: str | None = None
    """Why nothing could be compared cell by cell, for example different shapes."""

    def describe(self) -> str:
        """One line a person can act on."""
        if self.problem is not None:
            return self.problem
        where = (
            f"row {self.worst_row}, output {self.worst_output}: served {self.actual:.9g}, trained "
            f"{self.expected:.9g}, difference {self.difference:.3g} (allowed {self.tolerance:.3g})"
        )
        if self.passed:
            return f"{self.rows} rows agree; the closest call is {where}"
        return f"{self.broken} outputs of {self.rows} rows differ; worst is {where}"


def compare(
    expected: Outputs, actual: Outputs, absolute: float, relative: float, names: Sequence[str] = ()
) -> ParityReport:
    """Holds served outputs against those of training.

    Args:
        expected: [rows, outputs], the training framework's own.
        actual: [rows, outputs], the served graph's.
        absolute: allowed difference in the unit of the outputs.
        relative: allowed difference as a share of |expected|.
        names: one per output, for the report; positions are named where empty.

    Returns:
        A report, passed exactly when every cell obeys the rule. No rows at all do not pass.
    """
    trained, served = _floats(expected), _floats(actual)
    if trained.shape != served.shape or trained.ndim != 2:
        problem = f"served outputs have shape {served.shape}, training's have shape {trained.shape}"
        return ParityReport(passed=False, rows=len(trained) if trained.ndim else 0, problem=problem)
    if trained.size == 0:
        return ParityReport(passed=False, rows=0, problem="there are no golden rows to compare")
    finite = np.isfinite(trained) & np.isfinite(served)
    with np.errstate(invalid="ignore"):
        difference = np.where(finite, np.abs(served - trained), np.inf)
        tolerance = np.where(np.isfinite(trained), absolute + relative * np.abs(trained), 0.0)
    excess = difference - tolerance
    row, output = np.unravel_index(int(excess.argmax()), excess.shape)
    broken = int((excess > 0).sum())
    return ParityReport(
        passed=broken == 0,
        rows=len(trained),
        worst_row=int(row),
        worst_output=repr(names[int(output)]) if names else str(output),
        expected=float(trained[row, output]),
        actual=float(served[row, output]),
        difference=float(difference[row, output]),
        tolerance=float(tolerance[row, output]),
        broken=broken,
    )


def _floats(values: Any) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)
