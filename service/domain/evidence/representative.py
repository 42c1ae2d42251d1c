"""Whether the rows that were compared are like those that arrived and were not.

Rows are left out where the shadow is short of time, and that may well be where something is different: large
requests, a busy hour, one caller. What was not compared cannot be spoken for unless it looks the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.domain.drift.alerting import EXCESS, SURE
from service.domain.drift.measure import Sample
from service.domain.drift.psi import Psi
from service.domain.drift.psi_excess import PsiExcess
from service.domain.drift.psi_z import PsiZ
from service.domain.evidence.tallied import Tallied

NEGLIGIBLE = 0.01
"""Share of all rows that, left out, cannot change what is said about the whole."""
LEAST_ROWS = 100
"""Left out, and compared: fewer are too few to be told apart."""
MOST_SHOWN = 20
"""Variables, those that differ most."""


def representative(tallies: Sequence[Tallied]) -> dict[str, Any]:
    """``representative``: no variable's left-out rows are surely and largely unlike the compared ones.

    It is also true where too few rows were left out to matter (``NEGLIGIBLE``), and where there are too few
    to tell (``LEAST_ROWS``); of the latter ``judged`` is false. ``variables`` holds ``psi`` between both, its
    ``excess`` over what chance gives, and ``z``; see ``service.domain.drift.psi``.
    """
    kept = max((float(each.kept.sum()) for each in tallies), default=0.0)
    left_out = max((float(each.left_out.sum()) for each in tallies), default=0.0)
    found = [_apart(each) for each in tallies]
    matters = left_out >= NEGLIGIBLE * (kept + left_out)
    enough = min(kept, left_out) >= LEAST_ROWS
    found.sort(key=lambda each: -float(each["excess"]))
    unlike = any(each["excess"] > EXCESS and each["z"] > SURE for each in found)
    return {
        "representative": not (matters and enough and unlike),
        "judged": enough or not matters,
        "kept": int(kept),
        "left_out": int(left_out),
        "variables": found[:MOST_SHOWN],
    }


def _apart(tallied: Tallied) -> dict[str, Any]:
    """How far left-out rows lie from compared ones; without rows on either side they do not."""
    shown: dict[str, Any] = {"variable": tallied.variable.name, "psi": 0.0, "excess": 0.0, "z": 0.0}
    if tallied.kept.any() and tallied.left_out.any():
        sample = Sample.of(tallied.variable, tallied.left_out, tallied.kept)
        shown |= {
            "psi": Psi().value(sample),
            "excess": PsiExcess().value(sample),
            "z": PsiZ().value(sample),
        }
    return shown
