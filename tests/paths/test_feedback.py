"""A label is acknowledged when it is filed, and never waits for long, whatever the store does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from service.domain.labels import Filed, Given, LabelConflict, LabelCount
from service.errors import StoreError
from service.paths.feedback import MOST_LABELS, MOST_WAITING, FeedbackPath

NEW = Filed(matched=True, fresh=True)


class World:
    """A store whose gate can be closed; it answers as it is told."""

    def __init__(self, deadline: float = 30.0) -> None:
        self.calls: list[list[Given]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.reached = asyncio.Event()
        self.answer: Filed | Exception = NEW
        self.down: Exception | None = None
        self.told: Counter[str] = Counter()
        self.path = FeedbackPath(
            self.file, deadline=deadline, told=lambda outcome: self.told.update([outcome]), now=lambda: 7.0
        )

    async def file(self, given: Sequence[Given]) -> list[Filed | LabelConflict | LabelCount]:
        self.calls.append(list(given))
        self.reached.set()
        await self.gate.wait()
        if self.down is not None:
            raise self.down
        return [self.answer] * len(given)  # type: ignore[list-item]  # a test may have it answer anything


def test_a_label_is_filed_with_the_time_it_came() -> None:
    async def story() -> None:
        world = World()
        assert await world.path.take("a", ("good", None)) == NEW
        assert world.calls == [[Given("a", ("good", None), 7.0)]]
        assert dict(world.told) == {"matched": 1}

    asyncio.run(story())


def test_labels_that_come_while_the_store_is_busy_are_filed_together() -> None:
    async def story() -> None:
        world = World()
        world.gate.clear()
        first = asyncio.create_task(world.path.take("first", ("good",)))
        await world.reached.wait()
        others = [asyncio.create_task(world.path.take(f"r{number}", ("good",))) for number in range(20)]
        await asyncio.sleep(0)
        world.gate.set()
        assert await asyncio.gather(first, *others) == [NEW] * 21
        assert [len(call) for call in world.calls] == [1, 20]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Filed(matched=False, fresh=True), "unmatched"),
        (Filed(matched=False, fresh=False), "repeated"),
        (Filed(matched=True, fresh=False), "repeated"),
        (LabelConflict("no"), "conflict"),
        (LabelCount("no"), "miscounted"),
    ],
)
def test_whatever_becomes_of_labels_is_counted(answer: Filed | Exception, outcome: str) -> None:
    async def story() -> None:
        world = World()
        world.answer = answer
        if isinstance(answer, Exception):
            with pytest.raises(type(answer)):
                await world.path.take("a", ("good",))
        else:
            assert await world.path.take("a", ("good",)) == answer
        assert dict(world.told) == {outcome: 1}

    asyncio.run(story())


def test_a_store_that_fails_is_told_to_each_and_asked_again_by_the_next() -> None:
    async def story() -> None:
        world = World()
        world.down = StoreError("full")
        for _ in range(3):
            with pytest.raises(StoreError, match="full"):
                await world.path.take("a", ("good",))
        world.down = None
        assert await world.path.take("a", ("good",)) == NEW
        assert dict(world.told) == {"store_error": 3, "matched": 1}

    asyncio.run(story())


def test_a_store_that_hangs_holds_nobody_for_longer_than_the_deadline_and_few_at_once() -> None:
    async def story() -> None:
        world = World(deadline=0.05)
        world.gate.clear()
        results = await asyncio.gather(
            *(world.path.take(f"r{number}", ("good",)) for number in range(2 * MOST_WAITING)),
            return_exceptions=True,
        )
        reasons = Counter(str(result) for result in results)
        assert reasons == {
            "the store did not answer within 0.05 s": MOST_WAITING,
            "too many labels wait for the store": MOST_WAITING,
        }
        world.gate.set()
        assert await world.path.take("late", ("good",)) == NEW
        assert [len(call) for call in world.calls][-1] == 1  # those who gave up are not filed any more

    asyncio.run(story())


def test_who_gave_up_waiting_for_a_store_that_hangs_takes_no_memory() -> None:
    async def story() -> None:
        world = World(deadline=0.01)
        world.gate.clear()
        for _ in range(5):
            await asyncio.gather(
                *(world.path.take("r", ("good",)) for _ in range(MOST_WAITING)), return_exceptions=True
            )
        assert world.told["store_error"] == 5 * MOST_WAITING
        assert len(world.path._waiting) <= 2 * MOST_WAITING
        world.gate.set()

    asyncio.run(story())


def test_many_labels_wait_alone_or_not_at_all() -> None:
    async def story() -> None:
        world = World()
        world.gate.clear()
        huge = ("good",) * MOST_LABELS
        first = asyncio.create_task(world.path.take("first", huge + huge))
        await asyncio.sleep(0)
        with pytest.raises(StoreError, match="too many labels"):
            await world.path.take("second", ("good",))
        world.gate.set()
        assert await first == NEW

    asyncio.run(story())
