"""Queries that decide over releases and replicas: right in health and trouble, silent with little to say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.deploy.components import CANDIDATE, Asked, argo_queries, flagger_queries, keda_query
from tests.deploy.promtool import World, disagreements
from tests.deploy.scenes import held, steady

pytestmark = pytest.mark.system("promtool")

QUERIES = {asked.name: asked for asked in (*argo_queries(), *flagger_queries())}
MINUTES = 150
NEW = {"job": "understudy", "namespace": "shop", "pod": "understudy-7d9f-x2k"}
OTHERS = (
    {**NEW, "pod": "understudy-primary-7d9f-x2k"},
    {**NEW, "namespace": "till", "pod": "understudy-7d9f-aaa", "job": "till"},
)
"""Pods that the split's queries must not see: those of the other Deployment, and those of another team."""


def has(world: World, name: str, labels: dict[str, str], values: Sequence[float | None]) -> None:
    words = " ".join("_" if value is None else f"{value:.12g}" for value in values)
    world.has(name, labels, words)


def answers(world: World, pod: dict[str, str], rate: float, failing: float, slow: float) -> None:
    """Requests a minute, the share answered 503 and the share that takes between 50 and 250 ms."""
    for code, share in (("503", failing), ("200", 1 - failing)):
        if share:
            about = {**pod, "route": "/predict", "code": code}
            has(world, "understudy_requests_total", about, steady(rate * share, MINUTES))
    for le, share in (("0.01", 1 - slow), ("0.05", 1 - slow), ("0.25", 1.0), ("+Inf", 1.0)):
        about = {**pod, "arm": "production", "le": le}
        has(world, "understudy_predict_seconds_bucket", about, steady(rate * share, MINUTES))


def arms(world: World, pod: dict[str, str], rate: float, canary: float) -> None:
    """Requests a minute of both arms, and a share of a tenth in force throughout."""
    for arm, share in (("canary", canary), ("production", 1 - canary)):
        about = {**pod, "arm": arm}
        has(world, "understudy_predict_seconds_count", about, steady(rate * share, MINUTES))
    about = {**pod, "candidate": CANDIDATE}
    has(world, "understudy_canary_share_ratio", about, held((0.1, MINUTES + 1)))


def shadowed(world: World, pod: dict[str, str], rate: float, flipped: float, compared: float) -> None:
    """Mirrored rows a minute, of which so many are compared, of which so many are flipped."""
    about = {**pod, "candidate": CANDIDATE}
    for outcome, share in (("compared", compared), ("queue_full", 1 - compared), ("sampled_out", 9.0)):
        rows = steady(rate * share, MINUTES)
        has(world, "understudy_shadow_rows_total", {**about, "outcome": outcome}, rows)
    rows = steady(rate * compared, MINUTES)
    has(world, "understudy_shadow_compared_rows_total", {**about, "slice": "all"}, rows)
    if flipped:
        labels = {**about, "slice": "all", "from": "good", "to": "bad"}
        has(world, "understudy_shadow_flips_total", labels, steady(rate * compared * flipped, MINUTES))


def verdict(world: World, pod: dict[str, str], said: str) -> None:
    for state in ("promote", "hold", "rollback"):
        about = {**pod, "candidate": CANDIDATE, "state": state}
        has(world, "understudy_verdict", about, held((float(state == said), MINUTES + 1)))


def healthy() -> World:
    """All is well with the new pods, and nothing with the others."""
    world = World("1m", "1m", f"{MINUTES}m")
    answers(world, NEW, 300, 0.0, 0.001)
    arms(world, NEW, 300, 0.1)
    shadowed(world, NEW, 300, 0.0, 0.9)
    verdict(world, NEW, "promote")
    for other in OTHERS:
        answers(world, other, 300, 0.5, 0.5)
    shadowed(world, OTHERS[1], 300, 0.5, 0.1)
    verdict(world, OTHERS[1], "rollback")
    return world


def troubled() -> World:
    """The other way round."""
    world = World("1m", "1m", f"{MINUTES}m")
    answers(world, NEW, 300, 0.05, 0.05)
    arms(world, NEW, 300, 0.2)
    shadowed(world, NEW, 600, 0.2, 0.3)
    verdict(world, NEW, "promote")
    verdict(world, {**NEW, "pod": "understudy-7d9f-b"}, "hold")
    for other in OTHERS:
        answers(world, other, 300, 0.0, 0.0)
    shadowed(world, OTHERS[1], 300, 0.0, 1.0)
    verdict(world, OTHERS[1], "promote")
    return world


def thin() -> World:
    """Somebody asks now and then, and every answer is as bad as can be."""
    world = World("1m", "1m", f"{MINUTES}m")
    answers(world, NEW, 10, 1.0, 1.0)
    arms(world, NEW, 1, 1.0)
    shadowed(world, NEW, 10, 1.0, 1.0)
    return world


def expects(world: World, asked: Asked, good: bool) -> None:
    """That one of the two conditions holds of one value, and the other of none."""
    world.asks(f"count(({asked.query}) {asked.good if good else asked.bad})", [({}, 1.0)])
    world.expects_none(f"({asked.query}) {asked.bad if good else asked.good}")


def test_every_condition_holds_in_health(tmp_path: Path) -> None:
    world = healthy()
    for asked in QUERIES.values():
        expects(world, asked, good=True)
    assert disagreements(world, tmp_path) == ""


def test_every_condition_fails_in_trouble(tmp_path: Path) -> None:
    world = troubled()
    for asked in QUERIES.values():
        expects(world, asked, good=False)
    assert disagreements(world, tmp_path) == ""


@pytest.mark.parametrize("make", [thin, lambda: World("1m", "1m", f"{MINUTES}m")], ids=["thin", "nothing"])
def test_too_little_to_say_is_neither(make: type, tmp_path: Path) -> None:
    world = make()
    for asked in QUERIES.values():
        world.expects_none(asked.query)
    assert disagreements(world, tmp_path) == ""


def test_replicas_follow_all_requests_for_predictions_and_no_others(tmp_path: Path) -> None:
    world = World("1m", "1m", "30m")
    for pod in "ab":
        for route, rate in (("/predict", 6_000.0), ("/v2/models/{model}/infer", 600.0), ("/metrics", 60.0)):
            about = {"job": "shop/understudy", "pod": pod, "route": route, "code": "200"}
            has(world, "understudy_requests_total", about, steady(rate, 30))
    has(world, "understudy_requests_total", {"job": "other", "route": "/predict"}, steady(9_000, 30))
    world.asks(f"round({keda_query()}, 0.001)", [({}, 220.0)])
    assert disagreements(world, tmp_path) == ""


def test_replicas_that_nobody_asks_are_none_too_many_and_unseen_ones_are_an_error(tmp_path: Path) -> None:
    idle = World("1m", "1m", "10m")
    has(idle, "understudy_build_info", {"job": "understudy", "pod": "a"}, held((1, 11)))
    idle.asks(keda_query(), [({}, 0.0)])
    assert disagreements(idle, tmp_path) == ""
    gone = World("1m", "1m", "10m")
    has(gone, "understudy_build_info", {"job": "other"}, held((1, 11)))
    gone.expects_none(keda_query())
    assert disagreements(gone, tmp_path) == ""


def test_a_placeholder_is_left_in_no_query() -> None:
    assert not [
        asked.name for asked in QUERIES.values() if re.search(r"{{|}}", asked.query.replace('"}', ""))
    ]
