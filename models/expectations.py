"""What packaging learns from the reference rows about the rows that callers will send."""

from __future__ import annotations

import numpy as np

from models.manifest import ExpectEntry, FeatureEntry, Manifest
from service.domain.schema import FeatureBatch

FEWEST = 20
"""Numbers that it takes for all being whole to be no chance."""
MOST_DISTINCT = 20
"""More than so many different whole numbers are an amount that somebody rounded, no count, grade or flag."""


def expecting(manifest: Manifest, rows: FeatureBatch) -> Manifest:
    """The manifest with what the reference rows show, wherever it does not say so itself.

    Args:
        manifest: as its author wrote it.
        rows: canonical reference rows; [rows, width].
    """
    if manifest.input.layout == "image":
        if manifest.input.range is not None:
            return manifest
        seen = float(rows.min()), float(rows.max())
        return manifest.model_copy(update={"input": manifest.input.model_copy(update={"range": seen})})
    features = tuple(_learnt(entry, rows[:, index]) for index, entry in enumerate(manifest.features))
    return manifest.model_copy(update={"features": features})


def _learnt(entry: FeatureEntry, column: FeatureBatch) -> FeatureEntry:
    present = column[~np.isnan(column)]
    expect = entry.expect
    learnt: dict[str, object] = {}
    if entry.missing == "allow" and expect.missing_rate is None:
        learnt["missing_rate"] = (len(column) - len(present)) / len(column)
    if entry.type == "string" and expect.categories is None:
        seen = tuple(word for code, word in enumerate(entry.categories) if (present == code).any())
        if 0 < len(seen) < len(entry.categories):
            learnt["categories"] = seen
    if entry.type == "float" and expect.whole is None and _all_whole(present):
        learnt["whole"] = True
    update: dict[str, object] = {"expect": ExpectEntry(**(expect.model_dump() | learnt))}
    if entry.type != "string" and entry.range is None and len(present):
        update["range"] = (float(present.min()), float(present.max()))
    return entry.model_copy(update=update)


def _all_whole(present: FeatureBatch) -> bool:
    """Whether the numbers count, grade or flag something."""
    if len(present) < FEWEST or not (present == np.floor(present)).all():
        return False
    return len(np.unique(present)) <= MOST_DISTINCT
