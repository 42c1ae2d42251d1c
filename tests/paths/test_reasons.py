"""Reasons in the shadow: a sample of compared rows is explained, and no row is worse off for it."""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from service.adapters import prometheus
from service.adapters.shadow_metrics import ShadowMetrics
from service.domain.disagreement.gap import PROBABILITY_BUCKETS
from service.domain.explainers.game import Players, Subject
from service.domain.explainers.offer import offer
from service.domain.explainers.pair import pair
from service.domain.explainers.permutation import PERMUTATION
from service.domain.observation import ShadowBatch
from service.domain.report import CandidateState, report
from service.domain.schema import FeatureBatch, Scores
from service.errors import InferenceError
from service.wiring.shadow import MetricsSink
from tests.domain.models import spec
from tests.paths.shadows import NOT_A_NUMBER, POISON, UNFOUNDED, World, origin_of, scenario

Make = Callable[..., World]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    return lambda **settings: World(monkeypatch, **settings)


def test_every_compared_row_is_explained_at_a_rate_of_one(make: Make) -> None:
    world = make(batch_rows=10)
    reasons = world.explain()
    world.offer(*range(25))
    world.work()
    assert [row for rows in reasons.rows for row in rows] == list(range(25))
    assert (world.sink.explained_rows, dict(world.sink.lost)) == (25, {})
    assert world.outcomes == {"compared": 25}


def test_nothing_is_explained_at_a_rate_of_nought(make: Make) -> None:
    world = make()
    reasons = world.explain(rate=0.0)
    world.offer(*range(60))
    world.work()
    assert reasons.rows == []


def test_the_sample_has_the_configured_share_and_is_the_same_again(make: Make) -> None:
    samples = []
    for _ in range(2):
        world = make(queue_rows=10_000)
        reasons = world.explain(rate=0.1)
        for _ in range(50):
            world.offer(*range(100))
            world.work()
        samples.append(reasons.rows)
    explained = sum(len(rows) for rows in samples[0])
    assert abs(explained - 500) < 4 * np.sqrt(5_000 * 0.1 * 0.9)  # a binomial draw of 5,000 rows
    assert samples[0] == samples[1]


def test_only_what_was_compared_is_explained_and_with_productions_answer(make: Make) -> None:
    world = make()
    reasons = world.explain()
    world.offer(1, NOT_A_NUMBER, 2, POISON)
    world.offer(3, canary=True)
    world.work()
    assert sorted(row for rows in reasons.rows for row in rows) == [1, 2, 3]
    assert np.concatenate(reasons.scores).tolist() == [[1.0, 0.0]] * 3  # not the canary's own


def test_explaining_may_take_half_the_time_of_the_rows_behind_it(make: Make) -> None:
    world = make(batch_rows=1, deadline=2.0)
    reasons = world.explain(seconds=5.0)
    world.offer(1)
    world.offer(2, age=0.75)
    world.work()
    assert reasons.due == [world.now + 0.25, world.now + 1.0]


def test_explaining_takes_no_longer_than_configured(make: Make) -> None:
    world = make()
    reasons = world.explain(seconds=0.125)
    world.offer(1)
    world.work()
    assert reasons.due == [world.now + 0.125]


def test_nothing_is_explained_while_rows_have_waited_half_their_time(make: Make) -> None:
    world = make(batch_rows=1)
    reasons = world.explain()
    world.offer(1)
    world.offer(2, age=1.0)
    world.work()
    assert (reasons.rows, dict(world.sink.lost)) == ([[2.0]], {"busy": 1})
    assert world.outcomes == {"compared": 2}


@pytest.mark.parametrize("limit", [{"queue_rows": 7}, {"queue_bytes": 7 * (12 + 8)}])
def test_nothing_is_explained_while_more_than_half_the_queue_is_taken(
    make: Make, limit: dict[str, int]
) -> None:
    world = make(batch_rows=1, **limit)
    reasons = world.explain()
    world.offer(*range(7))
    world.work()
    assert (reasons.rows, dict(world.sink.lost)) == ([[3.0], [4.0], [5.0], [6.0]], {"busy": 3})


def test_rows_that_time_did_not_suffice_for_are_counted(make: Make) -> None:
    world = make()
    world.explain().at_most = 3
    world.offer(*range(10))
    world.work()
    assert (world.sink.explained_rows, dict(world.sink.lost)) == (3, {"deadline": 7})


def test_attributions_that_are_no_numbers_are_counted_and_never_summed(make: Make) -> None:
    world = make()
    world.explain()
    world.offer(1, UNFOUNDED, 2)
    world.work()
    (found,) = world.sink.reasons
    assert found.distances.tolist() == [0.25, 0.25]
    assert dict(world.sink.lost) == {"error": 1}


def test_a_failure_is_counted_each_time_and_logged_once_per_kind(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    world = make()
    reasons = world.explain()
    for error in (InferenceError("one"), InferenceError("two"), ValueError("three"), ValueError("four")):
        reasons.error = error
        world.offer(1, 2)
        with caplog.at_level(logging.WARNING, "understudy.shadow"):
            world.work()
    assert dict(world.sink.lost) == {"error": 8}
    assert world.outcomes == {"compared": 8}
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["one", "three"]
    reasons.error = None
    world.offer(1)
    world.work()
    assert world.sink.explained_rows == 1  # it is tried again


def test_a_crash_while_explaining_has_a_name(make: Make) -> None:
    world = make()
    during: list[bool] = []
    reasons = world.explain()

    def watched(rows, scores, due):  # type: ignore[no-untyped-def]  # a Reasons
        during.append(world.account.shown("running")[-1])
        return reasons(rows, scores, due)

    world.explain(watched)
    world.offer(1)
    world.work()
    reasons.error = ValueError("no")
    world.offer(1)
    world.work()
    assert during == [True, True]
    assert world.account.shown("running")[-1] is False


@pytest.mark.parametrize("seed", range(20))
def test_every_rows_outcome_is_the_same_with_and_without_reasons(make: Make, seed: int) -> None:
    limits = {"batch_rows": random.Random(seed).choice([1, 7, 64]), "queue_rows": 200}
    plain = make(**limits)
    scenario(plain, seed)
    explained = make(**limits)
    reasons = explained.explain(rate=0.5)
    reasons.error = [None, InferenceError("always"), ZeroDivisionError()][seed % 3]
    scenario(explained, seed)
    assert reasons.rows
    assert explained.outcomes == plain.outcomes
    assert [found.rows for found in explained.sink.comparisons] == [
        found.rows for found in plain.sink.comparisons
    ]
    asked = Counter(len(rows) for rows in reasons.rows)
    done = explained.sink.explained_rows + sum(explained.sink.lost.values())
    assert done - explained.sink.lost["busy"] == sum(size * times for size, times in asked.items())


def test_a_candidate_that_answers_alike_for_other_reasons_is_seen_before_promotion(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    registry = prometheus.new_registry()
    sink = MetricsSink(ShadowMetrics(registry, PROBABILITY_BUCKETS), "m:new")
    rng = np.random.default_rng(3)
    background = np.repeat(rng.normal(size=(60, 1)), 3, axis=1).astype(np.float32)
    before, after = roles(2, 1, 0), roles(1, 2, 0)
    players = Players(("age", "home", "income"), tuple(np.array([column]) for column in range(3)))
    production = offer(Subject(spec(), before, background, players), (PERMUTATION,))
    candidate = Subject(spec("new"), after, background, players)
    found = pair(production, candidate, lambda rows: rows, (PERMUTATION,), max_evals=400)

    world = make(batch_rows=50)
    world.explain(found.compare)
    world.shadow.infer = lambda rows, due: after(rows)
    world.shadow.sink = sink
    assert world.shadow.explaining is not None
    world.shadow.explaining.sink = sink
    world.now = time.monotonic()  # the methods look at the real clock
    rows = np.repeat(rng.normal(size=(50, 1)), 3, axis=1).astype(np.float32)  # all three columns say the same
    senders = np.zeros(50, np.int16)
    canary = np.zeros(50, np.bool_)
    origin = origin_of("id", rows=50)
    world.shadow.offer(ShadowBatch(rows, before(rows), canary, senders, world.now, origin))
    world.work()

    samples = prometheus.Page(registry, None).samples()
    state = CandidateState("m:new", None, False, 0, found.method)
    (shown,) = report(samples, "m:prod", (state,))["candidates"]
    assert (shown["flips"]["compared"], shown["flips"]["flipped"], shown["gap"]["mean"]) == (50, 0, 0.0)
    reasons = shown["explanations"]
    assert (reasons["method"], reasons["explained"], reasons["unexplained"]) == ("permutation", 50, {})
    assert reasons["distance"]["mean"] == pytest.approx(1 / 3, abs=1e-3)
    assert reasons["distance"]["p50_at_most"] >= 0.3
    assert [entry["feature"] for entry in reasons["moved"][:2]] in (["age", "home"], ["home", "age"])
    assert [entry["mean"] for entry in reasons["moved"][:2]] == pytest.approx([1 / 3, 1 / 3], abs=1e-3)
    assert reasons["top_overlap"] == 1.0  # the same features lead, in another order


def roles(*weights: float) -> Callable[[FeatureBatch], Scores]:
    """A logistic model of three columns."""

    def predict(rows: FeatureBatch) -> Scores:
        good = 1 / (1 + np.exp(-rows.astype(np.float64) @ np.array(weights)))
        return np.column_stack([1 - good, good]).astype(np.float32)

    return predict
