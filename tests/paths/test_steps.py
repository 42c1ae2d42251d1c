"""A drawn request's steps are timed, whatever becomes of them."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from service.domain.explainers.document import Wish
from service.domain.explainers.game import Ask
from service.domain.uncertainty.quantifier import Doubt
from service.errors import InferenceError
from service.paths.steps import Steps, step
from tests.paths import test_doubting as doubting
from tests.paths import test_explain as explaining
from tests.paths.predicts import World, question


def test_steps_are_kept_in_the_order_in_which_they_end() -> None:
    steps = Steps(logged=False, trace_id=1)
    with step(steps, "explain"), step(steps, "infer", "canary", "m:new"):
        pass
    inner, outer = steps.done
    assert (inner.name, inner.arm, inner.model, inner.failure) == ("infer", "canary", "m:new", None)
    assert outer.name == "explain"
    assert steps.start <= outer.start <= inner.start <= inner.end <= outer.end


def test_a_step_that_fails_is_kept_with_the_name_of_its_failure_alone() -> None:
    steps = Steps(logged=False, trace_id=1)
    with pytest.raises(KeyError), step(steps, "decode"):
        raise KeyError("a secret")
    assert steps.done[0].failure == "KeyError"
    assert "secret" not in str(steps.done)


def test_a_request_that_was_not_drawn_is_not_timed() -> None:
    with step(None, "decode"):
        pass


async def fail() -> None:
    raise InferenceError("it fails")


def test_each_arm_that_was_asked_has_a_step_of_its_own() -> None:
    world = World()
    world.canary.fault = fail
    steps = Steps(logged=False, trace_id=1)
    answer = asyncio.run(world.path.answer(question()._replace(steps=steps)))
    assert answer.arm == "production"
    assert [(each.name, each.arm, each.failure) for each in steps.done] == [
        ("infer", "canary", "InferenceError"),
        ("infer", "production", None),
    ]


def test_a_request_that_production_answered_for_the_canary_names_both_and_why() -> None:
    world = World()
    world.canary.fault = fail
    asyncio.run(world.path.answer(question()))
    (fallback,) = world.fallbacks
    assert (fallback.candidate, fallback.reason, fallback.request_id) == ("m:new", "error", "id")
    assert isinstance(fallback.error, InferenceError)


@pytest.mark.parametrize("rows", [1, 300])
def test_how_sure_it_is_is_one_step_however_many_rows_it_is_about(rows: int) -> None:
    world, steps = doubting.world_with(doubting.FakeMeasures()), Steps(logged=False, trace_id=1)
    asked = question(np.ones((rows, 3), np.float32))._replace(doubt=Doubt(), steps=steps)
    asyncio.run(world.path.answer(asked))
    assert [(each.name, each.arm, each.model) for each in steps.done] == [
        ("infer", "production", "m:prod"),
        ("quantify", "production", "m:prod"),
    ]


@pytest.mark.parametrize("method", ["auto", "permutation"])
def test_an_explanation_is_a_step_whoever_makes_it(method: str) -> None:
    world, wish = explaining.World(), Wish(Ask(method))
    steps = Steps(logged=False, trace_id=1)
    asked = explaining.question(wish)._replace(steps=steps)
    asyncio.run(world.path.explain(asked, world.answer(), wish))
    assert [each.name for each in steps.done] == ["explain"]
