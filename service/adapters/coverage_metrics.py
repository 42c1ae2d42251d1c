"""Prometheus families of live coverage, counted by the process that joins labels to answers."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

from service.domain.coverage import FAMILY, Count, Part
from service.domain.slices import ALL


class CoverageMetrics:
    """How often answers covered the label that came later.

    Labels hold nothing from a caller: models and arms are the service's own, slices are the manifest's.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._labelled = Counter(
            "understudy_conformal_labelled_total",
            "Rows whose label came, of a model with label sets or intervals, whether asked for or not.",
            ["model", "version"],
            registry=registry,
        )
        self._covered = Counter(
            "understudy_conformal_covered_total",
            "Labelled rows whose label set or interval, at the model's own confidence, held the label.",
            ["model", "version"],
            registry=registry,
        )
        self._rows = Counter(
            FAMILY,
            "Labelled rows by whether their region held the label; every row is in slice all, and in each "
            "slice of the manifest that it fits.",
            ["model", "version", "arm", "slice", "covered"],
            registry=registry,
        )
        self._confidence = Gauge(
            "understudy_conformal_confidence_ratio",
            "Share of the labels that the model's sets or intervals promise to hold, 0 to 1.",
            ["model", "version"],
            registry=registry,
            multiprocess_mode="mostrecent",
        )

    def promised(self, tag: str, confidence: float) -> None:
        """Publishes what a model's regions are to cover where a caller names nothing, 0 to 1."""
        name, _, version = tag.partition(":")
        self._confidence.labels(name, version).set(confidence)

    def counted(self, counts: Mapping[Part, Count]) -> None:
        """Adds the counts of some newly labelled rows."""
        for part, some in counts.items():
            name, _, version = part.model.partition(":")
            for covered, rows in (("true", some.covered), ("false", some.labelled - some.covered)):
                self._rows.labels(name, version, part.arm, part.slice, covered).inc(rows)
            if part.slice == ALL:
                self._labelled.labels(name, version).inc(some.labelled)
                self._covered.labels(name, version).inc(some.covered)
