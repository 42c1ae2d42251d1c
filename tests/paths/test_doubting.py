"""How sure an answer is belongs to who asked; it decides about labels where the manifest says so."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from service.domain.abstention import reason_of
from service.domain.schema import FeatureBatch, Scores
from service.domain.uncertainty.measure import Unfitting
from service.domain.uncertainty.quantifier import Doubt, Quantified
from service.errors import DeadlineError
from service.paths.canary import PROVEN_RUNS
from service.paths.question import Answer, Doubting
from tests.paths.predicts import ROWS, World, question


@dataclass
class FakeMeasures:
    """A set of both labels above a confidence of 0.95, of one below; rows under 18 are out of domain."""

    asked: list[tuple[int, Doubt]] = field(default_factory=list)
    refuses: bool = False

    def quantify(self, rows: FeatureBatch, scores: Scores, doubt: Doubt) -> Quantified:
        if self.refuses:
            raise Unfitting("region: it has none")
        self.asked.append((len(rows), doubt))
        confidence = doubt.confidence or 0.9
        both = np.full(len(rows), confidence > 0.95)
        columns = {
            "set": np.stack([~both | both, both], axis=1),
            "in_domain": rows[:, 0] >= 18,
            "age": rows[:, 0],
        }
        return Quantified(columns, confidence, "fake", None)


def world_with(measures: FakeMeasures, rows: int = 100, **abstains: bool) -> World:
    world = World(share=0)
    doubting = Doubting(measures.quantify, rows, max(1, rows // 2), **abstains)
    world.path.production = replace(world.production.serving(inline_rows=1000), doubting=doubting)
    return world


def rows_aged(*ages: float) -> FeatureBatch:
    return np.array([[age, 1, 0.5] for age in ages], np.float32)


def ask(world: World, rows: FeatureBatch = ROWS, doubt: Doubt | None = None, **more: Any) -> Answer:
    return asyncio.run(world.path.answer(question(rows, **more)._replace(doubt=doubt)))


def test_nobody_pays_who_does_not_ask() -> None:
    measures = FakeMeasures()
    assert ask(world_with(measures)).quantified is None
    assert measures.asked == []


def test_who_asks_is_told_about_every_row() -> None:
    measures, doubt = FakeMeasures(), Doubt(confidence=0.8)
    answer = ask(world_with(measures), rows_aged(30, 5), doubt)
    assert answer.quantified is not None
    assert (answer.quantified.confidence, measures.asked) == (0.8, [(2, doubt)])
    assert answer.labels == [0, 0]


def test_labels_are_taken_back_as_the_manifest_says_whether_or_not_doubt_is_asked_for() -> None:
    for doubt in (None, Doubt(), Doubt(confidence=0.99)):
        world = world_with(FakeMeasures(), out_of_domain=True)
        answer = ask(world, rows_aged(30, 5, 40), doubt)
        spec = answer.model.spec
        assert [reason_of(spec, label) for label in answer.labels] == [None, "out_of_domain", None]
        assert (answer.quantified is None) == (doubt is None)


def test_a_callers_own_confidence_does_not_change_the_label() -> None:
    world = world_with(FakeMeasures(), ambiguous=True)
    answer = ask(world, rows_aged(30), Doubt(confidence=0.99))
    assert answer.quantified is not None
    assert answer.quantified.columns["set"].all()
    assert answer.labels == [0]


def test_what_is_asked_as_declared_is_worked_out_once() -> None:
    measures = FakeMeasures()
    ask(world_with(measures, out_of_domain=True), doubt=Doubt())
    assert measures.asked == [(1, Doubt())]


@pytest.mark.parametrize("abstains", [False, True])
@pytest.mark.parametrize("doubt", [Doubt(), Doubt(confidence=0.8), Doubt(extra=frozenset({"entropy"}))])
def test_many_rows_are_judged_a_few_at_a_time_and_told_in_order(doubt: Doubt, abstains: bool) -> None:
    measures = FakeMeasures()
    world = world_with(measures, rows=4, out_of_domain=abstains)
    ages = [float(age) for age in range(11, 22)]
    answer = ask(world, rows_aged(*ages), doubt)
    assert answer.quantified is not None
    assert answer.quantified.columns["age"].tolist() == ages
    assert max(rows for rows, _ in measures.asked) == (2 if doubt.extra else 4)
    taken = [reason_of(answer.model.spec, label) is not None for label in answer.labels]
    assert taken == [abstains and age < 18 for age in ages]


def test_others_get_their_turn_while_many_rows_are_judged() -> None:
    async def run() -> list[str]:
        order: list[str] = []
        world = world_with(FakeMeasures(), rows=1)

        async def other() -> None:
            for _ in range(3):
                order.append("other")
                await asyncio.sleep(0)

        async def mine() -> None:
            await world.path.answer(question(rows_aged(*range(50)))._replace(doubt=Doubt()))
            order.append("mine")

        await asyncio.gather(mine(), other())
        return order

    assert asyncio.run(run()) == ["other", "other", "other", "mine"]


def test_judging_ends_at_the_deadline() -> None:
    measures = FakeMeasures()
    world = world_with(measures, rows=1)
    late = question(rows_aged(*range(50)))._replace(doubt=Doubt(), start=time.monotonic() - 10)
    with pytest.raises(DeadlineError, match="1 of 50 rows were quantified"):
        asyncio.run(world.path.answer(late))
    assert len(measures.asked) == 1


def test_a_canary_that_cannot_say_it_answers_all_the_same() -> None:
    world = World()
    canary = replace(world.serving, doubting=Doubting(FakeMeasures(refuses=True).quantify, 9, 9))
    world.arm.serving = canary
    answer = ask(world, doubt=Doubt(region="aps"))
    assert (answer.arm, answer.quantified) == ("canary", None)
    world.arm.serving = replace(canary, doubting=None)
    answer = ask(world, doubt=Doubt())
    assert (answer.arm, answer.quantified) == ("canary", None)
    assert world.reasons == []


def test_rows_out_of_domain_are_tallied_with_the_answer() -> None:
    world = world_with(FakeMeasures())
    for doubt in (None, Doubt(), Doubt(confidence=0.99)):
        asked = question(rows_aged(5, 30, 40))._replace(doubt=doubt)
        world.path.settle(asked, asyncio.run(world.path.answer(asked)))
    assert world.production.tally.domain == [4, 2]


def test_abstained_rows_are_tallied_by_their_reason() -> None:
    world = world_with(FakeMeasures(), out_of_domain=True)
    asked = question(rows_aged(5, 30, 40))
    world.path.settle(asked, asyncio.run(world.path.answer(asked)))
    assert world.production.tally.labels == [2, 0, 0, 1]
    assert world.production.tally.domain == [2, 1]


def canary_beside(world: World, beside: Any) -> FakeMeasures:
    """Gives the world's canary measures that run in a thread of its own."""
    measures = FakeMeasures()
    world.arm.serving = replace(world.serving, doubting=Doubting(measures.quantify, 9, 9, beside=beside))
    return measures


def test_a_canarys_measures_that_may_hang_hold_up_nobody() -> None:
    async def hang(work: Any) -> None:
        await asyncio.Event().wait()

    world = World()
    measures = canary_beside(world, hang)
    start = time.monotonic()
    answer = ask(world, doubt=Doubt())
    assert time.monotonic() - start < 1.0
    assert (answer.arm, measures.asked, world.reasons) == ("production", [], [("m:new", "deadline")])


def test_a_canarys_measures_that_may_hang_never_run_on_the_event_loop() -> None:
    threads: list[str] = []

    async def beside(work: Any) -> Any:
        threads.append("beside")
        return await asyncio.to_thread(work)

    world = World()
    canary_beside(world, beside)
    for _ in range(PROVEN_RUNS):
        assert ask(world).arm == "canary"
    assert world.arm.trusted
    answer = ask(world, doubt=Doubt(confidence=0.8))
    assert answer.quantified is not None
    assert (answer.arm, answer.quantified.confidence, threads) == ("canary", 0.8, ["beside"])
    assert world.canary.inline == []
    assert ask(world).arm == "canary"
    assert (world.canary.inline, threads) == ([1], ["beside"])


def test_what_falls_short_for_some_rows_is_said_of_all() -> None:
    """Labels may move the measures while many rows are judged."""
    reasons = iter([None, "too few", None, None])

    def quantify(rows: FeatureBatch, scores: Scores, doubt: Doubt) -> Quantified:
        return Quantified({"age": rows[:, 0]}, 0.9, "fake", next(reasons))

    world = World(share=0)
    world.path.production = replace(world.production.serving(), doubting=Doubting(quantify, 1, 1))
    answer = ask(world, rows_aged(1, 2, 3), Doubt())
    assert answer.quantified is not None
    assert answer.quantified.degraded == "too few"
