"""A store that fails or is slow is left in peace, and not for longer than that."""

from __future__ import annotations

import random

import pytest

from service.paths.patience import PAUSES, REST, SLOW_SECONDS, Patience


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def test_pauses_double_up_to_the_longest_and_start_anew_after_a_success() -> None:
    patience = Patience(Clock(), lambda: 0.0)
    assert [patience.failed() for _ in range(8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    patience.succeeded()
    assert patience.failed() == PAUSES[0]


def test_replicas_that_lost_their_store_together_do_not_come_back_together() -> None:
    draw = random.Random(7).random
    replicas = [Patience(Clock(), draw) for _ in range(10)]
    for first in (0.5, 1.0, 2.0):
        pauses = sorted(patience.failed() for patience in replicas)
        assert first / 2 <= pauses[0] < 0.7 * first < 0.8 * first < pauses[-1] <= first


def test_the_store_is_asked_again_when_the_pause_is_over() -> None:
    clock = Clock()
    patience = Patience(clock, lambda: 0.0)
    assert (patience.resting(), patience.left) == (False, 0.0)
    patience.failed()
    assert (patience.resting(), patience.left) == (True, 0.5)
    clock.now += 0.5
    assert (patience.resting(), patience.left) == (False, 0.0)


@pytest.mark.parametrize(
    ("took", "left"), [(0.99 * SLOW_SECONDS, 0.0), (SLOW_SECONDS, REST * SLOW_SECONDS), (60.0, PAUSES[1])]
)
def test_after_a_slow_transaction_there_is_a_rest_that_is_in_proportion(took: float, left: float) -> None:
    clock = Clock()
    patience = Patience(clock)
    with patience.timed():
        clock.now += took
    assert patience.left == pytest.approx(left)


def test_a_transaction_that_fails_is_no_slow_one() -> None:
    clock = Clock()
    patience = Patience(clock)

    def slow() -> None:
        clock.now += 60.0
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        patience.timed()(slow)()
    assert not patience.resting()
