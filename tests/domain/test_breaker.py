"""The breaker's laws, event by event."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.breaker import Breaker, allows, failed, started, succeeded, tripped

CLOSED = Breaker(limit=3, pause=5.0, longest=40.0)


def failing(breaker: Breaker, times: int, now: float = 100.0) -> Breaker:
    for _ in range(times):
        breaker = failed(breaker, now)
    return breaker


def opened(now: float = 100.0) -> Breaker:
    return failing(CLOSED, 3, now)


def test_opens_after_the_limit_of_failures_in_a_row_and_not_before() -> None:
    assert not failing(CLOSED, 2).is_open
    assert failing(CLOSED, 3).is_open


def test_a_success_starts_the_count_anew() -> None:
    assert not failing(succeeded(failing(CLOSED, 2), 1.0), 2).is_open


def test_a_success_on_a_breaker_without_a_mark_makes_no_new_record() -> None:
    assert succeeded(CLOSED, 1.0) is CLOSED


def test_allows_nothing_during_the_pause_and_a_call_after_it() -> None:
    breaker = opened(100.0)
    assert not allows(breaker, 100.0)
    assert not allows(breaker, 104.999)
    assert allows(breaker, 105.0)
    assert breaker.is_open


def test_only_one_trial_is_let_through_after_the_pause() -> None:
    trying = started(opened(100.0), 105.0)
    assert not allows(trying, 105.0)
    assert not allows(trying, 109.9)


def test_a_trial_that_is_never_heard_of_again_lets_another_one_through() -> None:
    assert allows(started(opened(100.0), 105.0), 110.0)


def test_a_trial_that_works_closes_the_breaker() -> None:
    assert succeeded(started(opened(100.0), 105.0), 105.5) == CLOSED


def test_a_trial_that_fails_opens_it_again_for_twice_as_long() -> None:
    breaker = failed(started(opened(100.0), 105.0), 106.0)
    assert not allows(breaker, 115.9)
    assert allows(breaker, 116.0)
    assert not breaker.trial


def test_starting_a_call_on_a_closed_breaker_changes_nothing() -> None:
    assert started(CLOSED, 1.0) is CLOSED


def test_calls_that_were_under_way_when_it_opened_prolong_no_pause() -> None:
    assert failing(opened(100.0), 50, 101.0) == opened(100.0)


def test_a_call_that_was_under_way_when_it_opened_closes_nothing() -> None:
    assert succeeded(opened(100.0), 101.0) == opened(100.0)


def test_pauses_double_up_to_the_longest() -> None:
    breaker, now, pauses = opened(0.0), 0.0, []
    for _ in range(6):
        pauses.append(breaker.open_until - now)
        now = breaker.open_until
        breaker = failed(breaker, now)
    assert pauses == [5.0, 10.0, 20.0, 40.0, 40.0, 40.0]


def test_the_pause_is_short_again_after_a_recovery() -> None:
    twice = failed(opened(0.0), 5.0)
    assert failing(succeeded(twice, 45.0), 3, 50.0).open_until == 55.0


@pytest.mark.parametrize(("trips", "pause"), [(0, 5.0), (1, 10.0), (2, 20.0), (9, 40.0), (5_000, 40.0)])
def test_a_breaker_can_be_opened_with_a_history(trips: int, pause: float) -> None:
    breaker = tripped(CLOSED, 100.0, trips)
    assert (breaker.is_open, breaker.open_until, breaker.trips) == (True, 100.0 + pause, trips + 1)


def test_a_limit_of_one_opens_at_the_first_failure() -> None:
    assert failed(Breaker(limit=1), 0.0).is_open


@settings(derandomize=True, database=None, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("fs"), st.floats(0, 30)), max_size=60))
def test_whatever_happens_one_caller_is_refused_only_during_a_pause_no_longer_than_the_longest(
    events: list[tuple[str, float]],
) -> None:
    breaker, now, in_a_row = CLOSED, 0.0, 0
    for kind, wait in events:
        now += wait
        if not allows(breaker, now):
            assert in_a_row >= breaker.limit
            assert breaker.open_until - now <= breaker.longest
            continue
        breaker = started(breaker, now)
        in_a_row = in_a_row + 1 if kind == "f" else 0
        breaker = failed(breaker, now) if kind == "f" else succeeded(breaker, now)
        assert breaker.is_open == (in_a_row >= breaker.limit)
