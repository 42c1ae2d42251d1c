"""Records and labels for the tests of the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from service.domain.labels import Answerer, Given, Label, Labelled, Record

CREDIT = Answerer("credit:1", "production", "binary", ("bad", "good"), 0.5, ("young", "rent"))
CANARY = Answerer("credit:2", "canary", "binary", ("bad", "good"), 0.7, ("young", "rent"))
HOUSES = Answerer("houses:1", "production", "regression", (), 0.5, ())
THEN, NOW = 1_000.0, 2_000.0


def record(
    name: str, rows: int = 1, *, first: int = 0, total: int = 0, who: Answerer = CREDIT, at: float = THEN
) -> Record:
    """An answer whose positive probability, or value, is 0.6 at first and 0.1 less in each next row."""
    positive = np.round(0.6 - 0.1 * np.arange(first, first + rows), 6).astype(np.float32)
    classes = np.stack([1 - positive, positive], axis=1)
    scores = classes if who.classes else positive[:, None]
    bits = np.arange(first, first + rows, dtype=np.uint32) % 4 if who.slices else None
    evidence = scores.astype(np.float64) * 2
    return Record(name, first, total or rows, at, who, scores, evidence, bits)


def given(name: str, *labels: Label, at: float = NOW) -> Given:
    return Given(name, labels, at)


class Pupil:
    """Learns how many rows of each model it saw; remembers every batch."""

    def __init__(self) -> None:
        self.batches: list[Labelled] = []

    def __call__(self, batches: Sequence[Labelled], learnt: Mapping[str, bytes]) -> dict[str, bytes]:
        self.batches += batches
        found: dict[str, bytes] = {}
        for batch in batches:
            tag = batch.answerer.tag
            before = int(found.get(tag, learnt.get(tag, b"0")))
            found[tag] = str(before + len(batch)).encode()
        return found

    @property
    def rows(self) -> int:
        return sum(len(batch) for batch in self.batches)
