"""The open loop's schedule."""

from __future__ import annotations

import pytest

from load_tests.pacing import Schedule


def test_sends_rate_times_seconds_requests() -> None:
    assert Schedule(250, 4).count == 1000
    assert Schedule(0.1, 1).count == 1


def test_the_first_request_is_due_at_once_and_the_rest_evenly() -> None:
    schedule = Schedule(200, 2)
    assert [schedule.due(index) for index in range(3)] == pytest.approx([0, 0.005, 0.01])


def test_what_is_due_by_a_time_is_what_has_its_due_time_behind_it() -> None:
    schedule = Schedule(64, 3)  # a power of two: due times are exact
    for elapsed in (0.0, 0.01, 1 / 64, 0.5, 1.7, 2.99):
        expected = sum(schedule.due(index) <= elapsed for index in range(schedule.count))
        assert schedule.due_by(elapsed) == expected


def test_a_stall_makes_later_requests_due_rather_than_postponing_them() -> None:
    schedule = Schedule(1000, 10)
    assert schedule.due_by(2.0) - schedule.due_by(1.0) == 1000


def test_nothing_is_due_before_the_start_or_beyond_the_end() -> None:
    schedule = Schedule(10, 1)
    assert schedule.due_by(-0.1) == 0
    assert schedule.due_by(100) == schedule.count == 10


@pytest.mark.parametrize(("rate", "seconds"), [(0, 1), (-1, 1), (1, 0)])
def test_refuses_a_schedule_that_sends_nothing(rate: float, seconds: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Schedule(rate, seconds)
