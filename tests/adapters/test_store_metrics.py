"""Whether the store works is told for each writer."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from service.adapters.prometheus import new_registry
from service.adapters.store_metrics import StoreMetrics


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    return new_registry()


def test_the_last_try_of_each_writer_is_shown(registry: CollectorRegistry) -> None:
    metrics = StoreMetrics(registry)

    def up(writer: str) -> Any:
        return registry.get_sample_value("understudy_store_up", {"writer": writer})

    assert up("drift") is None
    metrics.tried("drift", False)
    metrics.tried("records", True)
    assert (up("drift"), up("records"), up("evidence")) == (0, 1, None)
    for succeeded in (False, True, True):
        metrics.tried("drift", succeeded)
    assert up("drift") == 1
    metrics.tried("drift", False)
    assert (up("drift"), up("records")) == (0, 1)
