"""What is recorded of candidates, requests, the canary and labels, on series with known answers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from deploy.prometheus.edge import SLOW_SECONDS
from service.adapters.prometheus import SECONDS
from tests.deploy.promtool import World, disagreements

pytestmark = pytest.mark.system("promtool")

NOTHING = '{__name__=~"understudy:.+"}'
"""Everything that is recorded."""


@pytest.fixture
def world() -> World:
    """Two hours and more, a scrape a minute; counters rise evenly, so every window holds its share."""
    return World(interval="1m", evaluation="10m", at="130m")


def rising(per_minute: float, start: float = 0.0) -> str:
    return f"{start:g}+{per_minute:g}x130"


def test_flips_are_a_share_of_the_compared_rows_over_all_replicas(world: World, tmp_path: Path) -> None:
    for replica, compared, flipped in (("a", 100, 3), ("b", 300, 5)):
        rows = {"candidate": "m:2", "slice": "all", "instance": replica, "job": "one"}
        world.has("understudy_shadow_compared_rows_total", rows, rising(compared))
        kinds = {"from": "bad", "to": "good"}, {"from": "good", "to": "bad"}
        for kind, some in zip(kinds, (flipped - 1, 1), strict=True):
            world.has("understudy_shadow_flips_total", {**rows, **kind}, rising(some))
    for window in ("5m", "30m", "1h"):
        world.expects(f"understudy:shadow_flip_ratio:{window}", {"candidate": "m:2", "slice": "all"}, 8 / 400)
    world.expects("understudy:shadow_compared_rows:rate5m", {"candidate": "m:2"}, 400 / 60)
    assert disagreements(world, tmp_path) == ""


def test_a_candidate_that_never_flipped_has_a_ratio_of_nought_and_one_without_rows_has_none(
    world: World, tmp_path: Path
) -> None:
    world.has("understudy_shadow_compared_rows_total", {"candidate": "m:2", "slice": "all"}, rising(10))
    world.has("understudy_shadow_compared_rows_total", {"candidate": "m:3", "slice": "all"}, rising(0))
    world.has(
        "understudy_shadow_flips_total",
        {"candidate": "m:3", "slice": "all", "from": "a", "to": "b"},
        rising(0),
    )
    world.expects("understudy:shadow_flip_ratio:1h", {"candidate": "m:2", "slice": "all"}, 0.0)
    world.expects_none('{__name__=~"understudy:shadow_flip_ratio:.+", candidate="m:3"}')
    assert disagreements(world, tmp_path) == ""


def test_coverage_is_compared_rows_of_all_that_were_offered(world: World, tmp_path: Path) -> None:
    for outcome, rows in (("compared", 30), ("queue_full", 60), ("deadline", 10), ("too_large", 0)):
        labels = {"candidate": "m:2", "outcome": outcome}
        for replica in "ab":
            series = {**labels, "instance": replica}
            world.has("understudy_shadow_rows_total", series, rising(rows))
        world.expects("understudy:shadow_outcome_ratio:30m", labels, rows / 100)
    world.expects("understudy:shadow_coverage_ratio:30m", {"candidate": "m:2"}, 0.3)
    assert disagreements(world, tmp_path) == ""


def test_the_mean_gap_is_of_the_rows_compared_in_the_hour(world: World, tmp_path: Path) -> None:
    for replica, total, rows in (("a", 0.5, 10), ("b", 4.0, 20)):
        labels = {"candidate": "m:2", "instance": replica}
        world.has("understudy_shadow_gap_sum", labels, rising(total))
        world.has("understudy_shadow_gap_count", labels, rising(rows))
    world.expects("understudy:shadow_gap_mean:1h", {"candidate": "m:2"}, 4.5 / 30)
    assert disagreements(world, tmp_path) == ""


def test_errors_are_counted_over_prediction_routes_only_and_by_job(world: World, tmp_path: Path) -> None:
    seen = [
        ("one", "/predict", "200", 90), ("one", "/predict", "503", 4), ("one", "/predict", "422", 2),
        ("one", "/v1/models/{model}:predict", "500", 1), ("one", "/v2/models/{model}/infer", "200", 2),
        ("one", "/v2/models/{model}/versions/{version}/infer", "504", 1),
        ("one", "/explain", "503", 50), ("one", "/feedback", "503", 50), ("one", "/metrics", "200", 50),
        ("one", "/v1/models/{model}:explain", "500", 50), ("one", "/v2/models/{model}", "500", 50),
        ("two", "/predict", "200", 7),
        ("idle", "/predict", "500", 0),
    ]  # fmt: skip
    for job, route, code, rate in seen:
        series = {"job": job, "instance": job, "route": route, "code": code}
        world.has("understudy_requests_total", series, rising(rate))
    for window in ("5m", "30m", "1h"):
        world.expects(f"understudy:error_ratio:{window}", {"job": "one"}, 0.06)
        world.expects(f"understudy:error_ratio:{window}", {"job": "two"}, 0.0)
        world.expects_none(f'understudy:error_ratio:{window}{{job="idle"}}')
    asked = {"job": "one", "route": "/predict", "code": "503"}
    world.expects("understudy:requests:rate5m", asked, 4 / 60)
    assert disagreements(world, tmp_path) == ""


def test_slow_answers_are_those_beyond_the_bound_in_either_arm(world: World, tmp_path: Path) -> None:
    within = {"production": {0.01: 50, 0.05: 98, math.inf: 100}, "canary": {0.01: 0, 0.05: 60, math.inf: 100}}
    for arm, counts in within.items():
        labels = {"job": "one", "arm": arm}
        for bound, count in counts.items():
            le = "+Inf" if math.isinf(bound) else f"{bound:g}"
            world.has("understudy_predict_seconds_bucket", {**labels, "le": le}, rising(count))
        world.has("understudy_predict_seconds_count", labels, rising(counts[math.inf]))
    world.expects("understudy:slow_ratio:1h", {"job": "one"}, 0.21)
    production = {"job": "one", "arm": "production"}
    world.expects("understudy:predict_seconds:p50_5m", production, 0.01)
    world.expects("understudy:predict_seconds:p99_5m", production, 0.05)
    assert disagreements(world, tmp_path) == ""


def test_the_bound_of_slow_answers_is_a_bound_of_the_histogram() -> None:
    assert SLOW_SECONDS in SECONDS


def test_nothing_is_recorded_of_an_arm_that_answered_nothing(world: World, tmp_path: Path) -> None:
    labels = {"job": "one", "arm": "canary"}
    for bound in ("0.05", "+Inf"):
        world.has("understudy_predict_seconds_bucket", {**labels, "le": bound}, rising(0))
    world.has("understudy_predict_seconds_count", labels, rising(0))
    for name in ("slow_ratio:.+", "predict_seconds:.+", "canary_srm_z:.+"):
        world.expects_none(f'{{__name__=~"understudy:{name}"}}')
    assert disagreements(world, tmp_path) == ""


def split(world: World, canary: float, share: str, fixed: float = 0.0) -> None:
    """An hour of 100 requests a minute and those for a fixed version, of which the canary answers some."""
    for arm, rate in (("production", 100 - canary + fixed), ("canary", canary)):
        labels = {"job": "one", "instance": "a", "arm": arm}
        world.has("understudy_predict_seconds_count", labels, rising(rate))
    if fixed:
        route = "/v2/models/{model}/versions/{version}/infer"
        series = {"job": "one", "instance": "a", "route": route, "code": "200"}
        world.has("understudy_requests_total", series, rising(fixed))
    for replica in "ab":
        series = {"job": "one", "instance": replica, "candidate": "m:2"}
        world.has("understudy_canary_share_ratio", series, share)


@pytest.mark.parametrize("canary", [8, 10, 12])
@pytest.mark.parametrize("fixed", [0, 40])
def test_the_mismatch_is_the_deviate_of_a_binomial(
    world: World, tmp_path: Path, canary: int, fixed: int
) -> None:
    split(world, canary, "0.1x130", fixed)
    asked, share = 6_000, 0.1
    z = (60 * canary - asked * share) / math.sqrt(asked * share * (1 - share))
    world.expects("understudy:canary_srm_z:1h", {"job": "one", "candidate": "m:2"}, z)
    world.expects("understudy:canary_requests:increase1h", {"job": "one", "arm": "canary"}, 60 * canary)
    assert disagreements(world, tmp_path) == ""


def test_a_canary_that_answers_nothing_is_a_mismatch_as_well(world: World, tmp_path: Path) -> None:
    series = {"job": "one", "arm": "production"}
    world.has("understudy_predict_seconds_count", series, rising(100))
    world.has("understudy_canary_share_ratio", {"job": "one", "candidate": "m:2"}, "0.1x130")
    z = -600 / math.sqrt(6_000 * 0.1 * 0.9)
    world.expects("understudy:canary_srm_z:1h", {"job": "one", "candidate": "m:2"}, z)
    assert disagreements(world, tmp_path) == ""


@pytest.mark.parametrize(
    "share",
    [
        "0.05x100 0.1x29",  # raised half an hour ago
        "_x100 0.1x29",  # begun half an hour ago
        "0x130",  # none
        "1x130",  # all: nothing to compare with
    ],
)
def test_a_share_that_moved_in_the_hour_or_splits_nothing_has_no_mismatch(
    world: World, tmp_path: Path, share: str
) -> None:
    split(world, 50, share)
    world.expects_none("understudy:canary_srm_z:1h")
    assert disagreements(world, tmp_path) == ""


def test_labels_tell_coverage_and_accuracy_over_a_day(tmp_path: Path) -> None:
    world = World(interval="30m", evaluation="30m", at="25h")
    model = {"model": "credit", "version": "gbm-1"}
    for replica, labelled, covered in (("a", 10, 9), ("b", 30, 29)):
        series = {**model, "instance": replica}
        world.has("understudy_conformal_labelled_total", series, f"0+{labelled}x50")
        world.has("understudy_conformal_covered_total", series, f"0+{covered}x50")
    for arm, right, wrong in (("production", 9, 1), ("canary", 0, 5)):
        for correct, rows in (("true", right), ("false", wrong), ("value", 100)):
            if rows:  # a series is born with its first row
                series = {**model, "arm": arm, "correct": correct}
                world.has("understudy_labels_total", series, f"0+{rows}x50")
    world.expects("understudy:conformal_labelled:24h", model, 48 * 40)
    world.expects("understudy:conformal_coverage_ratio:24h", model, 38 / 40)
    world.expects("understudy:accuracy_ratio:24h", {**model, "arm": "production"}, 0.9)
    world.expects("understudy:accuracy_ratio:24h", {**model, "arm": "canary"}, 0.0)
    assert disagreements(world, tmp_path) == ""


def test_a_service_without_any_traffic_has_nothing_recorded(world: World, tmp_path: Path) -> None:
    world.has("understudy_requests_total", {"route": "/metrics", "code": "200", "job": "one"}, rising(0))
    world.has("understudy_shadow_rows_total", {"candidate": "m:2", "outcome": "compared"}, rising(0))
    world.has("understudy_conformal_labelled_total", {"model": "m", "version": "1"}, rising(0))
    world.has("understudy_labels_total", {"model": "m", "version": "1", "correct": "true"}, rising(0))
    world.expects_none(f'{NOTHING} != 0 or {{__name__=~"understudy:.+_ratio:.+|understudy:drift.+"}}')
    assert disagreements(world, tmp_path) == ""
