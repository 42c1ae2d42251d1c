"""The closer look: at so many rows a minute, drawn evenly, and felt by nobody."""

from __future__ import annotations

import numpy as np
import pytest

from service.paths.looks import CHUNK_ROWS, QUEUE_BYTES, Looks


class FakeCounts:
    def __init__(self) -> None:
        self.values: list[float] = []
        self.right = self.rows = 0

    def count_column(self, variable: str, values: np.ndarray) -> None:
        assert variable == "domain"
        self.values += values.tolist()

    def told(self, right: int, rows: int) -> None:
        self.right += right
        self.rows += rows


class FakeTest:
    """Tells every other row right, and meets each with one reference row."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.error: Exception | None = None

    def look(self, rows: np.ndarray) -> tuple[int, int]:
        if self.error is not None:
            raise self.error
        self.seen.append(len(rows))
        return len(rows), 2 * len(rows)


class World:
    def __init__(self, per_minute: int, *, domain: bool = True, tells: bool = True) -> None:
        self.now = 50.0
        self.counts = FakeCounts()
        self.test = FakeTest()
        self.looks = Looks(
            self.counts,
            per_minute,
            (lambda rows: rows[:, 0]) if domain else None,
            self.test if tells else None,
            clock=lambda: self.now,
        )

    def offer(self, first: int, rows: int, seconds: float = 0.0) -> None:
        self.now += seconds
        self.looks.offer(np.arange(first, first + rows, dtype=np.float32)[:, None])

    def work(self) -> int:
        turns = 1
        while self.looks.look():
            turns += 1
        return turns


def test_few_rows_are_all_looked_at() -> None:
    world = World(600)
    world.offer(0, 3)
    world.offer(3, 2)
    assert world.work() == 1
    assert world.counts.values == [0, 1, 2, 3, 4]
    assert (world.counts.right, world.counts.rows) == (5, 10)


def test_nothing_is_done_where_nothing_came() -> None:
    world = World(600)
    assert not world.looks.look()
    assert (world.counts.values, world.test.seen) == ([], [])


def test_no_more_than_so_many_rows_a_minute_whatever_comes() -> None:
    world = World(120)
    for second in range(600):
        world.offer(0, 50, seconds=1.0)
        if second % 20 == 0:
            world.work()
    world.work()
    assert 120 * 10 <= len(world.counts.values) <= 120 * 11


def test_rows_of_a_large_request_are_drawn_evenly() -> None:
    world = World(600)
    world.offer(0, 6_000)
    world.work()
    found = np.array(world.counts.values)
    assert len(np.unique(found)) == len(found) == 600
    assert (np.diff(found) > 0).all()
    shares = np.histogram(found, 10, (0, 6_000))[0] / 600
    assert np.abs(shares - 0.1).max() < 4 * np.sqrt(0.1 * 0.9 / 600)


def test_a_turn_is_of_a_hundred_rows() -> None:
    world = World(1_000)
    world.offer(0, 250)
    world.offer(250, 30)
    assert world.work() == 3
    assert world.test.seen == [CHUNK_ROWS, CHUNK_ROWS, 80]
    assert world.counts.values == list(range(280))


def test_without_looks_none_is_drawn() -> None:
    world = World(0)
    world.offer(0, 10, seconds=600)
    assert not world.looks.look()
    assert world.counts.values == []


def test_rows_that_wait_take_a_bounded_room() -> None:
    world = World(60_000)
    row = np.zeros((1, QUEUE_BYTES // 4 // 10), np.float32)
    for _ in range(25):
        world.looks.offer(row)
    while world.looks.look():
        pass
    assert len(world.counts.values) == 10
    world.looks.offer(row)
    world.looks.look()
    assert len(world.counts.values) == 11


@pytest.mark.parametrize(("domain", "tells"), [(True, False), (False, True)])
def test_either_is_done_without_the_other(domain: bool, tells: bool) -> None:
    world = World(600, domain=domain, tells=tells)
    world.offer(0, 4)
    world.work()
    assert (len(world.counts.values), world.counts.rows) == (4 * domain, 8 * tells)


def test_one_that_fails_leaves_the_other_alone(caplog: pytest.LogCaptureFixture) -> None:
    world = World(600)
    world.test.error = ZeroDivisionError("a bug")
    for _ in range(3):
        world.offer(0, 4)
        world.work()
    assert len(world.counts.values) == 12
    assert caplog.text.count("logged once") == 1
