"""The journey of evidence: from the witnesses into the store, and out again as a verdict every second.

One thread does it all, so nothing that a store does is felt by a comparison. What is published rests on
everything that the store has, by all replicas and all lives, and on what this process knows beyond that; so a
store that is away takes away the others' evidence at most, and the document says so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from service.domain.disagreement.measure import Sums
from service.domain.evidence.books import Books, Key, Page
from service.domain.evidence.cases import Case
from service.domain.evidence.paired import Batch
from service.domain.evidence.timeline import PAGES
from service.errors import StoreError
from service.paths.dossier import Dossier, Lost, Stored
from service.paths.patience import Patience

log = logging.getLogger("understudy.keeper")

LOOK_SECONDS = 1.0
"""How often witnesses are asked, and a verdict is published."""
READ_SECONDS = 5.0
"""How often the store is read: labels are joined by another thread, and replicas write as well."""
SWEEP_SECONDS = 60.0
"""How often old evidence is let go."""
TURNS = 20
"""Transactions in a row for one candidate, before the others get theirs."""
WARN_SECONDS = 60.0
"""The same trouble is logged at most this often: what fails may fail every second."""
DAY = 86_400.0

What: TypeAlias = Literal["cases", "answers"]


class EvidenceStore(Protocol):
    """Where evidence is kept; every method raises ``StoreError`` where a later try may help."""

    def add(self, batch: Batch) -> bool:
        """Adds a batch, whole; False where it is there already."""

    def sums(self, key: Key) -> tuple[Books, float | None]:
        """Everything ever added, and since when in seconds since 1970."""

    def hours(self, key: Key, page: Page) -> Sequence[tuple[int, Sums]]:
        """One page by hours since 1970, the oldest first."""

    def cases(self, key: Key) -> Sequence[Case]:
        """All cases that are kept."""

    def keep_cases(self, key: Key, worst: int, sample: int, before: float) -> None:
        """Keeps the best cases of those since ``before``."""

    def forget(self, before: float) -> bool:
        """Deletes some of what is older than ``before``; whether there may be more."""


@dataclass(slots=True)
class Keeper:
    """Collects, writes, judges and publishes, all in one thread of its own.

    Args:
        dossiers: one for each candidate that is shadowed.
        store: asked at every turn, so that the first one may open it.
        publish: told a document by each candidate's tag.
        keep_days: how long cases, answers and sums by the hour are kept.
        remember: told the ledger's counts, by tag, that the store has: a later life's ``accounted``.
        lost: told of whom (tag), what and how many found no room; of answers the rows.
        tried: told whether the last try of the store succeeded.
    """

    dossiers: tuple[Dossier, ...]
    store: Callable[[], EvidenceStore]
    publish: Callable[[Mapping[str, Any]], None]
    keep_days: float = 90.0
    remember: Callable[[Mapping[str, Mapping[str, int]]], None] = lambda counts: None  # noqa: ARG005 - nobody is told
    lost: Callable[[str, What, int], None] = lambda tag, what, count: None  # noqa: ARG005 - the same
    tried: Callable[[bool], None] = lambda succeeded: None  # noqa: ARG005 - the same
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    _patience: Patience = field(init=False)
    _trouble: str | None = "it was not asked yet"
    """Why the store is not up to date."""
    _looked: float | None = None
    _read: float | None = None
    _swept: float | None = None
    _documents: dict[str, Any] = field(default_factory=dict)
    _remembered: dict[str, Mapping[str, int]] = field(default_factory=dict)
    _silent_until: dict[str, float] = field(default_factory=dict)
    """By the complaint."""

    def __post_init__(self) -> None:
        self._patience = Patience(self.clock)

    def run_once(self, wait: float = 0.2) -> None:
        """Does what is due, after ``wait`` seconds at most."""
        due = 0.0 if self._looked is None else self._looked + LOOK_SECONDS - self.clock()
        if due > 0 and any(dossier.behind for dossier in self.dossiers) and not self._patience.resting():
            self._use_store(self._write_all)
            return
        if due > 0:
            threading.Event().wait(min(wait, due))
        if due > wait:
            return
        self._looked = self.clock()
        self._collect()
        if not self._patience.resting():
            self._use_store(self._read_due, self._write_all, self._sweep_due)
        self._judge()

    def close(self) -> None:
        """Writes what is left, as far as the store takes it, and counts the rest."""
        self._collect(everything=True)
        try:
            if self._read is None:
                self._read_due()
            for dossier in self.dossiers:
                self._write(dossier, everything=True)
            self._trouble = None
        except StoreError as error:
            self._trouble = str(error)
            log.error("evidence of this life is lost: %s", error)
        self._remember()
        self._judge()
        for dossier in self.dossiers:
            self._lose(dossier, dossier.abandon())

    def _collect(self, everything: bool = False) -> None:
        for dossier in self.dossiers:
            try:
                self._lose(dossier, dossier.collect(self.now(), everything))
            except Exception as error:  # a bug of ours; the others' evidence goes on
                self._complain(f"{dossier.tag}: evidence could not be collected", error)

    def _use_store(self, *steps: Callable[[], None]) -> None:
        try:
            for step in steps:
                if not self._patience.resting():  # a slow step has the others wait for the next turn
                    step()
            self._trouble = None
            self._patience.succeeded()
        except StoreError as error:
            self._trouble = str(error)
            log.warning("evidence waits, again in %.1f s: %s", self._patience.failed(), error)
        except Exception as error:  # a bug of ours
            self._trouble = repr(error)
            log.exception("evidence waits, again in %.1f s", self._patience.failed())
        self.tried(self._trouble is None)
        self._remember()

    def _write_all(self) -> None:
        for dossier in self.dossiers:
            self._write(dossier)

    def _write(self, dossier: Dossier, everything: bool = False) -> None:
        turns = 0
        while (batch := dossier.batch()) is not None:
            if not everything and (turns == TURNS or self._patience.resting()):
                return
            self._add(dossier, batch)
            turns += 1

    def _add(self, dossier: Dossier, batch: Batch) -> None:
        try:
            with self._patience.timed():
                self.store().add(batch)
        except StoreError:
            raise
        except Exception as error:  # a bug of ours: sums are tried again, what is beside them is not
            log.exception("%s: evidence could not be written", dossier.tag)
            lost = dossier.lighten()
            if lost is None:
                raise StoreError(f"{dossier.tag}: {error!r}") from error
            self._lose(dossier, lost)
        else:
            dossier.wrote()
            self._remember()  # at once: who dies before has a later life count these rows' outcomes twice

    def _read_due(self) -> None:
        if self._read is not None and self.clock() - self._read < READ_SECONDS:
            return
        store = self.store()
        for dossier in self.dossiers:
            if dossier.settled:  # else what is read may be counted twice
                key = dossier.pairing.key
                books, since = store.sums(key)
                hours = {page: store.hours(key, page) for page in PAGES}
                dossier.take_up(Stored(books, since, hours, store.cases(key)))
        self._read = self.clock()

    def _sweep_due(self) -> None:
        if self._swept is not None and self.clock() - self._swept < SWEEP_SECONDS:
            return
        store, before = self.store(), self.now() - self.keep_days * DAY
        self._swept = self.clock()
        for dossier in self.dossiers:
            with self._patience.timed():
                store.keep_cases(dossier.pairing.key, dossier.limits.worst, dossier.limits.sample, before)
        for _ in range(TURNS):
            with self._patience.timed():
                more = store.forget(before)
            if not more:
                return
            if self._patience.resting():
                break
        self._swept = None  # the rest goes in the next turn

    def _remember(self) -> None:
        counts = {dossier.tag: dossier.written for dossier in self.dossiers}
        if counts == self._remembered:
            return
        try:
            self.remember(counts)
            self._remembered = counts
        except Exception as error:  # a full disk, say: a later life may count some rows' outcomes twice
            self._complain("what is accounted for could not be noted", error)

    def _judge(self) -> None:
        for dossier in self.dossiers:
            try:
                seen = dossier.seen(self.now(), self._trouble or "ok")
                self._documents[dossier.tag] = dossier.judge(seen)
            except Exception as error:  # a bug of ours; the last verdict stays, and its time with it
                self._complain(f"{dossier.tag} is not judged", error)
        try:
            self.publish(dict(self._documents))
        except Exception as error:  # a full disk, say
            self._complain("verdicts could not be published", error)

    def _complain(self, complaint: str, error: Exception) -> None:
        if self.clock() >= self._silent_until.get(complaint, 0.0):
            self._silent_until[complaint] = self.clock() + WARN_SECONDS
            log.error("%s", complaint, exc_info=error)

    def _lose(self, dossier: Dossier, lost: Lost) -> None:
        if lost.cases:
            self.lost(dossier.tag, "cases", lost.cases)
        if lost.answers:
            self.lost(dossier.tag, "answers", lost.answers)
