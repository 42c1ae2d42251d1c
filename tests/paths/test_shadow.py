"""The shadow's journey: every row ends in one outcome, and a bad candidate is data."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from service.domain.schema import FeatureBatch, Scores
from service.paths.receiver import RefusedCandidate
from tests.paths.shadows import BUG, LATE, NOT_A_NUMBER, POISON, FakeAccount, World

Make = Callable[..., World]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    return lambda **settings: World(monkeypatch, **settings)


def test_compares_what_both_models_answered(make: Make) -> None:
    world = make()
    world.offer(1, 2, 3)
    world.offer(4, sender=5)
    world.work()
    (found,) = world.sink.comparisons
    assert (found.rows["all"], found.rows["renters"]) == (4, 4)
    assert found.flips["all"] == {("bad", "good"): 4}
    assert found.gaps.tolist() == [0.75] * 4
    assert found.seconds == pytest.approx(0.001)
    assert world.outcomes == {"compared": 4}
    assert world.account.by_sender == {3: 3, 5: 1}


def test_nothing_to_do_is_said_after_the_wait(make: Make) -> None:
    assert make().shadow.run_once(wait=0.0) is False


def test_a_row_that_comes_during_the_wait_is_worked_off_at_once(make: Make) -> None:
    world = make()
    later = threading.Timer(0.02, world.offer, [1.0])
    later.start()
    start = time.monotonic()
    assert world.shadow.run_once(wait=10.0)
    assert time.monotonic() - start < 5.0
    later.join()


def test_rows_run_in_batches_of_the_configured_size(make: Make) -> None:
    world = make(batch_rows=10)
    world.offer(*range(25))
    world.offer(*range(3))
    world.work()
    assert world.runs == [10, 10, 8]
    assert world.outcomes == {"compared": 28}


def test_rows_keep_their_order_through_splitting_and_joining(make: Make) -> None:
    world = make(batch_rows=4)
    seen: list[float] = []

    def project(rows: FeatureBatch) -> FeatureBatch:
        seen.extend(rows[:, 0].tolist())
        return rows

    world.shadow.project = project
    world.offer(*range(7))
    world.offer(7)
    world.offer(*range(8, 19))
    world.work()
    assert seen == list(range(19))


def test_beyond_the_queue_a_batch_is_counted_whole(make: Make) -> None:
    world = make(queue_rows=10)
    world.offer(*range(8))
    world.offer(*range(3))
    world.offer(*range(2))
    assert world.outcomes == {"queue_full": 3}
    world.work()
    world.offer(*range(10))  # there is room again
    world.work()
    assert world.outcomes == {"queue_full": 3, "compared": 20}


def test_rows_that_waited_too_long_are_not_run(make: Make) -> None:
    world = make()
    world.offer(1, 2, age=2.001)
    world.work()
    world.offer(3, age=1.999)
    world.work()
    assert world.outcomes == {"deadline": 2, "compared": 1}
    assert world.runs == [1]


def test_every_run_is_due_one_deadline_from_now(make: Make) -> None:
    world = make()
    world.offer(1)
    world.work()
    assert world.due == [1_002.0]


def test_a_batch_with_one_poisonous_row_loses_only_that_row(make: Make) -> None:
    world = make()
    firsts = [1.0] * 50
    firsts[37] = POISON
    world.offer(*firsts)
    world.work()
    assert world.outcomes == {"compared": 49, "candidate_error": 1}
    assert sum(found.rows["all"] for found in world.sink.comparisons) == 49
    assert len(world.runs) <= 1 + 2 * 6  # halves of 50
    assert not world.shadow.breaker.is_open


def test_a_bug_of_ours_is_a_row_of_its_own_too(make: Make) -> None:
    world = make()
    world.offer(1, BUG, 1)
    world.work()
    assert world.outcomes == {"compared": 2, "candidate_error": 1}
    assert world.account.shown("running")[-1] is False


def test_rows_answered_with_no_number_are_lost_alone(make: Make) -> None:
    world = make()
    world.offer(1, NOT_A_NUMBER, 2, NOT_A_NUMBER)
    world.offer(NOT_A_NUMBER)
    world.work()
    assert world.outcomes == {"compared": 2, "candidate_error": 3}
    (found,) = world.sink.comparisons
    assert (len(found.gaps), bool(np.isfinite(found.gaps).all())) == (2, True)


def test_a_candidate_that_always_fails_is_paused_and_its_rows_are_counted(make: Make) -> None:
    world = make()
    world.offer(*[POISON] * 40)
    world.work()
    assert world.outcomes == {"candidate_error": 3, "breaker_open": 37}
    assert world.account.shown("open")[-1] is True
    runs = len(world.runs)
    world.offer(1)
    world.work()
    assert len(world.runs) == runs
    assert world.outcomes["breaker_open"] == 38


def test_a_paused_candidate_gets_a_trial_and_comes_back(make: Make) -> None:
    world = make()
    world.offer(*[POISON] * 3)
    world.work()
    world.now += 10.0
    world.offer(POISON)
    world.work()
    assert world.shadow.breaker.open_until == world.now + 20.0
    world.now += 20.0
    world.offer(1)
    world.work()
    assert not world.shadow.breaker.is_open
    assert world.account.shown("open")[-1] is False
    assert world.outcomes == {"candidate_error": 4, "compared": 1}


def test_a_late_run_that_used_the_cpu_feeds_the_breaker(make: Make) -> None:
    world = make(batch_rows=1)
    world.cpu_of_a_late_run = 1.5
    for _ in range(4):
        world.offer(LATE)
        world.work()
    assert world.outcomes == {"deadline": 3, "breaker_open": 1}


def test_a_late_run_that_got_no_cpu_is_not_held_against_the_candidate(make: Make) -> None:
    world = make()
    world.cpu_of_a_late_run = 0.9
    for _ in range(20):
        world.offer(LATE)
        world.work()
    assert world.outcomes == {"deadline": 20}
    assert not world.shadow.breaker.is_open


def test_batches_shrink_while_runs_are_late_and_grow_back(make: Make) -> None:
    world = make(batch_rows=16)
    for _ in range(3):
        world.offer(*[LATE] * 16)
        world.shadow.run_once(wait=0.0)
        world.shadow._queue.clear()
        world.shadow._queued = 0
    world.offer(*range(50))
    world.work()
    assert world.runs == [16, 8, 4, 2, 4, 8, 16, 16, 4]


def test_rows_of_the_canary_are_compared_with_what_production_says_here(make: Make) -> None:
    world = make()
    world.offer(1, 2)
    world.offer(3, 4, canary=True)
    world.work()
    assert world.production_runs == [[3.0, 4.0]]
    (found,) = world.sink.comparisons
    assert found.gaps.tolist() == [0.75] * 4  # against the canary's own 0, 1 it would be 0.25
    assert found.flips["all"] == {("bad", "good"): 4}


def test_without_rows_of_the_canary_production_is_not_run(make: Make) -> None:
    world = make()
    world.offer(1)
    world.work()
    assert world.production_runs == []


def test_where_production_fails_only_the_canarys_rows_are_lost(make: Make) -> None:
    world = make()
    world.production_fails = True
    world.offer(1, 2)
    world.offer(3, canary=True)
    world.work()
    assert world.outcomes == {"compared": 2, "deadline": 1}
    (found,) = world.sink.comparisons
    assert found.gaps.tolist() == [0.75, 0.75]


def test_no_gap_is_counted_where_production_answers_no_number(make: Make) -> None:
    world = make()
    world.shadow.infer = lambda batch, due: np.full((len(batch), 2), 0.5, np.float32)
    world.offer(NOT_A_NUMBER, 1, canary=True)
    world.work()
    assert world.outcomes == {"compared": 1, "deadline": 1}
    assert all(np.isfinite(found.gaps).all() for found in world.sink.comparisons)


def test_says_when_it_runs_so_that_a_crash_has_a_name(make: Make) -> None:
    world = make()
    during: list[bool] = []

    def infer(batch: FeatureBatch, due: float) -> Scores:
        during.append(world.account.shown("running")[-1])
        return np.full((len(batch), 2), 0.5, np.float32)

    world.shadow.infer = infer
    world.offer(1)
    world.work()
    assert during == [True]
    assert world.account.shown("running") == [True, False]


@pytest.mark.parametrize(("crashes", "pause"), [(1, 10.0), (2, 20.0), (3, 40.0), (4, 80.0), (99, 80.0)])
def test_a_candidate_that_crashed_the_shadow_starts_paused_and_longer_each_time(
    make: Make, crashes: int, pause: float
) -> None:
    world = make(account=FakeAccount(crashes))
    assert world.shadow.breaker.open_until == world.now + pause
    assert world.account.shown("open") == [True]
    world.offer(1)
    world.work()
    world.now += pause
    world.offer(1)
    world.work()
    assert world.outcomes == {"breaker_open": 1, "compared": 1}
    assert world.account.in_a_row == 0


def test_a_shadow_born_without_crashes_shows_a_closed_breaker(make: Make) -> None:
    assert make().account.shown("open") == [False]


def test_a_refused_candidate_counts_every_row(make: Make) -> None:
    world = make()
    account = FakeAccount()
    world.shadow = RefusedCandidate(account)  # type: ignore[assignment]  # it takes the same offers
    world.offer(1, 2, 3)
    assert dict(account.rows) == {"candidate_error": 3}


class FakeCounts:
    """Remembers the rows that it was given, and what the candidate answered."""

    def __init__(self) -> None:
        self.firsts: list[float] = []
        self.scores: list[float] = []

    def count(self, rows: FeatureBatch, scores: Scores) -> None:
        self.firsts += rows[:, 0].tolist()
        self.scores += scores[:, 1].tolist()


def test_compared_rows_are_counted_as_the_candidate_sees_them(make: Make) -> None:
    world, counts = make(), FakeCounts()
    world.shadow.distributions = counts
    world.shadow.project = lambda rows: rows * 2
    world.offer(1, NOT_A_NUMBER / 2, 3)
    world.offer(4, canary=True)
    world.offer(5, age=9)
    world.work()
    assert world.outcomes == {"compared": 3, "candidate_error": 1, "deadline": 1}
    assert (counts.firsts, counts.scores) == ([2, 6, 8], [0.75] * 3)


@pytest.mark.parametrize("seed", range(40))
def test_in_every_scenario_each_offered_row_is_counted_once(make: Make, seed: int) -> None:
    draw = random.Random(seed)
    world = make(batch_rows=draw.choice([1, 7, 64]), queue_rows=draw.choice([20, 200]))
    offered: Counter[int] = Counter()
    kinds = [1.0] * draw.choice([3, 30, 300]) + [POISON, NOT_A_NUMBER, LATE, BUG]
    for _ in range(60):
        world.cpu_of_a_late_run = draw.choice([0.0, 1.5])
        world.production_fails = draw.random() < 0.2
        world.now += draw.choice([0.0, 0.1, 5.0])
        firsts, sender = draw.choices(kinds, k=draw.randrange(1, 30)), draw.randrange(4)
        world.offer(*firsts, canary=draw.random() < 0.3, age=draw.choice([0, 0, 0, 3]), sender=sender)
        offered[sender] += len(firsts)
        if draw.random() < 0.7:
            world.shadow.run_once(wait=0.0)
    world.work()
    assert not world.shadow.waiting()
    assert world.account.by_sender == offered
    assert world.outcomes.get("compared", 0) == sum(found.rows["all"] for found in world.sink.comparisons)
