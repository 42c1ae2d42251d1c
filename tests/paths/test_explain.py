"""An explanation is of the answer that was given, costs only who asks, and fails by name."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import numpy as np
import pytest

from service.domain.errand import Errand, Reply, Status
from service.domain.explainers.document import Wish
from service.domain.explainers.game import Ask, Unsuitable
from service.domain.schema import FeatureBatch, Scores
from service.errors import BusyError, ExplanationError, LateError, TooMuchError, UnderstudyError
from service.paths.explain import ExplainPath
from service.paths.question import Answer, Explained, Question, Serving
from tests.domain.models import spec
from tests.paths.predicts import FakeTally

ROW = np.array([[30, 1, 0.5]], np.float32)
SCORES = np.array([[0.25, 0.75]], np.float32)
AT_ONCE = 8


@dataclass
class FakeRemote:
    reply: Reply = field(
        default_factory=lambda: Reply("done", [b'{"from":"afar"}'], method="permutation", seconds=0.2)
    )
    errands: list[Errand] = field(default_factory=list)

    async def send(self, errand: Errand) -> Reply:
        self.errands.append(errand)
        return self.reply


class World:
    """A path, a model that explains exactly what ``tree`` asks for, and what was noted."""

    def __init__(self, remote: FakeRemote | None = None, quick: bool = True) -> None:
        self.remote = remote or FakeRemote()
        self.noted: list[tuple[str, float]] = []
        self.quick = quick
        self.seconds = 0.0
        self.path = ExplainPath(
            self.remote,
            deadline=1.5,
            max_rows=20,
            explained=lambda method, seconds: self.noted.append((method, seconds)),
        )

    def explain(self, rows: FeatureBatch, scores: Scores, wish: Wish) -> Explained | None:
        if wish.ask.method == "impossible":
            raise Unsuitable("impossible cannot explain m:prod")
        if wish.ask.method != "auto":
            return None
        time.sleep(self.seconds)
        return Explained("tree", 0.001, [b'{"score":%.2f}' % score for score in scores[:, 1]])

    def answer(self, rows: int = 1) -> Answer:
        infer = None
        serving = Serving(
            spec(),
            infer,
            infer,
            10,
            FakeTally(),
            self.explain if self.quick else None,  # type: ignore[arg-type]
            AT_ONCE,
        )
        return Answer("an id", serving, "production", np.repeat(SCORES, rows, axis=0), [1] * rows)

    def ask(self, wish: Wish, rows: int = 1) -> Answer:
        return asyncio.run(self.path.explain(question(wish, rows), self.answer(rows), wish))


def question(wish: Wish, rows: int = 1) -> Question:
    return Question("an id", np.repeat(ROW, rows, axis=0), None, None, time.monotonic(), wish=wish)


def test_a_quick_method_explains_the_answer_at_once_and_is_noted() -> None:
    world, wish = World(), Wish()
    found = world.path.here(question(wish), world.answer(), wish)
    assert found is not None
    assert found.explanations == [b'{"score":0.75}']
    assert found.scores is world.answer().scores or (found.scores == SCORES).all()
    assert world.noted == [("tree", 0.001)]
    assert world.remote.errands == []


@pytest.mark.parametrize(
    "wish",
    [
        Wish(Ask("permutation")),
        Wish(form="svg"),
        Wish(neighbours=3),
        Wish(against="m:new"),
    ],
    ids=["slow method", "picture", "neighbours", "comparison"],
)
def test_whatever_takes_longer_is_not_done_here(wish: Wish) -> None:
    world = World()
    assert world.path.here(question(wish), world.answer(), wish) is None
    world.ask(wish)
    (errand,) = world.remote.errands
    assert errand.wish == wish
    assert world.noted == [("permutation", 0.2)]


def test_many_rows_of_a_quick_method_do_not_hold_up_the_event_loop_and_need_no_explainer() -> None:
    world, wish, turns = World(), Wish(), 0
    rows = 3 * AT_ONCE + 1
    assert world.path.here(question(wish, rows), world.answer(rows), wish) is None

    async def ask() -> Answer:
        nonlocal turns
        asked = asyncio.create_task(world.path.explain(question(wish, rows), world.answer(rows), wish))
        while not asked.done():
            await asyncio.sleep(0)  # what others get between two parts
            turns += 1
        return asked.result()

    assert asyncio.run(ask()).explanations == [b'{"score":0.75}'] * rows
    assert turns >= rows // AT_ONCE
    assert world.noted == [("tree", pytest.approx(0.004))]
    assert world.remote.errands == []


def test_many_rows_of_a_quick_method_keep_to_the_deadline_too() -> None:
    world, wish = World(), Wish(deadline=0.01)
    world.seconds = 0.02
    with pytest.raises(LateError, match="8 of 25 rows"):
        world.ask(wish, 25)
    assert len(world.ask(wish, AT_ONCE).explanations) == AT_ONCE  # what is done is not thrown away


def test_an_errand_carries_the_rows_the_model_and_the_deadline_of_its_caller() -> None:
    world, wish = World(), Wish(Ask("lime"), deadline=0.4)
    asked = question(wish)
    answer = asyncio.run(world.path.explain(asked, world.answer(), wish))
    (errand,) = world.remote.errands
    assert (errand.model, errand.arm, errand.request_id) == ("m:prod", "production", "an id")
    assert np.array_equal(errand.rows, ROW)
    assert errand.due == pytest.approx(asked.start + 0.4)
    assert answer.explanations == [b'{"from":"afar"}']
    world.ask(Wish(Ask("lime")))
    assert world.remote.errands[1].due - time.monotonic() == pytest.approx(1.5, abs=0.5)


def test_a_picture_and_a_comparison_take_the_place_of_the_answer() -> None:
    for wish in (Wish(form="png"), Wish(against="m:new")):
        world = World(FakeRemote(Reply("done", [b"a page"], "image/png", "tree", 0.1)))
        sheet = world.ask(wish).sheet
        assert sheet is not None
        assert (sheet.body, sheet.content_type) == (b"a page", b"image/png")


@pytest.mark.parametrize(
    ("status", "error"),
    [("unsuitable", Unsuitable), ("busy", BusyError), ("late", LateError), ("failed", ExplanationError)],
)
def test_what_the_explainer_could_not_do_is_raised_with_its_reason(
    status: Status, error: type[UnderstudyError]
) -> None:
    world = World(FakeRemote(Reply(status, [], reason="because of this")))
    with pytest.raises(error, match="because of this"):
        world.ask(Wish(Ask("lime")))
    assert world.noted == []


def test_more_rows_than_slow_methods_take_are_refused_before_they_travel() -> None:
    world = World(quick=False)
    with pytest.raises(TooMuchError, match="21 rows, at most 20"):
        world.ask(Wish(), rows=21)
    assert world.remote.errands == []


def test_a_method_that_cannot_is_refused_where_it_is_known() -> None:
    world, wish = World(), Wish(Ask("impossible"))
    with pytest.raises(Unsuitable, match="impossible cannot"):
        world.path.here(question(wish), world.answer(), wish)


def test_without_an_explainer_only_quick_methods_answer() -> None:
    path = ExplainPath(None, deadline=1, max_rows=5, explained=lambda method, seconds: None)
    world, wish = World(), Wish(Ask("lime"))
    with pytest.raises(Unsuitable, match="switched off"):
        asyncio.run(path.explain(question(wish), world.answer(), wish))
