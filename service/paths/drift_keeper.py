"""The journey of rows by bin: every second onto the metrics page, every ten into the store, and out again as
the document of ``/drift``.

One thread does it all. What is published rests on everything that the store has, by all replicas and all
lives, and on what this process counted beyond that; so a store that is away takes away the others' rows at
most.

Guarantee: a row that was counted reaches the store once, whatever dies and when, as long as the files of this
server outlive it: counts are in a mapped file, and before a batch goes to the store it is noted with what it
was made of. A process that is born again hands over the same batch under the same number first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from service.domain.drift.slots import (
    ModelKey,
    SlotBatch,
    Slots,
    Window,
    merged,
    slot_of,
    together,
    windows,
)
from service.errors import StoreError
from service.paths.patience import Patience

log = logging.getLogger("understudy.drift")

PAGE_SECONDS = 1.0
"""How often counts are moved to where they are scraped."""
STORE_SECONDS = 10.0
"""How often they are written, and windows are read: replicas write as well."""
SERVED_SECONDS = 3_600.0
"""A model without traffic says this often that it is served, so that nobody forgets it."""
SWEEP_SECONDS = 3_600.0
"""How often it is seen whether a model is to be forgotten."""
WARN_SECONDS = 60.0
"""The same trouble is logged at most this often."""
DAY = 86_400.0


class RowStore(Protocol):
    """Where rows by bin are kept; every method raises ``StoreError`` where a later try may help."""

    def add_rows(self, batch: SlotBatch) -> bool:
        """Adds a batch, whole; False where it is there already."""

    def rows(self, model: ModelKey) -> tuple[Slots, float | None]:
        """Everything ever added of a model by slot, and since when in seconds since 1970."""

    def forget_rows(self, before: float) -> bool:
        """Deletes one model that nobody counts since ``before``; whether there may be more."""


class Source(Protocol):
    """One model's counts, see ``service.paths.distributions``."""

    @property
    def model(self) -> ModelKey: ...

    def seen(self) -> NDArray[np.float64]:
        """Everything that was counted so far, in this life and those that left their file, [cells]."""


class Seen(NamedTuple):
    """What is known of one model's rows."""

    model: ModelKey
    since: float
    """When counting began, in seconds since 1970."""
    windows: Mapping[str, Window]


@dataclass(slots=True)
class _Book:
    """One model's rows on their way to the store and back."""

    source: Source
    writer: str
    since: float
    noted: NDArray[np.float64]
    """What of ``source`` is in ``waiting`` or went into a batch."""
    waiting: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    batch: SlotBatch | None = None
    """May or may not be in the store."""
    number: int = 0
    """Of the last batch."""
    unread: Slots = field(default_factory=dict)
    """What the store was given, or is to be given, since ``stored`` was read."""
    stored: Slots = field(default_factory=dict)
    written: float | None = None

    def collect(self, now: float) -> NDArray[np.float64]:
        """Takes in what was counted meanwhile, as rows of this moment; everything counted so far."""
        seen = self.source.seen()
        news = seen - self.noted
        if news.any():
            slots = {slot_of(now): news}
            self.waiting = merged(together([self.waiting, slots]), now)
            self.unread = merged(together([self.unread, slots]), now)
            self.noted = seen
        return seen

    def seal(self, served: bool) -> None:
        """Makes a batch of what waits; without rows only where it is to say that the model is ``served``."""
        if self.batch is None and (self.waiting or served):
            self.number += 1
            self.batch = SlotBatch(self.writer, self.number, self.source.model, self.waiting)
            self.waiting = {}

    def wrote(self, clock: float) -> None:
        """Notes that the store has the batch."""
        self.batch, self.written = None, clock

    def read(self, stored: Slots, since: float | None) -> None:
        """Takes up everything that the store has; only while no batch may or may not be in it."""
        self.stored, self.unread = stored, dict(self.waiting)
        self.since = self.since if since is None else since

    def show(self, now: float) -> Seen:
        """What is known."""
        known = together([self.stored, self.unread])
        return Seen(self.source.model, self.since, windows(known, self.since, now, len(self.noted)))

    def note(self) -> dict[str, Any]:
        """What a later life of this server has to know, ready for JSON."""
        return {
            "writer": self.writer,
            "number": self.number,
            "noted": self.noted.tolist(),
            "waiting": _plain(self.waiting),
            "batch": None if self.batch is None else _plain(self.batch.slots),
        }

    def resume(self, note: Mapping[str, Any]) -> None:
        """Goes on where the life that left ``note`` stopped; counts that are gone are begun anew."""
        self.writer, self.number = note["writer"], note["number"]
        noted, seen = np.array(note["noted"], np.float64), self.source.seen()
        if noted.shape == seen.shape and (noted <= seen).all():
            self.noted = noted
        self.waiting = self.unread = _slots(note["waiting"])
        if note["batch"] is not None:
            self.batch = SlotBatch(self.writer, self.number, self.source.model, _slots(note["batch"]))
            self.unread = together([self.waiting, self.batch.slots])


class DriftKeeper:
    """Shows, writes and reads, all in one thread of its own.

    Args:
        sources: one for each model and role.
        store: asked at every turn, so that the first one may open it.
        show: makes the metrics page of every source's counts, in order.
        publish: told what is known of every model, and whether the store is up to date: "ok" or why not.
        writer: this process, 32 hexadecimal digits.
        look: has a closer look at some rows; whether more of them wait.
        keep_days: how long the rows of a model that is served no more are kept.
        notes: what the last life of this server has left, by ``name_of`` each model.
        remember: keeps such notes; raises ``OSError``.
        tried: told how each try of the store went.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        store: Callable[[], RowStore],
        show: Callable[[Sequence[NDArray[np.float64]]], None],
        publish: Callable[[Sequence[Seen], str, float], None],
        writer: str,
        *,
        look: Callable[[], bool] = lambda: False,
        keep_days: float = 400.0,
        notes: Mapping[str, Any] | None = None,
        remember: Callable[[Mapping[str, Any]], None] = lambda notes: None,  # noqa: ARG005 - nobody is told
        tried: Callable[[bool], None] = lambda succeeded: None,  # noqa: ARG005 - the same
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._show = show
        self._publish = publish
        self._look = look
        # who is served without traffic says so only now and then
        self._keep_seconds = max(keep_days * DAY, 2 * SERVED_SECONDS)
        self._remember = remember
        self._tried = tried
        self._clock = clock
        self._now = now
        self._patience = Patience(clock)
        self._trouble: str | None = "it was not asked yet"
        self._looked: float | None = None
        self._shared: float | None = None
        self._swept: float | None = None
        self._told: float | None = None
        self._shown: list[NDArray[np.float64]] | None = None
        self._silent_until: dict[str, float] = {}
        # of models that this life does not count as well: a later one may, and goes on with their files
        self._notes = dict(notes or {})
        self._books = [
            _Book(each, writer, now(), np.zeros_like(each.seen(), dtype=np.float64)) for each in sources
        ]
        for book in self._books:
            note = self._notes.get(name_of(book.source.model))
            if note is not None:
                book.resume(note)

    def run_once(self, wait: float = 0.2) -> None:
        """Does what is due, after ``wait`` seconds at most."""
        now = self._clock()
        due = 0.0 if self._looked is None else self._looked + PAGE_SECONDS - now
        if due > 0:
            if not self._look():
                threading.Event().wait(min(wait, due))
            return
        self._looked = now
        self._collect()
        if self._shared is not None and now - self._shared < STORE_SECONDS:
            return
        if not self._patience.resting():
            self._use_store()
        elif self._told is not None and now - self._told < STORE_SECONDS:
            return
        self._tell()

    def close(self) -> None:
        """Shows and writes what is left, as far as the store takes it."""
        self._collect()
        self._use_store()
        if any(book.waiting for book in self._books) and self._trouble is None:  # an older batch went first
            self._use_store()
        self._tell()

    def _collect(self) -> None:
        counts = [book.collect(self._now()) for book in self._books]
        if self._shown is not None and all(map(np.array_equal, counts, self._shown)):
            return
        try:
            self._show(counts)
            self._shown = counts
        except Exception as error:  # a full disk, say
            self._complain("rows by bin could not be shown", error)

    def _use_store(self) -> None:
        try:
            self._write()
            self._read()
            self._sweep()
            self._trouble = None
            self._shared = self._clock()
            self._patience.succeeded()
        except StoreError as error:
            self._trouble = str(error)
            log.warning("rows by bin wait, again in %.1f s: %s", self._patience.failed(), error)
        except Exception as error:  # a bug of ours, or a disk that takes no notes
            self._trouble = repr(error)
            log.exception("rows by bin wait, again in %.1f s", self._patience.failed())
        self._tried(self._trouble is None)

    def _write(self) -> None:
        """Of each model the batch that may or may not be there, or what came together since."""
        for book in self._books:
            book.seal(book.written is None or self._clock() - book.written >= SERVED_SECONDS)
        # before anything is written: who dies in between has a later life try the very same
        self._notes.update({name_of(book.source.model): book.note() for book in self._books})
        self._remember(self._notes)
        store = self._store()
        for book in self._books:
            if book.batch is not None:
                with self._patience.timed():
                    store.add_rows(book.batch)
                book.wrote(self._clock())

    def _read(self) -> None:
        for book in self._books:
            book.read(*self._store().rows(book.source.model))

    def _sweep(self) -> None:
        if self._swept is not None and self._clock() - self._swept < SWEEP_SECONDS:
            return
        while self._store().forget_rows(self._now() - self._keep_seconds):
            pass
        self._swept = self._clock()

    def _tell(self) -> None:
        self._told, now = self._clock(), self._now()
        try:
            self._publish([book.show(now) for book in self._books], self._trouble or "ok", now)
        except Exception as error:  # a full disk, say, or a bug of ours
            self._complain("drift could not be published", error)

    def _complain(self, complaint: str, error: Exception) -> None:
        if self._clock() >= self._silent_until.get(complaint, 0.0):
            self._silent_until[complaint] = self._clock() + WARN_SECONDS
            log.error("%s", complaint, exc_info=error)


def name_of(model: ModelKey) -> str:
    """One name of all that tells it from others."""
    return f"{model.tag} {model.role} {model.digest}"


def _plain(slots: Slots) -> list[tuple[int, list[float]]]:
    return [(slot, counts.tolist()) for slot, counts in slots.items()]


def _slots(plain: Sequence[tuple[int, Sequence[float]]]) -> dict[int, NDArray[np.float64]]:
    return {slot: np.array(counts, np.float64) for slot, counts in plain}
