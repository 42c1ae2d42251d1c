"""Builds the shadow: a socket, a receiver, and one thread for each candidate."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.adapters import bundles, frames, priority, process, prometheus, sockets
from service.adapters.bundles import Loaded
from service.adapters.children import end_with_parent
from service.adapters.coverage_metrics import CoverageMetrics
from service.adapters.label_metrics import LabelMetrics
from service.adapters.ledger import Ledger, Side
from service.adapters.onnx import Watchdog
from service.domain.comparison import Comparison
from service.domain.disagreement.gap import gap_buckets
from service.domain.disagreement.reasons import ReasonsComparison
from service.domain.observation import Outcome, Parts, ShadowBatch
from service.domain.projection import projection
from service.errors import UnderstudyError
from service.paths.reasons import ReasonsSink, Unexplained
from service.paths.recorder import NoRecorder, Recorder
from service.paths.shadow import CandidateShadow, RefusedCandidate, ShadowLimits, ShadowReceiver
from service.settings import Environment, Settings
from service.wiring.coverage import coverage
from service.wiring.recorder import recorder
from service.wiring.shared import EXPLANATIONS, breaker_of, open_ledger, socket_path, status_path

__all__ = ["ShadowBuilder", "ShadowProcess", "end_with_parent"]

log = logging.getLogger("understudy.shadow")

Arrived: TypeAlias = tuple[int, int, int, ShadowBatch | None, Parts | None]
"""Sender, rows handed over before, rows, the rows themselves, and which requests they belong to."""
Read: TypeAlias = Callable[[memoryview, float], Arrived]
"""Of a datagram and its time of arrival."""
RECEIVE_BYTES = 8 << 20
"""Larger than any datagram that a socket takes."""


@dataclass(frozen=True, slots=True)
class LedgerAccount:
    """One page in the ledger: a candidate's, or but for its states the records'."""

    ledger: Ledger
    candidate: int

    def count(self, outcome: Outcome, senders: NDArray[np.int16]) -> None:
        """One row for each entry of ``senders``."""
        self.ledger.count_by_sender(self.candidate, outcome, senders)

    def bury(self, sender: int, handed: int) -> None:
        """What a dead shadow held: rows up to ``handed`` without an outcome."""
        lost = handed - self.ledger.accounted(sender, self.candidate)
        if lost > 0:
            self.ledger.count(Side.SHADOW, sender, self.candidate, "shadow_down", lost)

    def set_running(self, running: bool) -> None:
        self.ledger.set_running(self.candidate, running)

    def set_breaker_open(self, is_open: bool) -> None:
        self.ledger.set_breaker_open(self.candidate, is_open)

    def crashes(self) -> int:
        """Times in a row that the shadow died in this candidate's run, the last time included."""
        if self.ledger.running(self.candidate):
            self.ledger.set_running(self.candidate, False)
            self.ledger.set_crashes(self.candidate, self.ledger.crashes(self.candidate) + 1)
        return self.ledger.crashes(self.candidate)

    def clear_crashes(self) -> None:
        self.ledger.set_crashes(self.candidate, 0)


@dataclass(frozen=True, slots=True)
class MetricsSink:
    """One candidate's counters."""

    metrics: prometheus.ShadowMetrics
    candidate: str

    def compared(self, comparison: Comparison) -> None:
        self.metrics.compared(self.candidate, comparison)

    def explained(self, reasons: ReasonsComparison) -> None:
        self.metrics.explained(self.candidate, reasons)

    def unexplained(self, reason: Unexplained, rows: int) -> None:
        self.metrics.unexplained(self.candidate, reason, rows)


@dataclass(slots=True)
class ShadowProcess:
    """The running shadow."""

    receiver: ShadowReceiver
    socket: socket.socket
    read: Read
    prepare: Callable[[], None] | None = None
    """What takes a while and nothing waits for; runs in a thread of its own."""
    _stopping: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Starts the threads; they inherit this process's priority."""
        work = [("receive", self._receive)]
        work += [
            (f"shadow-{shadow.candidate.tag}", partial(self._follow, shadow))
            for shadow in self.receiver.running()
        ]
        recorder = self.receiver.recorder
        if isinstance(recorder, Recorder):
            work.append(("record", partial(self._record, recorder)))
        for name, target in work:
            thread = threading.Thread(target=target, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)
        if self.prepare is not None:
            threading.Thread(target=self.prepare, name="prepare", daemon=True).start()

    def stop(self, patience: float = 5.0) -> None:
        """Works off what is queued, for ``patience`` seconds at most."""
        self._stopping.set()
        due = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(0.0, due - time.monotonic()))
        self.socket.close()

    def _receive(self) -> None:
        buffer = memoryview(bytearray(RECEIVE_BYTES))
        self.socket.settimeout(0.2)
        while not self._stopping.is_set():
            try:
                size = self.socket.recv_into(buffer)
            except TimeoutError:
                continue
            try:
                self.receiver.receive(*self.read(buffer[:size], time.monotonic()))
            except ValueError as error:  # not one of ours; its rows are found missing by the next frame
                log.error("datagram of %d bytes cannot be read: %s", size, error)
            except Exception:  # a bug of ours must not make the shadow deaf
                log.exception("datagram of %d bytes", size)

    def _record(self, recorder: Recorder) -> None:
        while not self._stopping.is_set():
            try:
                recorder.run_once()
            except Exception:  # a bug of ours must not end the recorder's thread
                log.exception("recorder")
                self._stopping.wait(1.0)
        recorder.close()

    def _follow(self, shadow: CandidateShadow) -> None:
        while not self._stopping.is_set() or shadow.waiting():
            try:
                shadow.run_once()
            except Exception:  # a bug of ours must not end the candidate's thread
                log.exception("shadow of %s", shadow.candidate.tag)


class ShadowBuilder:
    """Builds the shadow of one server."""

    def __init__(self, settings: Settings, environment: Environment) -> None:
        process.log_to_stderr()
        self._settings = settings
        self._environment = environment
        if settings.shadow.idle_priority and not priority.yield_the_cpu():
            log.warning("the kernel refuses SCHED_IDLE; the shadow competes for CPU like any process")
        environment.home.mkdir(parents=True, exist_ok=True)
        prometheus.write_as("shadow")
        self._registry = prometheus.new_registry()
        self._watchdog = Watchdog()

    def build(self) -> ShadowProcess:
        """The shadow; a candidate that is unfit is refused, the others run.

        Where production itself is unfit there is nothing to compare with, and all are refused.
        """
        ledger = open_ledger(self._settings, self._environment)
        assert ledger is not None, "the shadow is only started where somebody wants it"
        try:
            production = self._load(self._settings.production)
        except UnderstudyError as error:
            log.error("nothing is shadowed, production is unfit: %s", error)
            return self._idle(ledger, f"production is unfit: {error}")
        spec = production.bundle.spec
        spread = bundles.spread_of(production.bundle) if spec.task == "regression" else 1.0
        metrics = prometheus.ShadowMetrics(self._registry, gap_buckets(bool(spec.classes), spread))
        shadows: list[CandidateShadow | RefusedCandidate] = []
        reasons: dict[str, dict[str, str | None]] = {}
        status: dict[str, Any] = {EXPLANATIONS: reasons}
        explained: list[tuple[Loaded, CandidateShadow, ReasonsSink]] = []
        found: list[Loaded | None] = []
        for index, tag in enumerate(self._settings.candidates):
            account = LedgerAccount(ledger, index)
            sink = MetricsSink(metrics, tag)
            try:
                candidate = self._load(tag)
                shadow = self._shadow(production, candidate, account, sink)
                shadows.append(shadow)
                found.append(candidate)
                status[tag] = candidate.describe()
                why_not = self._why_not_explained(shadow)
                reasons[tag] = {"method": None, "reason": why_not or "the methods are being prepared"}
                if why_not is None:
                    explained.append((candidate, shadow, sink))
            except UnderstudyError as error:
                log.error("%s is not shadowed: %s", tag, error)
                shadows.append(RefusedCandidate(account))
                found.append(None)
                status[tag] = bundles.refused(tag, str(error))

        def read(datagram: memoryview, received: float) -> Arrived:
            frame = frames.decode(datagram)
            if not frame.rows:
                return frame.sender, frame.first, 0, None, None
            batch = frames.batch_of(frame, spec, received)
            return frame.sender, frame.first, frame.rows, batch, frames.parts_of(frame)

        def publish(tag: str, method: str | None, reason: str | None) -> None:
            reasons[tag] = {"method": method, "reason": reason}
            process.write_status(status_path(self._environment), status)

        def prepare() -> None:
            from service.wiring import (
                reasons as methods,
            )  # 100 MB and a second that comparisons do not wait for

            methods.prepare(production, explained, self._watchdog, self._settings.shadow, publish)

        recording = self._recorder(ledger, production, found)
        return self._process(shadows, status, read, recording, prepare if explained else None)

    def _idle(self, ledger: Ledger, reason: str) -> ShadowProcess:
        tags = self._settings.candidates

        def read(datagram: memoryview, received: float) -> Arrived:  # noqa: ARG001 - a Read
            frame = frames.decode(datagram)
            return frame.sender, frame.first, frame.rows, None, None

        shadows = [RefusedCandidate(LedgerAccount(ledger, index)) for index in range(len(tags))]
        nobody = None if ledger.records is None else NoRecorder(LedgerAccount(ledger, ledger.records))
        return self._process(shadows, {tag: bundles.refused(tag, reason) for tag in tags}, read, nobody)

    def _recorder(
        self, ledger: Ledger, production: Loaded, candidates: Sequence[Loaded | None]
    ) -> Recorder | None:
        if ledger.records is None:
            return None
        account = LedgerAccount(ledger, ledger.records)
        watching = coverage(
            self._settings, self._environment, production, candidates, CoverageMetrics(self._registry)
        )
        labels = LabelMetrics(self._registry)
        return recorder(self._settings, self._environment, production, candidates, account, labels, watching)

    def _process(
        self,
        shadows: Sequence[CandidateShadow | RefusedCandidate],
        status: dict[str, Any],
        read: Read,
        recording: Recorder | NoRecorder | None,
        prepare: Callable[[], None] | None = None,
    ) -> ShadowProcess:
        opened = sockets.receiver(socket_path(self._settings, self._environment))
        process.write_status(status_path(self._environment), status)
        process.settle_memory()
        return ShadowProcess(ShadowReceiver(tuple(shadows), recording), opened, read, prepare)

    def _why_not_explained(self, shadow: CandidateShadow) -> str | None:
        if self._settings.shadow.explain_rate == 0:
            return "shadow.explain_rate is 0"
        if (
            shadow.breaker.is_open
        ):  # an explanation may have been the cause: without them it does not come again
            return "the shadow died while this candidate ran; it is explained again after the next start"
        return None

    def _load(self, tag: str) -> Loaded:
        return bundles.load(tag, providers=self._environment.providers, threads=self._settings.server.threads)

    def _shadow(
        self, production: Loaded, candidate: Loaded, account: LedgerAccount, sink: MetricsSink
    ) -> CandidateShadow:
        limits = self._settings.shadow
        return CandidateShadow(
            production=production.bundle.spec,
            candidate=candidate.bundle.spec,
            project=projection(production.bundle.spec, candidate.bundle.spec),
            infer=partial(self._watchdog.predict, candidate.model),
            answer_as_production=partial(self._watchdog.predict, production.model),
            slices=bundles.slices_of(production.bundle),
            account=account,
            sink=sink,
            limits=ShadowLimits(
                limits.deadline_ms / 1000, limits.queue_rows, limits.queue_bytes, limits.batch_rows
            ),
            breaker=breaker_of(self._settings),
        )
