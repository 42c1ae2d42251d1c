"""Prometheus families about labels: what came in, and how often the models were right."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from service.domain.labels import Joined

NO_CLASS = "value"
"""The ``correct`` of a regression's labels, which are near or far, never right or wrong."""


class FeedbackMetrics:
    """What one edge worker counts of ``/feedback``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "understudy_feedback_total",
            "Requests whose labels were sent, by what became of them.",
            ["outcome"],
            registry=registry,
        )

    def told(self, outcome: str) -> None:
        """Counts one; ``outcome`` is a ``FeedbackOutcome``."""
        self._requests.labels(outcome).inc()


class LabelMetrics:
    """What the shadow counts of labels that met their answers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._labels = Counter(
            "understudy_labels_total",
            "Answered rows whose label is known, by whether the answer was right; value for a number.",
            ["model", "version", "arm", "correct"],
            registry=registry,
        )
        self._misfits = Counter(
            "understudy_labels_misfit_total",
            "Deliveries of labels that came before their answer and do not fit it.",
            registry=registry,
        )

    def joined(self, found: Joined) -> None:
        """Counts what was just joined."""
        for batch in found.batches:
            name, _, version = batch.answerer.tag.partition(":")
            right = batch.correct
            if right is None:
                self._labels.labels(name, version, batch.answerer.arm, NO_CLASS).inc(len(batch))
                continue
            for correct, rows in (("true", int(right.sum())), ("false", int((~right).sum()))):
                if rows:
                    self._labels.labels(name, version, batch.answerer.arm, correct).inc(rows)
        if found.misfits:
            self._misfits.inc(found.misfits)
