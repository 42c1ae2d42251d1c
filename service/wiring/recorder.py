"""Builds what keeps answers beside the candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from service.adapters import bundles
from service.adapters.bundles import Loaded
from service.adapters.label_metrics import LabelMetrics
from service.domain.evidence.paired import Settle
from service.domain.labels import Answerer, Joined, answerer
from service.paths.coverage import Coverage
from service.paths.recorder import Page, Recorder, RecordLimits
from service.settings import Environment, Settings
from service.wiring.store import LazyStore

PATIENCE_SECONDS = 5.0
"""How long the shadow waits for a lock: nobody waits for it."""


def recorder(
    settings: Settings,
    environment: Environment,
    production: Loaded,
    candidates: Sequence[Loaded | None],
    account: Page,
    metrics: LabelMetrics,
    coverage: Coverage,
    settle: Settle | None = None,
    tried: Callable[[bool], None] = lambda succeeded: None,  # noqa: ARG005 - nobody is told
) -> Recorder:
    """The recorder of one server.

    Args:
        candidates: in configuration order; None for those that could not be loaded.
        account: the ledger's page of records.
        metrics: where joined labels are counted.
        coverage: judges labels, and learns from them.
        settle: what labels add to the evidence of candidates; None where there is none.
        tried: told how each try of the store went.
    """
    wanted = settings.feedback
    slices = bundles.slices_of(production.bundle)
    names = [part.name for part in slices]
    answerers: list[Answerer | None] = [
        answerer(production.bundle.spec, "production", names, coverage.judged_by(0))
    ]
    answerers += [
        None if loaded is None else answerer(loaded.bundle.spec, "canary", names, coverage.judged_by(number))
        for number, loaded in enumerate(candidates, 1)
    ]

    def joined(found: Joined) -> None:
        metrics.joined(found)
        coverage.joined(found)

    return Recorder(
        account=account,
        # nobody is promised a record, and labels that were joined are joined anew where that is taken back
        store=LazyStore(environment, PATIENCE_SECONDS, durable=False),
        answerers=tuple(answerers),
        slices=slices,
        limits=RecordLimits(
            wanted.record_rate, wanted.keep_days, wanted.most_rows, wanted.queue_rows, wanted.queue_bytes
        ),
        judge=coverage.judge,
        learn=coverage.learn,
        settle=settle,
        joined=joined,
        restore=coverage.restore,
        tried=tried,
    )
