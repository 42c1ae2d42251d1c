"""How far the rows that arrived, compared or not, are from the reference data, variable by variable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from service.domain.evidence.psi import shift
from service.domain.evidence.tallied import Counts, Tallied

LEAST_ROWS = 500
"""Fewer say nothing about drift."""
MOST_SHOWN = 50
"""Variables, those that changed most."""


def drift(tallies: Sequence[Tallied]) -> list[dict[str, Any]]:
    """Each variable's PSI against the reference data, largest excess first; see ``psi``.

    ``bins`` hold shares, 0 to 1, of the reference rows and of the rows that arrived.
    """
    found = [_of(each) for each in tallies]
    found.sort(key=lambda each: -float(each["excess"]))
    return found[:MOST_SHOWN]


def _of(tallied: Tallied) -> dict[str, Any]:
    reference = np.array(tallied.variable.reference, dtype=np.float64)
    live = tallied.kept + tallied.left_out
    found = shift(reference, live)
    return {
        "variable": tallied.variable.name,
        "psi": found.psi,
        "excess": found.excess,
        "z": found.z,
        "rows": int(live.sum()),
        "drifted": found.moved(LEAST_ROWS),
        "bins": [
            {"label": label, "reference": before, "live": now}
            for label, before, now in zip(
                tallied.variable.labels, _shares(reference), _shares(live), strict=True
            )
        ],
    }


def _shares(counts: Counts) -> list[float]:
    shares: list[float] = (counts / max(1.0, float(counts.sum()))).tolist()
    return shares
