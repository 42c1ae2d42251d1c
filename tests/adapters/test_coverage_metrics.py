"""The families of live coverage add up to what was counted."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from service.adapters import prometheus
from service.adapters.coverage_metrics import CoverageMetrics
from service.adapters.prometheus import Page
from service.domain.coverage import Count, Part, counts_of
from service.domain.report import Samples

ALL_ROWS = {
    Part("m:prod", "production", "all"): Count(10, 9),
    Part("m:prod", "production", "renters"): Count(4, 3),
    Part("m:new", "canary", "all"): Count(3, 3),
}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    return prometheus.new_registry()


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"understudy_{name}", tuple(sorted(labels.items()))))


def test_rows_are_counted_once_for_the_model_and_once_in_each_slice(registry: CollectorRegistry) -> None:
    metrics, page = CoverageMetrics(registry), Page(registry, None)
    for times in (1, 2):
        metrics.counted(ALL_ROWS)
        found = page.samples()
        assert value(found, "conformal_labelled_total", model="m", version="prod") == 10 * times
        assert value(found, "conformal_covered_total", model="m", version="prod") == 9 * times
        assert value(found, "conformal_labelled_total", model="m", version="new") == 3 * times
        mine = {"model": "m", "version": "prod", "arm": "production"}
        assert value(found, "coverage_rows_total", slice="renters", covered="true", **mine) == 3 * times
        assert value(found, "coverage_rows_total", slice="renters", covered="false", **mine) == times
        assert value(found, "coverage_rows_total", slice="all", covered="false", **mine) == times


def test_a_model_that_missed_nothing_shows_a_nought_that_rates_can_start_from(
    registry: CollectorRegistry,
) -> None:
    CoverageMetrics(registry).counted(ALL_ROWS)
    new = {"model": "m", "version": "new", "arm": "canary", "slice": "all"}
    assert value(Page(registry, None).samples(), "coverage_rows_total", covered="false", **new) == 0


def test_the_counts_are_read_back_from_the_page_as_they_were_counted(registry: CollectorRegistry) -> None:
    CoverageMetrics(registry).counted(ALL_ROWS)
    samples = Page(registry, None).samples()
    both = counts_of(samples, "m:prod") | counts_of(samples, "m:new")
    assert both == ALL_ROWS


def test_what_was_promised_is_told_beside_what_was_covered(registry: CollectorRegistry) -> None:
    metrics, page = CoverageMetrics(registry), Page(registry, None)
    for confidence in (0.8, 0.9):
        metrics.promised("m:prod", confidence)
        found = page.samples()
        assert value(found, "conformal_confidence_ratio", model="m", version="prod") == confidence
