"""Batches of rows by bin for the tests of the store."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from service.adapters.store.store import Store
from service.domain.drift.slots import ModelKey, SlotBatch, slot_of

CREDIT = ModelKey("credit:1", "production", "0" * 32)
SHADOW = CREDIT._replace(role="candidate")
SLOT = slot_of(time.time())


def rows(
    number: int,
    slots: Mapping[int, Sequence[float]] | None = None,
    *,
    writer: str = "a" * 32,
    model: ModelKey = CREDIT,
) -> SlotBatch:
    counts = {slot: np.array(found, np.float64) for slot, found in (slots or {}).items()}
    return SlotBatch(writer, number, model, counts)


def read(store: Store, model: ModelKey = CREDIT) -> dict[int, list[float]]:
    return {slot: counts.tolist() for slot, counts in sorted(store.rows(model)[0].items())}
