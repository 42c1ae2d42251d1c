"""One request's journey: production always answers, the canary may, what follows costs nobody anything."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import Counter

import numpy as np
import pytest

from service.domain.breaker import Breaker
from service.domain.canary import Rollout, in_canary
from service.domain.observation import Arm, Mirrored
from service.domain.schema import FeatureBatch, Scores
from service.errors import DeadlineError, InferenceError
from service.paths.canary import Split
from service.paths.predict import PredictPath
from service.paths.question import Answer, Serving
from tests.domain.models import spec
from tests.paths.predicts import MANY, ROWS, World, question


async def hang() -> None:
    await asyncio.Event().wait()


async def raise_deadline() -> None:
    raise DeadlineError("stopped")


async def raise_inference() -> None:
    raise InferenceError("no")


async def raise_bug() -> None:
    raise ZeroDivisionError


FAULTS = {
    "deadline": (raise_deadline, "deadline"),
    "a run that cannot be stopped": (hang, "deadline"),
    "an error": (raise_inference, "error"),
    "a bug": (raise_bug, "error"),
}


def test_without_a_canary_production_answers() -> None:
    world = World()
    world.path.split = Split(Rollout(), None)
    answer = world.ask()
    assert (answer.request_id, answer.arm, answer.model) == ("id", "production", world.path.production)
    np.testing.assert_array_equal(answer.scores, world.production.scores(ROWS))
    assert answer.labels == [0]
    assert world.canary.beside == []


def test_the_canary_answers_its_share_with_its_own_label() -> None:
    world = World()
    answer = world.ask()
    assert (answer.arm, answer.model.spec.tag, answer.labels) == ("canary", "m:new", [1])
    assert (world.production.inline, world.production.beside, world.reasons) == ([], [], [])


@pytest.mark.parametrize("fault", FAULTS)
def test_production_answers_the_same_request_when_the_canary_fails(fault: str) -> None:
    world = World()
    world.canary.fault, reason = FAULTS[fault]
    start = time.monotonic()
    answer = world.ask(rows=MANY)
    assert time.monotonic() - start < 1.0
    assert answer.arm == "production"
    assert len(answer.scores) == len(MANY)
    assert world.reasons == [("m:new", reason)]
    assert world.arm.breaker.failures == 1


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_production_answers_when_the_canary_answers_no_number(poison: float) -> None:
    world = World()
    world.canary.positive = poison
    assert world.ask().arm == "production"
    assert world.reasons == [("m:new", "error")]


def test_production_answers_when_the_rows_cannot_be_projected() -> None:
    world = World()

    def broken(rows: FeatureBatch) -> FeatureBatch:
        raise IndexError

    world.arm.project = broken
    assert world.ask().arm == "production"
    assert world.reasons == [("m:new", "error")]


def test_the_canary_sees_projected_rows_and_production_its_own() -> None:
    world = World()
    world.arm.project = lambda rows: rows[:, :1].repeat(7, axis=0)
    assert len(world.ask().scores) == 7
    assert world.canary.beside == [7]


def test_after_some_failures_production_answers_at_once() -> None:
    world = World()
    world.canary.fault = raise_inference
    for _ in range(5):
        assert world.ask().arm == "production"
    assert world.canary.beside == [1, 1, 1]
    assert [reason for _, reason in world.reasons] == ["error"] * 3 + ["breaker_open"] * 2


def test_a_canary_that_recovers_answers_again() -> None:
    world = World(breaker=Breaker(limit=1, pause=0.01))
    world.canary.fault = raise_inference
    assert world.ask().arm == "production"
    world.canary.fault = None
    end = time.monotonic() + 5
    while world.ask().arm == "production":
        assert time.monotonic() < end
    assert not world.arm.breaker.is_open


def test_many_requests_failing_together_open_the_breaker_once() -> None:
    world = World()
    world.canary.fault = raise_inference

    async def together() -> list[Answer]:
        return await asyncio.gather(*(world.path.answer(question()) for _ in range(50)))

    answers = asyncio.run(together())
    assert {answer.arm for answer in answers} == {"production"}
    assert world.arm.breaker.trips == 1


def test_after_the_pause_one_request_tries_and_the_others_do_not_wait() -> None:
    opened = Breaker(limit=1, pause=60.0, failures=1, trips=1, open_until=time.monotonic() - 1)
    world = World(breaker=opened)

    async def together() -> list[Answer]:
        release = asyncio.Event()

        async def slow() -> None:
            await asyncio.wait_for(release.wait(), 5)

        world.canary.fault = slow
        first = asyncio.create_task(world.path.answer(question()))
        await asyncio.sleep(0)
        others = [await world.path.answer(question()) for _ in range(5)]
        release.set()
        return [await first, *others]

    answers = asyncio.run(together())
    assert [answer.arm for answer in answers] == ["canary"] + ["production"] * 5
    assert world.reasons == [("m:new", "breaker_open")] * 5
    assert not world.arm.breaker.is_open


@pytest.mark.parametrize("arm", ["production", "canary"])
@pytest.mark.parametrize("share", [1, 10_000])
def test_an_operator_gets_the_arm_that_was_asked_for(arm: Arm, share: int) -> None:
    keys = [None, *(f"k{number}" for number in range(20))]
    world = World(share)
    assert {world.ask(arm=arm, key=key).arm for key in keys} == {arm}


def test_a_routing_key_always_meets_the_same_arm() -> None:
    world = World(share=3_000)
    keys = [f"customer-{number}" for number in range(300)]
    wanted = ["canary" if in_canary(world.path.split.rollout, key) else "production" for key in keys]
    assert len(set(wanted)) == 2
    for _ in range(2):
        assert [world.ask(key=key).arm for key in keys] == wanted


@pytest.mark.parametrize("share", [500, 5_000])
def test_requests_without_a_key_keep_the_share_within_five_standard_deviations(share: int) -> None:
    world, asked = World(share), 2_000

    async def all_of_them() -> Counter[Arm]:
        return Counter([(await world.path.answer(question())).arm for _ in range(asked)])

    expected = asked * share / 10_000
    found = asyncio.run(all_of_them())["canary"]
    assert abs(found - expected) <= 5 * math.sqrt(expected * (1 - share / 10_000))


def test_small_batches_run_here_and_large_ones_in_a_thread() -> None:
    world = World()
    for rows in (1, 4, 5, 9):
        world.ask(rows=np.repeat(ROWS, rows, axis=0), arm="production")
    assert (world.production.inline, world.production.beside) == ([1, 4], [5, 9])


def test_every_run_knows_when_it_is_due() -> None:
    world = World()
    asked = question()
    asyncio.run(world.path.answer(asked))
    world.path.split = Split(Rollout(), None)
    asyncio.run(world.path.answer(asked))
    assert world.production.due == [asked.start + 5.0]
    assert 0.02 <= world.canary.due[0] - asked.start < 1.0


@pytest.mark.parametrize("rows", [ROWS, MANY], ids=["one row", "many rows"])
@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_production_never_answers_what_is_no_number(rows: FeatureBatch, poison: float) -> None:
    world = World()
    world.production.positive = poison
    with pytest.raises(InferenceError, match="m:prod answered a score that is not a number"):
        world.ask(rows=rows, arm="production")


def test_a_production_run_that_cannot_be_stopped_does_not_hang_the_caller() -> None:
    world = World(deadline=0.05)
    world.production.fault = hang
    start = time.monotonic()
    with pytest.raises(DeadlineError, match="m:prod"):
        world.ask(rows=MANY, arm="production")
    assert time.monotonic() - start < 1.0


def test_the_event_loop_turns_while_a_large_batch_runs() -> None:
    world = World()
    inside, release = threading.Event(), threading.Event()

    def slow(rows: FeatureBatch, due: float) -> Scores:
        inside.set()
        assert release.wait(5)
        return world.production.scores(rows)

    async def infer_in_thread(rows: FeatureBatch, due: float) -> Scores:
        return await asyncio.to_thread(slow, rows, due)

    serving = Serving(spec(), world.production.infer, infer_in_thread, 4, world.production.tally)
    path = PredictPath(serving, None, deadline=5, canary_deadline=1, fell_back=lambda *_: None)

    async def both() -> tuple[Answer, Answer]:
        large = asyncio.create_task(path.answer(question(MANY)))
        assert await asyncio.to_thread(inside.wait, 5)
        small = await path.answer(question())
        release.set()
        return await large, small

    large, small = asyncio.run(both())
    assert (len(large.scores), len(small.scores)) == (9, 1)


@pytest.mark.parametrize("arm", ["production", "canary"])
def test_settling_tallies_and_mirrors_exactly_what_was_answered(arm: Arm) -> None:
    world = World()
    asked = question(MANY, arm=arm)
    answer = asyncio.run(world.path.answer(asked))
    assert world.mirror.items == []
    world.path.settle(asked, answer)
    (item,) = world.mirror.items
    assert (item.request_id, item.answerer) == ("id", int(arm == "canary"))
    assert item.rows is asked.rows
    assert item.scores is answer.scores
    mine, other = (
        (world.production, world.canary) if arm == "production" else (world.canary, world.production)
    )
    assert mine.tally.labels[:2] == ([9, 0] if arm == "production" else [0, 9])
    assert len(mine.tally.seconds) == 1
    assert 0 <= mine.tally.seconds[0] <= time.monotonic() - asked.start
    assert (other.tally.labels, other.tally.seconds) == ([0] * 4, [])


def test_without_candidates_an_answer_is_only_tallied() -> None:
    world = World()
    path = PredictPath(world.serving, None, deadline=1, canary_deadline=0.5, fell_back=lambda *_: None)
    asked = question()
    path.settle(asked, asyncio.run(path.answer(asked)))
    assert world.canary.tally.labels == [0, 1, 0, 0]


def test_what_fails_after_the_answer_is_logged_and_never_raised(caplog: pytest.LogCaptureFixture) -> None:
    class BrokenMirror:
        def offer(self, item: Mirrored) -> None:
            raise OSError("disk gone")

    world = World()
    path = PredictPath(
        world.serving, BrokenMirror(), deadline=1, canary_deadline=0.5, fell_back=lambda *_: None
    )
    asked = question()
    answer = asyncio.run(path.answer(asked))
    with caplog.at_level(logging.ERROR):
        path.settle(asked, answer)
    assert "disk gone" in caplog.text
