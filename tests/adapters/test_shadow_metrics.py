"""What the shadow counts: comparisons, reasons, the verdict, and what it lost."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from service.adapters import prometheus
from service.adapters.prometheus import Page
from service.adapters.shadow_metrics import STATES, EvidenceMetrics, ShadowMetrics, VerdictMetrics
from service.domain.disagreement.gap import PROBABILITY_BUCKETS
from tests.adapters.counted import comparison, reasons, value


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    return prometheus.new_registry()


def test_a_comparison_is_counted_by_slice_flip_gap_and_seconds(registry: CollectorRegistry) -> None:
    metrics = ShadowMetrics(registry, PROBABILITY_BUCKETS)
    for _ in range(2):
        metrics.compared("m:new", comparison(12))
    found = Page(registry, None).samples()
    assert value(found, "shadow_compared_rows_total", candidate="m:new", slice="all") == 24
    assert value(found, "shadow_compared_rows_total", candidate="m:new", slice="renters") == 12
    flips = {"candidate": "m:new", "slice": "all", "from_": "bad", "to": "good"}
    assert value(found, "shadow_flips_total", **flips) == 2
    assert value(found, "shadow_gap_bucket", candidate="m:new", le="0.0") == 2
    assert value(found, "shadow_gap_bucket", candidate="m:new", le="+Inf") == 24
    assert value(found, "shadow_gap_sum", candidate="m:new") == pytest.approx(1.32)
    assert value(found, "shadow_seconds_bucket", candidate="m:new", le="0.0001") == 0
    assert value(found, "shadow_seconds_bucket", candidate="m:new", le="0.0002") == 24


def test_reasons_are_counted_by_distance_overlap_and_feature(registry: CollectorRegistry) -> None:
    metrics = ShadowMetrics(registry, PROBABILITY_BUCKETS)
    for rows in (3, 0, 5):
        metrics.explained("m:new", reasons(rows))
    metrics.unexplained("m:new", "busy", 4)
    found = Page(registry, None).samples()
    assert value(found, "shadow_explained_rows_total", candidate="m:new") == 8
    assert value(found, "shadow_unexplained_rows_total", candidate="m:new", reason="busy") == 4
    assert value(found, "shadow_explanation_distance_bucket", candidate="m:new", le="0.2") == 0
    assert value(found, "shadow_explanation_distance_bucket", candidate="m:new", le="0.3") == 8
    assert value(found, "shadow_explanation_distance_sum", candidate="m:new") == 2.0
    assert value(found, "shadow_explanation_overlaps_total", candidate="m:new") == 4.0
    much = [
        value(found, "shadow_influence_moved_total", candidate="m:new", feature=f"f{n}") for n in range(3)
    ]
    assert much == pytest.approx([0, 0.08, 0.16])


def test_a_hundred_features_have_series_of_their_own_and_the_rest_share_one(
    registry: CollectorRegistry,
) -> None:
    metrics = ShadowMetrics(registry, PROBABILITY_BUCKETS)
    metrics.explained("m:new", reasons(2, features=103))
    found = Page(registry, None).samples()
    shown = {
        dict(labels)["feature"]: moved
        for (name, labels), moved in found.items()
        if name == "understudy_shadow_influence_moved_total"
    }
    assert len(shown) == 101
    assert shown["f99"] == pytest.approx(2 * 0.99)
    assert shown["other"] == pytest.approx(2 * (1.00 + 1.01 + 1.02))


def test_slices_without_a_row_and_without_a_flip_are_shown_all_the_same(registry: CollectorRegistry) -> None:
    ShadowMetrics(registry, PROBABILITY_BUCKETS).compared("m:new", comparison(1))
    found = Page(registry, None).samples()
    assert value(found, "shadow_compared_rows_total", candidate="m:new", slice="renters") == 0


def test_one_verdict_at_a_time_is_the_present_one(registry: CollectorRegistry) -> None:
    metrics = VerdictMetrics(registry)
    for state in (*STATES, *reversed(STATES), "hold", "hold"):
        metrics.said("m:new", state)
        metrics.said("m:other", "rollback")
        found = Page(registry, None).samples()
        shown = {each: value(found, "verdict", candidate="m:new", state=each) for each in STATES}
        assert shown == {each: float(each == state) for each in STATES}


def test_nothing_is_shown_before_the_first_verdict(registry: CollectorRegistry) -> None:
    VerdictMetrics(registry)
    found = Page(registry, None).samples()
    assert [value(found, "verdict", candidate="m:new", state=state) for state in STATES] == [None] * 3


def test_a_verdict_that_nobody_knows_is_refused_and_changes_nothing(registry: CollectorRegistry) -> None:
    metrics = VerdictMetrics(registry)
    metrics.said("m:new", "promote")
    with pytest.raises(ValueError, match="expected one of promote, hold, rollback, found 'maybe'"):
        metrics.said("m:new", "maybe")
    found = Page(registry, None).samples()
    assert value(found, "verdict", candidate="m:new", state="promote") == 1


def test_what_was_given_up_is_counted_by_its_kind(registry: CollectorRegistry) -> None:
    metrics = EvidenceMetrics(registry)
    for kind, count in (("answers", 500), ("cases", 2), ("answers", 100)):
        metrics.lost("m:new", kind, count)
    found = Page(registry, None).samples()
    assert value(found, "evidence_lost_total", candidate="m:new", kind="answers") == 600
    assert value(found, "evidence_lost_total", candidate="m:new", kind="cases") == 2
