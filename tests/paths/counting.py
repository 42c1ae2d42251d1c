"""Bins, a store and a drift keeper with fakes around them, and a clock that is set by hand."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.drift.slots import ModelKey, SlotBatch, Slots, together
from service.errors import StoreError
from service.paths.drift_keeper import DriftKeeper, Seen

WALL = 300.0 * 5_000_000
MODEL = ModelKey("m:prod", "production", "0" * 32)
SHADOW = ModelKey("m:new", "candidate", "1" * 32)


class FakeBins:
    """Two bins a variable, below 1 and not, in the order of ``variables``."""

    def __init__(self, *variables: str) -> None:
        self.variables = variables
        self.calls: list[dict[str, list[float]]] = []
        self.error: Exception | None = None

    def counts(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        if self.error is not None:
            raise self.error
        self.calls.append({name: np.asarray(values).tolist() for name, values in columns.items()})
        parts = [
            np.bincount((columns.get(name, np.empty(0)) >= 1).astype(int), minlength=2)
            for name in self.variables
        ]
        return np.concatenate(parts).astype(np.float64)


class FakeSource:
    """Counts that a test puts there; they outlive the keeper, as the file does."""

    def __init__(self, model: ModelKey, cells: int = 3) -> None:
        self.model = model
        self.cells = np.zeros(cells)

    def seen(self) -> NDArray[np.float64]:
        return self.cells.copy()


class FakeStore:
    """Adds up in memory as the real one does; may fail before or after it has done its work."""

    def __init__(self) -> None:
        self.slots: dict[ModelKey, Slots] = {}
        self.since: dict[ModelKey, float] = {}
        self.numbers: Counter[tuple[ModelKey, str]] = Counter()
        self.batches: list[SlotBatch] = []
        self.error: Exception | None = None
        self.fails_after = False
        self.forgotten: list[float] = []
        self.left = 0

    def add_rows(self, batch: SlotBatch) -> bool:
        self._fail(not self.fails_after)
        self.batches.append(batch)
        self.since.setdefault(batch.model, WALL)
        place = (batch.model, batch.writer)
        new = batch.number > self.numbers[place]
        if new:
            assert batch.number == self.numbers[place] + 1
            self.numbers[place] = batch.number
            self.slots[batch.model] = together([self.slots.get(batch.model, {}), batch.slots])
        self._fail(self.fails_after)
        return new

    def rows(self, model: ModelKey) -> tuple[Slots, float | None]:
        self._fail(True)
        return dict(self.slots.get(model, {})), self.since.get(model)

    def forget_rows(self, before: float) -> bool:
        self._fail(True)
        self.forgotten.append(before)
        self.left -= 1
        return self.left >= 0

    def total(self, model: ModelKey = MODEL) -> list[float]:
        found = list(self.slots.get(model, {}).values())
        return np.sum(found, axis=0).tolist() if found else []

    def _fail(self, now: bool) -> None:
        if self.error is not None and now:
            raise self.error


class DriftWorld:
    """One life of a shadow's drift keeper; another life of the same server is made by ``reborn``."""

    def __init__(
        self,
        store: FakeStore | None = None,
        *,
        sources: Sequence[FakeSource] | None = None,
        notes: Mapping[str, Any] | None = None,
        writer: str = "w" * 32,
        now: float = 1_000.0,
        keep_days: float = 400.0,
    ) -> None:
        self.now = now
        self.store = store or FakeStore()
        self.sources = list(sources or [FakeSource(MODEL)])
        self.pages: list[list[list[float]]] = []
        self.published: list[tuple[Sequence[Seen], str]] = []
        self.notes: Mapping[str, Any] = notes or {}
        self.tries: list[bool] = []
        self.looks = 0
        self.bug: Exception | None = None
        self.keeper = DriftKeeper(
            self.sources,
            lambda: self.store,
            lambda counts: self.pages.append([each.tolist() for each in counts]),
            lambda seen, store, now: self._publish(seen, store),
            writer,
            look=self._look,
            keep_days=keep_days,
            notes=notes,
            remember=self._remember,
            tried=self.tries.append,
            clock=lambda: self.now,
            now=lambda: self.now + WALL,
        )

    def reborn(self, writer: str = "x" * 32) -> DriftWorld:
        """The next life, after a kill: with the counts and notes that files keep."""
        return DriftWorld(self.store, sources=self.sources, notes=self.notes, writer=writer, now=self.now)

    def turn(self, *rows: float, seconds: float = 1.0) -> None:
        """Counts some rows, and a turn of the keeper ``seconds`` later."""
        if rows:
            self.sources[0].cells += np.array(rows)
        self.now += seconds
        self.keeper.run_once(wait=0.0)

    def window(self, name: str, source: int = 0) -> list[float]:
        """What the last document was made of."""
        return self.published[-1][0][source].windows[name].counts.tolist()

    def fail(self, reason: str = "the disk is full", after: bool = False) -> None:
        self.store.error, self.store.fails_after = StoreError(reason), after

    def recover(self) -> None:
        self.store.error = None

    def _publish(self, seen: Sequence[Seen], store: str) -> None:
        if self.bug is not None:
            raise self.bug
        self.published.append((seen, store))

    def _remember(self, notes: Mapping[str, Any]) -> None:
        self.notes = json.loads(json.dumps(notes))

    def _look(self) -> bool:
        self.looks -= 1
        return self.looks > 0
