"""Prometheus' family that says which models may serve, told by the process that loaded each of them."""

from __future__ import annotations

from typing import Literal

from prometheus_client import CollectorRegistry, Gauge


class ReadyMetrics:
    """Whether each model passed its gate. Production is unready where it is in any worker."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ready = Gauge(
            "understudy_model_ready",
            "1 where the model is loaded and its answers are those of its training; 0 where it was refused, "
            "for example because it fails parity.",
            ["model", "version", "role"],
            registry=registry,
            multiprocess_mode="min",
        )

    def said(self, tag: str, role: Literal["production", "candidate"], ready: bool) -> None:
        """Publishes it."""
        name, _, version = tag.partition(":")
        self._ready.labels(name, version, role).set(ready)
