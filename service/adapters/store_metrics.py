"""Prometheus' family that says whether the store works."""

from __future__ import annotations

from typing import Literal, TypeAlias

from prometheus_client import CollectorRegistry, Gauge

Writer: TypeAlias = Literal["evidence", "records", "drift"]
"""Who writes to the store, each with a connection and a pace of its own."""


class StoreMetrics:
    """Whether each writer's last try succeeded."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._up = Gauge(
            "understudy_store_up",
            "1 where the last try to use the store succeeded, 0 where it failed, by what is written.",
            ["writer"],
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self._said: dict[Writer, bool] = {}

    def tried(self, writer: Writer, succeeded: bool) -> None:
        """Notes how a try went; each writer is of one thread."""
        if self._said.get(writer) != succeeded:
            self._said[writer] = succeeded
            self._up.labels(writer).set(succeeded)
