"""How far the rows that arrived, compared or not, are from the reference data, variable by variable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from service.domain.drift.alerting import moved
from service.domain.drift.measure import Sample
from service.domain.drift.psi import Psi
from service.domain.drift.psi_excess import PsiExcess
from service.domain.drift.psi_z import PsiZ
from service.domain.evidence.tallied import Counts, Tallied

MOST_SHOWN = 50
"""Variables, those that changed most."""


def drift(tallies: Sequence[Tallied]) -> list[dict[str, Any]]:
    """Each variable's PSI against the reference data, largest excess first; see ``service.domain.drift.psi``.

    ``bins`` hold shares, 0 to 1, of the reference rows and of the rows that arrived. Without rows all is 0.
    """
    found = [_of(each) for each in tallies]
    found.sort(key=lambda each: -float(each["excess"]))
    return found[:MOST_SHOWN]


def _of(tallied: Tallied) -> dict[str, Any]:
    reference = np.array(tallied.variable.reference, dtype=np.float64)
    live = tallied.kept + tallied.left_out
    sample = Sample.of(tallied.variable, live)
    known = bool(reference.any() and live.any())
    return {
        "variable": tallied.variable.name,
        "psi": Psi().value(sample) if known else 0.0,
        "excess": PsiExcess().value(sample) if known else 0.0,
        "z": PsiZ().value(sample) if known else 0.0,
        "rows": int(live.sum()),
        "drifted": known and moved(sample),
        "bins": [
            {"label": label, "reference": before, "live": now}
            for label, before, now in zip(
                tallied.variable.names, _shares(reference), _shares(live), strict=True
            )
        ],
    }


def _shares(counts: Counts) -> list[float]:
    shares: list[float] = (counts / max(1.0, float(counts.sum()))).tolist()
    return shares
