"""Prometheus families of the shadow: what comparing candidates with production showed, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.adapters.prometheus import SECONDS, observe
from service.domain.comparison import Comparison
from service.domain.disagreement.reasons import DISTANCE_BUCKETS, ReasonsComparison

CANDIDATE_SECONDS = (1e-6, 1e-5, 2e-5, 5e-5, *SECONDS)
NAMED_FEATURES = 100
"""Features of a candidate with series of their own; the rest share ``OTHER_FEATURES``."""
OTHER_FEATURES = "other"
STATES = ("promote", "hold", "rollback")
"""What a verdict may say."""


class ShadowMetrics:
    """What the shadow counts of one candidate.

    Args:
        gap_bounds: upper bounds of the gap histogram, in the unit of the scores.
    """

    def __init__(self, registry: CollectorRegistry, gap_bounds: Sequence[float]) -> None:
        self._bounds = tuple(gap_bounds)
        self._rows = Counter(
            "understudy_shadow_compared_rows_total",
            "Rows compared; every row is in slice all, and in each slice of the manifest that it fits.",
            ["candidate", "slice"],
            registry=registry,
        )
        self._flips = Counter(
            "understudy_shadow_flips_total",
            "Compared rows that the candidate labels differently, by production's label and the candidate's.",
            ["candidate", "slice", "from", "to"],
            registry=registry,
        )
        self._gap = Histogram(
            "understudy_shadow_gap",
            "Absolute difference of the two scores of a row; probabilities, or the regression's unit.",
            ["candidate"],
            buckets=self._bounds,
            registry=registry,
        )
        self._seconds = Histogram(
            "understudy_shadow_seconds",
            "CPU seconds of a candidate's inference per row.",
            ["candidate"],
            buckets=CANDIDATE_SECONDS,
            registry=registry,
        )
        self._distance = Histogram(
            "understudy_shadow_explanation_distance",
            "How far the reasons of the two models for a row differ: 0 the same, 1 nothing in common.",
            ["candidate"],
            buckets=DISTANCE_BUCKETS,
            registry=registry,
        )
        self._explained = Counter(
            "understudy_shadow_explained_rows_total",
            "Compared rows that were explained under both models.",
            ["candidate"],
            registry=registry,
        )
        self._unexplained = Counter(
            "understudy_shadow_unexplained_rows_total",
            "Compared rows that were to be explained and were not, by the reason.",
            ["candidate", "reason"],
            registry=registry,
        )
        self._overlaps = Counter(
            "understudy_shadow_explanation_overlaps_total",
            "Sum over the explained rows of the share, 0 to 1, of the top features that both models name.",
            ["candidate"],
            registry=registry,
        )
        self._moved = Counter(
            "understudy_shadow_influence_moved_total",
            "Sum over the explained rows of how far a feature's share of the influence moved, 0 to 1.",
            ["candidate", "feature"],
            registry=registry,
        )

    def compared(self, candidate: str, comparison: Comparison) -> None:
        """Counts one comparison."""
        for name, rows in comparison.rows.items():
            self._rows.labels(candidate, name).inc(rows)
        for name, flips in comparison.flips.items():
            for (before, after), rows in flips.items():
                self._flips.labels(candidate, name, before, after).inc(rows)
        observe(self._gap.labels(candidate), self._bounds, comparison.gaps)
        seconds = np.full(len(comparison), comparison.seconds)
        observe(self._seconds.labels(candidate), CANDIDATE_SECONDS, seconds)

    def explained(self, candidate: str, reasons: ReasonsComparison) -> None:
        """Counts the reasons of some rows."""
        self._explained.labels(candidate).inc(len(reasons))
        observe(self._distance.labels(candidate), DISTANCE_BUCKETS, reasons.distances)
        self._overlaps.labels(candidate).inc(float(reasons.overlaps.sum()))
        moved = reasons.moved.sum(axis=0).tolist()
        for feature, much in zip(reasons.features[:NAMED_FEATURES], moved, strict=False):
            self._moved.labels(candidate, feature).inc(much)
        if len(moved) > NAMED_FEATURES:
            self._moved.labels(candidate, OTHER_FEATURES).inc(sum(moved[NAMED_FEATURES:]))

    def unexplained(self, candidate: str, reason: str, rows: int) -> None:
        """Counts sampled rows that were not explained."""
        self._unexplained.labels(candidate, reason).inc(rows)


class VerdictMetrics:
    """The present verdict on each candidate.

    A shadow that is born again shows its predecessor's verdict until it has said its own: the evidence is
    the same, so nothing was taken back.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._verdict = Gauge(
            "understudy_verdict",
            "1 for the present verdict on a candidate, 0 for the others.",
            ["candidate", "state"],
            registry=registry,
            multiprocess_mode="mostrecent",
        )

    def said(self, candidate: str, state: str) -> None:
        """Publishes a verdict.

        Raises:
            ValueError: ``state`` is none of ``STATES``.
        """
        if state not in STATES:
            raise ValueError(f"expected one of {', '.join(STATES)}, found {state!r}")
        for other in STATES:  # first, so that no page ever shows two verdicts
            if other != state:
                self._verdict.labels(candidate, other).set(0)
        self._verdict.labels(candidate, state).set(1)


class EvidenceMetrics:
    """What the shadow could not keep for a store that was down or slow. Sums are never among it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lost = Counter(
            "understudy_evidence_lost_total",
            "Rows of both models' answers, and single cases, that were given up for want of room.",
            ["candidate", "kind"],
            registry=registry,
        )

    def lost(self, candidate: str, kind: str, count: int) -> None:
        """Counts what was given up; ``kind`` is ``answers`` or ``cases``."""
        self._lost.labels(candidate, kind).inc(count)
