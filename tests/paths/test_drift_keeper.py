"""Rows by bin reach the page within a second, and the store once, whatever dies."""

from __future__ import annotations

import logging
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.drift.slots import OLDER, slot_of
from service.errors import StoreError
from service.paths.drift_keeper import DAY, SERVED_SECONDS, STORE_SECONDS
from tests.paths.counting import MODEL, SHADOW, WALL, DriftWorld, FakeSource, FakeStore


def test_the_page_is_there_before_any_row_and_follows_within_a_second() -> None:
    world = DriftWorld()
    world.turn()
    world.turn(1, 2, 0)
    world.turn()
    world.turn(0, 0, 5)
    assert world.pages == [[[0, 0, 0]], [[1, 2, 0]], [[1, 2, 5]]]


def test_rows_are_written_every_ten_seconds_and_shown_from_the_store() -> None:
    world = DriftWorld()
    world.turn(1, 2, 0)
    for _ in range(9):
        world.turn(1, 0, 0)
    assert world.store.total() == [1, 2, 0]
    world.turn()
    assert world.store.total() == [10, 2, 0]
    assert world.window("1h") == world.window("start") == [10, 2, 0]
    assert [store for _, store in world.published] == ["ok", "ok"]


def test_what_replicas_write_adds_up() -> None:
    store = FakeStore()
    one, other = DriftWorld(store, writer="a" * 32), DriftWorld(store, writer="b" * 32)
    one.turn(5, 0, 0)
    other.turn(3, 0, 0)
    one.turn(1, 0, 0, seconds=STORE_SECONDS)
    assert one.window("24h") == [9, 0, 0]
    assert one.pages[-1] == [[6, 0, 0]]  # the page is this server's alone: Prometheus adds replicas up


def test_a_window_begins_with_a_slot_and_says_when() -> None:
    world = DriftWorld()
    world.turn(1, 0, 0)
    world.turn(0, 1, 0, seconds=3_000)
    world.turn(0, 0, 1, seconds=3_000)
    seen = world.published[-1][0][0]
    assert seen.windows["1h"].counts.tolist() == [0, 1, 1]
    assert seen.windows["6h"].counts.tolist() == [1, 1, 1]
    hour_ago = world.now + WALL - 3_600
    assert hour_ago - 300 <= seen.windows["1h"].begin <= hour_ago
    assert seen.windows["start"].begin == seen.since == WALL


def test_rows_too_old_for_every_window_still_count_from_the_start() -> None:
    world = DriftWorld()
    world.fail()
    world.turn(1, 0, 0)
    for _ in range(60):
        world.turn(0, 1, 0, seconds=3_600)
    assert world.window("start") == [1, 60, 0]
    world.recover()
    world.turn(seconds=60)
    world.turn(seconds=60)
    assert world.store.total() == [1, 60, 0]
    assert world.store.batches[-1].slots[OLDER].sum() > 0
    assert len(world.store.batches[-1].slots) <= 27


@pytest.mark.parametrize("after", [False, True])
def test_a_store_that_fails_gets_the_same_batch_again_and_no_row_twice(after: bool) -> None:
    world = DriftWorld()
    world.fail("gone", after)
    world.turn(1, 0, 0)
    world.turn(1, 0, 0, seconds=5)
    world.turn(1, 0, 0, seconds=5)
    assert world.published[-1][1] == "gone"
    assert world.window("start") == [3, 0, 0]
    world.recover()
    world.turn(1, 0, 0, seconds=60)
    assert world.published[-1][1] == "ok"
    assert world.window("start") == [4, 0, 0]
    world.turn(seconds=STORE_SECONDS)
    assert world.store.total() == world.window("start") == [4, 0, 0]
    assert world.tries == sorted(world.tries)
    assert {False, True} == set(world.tries)


def test_a_store_that_is_down_is_left_in_peace_longer_and_longer(caplog: pytest.LogCaptureFixture) -> None:
    world = DriftWorld()
    world.fail()
    with caplog.at_level(logging.WARNING):
        for _ in range(120):
            world.turn(1, 0, 0)
    assert 5 <= len(world.tries) <= 12
    assert 12 <= len(world.published) <= 40


def test_a_model_without_traffic_is_said_to_be_served_every_hour() -> None:
    world = DriftWorld()
    for _ in range(25):
        world.turn(seconds=600)
    assert [len(batch.slots) for batch in world.store.batches] == [0] * 5


def test_models_that_nobody_serves_are_forgotten_after_their_time() -> None:
    world = DriftWorld()
    world.store.left = 2
    world.turn()
    assert world.store.forgotten == [world.now + WALL - 400 * DAY] * 3
    world.turn(seconds=100)
    assert len(world.store.forgotten) == 3
    world.turn(seconds=3_600)
    assert len(world.store.forgotten) == 4


def test_a_model_that_is_served_is_not_forgotten_however_short_that_time_is() -> None:
    world = DriftWorld(keep_days=0.001)
    world.turn()
    assert world.store.forgotten[0] < world.now + WALL - SERVED_SECONDS


def test_each_model_is_kept_for_itself() -> None:
    world = DriftWorld(sources=[FakeSource(MODEL), FakeSource(SHADOW, cells=2)])
    world.sources[1].cells += [7, 8]
    world.turn(1, 2, 3)
    assert world.store.total(MODEL) == world.window("start", 0) == [1, 2, 3]
    assert world.store.total(SHADOW) == world.window("start", 1) == [7, 8]


def test_rows_that_wait_to_be_looked_at_are_looked_at_between_turns() -> None:
    world = DriftWorld()
    world.turn()
    world.looks = 3
    for _ in range(3):
        world.turn(seconds=0.01)
    assert world.looks == 0
    assert len(world.published) == 1


def test_what_cannot_be_published_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    world = DriftWorld()
    world.bug = OSError("the disk is full")
    world.turn(1, 0, 0)
    world.turn(1, 0, 0, seconds=STORE_SECONDS)
    assert world.store.total() == [2, 0, 0]
    assert caplog.text.count("drift could not be published") == 1


def test_closing_writes_what_is_left() -> None:
    world = DriftWorld()
    world.turn()
    world.sources[0].cells += [4, 0, 0]
    world.keeper.close()
    assert world.store.total() == world.window("start") == [4, 0, 0]
    assert world.pages[-1] == [[4, 0, 0]]


def test_closing_writes_what_came_behind_a_batch_that_waited() -> None:
    world = DriftWorld()
    world.fail()
    world.turn(1, 0, 0)
    world.turn(2, 0, 0)
    world.recover()
    world.keeper.close()
    assert world.store.total() == world.window("start") == [3, 0, 0]


def test_a_life_that_was_killed_leaves_its_rows_to_the_next() -> None:
    world = DriftWorld()
    world.turn(1, 0, 0)
    world.turn(1, 0, 0)
    world.sources[0].cells += [1, 0, 0]  # counted, and never seen by the keeper
    second = world.reborn()
    second.turn()
    assert second.pages == [[[3, 0, 0]]]
    assert second.window("start") == [3, 0, 0]
    second.turn(seconds=STORE_SECONDS)
    assert second.store.total() == second.window("start") == [3, 0, 0]


def test_rows_that_waited_for_the_store_stay_in_their_time_whoever_dies() -> None:
    world = DriftWorld()
    world.fail()
    for _ in range(3):  # the first becomes a batch, the others wait behind it
        world.turn(1, 0, 0, seconds=3_600)
    second = world.reborn()
    second.now += 2 * 3_600
    second.turn(0, 1, 0)
    assert (second.window("1h"), second.window("start")) == ([0, 1, 0], [3, 1, 0])
    second.recover()
    second.turn(seconds=60)
    second.turn(seconds=STORE_SECONDS)
    assert (second.window("1h"), second.window("start")) == ([0, 1, 0], [3, 1, 0])


def test_a_life_that_does_not_count_a_model_leaves_what_is_known_of_it() -> None:
    world = DriftWorld(sources=[FakeSource(MODEL), FakeSource(SHADOW)])
    world.sources[1].cells += [0, 5, 0]
    world.turn(1, 0, 0)
    without = DriftWorld(world.store, sources=world.sources[:1], notes=world.notes, now=world.now)
    without.turn()
    third = DriftWorld(
        world.store, sources=world.sources, notes=without.notes, writer="x" * 32, now=world.now
    )
    third.turn()
    assert third.store.total(SHADOW) == third.window("start", 1) == [0, 5, 0]


def test_counts_that_are_gone_are_begun_anew_and_nothing_is_taken_back() -> None:
    world = DriftWorld()
    world.turn(5, 0, 0)
    world.sources[0].cells[:] = [1, 0, 0]
    second = world.reborn()
    second.turn()
    second.turn(seconds=STORE_SECONDS)
    assert second.store.total() == [6, 0, 0]


class Killed(BaseException):
    """The process dies here."""


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32))
def test_whatever_dies_and_whenever_every_row_is_in_the_store_once(seed: int) -> None:
    draw = random.Random(seed)
    world = DriftWorld(sources=[FakeSource(MODEL), FakeSource(SHADOW)])
    lives = 0
    for _ in range(60):
        for source in world.sources:
            source.cells += [draw.randrange(3), draw.randrange(2), 0]
        world.store.error = draw.choice([None, None, StoreError("down"), Killed()])
        world.store.fails_after = draw.random() < 0.5
        world.now += draw.choice([1, 10, 11, 400, 40_000])
        try:
            world.keeper.run_once(wait=0.0)
        except Killed:
            lives += 1
            world = world.reborn(writer=f"{lives:032d}")
            continue
        for seen, source in zip(
            world.published[-1][0] if world.published else (), world.sources, strict=False
        ):
            assert (seen.windows["start"].counts <= source.cells).all()
    world.store.error = None
    world.now += 1_000
    world.keeper.close()
    for source in world.sources:
        assert world.store.total(source.model) == source.cells.tolist()
    assert [seen.windows["start"].counts.tolist() for seen in world.published[-1][0]] == [
        source.cells.tolist() for source in world.sources
    ]


def test_notes_are_made_before_a_batch_goes_out() -> None:
    world = DriftWorld()
    world.fail()
    world.turn(3, 0, 0)
    (note,) = world.notes.values()
    assert note["batch"] == [[slot_of(world.now + WALL), [3, 0, 0]]]
    assert (note["number"], note["noted"]) == (1, [3, 0, 0])


def test_without_notes_nothing_is_written() -> None:
    world = DriftWorld()

    def refuse(notes: object) -> None:
        raise OSError(f"no room for {notes}")

    world.keeper._remember = refuse
    world.turn(3, 0, 0)
    assert world.store.batches == []
    assert "no room" in world.published[-1][1]
    assert world.window("start") == np.array([3, 0, 0]).tolist()
