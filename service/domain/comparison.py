"""Two models' answers to the same rows, put side by side."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.domain.disagreement.flips import count_flips, flips
from service.domain.disagreement.gap import gaps
from service.domain.schema import FeatureBatch, ModelSpec, Scores
from service.domain.slices import Slice, members


@dataclass(frozen=True, slots=True)
class Comparison:
    """What one candidate's answers to one batch show, ready to be counted."""

    rows: Counter[str]
    """Compared rows by slice."""
    flips: dict[str, Counter[tuple[str, str]]]
    """Flipped rows by slice, then by (from, to)."""
    gaps: NDArray[np.float32]
    """Absolute score gap of each compared row."""
    seconds: float
    """CPU seconds of the candidate per row."""


def compare(
    production: ModelSpec,
    candidate: ModelSpec,
    rows: FeatureBatch,
    before: Scores,
    after: Scores,
    seconds: float,
    slices: tuple[Slice, ...],
) -> Comparison:
    """Flips and gaps of the candidate's scores ``after`` against production's ``before``.

    ``rows`` are canonical rows of the production schema; all three arrays have the same length.
    """
    codes = flips(production, candidate, before, after)
    masks = members(slices, rows)
    return Comparison(
        rows=Counter({name: int(mask.sum()) for name, mask in masks.items()}),
        flips={name: count_flips(codes[mask], production.classes) for name, mask in masks.items()},
        gaps=gaps(before, after),
        seconds=seconds,
    )
