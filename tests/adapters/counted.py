"""Comparisons and reasons to count, and the samples that are shown of them."""

from __future__ import annotations

import numpy as np

from service.domain.comparison import Comparison, compare
from service.domain.conditions import Compare
from service.domain.disagreement.measure import Compared, Pair
from service.domain.disagreement.reasons import ReasonsComparison
from service.domain.evidence.measures import DISAGREEMENT
from service.domain.evidence.sheet import sheet
from service.domain.report import Samples
from service.domain.slices import Slice
from tests.domain.models import spec

RENTERS = Slice("renters", Compare(1, "==", 1.0))


def comparison(rows: int) -> Comparison:
    """Up to 20 rows of which the first flips; gaps grow from nought by a hundredth; the last half rents."""
    batch = np.zeros((rows, 3), np.float32)
    batch[rows - rows // 2 :, 1] = 1
    before = np.tile(np.array([0.9, 0.1], np.float32), (rows, 1))
    after = before + np.arange(rows, dtype=np.float32)[:, None] * np.array([-0.01, 0.01], np.float32)
    before[0] = after[0] = 0.6, 0.4
    pair = Pair(spec(), spec("new", threshold=0.3))
    return compare(sheet(pair, DISAGREEMENT), batch, Compared(before, after), 0.00015, (RENTERS,))


def reasons(rows: int, features: int = 3) -> ReasonsComparison:
    """Rows that are a quarter apart and share half their top features; feature n moved by n hundredths."""
    names = tuple(f"f{index}" for index in range(features))
    moved = np.tile(np.arange(features) / 100, (rows, 1))
    return ReasonsComparison(names, np.full(rows, 0.25), np.full(rows, 0.5), moved)


def value(samples: Samples, name: str, **labels: str) -> float | None:
    """One sample by its name after the prefix; None where it is absent."""
    named = {key.rstrip("_"): text for key, text in labels.items()}
    return samples.get((f"understudy_{name}", tuple(sorted(named.items()))))
