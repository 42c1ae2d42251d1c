"""A canary that has proven quick is run on the event loop, and loses that as soon as it is not."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import numpy as np
import pytest

from service.errors import DeadlineError, InferenceError
from service.paths.canary import PROVEN_RUNS, QUICK_SECONDS
from tests.paths.predicts import MANY, ROWS, World, question


async def hang() -> None:
    await asyncio.Event().wait()


def proven() -> World:
    """A world whose canary has been quick often enough."""
    world = World()
    for _ in range(PROVEN_RUNS):
        assert world.ask().arm == "canary"
    assert (len(world.canary.beside), world.canary.inline) == (PROVEN_RUNS, [])
    return world


def test_a_proven_canary_answers_without_a_thread() -> None:
    world = proven()
    answer = world.path.answer_here(question(ROWS, arm="canary"))
    assert answer is not None
    assert (answer.arm, answer.labels, answer.model) == ("canary", [1], world.serving)
    assert (len(world.canary.beside), world.canary.inline) == (PROVEN_RUNS, [1])


def test_before_that_nothing_of_it_runs_on_the_event_loop() -> None:
    world = World()
    for _ in range(PROVEN_RUNS - 1):
        world.ask()
    assert world.path.answer_here(question(ROWS, arm="canary")) is None
    assert (world.canary.inline, world.production.inline) == ([], [])


def test_many_rows_go_to_the_thread_all_the_same() -> None:
    world = proven()
    assert world.path.answer_here(question(MANY, arm="canary")) is None
    assert world.ask(rows=MANY).arm == "canary"
    assert world.canary.beside[-1] == len(MANY)


def test_it_sees_projected_rows() -> None:
    world = proven()
    world.arm.project = lambda rows: rows[:, :1].repeat(3, axis=0)
    answer = world.path.answer_here(question(ROWS, arm="canary"))
    assert answer is not None
    assert len(answer.scores) == 3


@pytest.mark.parametrize(
    ("error", "reason"),
    [(InferenceError("no"), "error"), (DeadlineError("late"), "deadline"), (ZeroDivisionError(), "error")],
)
def test_production_answers_the_same_request_when_it_fails_there(error: Exception, reason: str) -> None:
    world = proven()

    def fail() -> None:
        raise error

    world.canary.fault_here = fail
    answer = world.path.answer_here(question(ROWS, arm="canary"))
    assert answer is not None
    assert (answer.arm, world.reasons, world.arm.breaker.failures) == ("production", [("m:new", reason)], 1)


def test_a_canary_that_failed_proves_itself_beside_before_it_runs_there_again() -> None:
    world = proven()
    world.canary.positive = np.nan
    assert world.ask().arm == "production"
    world.canary.positive = 0.9
    runs = len(world.canary.beside)
    assert world.ask().arm == "canary"
    assert len(world.canary.beside) == runs + 1
    assert world.ask().arm == "canary"
    assert len(world.canary.beside) == runs + 1


def test_one_that_once_held_up_the_event_loop_never_does_so_again() -> None:
    world = proven()
    world.canary.fault_here = lambda: time.sleep(1.5 * QUICK_SECONDS)
    assert world.ask().arm == "canary"
    world.canary.fault_here = None
    inline = len(world.canary.inline)
    for _ in range(2 * PROVEN_RUNS):
        assert world.ask().arm == "canary"
    assert len(world.canary.inline) == inline


def test_it_is_stopped_when_others_have_waited_long_enough() -> None:
    world = proven()
    start = time.monotonic()
    world.ask()
    assert start <= world.canary.due[-1] - QUICK_SECONDS <= time.monotonic()


def test_one_that_failed_beside_has_to_prove_itself_from_the_start() -> None:
    """It may have hung there; on the event loop nobody would be answered meanwhile."""
    world = proven()
    world.canary.fault = hang
    assert world.ask(rows=MANY).arm == "production"
    world.canary.fault = None
    for _ in range(PROVEN_RUNS - 1):
        assert world.ask().arm == "canary"
    assert world.canary.inline == []
    world.ask()
    world.ask()
    assert world.canary.inline == [1]


def test_it_is_asked_once_where_production_could_not_step_in_at_once() -> None:
    world = proven()
    world.arm.serving = replace(world.serving, inline_rows=100)
    world.canary.positive = np.nan
    asked = question(MANY, arm="canary")
    assert world.path.answer_here(asked) is None
    assert asyncio.run(world.path.answer(asked)).arm == "production"
    runs = (world.canary.inline, world.canary.beside[PROVEN_RUNS:])
    assert (runs, world.reasons) == (([], [len(MANY)]), [("m:new", "error")])
