"""How sure an edge's answers are, with measures that may follow the labels."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.adapters import bundles
from service.adapters.bundles import Loaded
from service.adapters.quantities import quantifier_of
from service.domain.schema import FeatureBatch, Scores
from service.domain.uncertainty.adaptation import adaptation_of
from service.domain.uncertainty.measure import Unfitting
from service.domain.uncertainty.quantifier import EXTRA, Doubt, Quantified, Quantifier
from service.errors import BundleError
from service.paths.question import Doubting

log = logging.getLogger("understudy.doubting")

TRIAL_ROWS = 32
"""So many rows are quantified to learn what one takes."""
MOST_ROWS = 1024
"""Rows quantified at a time, however fast it is."""


@dataclass(slots=True)
class Doubts:
    """One model's measures; ``quantifier`` is replaced as a whole when labels have moved it."""

    quantifier: Quantifier
    fitted: Quantifier
    """As packaging left them."""

    def check(self, doubt: Doubt) -> None:
        """Raises ``Unfitting`` for what the measures cannot say."""
        self.quantifier.check(doubt)

    def follow(self, document: Mapping[str, Any] | None) -> None:
        """Answers as labels have taught; as at packaging where there is no document, or a damaged one."""
        if document is None:
            self.quantifier = self.fitted
            return
        try:
            self.quantifier = self.fitted.adapted(adaptation_of(document))
        except ValueError as error:
            log.error("%s: %s", self.fitted.spec.tag, error)
            self.quantifier = self.fitted

    def quantify(self, rows: FeatureBatch, scores: Scores, doubt: Doubt) -> Quantified:
        """What the measures say of some rows; raises ``Unfitting`` for what they cannot say."""
        if doubt.extra or doubt.region or doubt.probability or doubt.domain:
            self.quantifier.check(doubt)
        return self.quantifier.quantify(rows, scores, doubt)


def doubts_of(loaded: Loaded, providers: tuple[str, ...], threads: int) -> Doubts | None:
    """The measures of a loaded bundle, or None where it was packaged without.

    Raises:
        BundleError: they cannot be used; says why.
    """
    quantifier = quantifier_of(loaded.bundle, providers=providers, threads=threads)
    return None if quantifier is None else Doubts(quantifier, quantifier)


def doubting(loaded: Loaded, doubts: Doubts, seconds: float) -> Doubting:
    """What the predict path needs of them.

    Args:
        loaded: the model.
        doubts: its measures.
        seconds: that the event loop can spare at a time.

    Raises:
        BundleError: they cannot tell how sure the model is about rows that it was trained on.
    """
    abstain = loaded.bundle.manifest.uncertainty.abstain
    return Doubting(
        doubts.quantify,
        _rows_in(seconds, loaded, doubts, Doubt()),
        _rows_in(seconds, loaded, doubts, Doubt(extra=_known_extra(doubts))),
        "ambiguous" in abstain,
        "out_of_domain" in abstain,
    )


def _known_extra(doubts: Doubts) -> frozenset[str]:
    known = []
    for name in EXTRA:
        try:
            doubts.quantifier.check(Doubt(extra=frozenset({name})))
        except Unfitting:
            continue
        known.append(name)
    return frozenset(known)


def _rows_in(seconds: float, loaded: Loaded, doubts: Doubts, doubt: Doubt) -> int:
    rows = bundles.sample_rows(loaded.bundle, TRIAL_ROWS)
    scores = loaded.model.predict(rows)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        try:
            doubts.quantify(rows, scores, doubt)
        except Exception as error:  # whatever it is, requests would meet it
            raise BundleError(
                f"{loaded.bundle.spec.tag}: its measures of uncertainty fail: {error!r}"
            ) from error
        times.append((time.perf_counter() - start) / TRIAL_ROWS)
    return max(1, min(int(seconds / min(times)), MOST_ROWS))
