"""The shadow's journey: take rows that were answered, ask a candidate, compare, record.

Every row ends in exactly one outcome (``service.domain.observation.OUTCOMES``). A candidate that
raises, answers no number, answers too late or dies is data, never an error of the service.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.domain.breaker import Breaker, allows, failed, succeeded, tripped
from service.domain.comparison import Comparison, compare
from service.domain.disagreement.measure import Compared
from service.domain.evidence.sheet import Sheet
from service.domain.observation import Observation, Outcome, ShadowBatch, join
from service.domain.projection import Projection
from service.domain.schema import FeatureBatch, ModelSpec, Scores
from service.domain.slices import Slice
from service.errors import DeadlineError, InferenceError, text_for_logs
from service.paths.reasons import Explaining
from service.paths.witness import Witness

log = logging.getLogger("understudy.shadow")

WARN_SECONDS = 10.0
"""A candidate's oddities are logged at most this often; the counters have them all."""


class Infer(Protocol):
    """One model under a deadline; raises ``InferenceError`` or ``DeadlineError``."""

    def __call__(self, batch: FeatureBatch, due: float) -> Scores: ...


class Account(Protocol):
    """One candidate's page in the ledger."""

    def count(self, outcome: Outcome, senders: NDArray[np.int16]) -> None: ...

    def bury(self, sender: int, handed: int) -> None:
        """Counts what a dead shadow held: the rows up to ``handed`` that have no outcome yet."""

    def set_running(self, running: bool) -> None: ...

    def set_breaker_open(self, is_open: bool) -> None: ...

    def crashes(self) -> int: ...

    def clear_crashes(self) -> None: ...


class Counts(Protocol):
    """Where the rows that one candidate answered are counted by bin."""

    def count(self, rows: FeatureBatch, scores: Scores) -> None: ...


class Sink(Protocol):
    """Where one candidate's comparisons are counted."""

    def compared(self, comparison: Comparison) -> None: ...


@dataclass(frozen=True, slots=True)
class ShadowLimits:
    """Bounds of the shadow's patience and memory."""

    deadline: float = 2.0
    """Seconds a row may wait, and seconds a run may take."""
    queue_rows: int = 50_000
    """Rows that may wait for one candidate."""
    queue_bytes: int = 64 << 20
    """The same in bytes of their arrays."""
    batch_rows: int = 512
    """Rows of one run at most."""


@dataclass(slots=True)
class CandidateShadow:
    """One candidate behind its own queue, deadline and breaker; works in one thread of its own."""

    sheet: Sheet
    """The measures, of production and the candidate; at least flips and gap."""
    project: Projection
    infer: Infer
    answer_as_production: Infer
    """Production's answer to rows that the canary answered."""
    slices: tuple[Slice, ...]
    account: Account
    sink: Sink
    limits: ShadowLimits
    breaker: Breaker = field(default_factory=Breaker)
    clock: Callable[[], float] = time.monotonic
    explaining: Explaining | None = None
    """Set from outside once it is prepared."""
    witness: Witness | None = None
    """Keeps the evidence; None where nobody wants it."""
    distributions: Counts | None = None
    """Counts compared rows by the candidate's own bins; None where nobody asks."""
    _queue: deque[ShadowBatch] = field(default_factory=deque)
    _queued: int = 0
    _queued_bytes: int = 0
    _step: int = 0
    _silent_until: float = 0.0
    _ready: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self._step = self.limits.batch_rows
        crashes = self.account.crashes()
        if not crashes:
            self._set_breaker(self.breaker)  # the ledger may still show the last life's
        else:
            self._set_breaker(tripped(self.breaker, self.clock(), crashes - 1))
            log.warning("%s was running when the shadow died, %d times in a row", self.candidate.tag, crashes)

    @property
    def candidate(self) -> ModelSpec:
        return self.sheet.pair.candidate

    def offer(self, batch: ShadowBatch) -> None:
        """Queues rows for the candidate's thread; called by the receiver."""
        with self._ready:
            rows, size = self._queued + len(batch), self._queued_bytes + batch.nbytes
            if not self._queue or (rows <= self.limits.queue_rows and size <= self.limits.queue_bytes):
                self._queue.append(batch)
                self._queued, self._queued_bytes = rows, size
                self._ready.notify()
                return
        self._leave_out("queue_full", batch)

    def run_once(self, wait: float = 0.5) -> bool:
        """Works off one batch; False where none came within ``wait`` seconds."""
        batch = self._next(wait)
        if batch is None:
            self._study()
            return False
        if self._too_old(batch):
            self._leave_out("deadline", batch)
        elif not allows(self.breaker, self.clock()):
            self._leave_out("breaker_open", batch)
        else:
            self._work(batch)
        return True

    def waiting(self) -> bool:
        """Whether rows are queued."""
        return bool(self._queue)

    def _next(self, wait: float) -> ShadowBatch | None:
        with self._ready:
            if not self._queue:
                self._ready.wait(wait)
            if not self._queue:
                return None
            taken = [self._queue.popleft()]
            rows = len(taken[0])
            while (
                self._queue
                and rows + len(self._queue[0]) <= self._step
                and self._too_old(self._queue[0]) == self._too_old(taken[0])
            ):
                rows += len(self._queue[0])
                taken.append(self._queue.popleft())
            batch = join(taken)
            if rows > self._step:
                self._queue.appendleft(batch.take(slice(self._step, None)))
                batch = batch.take(slice(0, self._step))
            self._queued -= len(batch)
            self._queued_bytes -= batch.nbytes
            return batch

    def _too_old(self, batch: ShadowBatch) -> bool:
        return self.clock() - batch.received > self.limits.deadline

    def _work(self, batch: ShadowBatch) -> None:
        due = self.clock() + self.limits.deadline
        self.account.set_running(True)
        observation = self._observe(batch, due)
        self.account.set_running(False)
        if observation.scores is not None:
            self._set_breaker(succeeded(self.breaker, self.clock()))
            self.account.clear_crashes()
            self._step = min(self._step * 2, self.limits.batch_rows)
            self._compare(batch, observation)
        elif observation.error == "deadline":
            self._step = max(1, self._step // 2)
            if observation.seconds > self.limits.deadline / 2:  # else it was the shadow that got no CPU
                self._fail(observation, batch)
            self._leave_out("deadline", batch)
        else:
            self._isolate(batch, observation)

    def _observe(self, batch: ShadowBatch, due: float) -> Observation:
        start = time.thread_time()
        try:
            scores = self.infer(self.project(batch.rows), due)
        except DeadlineError as error:
            return Observation(None, "deadline", time.thread_time() - start, str(error))
        except InferenceError as error:
            return Observation(None, "candidate_error", time.thread_time() - start, text_for_logs(error))
        except Exception as error:  # in the projection, say: the rows are still to be accounted for
            log.exception("%s", self.candidate.tag)
            return Observation(None, "candidate_error", time.thread_time() - start, text_for_logs(error))
        if not np.isfinite(scores).all(axis=1).any():
            return Observation(None, "candidate_error", time.thread_time() - start, "it answers no number")
        return Observation(scores, seconds=time.thread_time() - start)

    def _isolate(self, batch: ShadowBatch, observation: Observation) -> None:
        """Halves a batch that failed until the rows to blame stand alone."""
        if len(batch) == 1:
            self._fail(observation, batch)
            self._leave_out("candidate_error", batch)
            return
        half = len(batch) // 2
        for part in (batch.take(slice(0, half)), batch.take(slice(half, None))):
            if allows(self.breaker, self.clock()):
                self._work(part)
            else:
                self._leave_out("breaker_open", part)

    def _compare(self, batch: ShadowBatch, observation: Observation) -> None:
        """Compares what both models answered; each row gets its outcome, whatever happens."""
        assert observation.scores is not None
        seconds = observation.seconds / len(batch)
        answered = np.asarray(np.isfinite(observation.scores).all(axis=1), dtype=np.bool_)
        if not answered.all():
            self._warn(f"it answered no number for {int((~answered).sum())} rows")
            self._leave_out("candidate_error", batch.take(~answered))
        reference = self._reference(batch)
        known = np.asarray(np.isfinite(reference).all(axis=1), dtype=np.bool_)
        both = answered & known
        if not known.all():
            self._leave_out("deadline", batch.take(answered & ~known))
        if not both.any():
            return
        batch, reference, scores = batch.take(both), reference[both], observation.scores[both]
        try:
            compared = self._regard(batch.rows, reference, scores)
            found = compare(self.sheet, batch.rows, compared, seconds, self.slices)
            self.sink.compared(found)
        except Exception:  # a bug of ours; the rows are accounted for all the same
            log.exception("%s: a comparison failed", self.candidate.tag)
            self._leave_out("candidate_error", batch)
            return
        self.account.count("compared", batch.senders)
        if self.distributions is not None:
            self.distributions.count(self.project(batch.rows), scores)
        if self.witness is not None:
            self.witness.compared(batch, compared, found)
            self.witness.repeat(batch, reference, seconds, self._time_to_explain())
        if self.explaining is not None:
            self.explaining.explain(batch.rows, reference, self.clock(), self._time_to_explain())
        self._study()

    def _regard(self, rows: FeatureBatch, before: Scores, after: Scores) -> Compared:
        if self.witness is None:
            return Compared(before, after)
        self.account.set_running(True)  # its regions may be a graph of their own, which may crash as well
        try:
            return self.witness.regard(rows, before, after)
        finally:
            self.account.set_running(False)

    def _study(self) -> None:
        """Finds reasons for cases while there is time."""
        if self.witness is not None:
            self.witness.explain(self._time_to_explain())

    def _leave_out(self, outcome: Outcome, batch: ShadowBatch) -> None:
        """Rows that are not compared, and why."""
        self.account.count(outcome, batch.senders)
        if self.witness is not None:
            self.witness.left_out(batch)

    def _time_to_explain(self) -> float:
        """Seconds until the next comparison has to begin, so that no row loses more than half its time.

        Rows that arrive meanwhile have all their time ahead. Nothing is left while half the queue is taken:
        then it is room that runs out, not time.
        """
        limits = self.limits
        with self._ready:
            if 2 * self._queued > limits.queue_rows or 2 * self._queued_bytes > limits.queue_bytes:
                return 0.0
            waited = self.clock() - self._queue[0].received if self._queue else 0.0
            return max(0.0, limits.deadline / 2 - waited)

    def _reference(self, batch: ShadowBatch) -> Scores:
        """Production's scores: as answered, or computed here where the canary answered.

        NaN where production itself fails on rows that the canary answered.
        """
        if not batch.canary.any():
            return batch.scores
        reference = batch.scores.copy()
        due = self.clock() + self.limits.deadline
        try:
            reference[batch.canary] = self.answer_as_production(batch.rows[batch.canary], due)
        except InferenceError as error:
            self._warn(f"production itself failed on rows of the canary: {text_for_logs(error)}")
            reference[batch.canary] = np.nan
        return reference

    def _fail(self, observation: Observation, batch: ShadowBatch) -> None:
        self._set_breaker(failed(self.breaker, self.clock()))
        if self.breaker.is_open:
            asked = ", ".join(batch.request_ids[:3])
            log.warning("%s is paused: %s (among requests %s)", self.candidate.tag, observation.detail, asked)

    def _warn(self, message: str) -> None:
        if self.clock() >= self._silent_until:  # a batch may come every few milliseconds
            self._silent_until = self.clock() + WARN_SECONDS
            log.warning("%s: %s", self.candidate.tag, message)

    def _set_breaker(self, breaker: Breaker) -> None:
        self.breaker = breaker
        self.account.set_breaker_open(breaker.is_open)
