"""Prepares the shadow's explanations beside its comparisons: reading graphs and folding trees takes time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

from service.adapters.bundles import Loaded
from service.adapters.onnx import Watchdog
from service.adapters.subjects import forbidden_by, subject_of
from service.domain.explainers.game import Subject, Unsuitable
from service.domain.explainers.linear_exact import LINEAR_EXACT
from service.domain.explainers.offer import Offer, offer
from service.domain.explainers.pair import comparable, pair
from service.domain.explainers.permutation import PERMUTATION
from service.domain.explainers.tree_exact import TREE_EXACT
from service.domain.schema import FeatureBatch, Scores
from service.paths.case_reasons import PairReasons
from service.paths.reasons import Explaining, ReasonsSink
from service.paths.shadow import CandidateShadow
from service.sections import ShadowSettings

log = logging.getLogger("understudy.shadow")

METHODS = (TREE_EXACT, LINEAR_EXACT, PERMUTATION)

Publish = Callable[[str, str | None, str | None], None]
"""A candidate's tag, the method that explains it and production, and why nothing does."""


def prepare(
    production: Loaded,
    candidates: list[tuple[Loaded, CandidateShadow, ReasonsSink]],
    watchdog: Watchdog,
    settings: ShadowSettings,
    publish: Publish,
) -> None:
    """Lets each candidate's shadow explain rows as soon as that candidate is ready; publishes who cannot."""
    offered: Offer | None = None
    for loaded, shadow, sink in candidates:
        tag = loaded.bundle.spec.tag
        try:
            offered = offered or _offer(production, watchdog, settings)
            found = pair(
                offered,
                _subject(loaded, watchdog, settings),
                shadow.project,
                METHODS,
                forbidden=forbidden_by(loaded.bundle.certificate()),
                max_evals=settings.explain_max_evals,
            )
        except Unsuitable as error:
            log.warning("%s is not explained: %s", tag, error)
            publish(tag, None, str(error))
        except Exception as error:  # comparisons go on without reasons
            log.exception("%s is not explained", tag)
            publish(tag, None, repr(error))
        else:
            shadow.explaining = Explaining(
                tag,
                found.compare,
                sink,
                shadow.account.set_running,
                settings.explain_rate,
                settings.explain_deadline_ms / 1000,
            )
            if shadow.witness is not None:
                shadow.witness.casebook.reasons = PairReasons(found)
            log.info("%s and %s are explained by %s", production.bundle.spec.tag, tag, found.method)
            publish(tag, found.method, None)


def _offer(production: Loaded, watchdog: Watchdog, settings: ShadowSettings) -> Offer:
    forbidden = forbidden_by(production.bundle.certificate())
    methods = comparable(METHODS, production.bundle.spec)
    return offer(_subject(production, watchdog, settings), methods, forbidden)


def _subject(loaded: Loaded, watchdog: Watchdog, settings: ShadowSettings) -> Subject:
    """The model under the watchdog: a run on rows that were made up must not hang the candidate's thread."""
    seconds = settings.explain_deadline_ms / 1000

    def predict(rows: FeatureBatch) -> Scores:
        return watchdog.predict(loaded.model, rows, time.monotonic() + seconds)

    return replace(subject_of(loaded.bundle, loaded.model), predict=predict)
