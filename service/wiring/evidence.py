"""Builds what keeps the evidence of each candidate, in the shadow process."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from models.bundle import Bundle
from service.adapters import bundles, process
from service.adapters.bundles import Loaded
from service.adapters.findings import FindingsWriter
from service.adapters.ledger import Ledger
from service.adapters.onnx import OnnxModel, Watchdog
from service.adapters.shadow_metrics import EvidenceMetrics, VerdictMetrics
from service.domain.disagreement.measure import Region
from service.domain.evidence.document import Study
from service.domain.evidence.document import refused as not_run
from service.domain.evidence.paired import Pairing
from service.domain.evidence.redaction import redaction
from service.domain.projection import Projection
from service.domain.schema import FeatureBatch, Scores
from service.domain.uncertainty.measure import Asked
from service.errors import BundleError
from service.paths.casebook import Casebook, CaseLimits
from service.paths.coverage import Watched
from service.paths.dossier import Dossier, DossierLimits
from service.paths.judge import Judge
from service.paths.keeper import Keeper
from service.paths.repeats import Repeats, Variant
from service.paths.witness import AnswerLimits, Regions, Witness
from service.settings import Environment, Settings
from service.wiring.recorder import PATIENCE_SECONDS
from service.wiring.redacting import redaction_key, redaction_rules
from service.wiring.shared import accounted_path, shared_directory
from service.wiring.store import LazyStore
from service.wiring.studying import rules_of

log = logging.getLogger("understudy.evidence")

CPU = "CPUExecutionProvider"

ALONE_ROWS = 4
"""Rows of a batch that production answers again one by one."""


class Contender(NamedTuple):
    """A candidate that runs, and what was prepared for it."""

    position: int
    """Among the candidates of the configuration."""
    loaded: Loaded
    project: Projection
    """From production's rows to its own."""
    study: Study
    pairing: Pairing


def totals(ledger: Ledger, position: int) -> dict[str, int]:
    """Rows by outcome on one page of the ledger."""
    return {str(outcome): rows for outcome, rows in ledger.totals(position).items()}


def hold_all(settings: Settings, environment: Environment, verdicts: VerdictMetrics, reason: str) -> None:
    """Says of all candidates why none of them runs, in place of what an earlier life has said."""
    rules, now = rules_of(settings.verdict), time.time()
    documents = {tag: not_run(rules, reason, now) for tag in settings.candidates}
    FindingsWriter(shared_directory(settings, environment)).write(documents)
    for tag in settings.candidates:
        verdicts.said(tag, "hold")


class EvidenceBuilder:
    """Builds the witnesses and the keeper of one server.

    Args:
        production: the model that callers are answered by.
        watched: what each model's regions are, production's under 0; see ``service.wiring.coverage``.
        watchdog: runs models under a deadline.
    """

    def __init__(
        self,
        settings: Settings,
        environment: Environment,
        production: Loaded,
        watched: Mapping[int, Watched],
        watchdog: Watchdog,
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._production = production
        self._watched = watched
        self._watchdog = watchdog
        rules = redaction_rules(settings.evidence, production.bundle)
        key = redaction_key(environment, rules)
        self._redaction = redaction(production.bundle.spec.schema, rules, key)
        self._variants = self._production_again()

    def witness(self, contender: Contender, set_running: Callable[[bool], None]) -> Witness:
        """What takes note of one candidate's comparisons."""
        wanted, study, tag = self._settings.evidence, contender.study, contender.loaded.bundle.spec.tag
        casebook = Casebook(
            tag,
            self._redaction,
            CaseLimits(wanted.worst, wanted.sample, patience=30.0 if wanted.explain else 0.0),
            set_running,
        )
        feedback = self._settings.feedback
        again = Repeats(
            study.itself,
            self._variants,
            partial(self._watchdog.predict, self._production.model),
            wanted.noise_rate,
        )
        return Witness(
            tag,
            study.agreement,
            study.slices,
            casebook,
            study.bins,
            self._regions(0),
            self._regions(contender.position + 1),
            again if wanted.noise_rate else None,
            AnswerLimits(
                feedback.record_rate if feedback.enabled else 0.0, feedback.queue_rows, feedback.queue_bytes
            ),
        )

    def keeper(
        self,
        witnesses: Sequence[tuple[Contender, Witness]],
        refused: Mapping[str, str],
        ledger: Ledger,
        verdicts: VerdictMetrics,
        metrics: EvidenceMetrics,
    ) -> Keeper:
        """What writes and judges what the witnesses saw.

        Args:
            witnesses: of the candidates that run.
            refused: why others do not, by tag.
            ledger: counts what became of rows.
            verdicts: where verdicts are published.
            metrics: where losses are counted.
        """
        wanted, environment = self._settings.evidence, self._environment
        accounted = process.read_status(accounted_path(self._settings, environment)) or {}
        rules = rules_of(self._settings.verdict)
        limits = DossierLimits(
            wanted.worst,
            wanted.sample,
            self._settings.feedback.queue_rows,
            self._settings.feedback.queue_bytes,
        )

        shown = FindingsWriter(shared_directory(self._settings, environment))

        def publish(documents: Mapping[str, Any]) -> None:
            others = {tag: not_run(rules, reason, time.time()) for tag, reason in refused.items()}
            shown.write({**documents, **others})

        for tag in refused:
            verdicts.said(tag, "hold")
        dossiers = []
        for contender, witness in witnesses:
            tag = contender.loaded.bundle.spec.tag
            dossiers.append(
                Dossier(
                    tag,
                    contender.pairing,
                    witness,
                    partial(totals, ledger, contender.position),
                    Judge(
                        contender.study,
                        bundles.behaviour_of(contender.loaded.bundle),
                        partial(verdicts.said, tag),
                    ),
                    secrets.token_hex(16),
                    limits,
                    accounted.get(tag, {}),
                )
            )
        return Keeper(
            tuple(dossiers),
            LazyStore(environment, PATIENCE_SECONDS, durable=False),
            publish,
            wanted.keep_days,
            remember=lambda counts: process.write_status(accounted_path(self._settings, environment), counts),
            lost=metrics.lost,
        )

    def _regions(self, number: int) -> Regions | None:
        """A model's label sets or intervals, as its bundle has them at its own confidence."""
        each = self._watched.get(number)
        if each is None:
            return None
        thresholds = each.region.thresholds(each.confidence)

        def find(rows: FeatureBatch, scores: Scores) -> Region:
            asked = Asked(each.project(rows), scores, each.confidence, run=each.run)
            columns = each.region.regions(each.region.evidence(asked), thresholds)
            found: Region = columns["set"] if "set" in columns else columns["interval"]
            return found

        return find

    def _production_again(self) -> tuple[Variant, ...]:
        """Other ways to run production, as far as this machine has them."""
        if not self._settings.evidence.noise_rate:
            return ()
        threads, usual = self._settings.server.threads, self._production
        ways = {"session": (usual.model.providers, threads), "threads": (usual.model.providers, threads + 1)}
        if usual.model.providers[0] != CPU:
            ways["provider"] = ((CPU,), threads)
        variants = [Variant("alone", partial(self._watchdog.predict, usual.model), ALONE_ROWS, alone=True)]
        for name, (providers, count) in ways.items():
            try:
                model = self._open(usual.bundle, providers, count)
            except BundleError as error:
                log.warning("production is not compared with itself by another %s: %s", name, error)
            else:
                variants.append(Variant(name, partial(self._watchdog.predict, model)))
        return tuple(variants)

    def _open(self, bundle: Bundle, providers: Sequence[str], threads: int) -> OnnxModel:
        return OnnxModel(bundle.model_path, bundle.spec, bundle.binding, providers=providers, threads=threads)
