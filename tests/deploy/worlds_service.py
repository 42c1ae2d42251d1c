"""Worlds of requests, candidates, canaries and labels, with the value of all that is recorded of them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from deploy.prometheus.edge import SLOW_SECONDS
from deploy.prometheus.windows import BURN
from tests.deploy.worlds import History, World

Rates = list[float]
VERSIONED = "/v2/models/{model}/versions/{version}/infer"
PREDICTING = ("/predict", "/v1/models/{model}:predict", "/v2/models/{model}/infer", VERSIONED)
SHARES: Mapping[str, Mapping[str, float]] = {
    "shop": {"a": 0.1, "b": 0.1},
    "till": {"a": 0.7},
    "idle": {"a": 0.1},
    "full": {"a": 1.0},
    "none": {"a": 0.0},
    "torn": {"a": 0.1, "b": 0.2},
}
"""Of the canary, by job and replica; for as long as the world is there."""


def service_world() -> World:
    """Six hours and forty minutes."""
    world = World(interval=1, at=400)
    _candidates(world, History(world, seed=1))
    _requests(world, History(world, seed=2))
    return world


def labels_world() -> World:
    """A day and an hour in which labels come."""
    world = World(interval=30, at=1_500)
    history = History(world, seed=3)
    for version, covered_share in (("1", 0.8), ("2", 0.0)):
        model = {"model": "credit", "version": version}
        labelled = covered = 0.0
        for replica in "ab":
            rates = history.counter("understudy_conformal_labelled_total", {**model, "instance": replica})
            labelled += history.rose(rates, "24h")
            if covered_share:
                part = [covered_share * rate * (1 + 0.1 * (place % 2)) for place, rate in enumerate(rates)]
                labels = {**model, "instance": replica}
                history.counter("understudy_conformal_covered_total", labels, part_of=part)
                covered += history.rose(part, "24h")
        world.expects("understudy:conformal_labelled:24h", model, labelled)
        world.expects("understudy:conformal_coverage_ratio:24h", model, covered / labelled)
    unlabelled = {"model": "credit", "version": "3"}
    history.counter("understudy_conformal_labelled_total", unlabelled, part_of=[0.0] * 50)
    for arm, kinds in (
        ("production", ("true", "false", "value")),
        ("canary", ("false",)),
        ("other", ("value",)),
    ):
        labels = {"model": "credit", "version": "1", "arm": arm}
        rose = dict.fromkeys(("true", "false", "value"), 0.0)
        for correct in kinds:
            for replica in "ab":
                about = {**labels, "correct": correct, "instance": replica}
                rose[correct] += history.rose(history.counter("understudy_labels_total", about), "24h")
        told = rose["true"] + rose["false"]
        world.expects("understudy:accuracy_ratio:24h", labels, rose["true"] / told if told else None)
    for correct in ("true", "false"):
        labels = {"model": "credit", "version": "1", "arm": "idle", "correct": correct}
        history.counter("understudy_labels_total", labels, part_of=[0.0] * 50)
    return world


def _candidates(world: World, history: History) -> None:
    zero = [0.0] * world.at
    for candidate, slices, flips in (
        ("m:2", ("all", "thin"), True),
        ("m:3", ("all",), False),
        ("m:4", ("all",), True),
    ):
        idle = zero if candidate == "m:4" else ()
        for part in slices:
            about = {"candidate": candidate, "slice": part}
            compared: list[Rates] = []
            flipped: list[Rates] = []
            for replica in "ab":
                labels = {**about, "instance": replica}
                compared.append(
                    history.counter("understudy_shadow_compared_rows_total", labels, 50, part_of=idle)
                )
                for kind in ({"from": "bad", "to": "good"}, {"from": "good", "to": "bad"}) if flips else ():
                    name = "understudy_shadow_flips_total"
                    flipped.append(history.counter(name, {**labels, **kind}, 5, part_of=idle))
            for window in BURN:
                rows = _sum(history, compared, window)
                ratio = _sum(history, flipped, window) / rows if rows else None
                world.expects(f"understudy:shadow_flip_ratio:{window}", about, ratio)
            if part == "all":
                rate = _sum(history, compared, "5m") / 300
                world.expects("understudy:shadow_compared_rows:rate5m", {"candidate": candidate}, rate)
        if candidate != "m:3":
            _outcomes(world, history, candidate, idle)


def _outcomes(world: World, history: History, candidate: str, idle: Rates | tuple[()]) -> None:
    about = {"candidate": candidate}
    rose = {}
    for outcome in ("compared", "queue_full", "sampled_out"):
        rates = [
            history.counter(
                "understudy_shadow_rows_total",
                {**about, "outcome": outcome, "instance": replica},
                part_of=idle,
            )
            for replica in "ab"
        ]
        rose[outcome] = _sum(history, rates, "30m")
    total = sum(rose.values())
    for outcome, rows in rose.items():
        ratio = rows / total if total else None
        world.expects("understudy:shadow_outcome_ratio:30m", {**about, "outcome": outcome}, ratio)
    world.expects("understudy:shadow_coverage_ratio:30m", about, rose["compared"] / total if total else None)
    gaps: dict[str, list[Rates]] = {"sum": [], "count": []}
    for end, found in gaps.items():
        for replica in "ab":
            labels = {**about, "instance": replica}
            found.append(history.counter(f"understudy_shadow_gap_{end}", labels, part_of=idle))
    rows = _sum(history, gaps["count"], "1h")
    mean = _sum(history, gaps["sum"], "1h") / rows if rows else None
    world.expects("understudy:shadow_gap_mean:1h", about, mean)


def _requests(world: World, history: History) -> None:
    for job, shares in SHARES.items():
        idle = [0.0] * world.at if job == "idle" else ()
        rates: dict[tuple[str, str], list[Rates]] = {}
        for route in (*PREDICTING, "/explain", "/v1/models/{model}:explain"):
            if route == VERSIONED and job != "shop":
                continue
            for code in ("200", "422", "503", "500") if job != "till" else ("200",):
                for replica in shares:
                    labels = {"job": job, "instance": replica, "route": route, "code": code}
                    own = history.counter("understudy_requests_total", labels, 3, part_of=idle)
                    rates.setdefault((route, code), []).append(own)
        for (route, code), found in rates.items():
            labels = {"job": job, "route": route, "code": code}
            world.expects("understudy:requests:rate5m", labels, _sum(history, found, "5m") / 300)
        predicting = {key: found for key, found in rates.items() if key[0] in PREDICTING}
        for window in BURN:
            every = sum(_sum(history, found, window) for found in predicting.values())
            failed = sum(
                _sum(history, found, window) for key, found in predicting.items() if key[1] in ("500", "503")
            )
            world.expects(f"understudy:error_ratio:{window}", {"job": job}, failed / every if every else None)
        fixed = _sum(history, rates.get((VERSIONED, "200"), []), "1h")
        arms = _answers(world, history, job, tuple(shares), idle)
        _canary(world, job, shares, arms, fixed)


def _answers(
    world: World, history: History, job: str, replicas: tuple[str, ...], idle: Rates | tuple[()]
) -> dict[str, float]:
    """Latencies; answers of each arm within the hour."""
    bounds = (0.01, SLOW_SECONDS, 0.1, 0.2)
    every: list[Rates] = []
    quick: list[Rates] = []
    arms = {}
    for arm in ("production", "canary") if job != "till" else ("production",):
        buckets: dict[float, list[Rates]] = {}
        for replica in replicas:
            labels = {"job": job, "instance": replica, "arm": arm}
            drawn = [history.rates(most) if not idle else list(idle) for most in (20, 20, 20, 0.1)]
            for place, bound in enumerate((*bounds[:-1], math.inf)):
                summed = [sum(some) for some in zip(*drawn[: place + 1], strict=True)]
                le = "+Inf" if math.isinf(bound) else f"{bound:g}"
                history.counter("understudy_predict_seconds_bucket", {**labels, "le": le}, part_of=summed)
                buckets.setdefault(bound, []).append(summed)
            history.counter("understudy_predict_seconds_count", labels, part_of=buckets[math.inf][-1])
        every += buckets[math.inf]
        quick += buckets[SLOW_SECONDS]
        arms[arm] = _sum(history, buckets[math.inf], "1h")
        within = {bound: _sum(history, found, "5m") for bound, found in buckets.items()}
        for name, quantile in (("p50", 0.5), ("p99", 0.99)):
            value = _quantile(quantile, within) if within[math.inf] else None
            world.expects(f"understudy:predict_seconds:{name}_5m", {"job": job, "arm": arm}, value)
        requests = {"job": job, "arm": arm}
        world.expects("understudy:canary_requests:increase1h", requests, arms[arm])
    for window in BURN:
        answered = _sum(history, every, window)
        slow = 1 - _sum(history, quick, window) / answered if answered else None
        world.expects(f"understudy:slow_ratio:{window}", {"job": job}, slow)
    return arms


def _canary(
    world: World, job: str, shares: Mapping[str, float], arms: Mapping[str, float], fixed: float
) -> None:
    for replica, share in shares.items():
        labels = {"job": job, "instance": replica, "candidate": "m:2"}
        world.has("understudy_canary_share_ratio", labels, [share] * (world.at + 1))
    assigned = sum(arms.values()) - fixed
    world.expects("understudy:canary_assigned_requests:increase1h", {"job": job}, assigned or None)
    same = set(shares.values())
    _expect_canary(world, job, "m:2", same.pop() if len(same) == 1 else None, arms, assigned)
    # candidate, its share before, for how many minutes it has been 0.1, and whether that is long enough
    for candidate, before, minutes, known in (
        ("m:3", None, 30, False), ("m:4", 0.05, 40, False), ("m:5", 0.05, 90, True), ("m:6", 0.2, 90, True),
        ("m:7", None, 90, True),
    ):  # fmt: skip
        held = [before] * (world.at + 1 - minutes) + [0.1] * minutes
        world.has("understudy_canary_share_ratio", {"job": job, "candidate": candidate}, held)
        _expect_canary(world, job, candidate, 0.1 if known else None, arms, assigned)


def _expect_canary(
    world: World, job: str, candidate: str, share: float | None, arms: Mapping[str, float], assigned: float
) -> None:
    about = {"job": job, "candidate": candidate}
    known = share if share is not None and 0 < share < 1 else None
    due = None if known is None or not assigned else known * assigned
    z = (
        None
        if due is None or known is None
        else (arms.get("canary", 0.0) - due) / math.sqrt(due * (1 - known))
    )
    world.expects("understudy:canary_share_ratio:1h", about, known)
    world.expects("understudy:canary_expected_requests:1h", about, due)
    world.expects("understudy:canary_srm_z:1h", about, z)


def _sum(history: History, counters: list[Rates], window: str) -> float:
    return sum(history.rose(rates, window) for rates in counters)


def _quantile(quantile: float, within: Mapping[float, float]) -> float:
    """As Prometheus has it: linear within a bucket, the last finite bound beyond it."""
    rank = quantile * within[math.inf]
    low = below = 0.0
    for bound, count in within.items():
        if math.isinf(bound):
            return low
        if count >= rank:
            return low + (bound - low) * (rank - below) / (count - below)
        low, below = bound, count
    raise AssertionError("the last bound is infinite")
