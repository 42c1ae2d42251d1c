"""Builds the shadow: a socket, a receiver, and what each candidate needs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.pair import spread_of
from service.adapters import bundles, frames, priority, process, prometheus, sockets
from service.adapters.bundles import Loaded
from service.adapters.children import end_with_parent
from service.adapters.coverage_metrics import CoverageMetrics
from service.adapters.label_metrics import LabelMetrics
from service.adapters.ledger import Ledger, Side
from service.adapters.logs import log_to_stderr
from service.adapters.onnx import Watchdog
from service.adapters.presence import Presence
from service.adapters.ready_metrics import ReadyMetrics
from service.adapters.seats import Seats, departed
from service.adapters.shadow_metrics import EvidenceMetrics, ShadowMetrics, VerdictMetrics
from service.adapters.store_metrics import StoreMetrics
from service.domain.comparison import Comparison
from service.domain.disagreement.gap import gap_buckets
from service.domain.disagreement.reasons import ReasonsComparison
from service.domain.observation import Outcome
from service.domain.projection import projection
from service.errors import UnderstudyError
from service.paths.coverage import Watched
from service.paths.distributions import Distributions
from service.paths.keeper import Keeper
from service.paths.reasons import ReasonsSink, Unexplained
from service.paths.receiver import RefusedCandidate, ShadowReceiver
from service.paths.recorder import NoRecorder, Recorder
from service.paths.shadow import CandidateShadow, ShadowLimits
from service.paths.witness import Witness
from service.settings import Environment, Settings
from service.wiring.coverage import coverage, watched_models
from service.wiring.drift import Counting, DriftBuilder
from service.wiring.evidence import Contender, EvidenceBuilder, hold_all, totals
from service.wiring.recorder import recorder
from service.wiring.shadow_process import Arrived, Read, ShadowProcess
from service.wiring.shared import (
    EXPLANATIONS,
    breaker_of,
    enter_shared_directory,
    open_ledger,
    shadow_path,
    shared_directory,
    socket_path,
    status_path,
)
from service.wiring.studying import pairing_of, rules_of, settling, study_of

__all__ = ["ShadowBuilder", "ShadowProcess", "end_with_parent"]

log = logging.getLogger("understudy.shadow")

NOT_SAMPLED: dict[str, str | None] = {"method": None, "reason": "shadow.explain_rate is 0"}
"""Of candidates whose reasons are not compared."""

Found: TypeAlias = Contender | str
"""A candidate that runs, or why it does not."""


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

    metrics: ShadowMetrics
    candidate: str

    def compared(self, comparison: Comparison) -> None:
        self.metrics.compared(self.candidate, comparison)

    def explained(self, reasons: ReasonsComparison) -> None:
        self.metrics.explained(self.candidate, reasons)

    def unexplained(self, reason: Unexplained, rows: int) -> None:
        self.metrics.unexplained(self.candidate, reason, rows)


class ShadowBuilder:
    """Builds the shadow of one server."""

    def __init__(self, settings: Settings, environment: Environment) -> None:
        log_to_stderr(settings.log)
        self._settings = settings
        self._environment = environment
        if settings.shadow.idle_priority and not priority.yield_the_cpu():
            log.warning("the kernel refuses SCHED_IDLE; the shadow competes for CPU like any process")
        environment.home.mkdir(parents=True, exist_ok=True)
        enter_shared_directory(settings, environment)
        alone = None if settings.shadow.supervised else shared_directory(settings, environment)
        prometheus.write_as("shadow", alone)
        self._registry = prometheus.new_registry()
        self._watchdog = Watchdog()
        self._tries = StoreMetrics(self._registry)

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
            shown = self._idle(ledger, f"production is unfit: {error}")
        else:
            shown = self._busy(ledger, production)
        seats = Seats(shared_directory(self._settings, self._environment))
        shown.departed = partial(departed, ledger, seats)
        return shown

    def _busy(self, ledger: Ledger, production: Loaded) -> ShadowProcess:
        tags = self._settings.candidates
        found = [self._contender(production, index, tag) for index, tag in enumerate(tags)]
        loaded = [each.loaded if isinstance(each, Contender) else None for each in found]
        watched = watched_models(self._settings, self._environment, production, loaded)
        accounts = [LedgerAccount(ledger, index) for index in range(len(tags))]
        metrics = self._metrics(production)
        sinks = [MetricsSink(metrics, tag) for tag in tags]
        witnesses, keeper = self._evidence(ledger, production, found, watched)
        counting = self._counting(ledger, production, found)
        counted = {} if counting is None else counting.candidates
        shadows: list[CandidateShadow | RefusedCandidate] = []
        reasons: dict[str, dict[str, str | None]] = {}
        status: dict[str, Any] = {EXPLANATIONS: reasons}
        explained: list[tuple[Loaded, CandidateShadow, ReasonsSink]] = []
        for tag, each, account, sink in zip(tags, found, accounts, sinks, strict=True):
            if isinstance(each, str):
                log.error("%s is not shadowed: %s", tag, each)
                shadows.append(RefusedCandidate(account))
                status[tag] = bundles.refused(tag, each)
                continue
            shadow = self._shadow(production, each, account, sink, witnesses.get(tag), counted.get(tag))
            shadows.append(shadow)
            status[tag] = each.loaded.describe()
            why_not = self._why_not_explained(shadow)
            reasons[tag] = {"method": None, "reason": why_not or "the methods are being prepared"}
            if not self._samples_reasons:
                reasons[tag] = NOT_SAMPLED
            if why_not is None and (self._samples_reasons or self._settings.evidence.explains):
                explained.append((each.loaded, shadow, sink))

        def read(datagram: memoryview, received: float) -> Arrived:
            frame = frames.decode(datagram)
            if not frame.rows:
                return frame.sender, frame.first, 0, None, None
            batch = frames.batch_of(frame, production.bundle.spec, received)
            return frame.sender, frame.first, frame.rows, batch, frames.parts_of(frame)

        def publish(tag: str, method: str | None, reason: str | None) -> None:
            reasons[tag] = {"method": method, "reason": reason} if self._samples_reasons else NOT_SAMPLED
            process.write_status(status_path(self._settings, self._environment), status)

        def prepare() -> None:
            from service.wiring import (
                reasons as methods,
            )  # 100 MB and a second that comparisons do not wait for

            methods.prepare(production, explained, self._watchdog, self._settings.shadow, publish)

        recording = self._recorder(ledger, production, found, watched)
        shown = self._process(shadows, status, read, recording, counting)
        shown.prepare = prepare if explained else None
        shown.keeper = keeper
        return shown

    def _idle(self, ledger: Ledger, reason: str) -> ShadowProcess:
        tags = self._settings.candidates
        if self._settings.evidence.enabled and tags:
            hold_all(self._settings, self._environment, VerdictMetrics(self._registry), reason)

        def read(datagram: memoryview, received: float) -> Arrived:  # noqa: ARG001 - a Read
            frame = frames.decode(datagram)
            return frame.sender, frame.first, frame.rows, None, None

        shadows = [RefusedCandidate(LedgerAccount(ledger, index)) for index in range(len(tags))]
        nobody = None if ledger.records is None else NoRecorder(LedgerAccount(ledger, ledger.records))
        counting = None
        if ledger.distributions is not None:
            counting = self._drift(ledger, ledger.distributions).unfit(reason)
        refused = {tag: bundles.refused(tag, reason) for tag in tags}
        return self._process(shadows, refused, read, nobody, counting)

    def _contender(self, production: Loaded, index: int, tag: str) -> Found:
        try:
            loaded = self._load(tag)
            project = projection(production.bundle.spec, loaded.bundle.spec)
            study = study_of(production.bundle, loaded.bundle, rules_of(self._settings.verdict))
        except UnderstudyError as error:
            return str(error)
        return Contender(index, loaded, project, study, pairing_of(production.bundle, loaded.bundle, study))

    def _metrics(self, production: Loaded) -> ShadowMetrics:
        spec = production.bundle.spec
        return ShadowMetrics(self._registry, gap_buckets(bool(spec.classes), spread_of(production.bundle)))

    def _evidence(
        self, ledger: Ledger, production: Loaded, found: Sequence[Found], watched: dict[int, Watched]
    ) -> tuple[dict[str, Witness], Keeper | None]:
        """The witness of each candidate that runs, by tag, and the keeper of them all."""
        tags = self._settings.candidates
        if not self._settings.evidence.enabled or not tags:
            return {}, None
        builder = EvidenceBuilder(self._settings, self._environment, production, watched, self._watchdog)
        pairs = [
            (each, builder.witness(each, LedgerAccount(ledger, each.position).set_running))
            for each in found
            if isinstance(each, Contender)
        ]
        refused = {tag: each for tag, each in zip(tags, found, strict=True) if isinstance(each, str)}
        verdicts, metrics = VerdictMetrics(self._registry), EvidenceMetrics(self._registry)
        keeper = builder.keeper(pairs, refused, ledger, verdicts, metrics)
        keeper.tried = partial(self._tries.tried, "evidence")
        return {each.loaded.bundle.spec.tag: witness for each, witness in pairs}, keeper

    def _counting(self, ledger: Ledger, production: Loaded, found: Sequence[Found]) -> Counting | None:
        if ledger.distributions is None:
            return None
        builder = self._drift(ledger, ledger.distributions)
        try:
            return builder.build(production, [each.loaded for each in found if isinstance(each, Contender)])
        except Exception as error:  # a damaged part, or a bug of ours: comparisons go on
            log.exception("rows are not counted by bin")
            return builder.unfit(f"rows are not counted: {error}")

    def _drift(self, ledger: Ledger, page: int) -> DriftBuilder:
        account, tried = LedgerAccount(ledger, page), partial(self._tries.tried, "drift")
        return DriftBuilder(self._settings, self._environment, account, tried, partial(totals, ledger, page))

    def _recorder(
        self, ledger: Ledger, production: Loaded, found: Sequence[Found], watched: dict[int, Watched]
    ) -> Recorder | None:
        if ledger.records is None:
            return None
        account = LedgerAccount(ledger, ledger.records)
        contenders = [each for each in found if isinstance(each, Contender)]
        return recorder(
            self._settings,
            self._environment,
            production,
            [each.loaded if isinstance(each, Contender) else None for each in found],
            account,
            LabelMetrics(self._registry),
            coverage(self._settings, self._environment, watched, CoverageMetrics(self._registry)),
            settling({each.pairing.key: each.study for each in contenders})
            if self._settings.evidence.enabled
            else None,
            partial(self._tries.tried, "records"),
        )

    def _process(
        self,
        shadows: Sequence[CandidateShadow | RefusedCandidate],
        status: dict[str, Any],
        read: Read,
        recording: Recorder | NoRecorder | None,
        counting: Counting | None,
    ) -> ShadowProcess:
        ready = ReadyMetrics(self._registry)
        for tag in self._settings.candidates:
            ready.said(tag, "candidate", status[tag]["state"] == "ready")
        presence = Presence(shadow_path(self._settings, self._environment))
        opened = sockets.receiver(socket_path(self._settings, self._environment))
        process.write_status(status_path(self._settings, self._environment), status)
        process.settle_memory()
        arrivals, drift = (None, None) if counting is None else (counting.arrivals, counting.keeper)
        receiver = ShadowReceiver(tuple(shadows), recording, arrivals)
        return ShadowProcess(receiver, opened, read, drift=drift, presence=presence)

    @property
    def _samples_reasons(self) -> bool:
        return self._settings.shadow.explain_rate > 0

    def _why_not_explained(self, shadow: CandidateShadow) -> str | None:
        if (
            shadow.breaker.is_open
        ):  # an explanation may have been the cause: without them it does not come again
            return "the shadow died while this candidate ran; it is explained again after the next start"
        return None

    def _load(self, tag: str) -> Loaded:
        return bundles.load(tag, providers=self._environment.providers, threads=self._settings.server.threads)

    def _shadow(
        self,
        production: Loaded,
        contender: Contender,
        account: LedgerAccount,
        sink: MetricsSink,
        witness: Witness | None,
        distributions: Distributions | None,
    ) -> CandidateShadow:
        limits = self._settings.shadow
        return CandidateShadow(
            sheet=contender.study.agreement,
            project=contender.project,
            infer=partial(self._watchdog.predict, contender.loaded.model),
            answer_as_production=partial(self._watchdog.predict, production.model),
            slices=bundles.slices_of(production.bundle),
            account=account,
            sink=sink,
            limits=ShadowLimits(
                limits.deadline_ms / 1000, limits.queue_rows, limits.queue_bytes, limits.batch_rows
            ),
            breaker=breaker_of(self._settings),
            witness=witness,
            distributions=distributions,
        )
