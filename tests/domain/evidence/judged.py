"""Facts about a candidate with any counts that a test wants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.disagreement.measure import Pair
from service.domain.evidence.facts import Facts
from service.domain.evidence.measures import DISAGREEMENT, JUDGEMENT
from service.domain.evidence.sheet import Sheet, sheet
from service.domain.slices import ALL
from tests.domain.models import spec

CLASSES = Pair(spec(), spec("next"))
VALUES = Pair(spec(task="regression"), spec("next", task="regression"), spread=2.0)


def agreement(
    pair: Pair = CLASSES,
    rows: float = 10_000,
    flips: float = 0,
    gap: float = 0.0,
    within: float | None = None,
) -> NDArray[np.float64]:
    """Sums of compared rows, all of which have the same ``gap``."""
    found: dict[str, float] = {"rows": rows, "gap/capped": rows * gap, "gap/deviation": rows * gap * gap}
    found["tolerance/within"] = rows if within is None else within
    if pair.production.classes:
        before, after = pair.production.classes[:2]
        found[f"flips/{before} -> {after}"] = flips
    return _sums(sheet(pair, DISAGREEMENT), found)


def labelled(
    pair: Pair = CLASSES, rows: float = 5_000, gained: float = 0, lost: float = 0, loss: float = 0.0
) -> NDArray[np.float64]:
    """Sums of labelled rows, on all of which the candidate's loss is larger by ``loss``."""
    found = {"rows": rows, "loss/difference": rows * loss, "loss/deviation": rows * loss * loss}
    if pair.production.classes:
        found |= {"accuracy/candidate_only": gained, "accuracy/production_only": lost}
    return _sums(sheet(pair, JUDGEMENT), found)


def facts(
    compared: NDArray[np.float64] | None = None,
    labels: NDArray[np.float64] | None = None,
    pair: Pair = CLASSES,
    outcomes: Mapping[str, int] | None = None,
    slices: Mapping[str, NDArray[np.float64] | None] | None = None,
    **other: Any,
) -> Facts:
    """A candidate that agreed on 10,000 rows unless something else is said; no labels unless they are."""
    seen = agreement(pair) if compared is None else compared
    known = {ALL: labels, **(slices or {})}
    return Facts(
        agreement=sheet(pair, DISAGREEMENT),
        compared=seen,
        judgement=sheet(pair, JUDGEMENT),
        labelled={name: sums for name, sums in known.items() if sums is not None},
        itself=sheet(Pair(pair.production, pair.production), DISAGREEMENT),
        noise=other.pop("noise", {}),
        outcomes={"compared": int(seen[0]), **(outcomes or {})},
        slices=tuple(slices or ()),
        **other,
    )


def _sums(columns: Sheet, found: Mapping[str, float]) -> NDArray[np.float64]:
    sums = columns.empty()
    for name, value in found.items():
        sums[columns.place(name)] = value
    return sums
