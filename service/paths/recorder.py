"""The journey of a record: keep what was answered, join it with what turned out to be true, let go of it.

It runs in the shadow, never on the edge. Whatever the store does, rows wait in a bounded queue or are shed
and counted; a store that fails is tried again after a pause.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.domain.evidence.paired import Settle
from service.domain.labels import Answerer, Joined, Learn, Record
from service.domain.observation import Outcome, Parts, ShadowBatch, share_of
from service.domain.slices import Slice, slice_bits
from service.errors import StoreError
from service.paths.patience import Patience

log = logging.getLogger("understudy.recorder")

Judge: TypeAlias = Callable[[ShadowBatch], NDArray[np.float64] | None]
"""What a conformal measure needs to judge any label of these rows later, [rows, k], or None."""

DAY = 86_400.0
LOOK_SECONDS = 1.0
"""How often labels are joined, and how long an answer waits for others to be written with."""
SWEEP_SECONDS = 60.0
"""How often it is seen what is too old or too much."""
RESTORE_SECONDS = 30.0
"""How often what was learnt is looked up: other replicas join labels as well."""
TURNS = 20
"""Transactions of one kind in a row, before the others get theirs."""


class Page(Protocol):
    """The ledger's page of records."""

    def count(self, outcome: Outcome, senders: NDArray[np.int16]) -> None: ...

    def bury(self, sender: int, handed: int) -> None:
        """Counts what a dead shadow held."""


class RecordStore(Protocol):
    """Where records are kept; every method raises ``StoreError`` where a later try may help."""

    def write(self, answers: Sequence[Record]) -> set[tuple[str, int]]:
        """Writes records, and gives the (request id, first row) of those that were not there before."""

    def join(self, learn: Learn, settle: Settle | None) -> Joined:
        """Joins what labels and answers have come, both models' included where there is a ``settle``."""

    def look_again(self, settle: Settle) -> None:
        """Finds labels for the next ``join`` that others joined who did not know all that ``settle`` does."""

    def learnt(self) -> Mapping[str, bytes]:
        """Everything that was learnt so far, by key."""

    def measure(self, most_rows: int) -> None:
        """Finds out what is too much for the sweeps that follow."""

    def sweep(self, before: float) -> bool:
        """Deletes a little of what is too old or too much; whether more is left."""


@dataclass(frozen=True, slots=True)
class RecordLimits:
    """How much is kept, and how much may wait."""

    rate: float = 1.0
    """Share of the mirrored requests, 0 to 1; a request id always falls on the same side."""
    keep_days: float = 30.0
    most_rows: int = 10_000_000
    """Rows of answers in the store, and deliveries of labels, of which long ones count for more."""
    queue_rows: int = 100_000
    queue_bytes: int = 64 << 20
    """What the waiting rows' arrays take."""
    batch: int = 500
    """Records of one transaction, which holds up labels on their way in."""


class _Waiting(NamedTuple):
    batch: ShadowBatch
    parts: Parts
    answered_at: float
    since: float


@dataclass(slots=True)
class Recorder:
    """Writes, joins and forgets, all in one thread of its own; ``offer`` belongs to the receiver's."""

    account: Page
    store: Callable[[], RecordStore]
    """Asked at every turn, so that the first one may open it."""
    answerers: tuple[Answerer | None, ...]
    """Production, then each candidate; None for one that could not be loaded."""
    slices: tuple[Slice, ...]
    limits: RecordLimits
    judge: Judge | None = None
    learn: Learn = lambda batches, learnt: {}  # noqa: ARG005 - a Learn
    settle: Settle | None = None
    """What labels of rows that both models answered add to the evidence; None where there is none."""
    joined: Callable[[Joined], None] = lambda found: None  # noqa: ARG005 - counts what it is told
    restore: Callable[[Mapping[str, bytes]], None] | None = None
    """Told what was learnt, by this process or any other: before anything is recorded, and now and then."""
    tried: Callable[[bool], None] = lambda succeeded: None  # noqa: ARG005 - told how each try of the store went
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    _queue: deque[_Waiting] = field(default_factory=deque)
    _queued: int = 0
    _queued_bytes: int = 0
    _ready: threading.Condition = field(default_factory=threading.Condition)
    _records: list[tuple[int, Record]] = field(default_factory=list)
    """Sender and record, taken from the queue and not written yet."""
    _patience: Patience = field(init=False)
    _first: int = 0
    """Which of the steps is first at the next turn."""
    _looked: float = 0.0
    _swept: float | None = None
    _restored: float | None = None
    _broken: set[str] = field(default_factory=set)
    """What failed at its last try in a way that time does not mend, a table that is not ours, say."""

    def __post_init__(self) -> None:
        self._patience = Patience(self.clock)

    def offer(self, batch: ShadowBatch, parts: Parts) -> None:
        """Queues what was answered; called by the receiver, and never waits."""
        if self.limits.rate < 1.0:
            kept = np.array([share_of(name) < self.limits.rate for name in parts.request_ids], dtype=np.bool_)
            rows = np.repeat(kept, parts.counts)
            self.account.count("sampled_out", batch.senders[~rows])
            batch, parts = batch.take(rows), parts.take(kept)
        if not len(batch):
            return
        with self._ready:
            rows_after, bytes_after = self._queued + len(batch), self._queued_bytes + batch.nbytes
            if rows_after > self.limits.queue_rows or bytes_after > self.limits.queue_bytes:
                self.account.count("queue_full", batch.senders)
                return
            self._queue.append(_Waiting(batch, parts, self.now(), self.clock()))
            self._queued, self._queued_bytes = rows_after, bytes_after
            if self._queued >= self.limits.batch:
                self._ready.notify()

    def waiting(self) -> bool:
        """Whether something is not written yet."""
        return bool(self._queue or self._records)

    def run_once(self, wait: float = 0.2) -> None:
        """Does what is due, after ``wait`` seconds at most."""
        self._await(wait)
        if self._patience.resting():
            return
        try:
            self._take_up()
            steps = (self._write_due, self._join_due, self._sweep_due)
            order = (*steps[self._first :], *steps[: self._first])
            self._first = (self._first + 1) % len(steps)  # what fails, or is slow, is not always the same
            for step in order:
                if not self._patience.resting():
                    step(self.clock())
        except StoreError as error:
            self.tried(False)
            log.warning("records wait, again in %.1f s: %s", self._patience.failed(), error)

    def close(self) -> None:
        """Writes what still waits, as far as the store takes it, and counts the rest."""
        try:
            self._write(everything=True)
        except StoreError as error:
            log.error("records are lost: %s", error)
        while self._queue:
            self._take()
        self._count("store_error", self._records)
        self._records = []

    def _await(self, wait: float) -> None:
        """Until a batch is full or ``wait`` is over."""
        with self._ready:
            if self._queued < self.limits.batch and not self._records:
                self._ready.wait(wait)
        if self._patience.resting():
            threading.Event().wait(min(wait, self._patience.left))

    def _take_up(self) -> None:
        now = self.clock()
        if self.restore is None or (self._restored is not None and now - self._restored < RESTORE_SECONDS):
            return
        learnt = self.store().learnt()
        self._restored = now
        try:
            self.restore(learnt)
        except Exception:  # a bug of ours; what comes is recorded all the same
            log.exception("what was learnt could not be taken up")

    def _write_due(self, now: float) -> None:
        enough = self._records or self._queued >= self.limits.batch
        if enough or (self._queue and now - self._queue[0].since >= LOOK_SECONDS):
            self._write()
            self._succeeded()

    def _join_due(self, now: float) -> None:
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._join()
            self._succeeded()

    def _succeeded(self) -> None:
        self._patience.succeeded()
        self.tried(not self._broken)

    def _sweep_due(self, now: float) -> None:
        if self._swept is None or now - self._swept >= SWEEP_SECONDS:
            self._swept = now
            self._sweep()

    def _write(self, everything: bool = False) -> None:
        turns = 0
        while self.waiting() and (everything or (turns < TURNS and not self._patience.resting())):
            while self._queue and len(self._records) < self.limits.batch:
                self._take()
            taken = self._records[: self.limits.batch]
            self._store(taken)
            self._records = self._records[len(taken) :]
            turns += 1

    def _store(self, taken: Sequence[tuple[int, Record]]) -> None:
        """One transaction; raises ``StoreError`` where the same may be tried again."""
        if not taken:
            return
        try:
            with self._patience.timed():
                new = self.store().write([record for _, record in taken])
        except StoreError:
            raise
        except Exception:  # a bug of ours: it would come again, and records behind these wait
            log.exception("%d records could not be written", len(taken))
            self._count("store_error", taken)
            self._broken.add("write")
            return
        self._broken.discard("write")
        written: list[tuple[int, Record]] = []
        repeated: list[tuple[int, Record]] = []
        for sender, record in taken:
            key = (record.request_id, record.first)
            (written if key in new else repeated).append((sender, record))
            new.discard(key)
        self._count("written", written)
        self._count("repeated", repeated)

    def _take(self) -> None:
        """Makes records of the oldest rows in the queue."""
        with self._ready:
            batch, parts, answered_at, _ = self._queue.popleft()
            self._queued -= len(batch)
            self._queued_bytes -= batch.nbytes
        evidence = self._evidence(batch)
        bits = slice_bits([part.where.mask(batch.rows) for part in self.slices])
        ends = np.cumsum(parts.counts).tolist()
        firsts, totals = parts.firsts.tolist(), parts.totals.tolist()
        start = 0
        for index, (name, end) in enumerate(zip(parts.request_ids, ends, strict=True)):
            rows, start = slice(start, end), end
            if rows.start == end:
                continue
            sender, number = int(batch.senders[rows.start]), int(batch.answerers[rows.start])
            who = self.answerers[number] if number < len(self.answerers) else None
            if who is None:  # another configuration's edge, or a candidate that only the edge could load
                self.account.count("store_error", batch.senders[rows])
                continue
            record = Record(
                name,
                firsts[index],
                totals[index],
                answered_at,
                who,
                batch.scores[rows],
                None if evidence is None else evidence[rows],
                None if bits is None else bits[rows],
            )
            self._records.append((sender, record))

    def _evidence(self, batch: ShadowBatch) -> NDArray[np.float64] | None:
        if self.judge is None:
            return None
        try:
            found = self.judge(batch)
        except Exception:  # the answers are worth keeping without it
            log.exception("answers are recorded without evidence")
            return None
        return None if found is None else np.ascontiguousarray(found, dtype=np.float64)

    def _join(self) -> None:
        for _ in range(TURNS):
            try:
                with self._patience.timed():
                    found = self.store().join(self.learn, self.settle)
            except StoreError:
                raise
            except Exception:  # a bug of ours; the labels stay where they are
                log.exception("labels could not be joined")
                self._broken.add("join")
                return
            self._broken.discard("join")
            self.joined(found)
            if not found.more or self._patience.resting():
                return

    def _sweep(self) -> None:
        store, before = self.store(), self.now() - self.limits.keep_days * DAY
        try:
            if self.settle is not None:
                store.look_again(self.settle)
            store.measure(self.limits.most_rows)
        except StoreError as error:  # what is too old goes all the same
            log.warning("what is too much in the store, or was overlooked, is not known: %s", error)
        for _ in range(TURNS):
            with self._patience.timed():
                more = store.sweep(before)
            if not more:
                return
            if self._patience.resting():
                break
        self._swept = None  # the rest goes in the next turn

    def _count(self, outcome: Outcome, records: Sequence[tuple[int, Record]]) -> None:
        if records:
            senders = np.array([sender for sender, _ in records], dtype=np.int16)
            self.account.count(outcome, np.repeat(senders, [len(record.scores) for _, record in records]))


@dataclass(frozen=True, slots=True)
class NoRecorder:
    """Stands for a recorder that could not be made."""

    account: Page

    def offer(self, batch: ShadowBatch, parts: Parts) -> None:  # noqa: ARG002 - a Recorder's signature
        """Counts the rows; nobody records them."""
        self.account.count("store_error", batch.senders)
