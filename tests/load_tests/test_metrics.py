"""The accounting of mirrored rows, read from Prometheus text."""

from __future__ import annotations

from load_tests.metrics import accounting

PAGE = """\
# TYPE understudy_predictions_total counter
understudy_predictions_total{model="bench",version="1",arm="production",label="good"} 70
understudy_predictions_total{model="bench",version="1",arm="production",label="bad"} 30
# TYPE understudy_shadow_rows_total counter
understudy_shadow_rows_total{candidate="2",outcome="compared"} 60
understudy_shadow_rows_total{candidate="2",outcome="deadline"} 40
understudy_shadow_rows_total{candidate="3",outcome="compared"} 90
understudy_shadow_rows_total{candidate="3",outcome="queue_full"} 9
# TYPE understudy_shadow_gap histogram
understudy_shadow_gap_bucket{candidate="2",le="+Inf"} 60
"""


def test_rows_answered_are_added_up_over_labels() -> None:
    assert accounting(PAGE).answered == 100


def test_a_lost_row_is_found() -> None:
    found = accounting(PAGE)
    assert found.missing("2") == 0
    assert found.missing("3") == 1
    assert not found.balanced


def test_balanced_when_every_row_has_one_outcome() -> None:
    assert accounting(PAGE.replace('"queue_full"} 9', '"queue_full"} 10')).balanced


def test_coverage_is_the_share_compared_since_the_earlier_reading() -> None:
    earlier, later = accounting(PAGE), accounting(PAGE.replace("} 60", "} 110").replace("} 70", "} 170"))
    assert later.since(earlier).answered == 100
    assert later.since(earlier).coverage("2") == 0.5


def test_a_service_without_candidates_is_balanced() -> None:
    found = accounting("# TYPE understudy_predictions_total counter\nunderstudy_predictions_total 5\n")
    assert found.answered == 5
    assert found.balanced
