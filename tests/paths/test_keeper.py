"""Evidence reaches the store once and whole, and the verdict goes on whatever the store does."""

from __future__ import annotations

import logging
import threading
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.evidence.books import OUTCOMES as OUTCOMES_BOOK
from service.domain.evidence.books import Page
from service.domain.observation import OUTCOMES
from service.errors import StoreError
from service.paths.dossier import MOST_HOURS
from service.paths.keeper import DAY
from tests.paths.keepers import ROWS, WALL, FakeStore, KeeperWorld, answers, case, rows_of

HOUR = 500_000


def test_what_was_seen_is_written_and_judged_in_the_same_turn() -> None:
    world = KeeperWorld()
    seen = world.turn(rows=5)
    assert (world.store.rows(), rows_of(seen)) == (5, 5)
    assert (seen.store, seen.now) == ("ok", world.wall())
    assert world.published == [{"m:new": {"rows": 5.0, "store": "ok"}}]


def test_nothing_is_done_before_it_is_due() -> None:
    world = KeeperWorld()
    world.turn(rows=1)
    world.turn(rows=1, seconds=0.4)
    assert (world.store.rows(), len(world.published)) == (1, 1)
    world.turn(seconds=0.6)
    assert (world.store.rows(), len(world.published)) == (2, 2)


def test_nothing_is_written_where_nothing_was_seen() -> None:
    world = KeeperWorld()
    for _ in range(5):
        world.turn()
    assert world.store.batches == []
    assert len(world.published) == 5


def test_evidence_survives_a_restart() -> None:
    first = KeeperWorld(writer="a" * 32)
    first.turn(rows=5)
    first.source.cases = [case("a", -2.0)]
    first.keeper.close()
    second = KeeperWorld(first.store, writer="b" * 32)
    seen = second.turn(rows=2)
    assert rows_of(seen) == 7
    assert [each.request_id for each in seen.cases] == ["a"]
    assert [each.request_id for each in second.source.known] == ["a"]
    assert seen.since == WALL - 1.0


def test_what_replicas_write_is_seen_within_seconds() -> None:
    store = FakeStore()
    one, other = KeeperWorld(store, writer="a" * 32), KeeperWorld(store, writer="b" * 32)
    one.turn(rows=5)
    other.turn(rows=3)
    for _ in range(5):
        seen = one.turn(rows=1)
    assert rows_of(seen) == 5 + 3 + 5


def test_sums_are_kept_by_the_hour() -> None:
    world = KeeperWorld()
    world.turn(rows=1)
    seen = world.turn(rows=2, seconds=3_600)
    assert [(hour, sums.tolist()) for hour, sums in seen.hours[ROWS]] == [(HOUR, [1.0]), (HOUR + 1, [2.0])]
    assert [sorted(batch.hours) for batch in world.store.batches] == [[HOUR], [HOUR + 1]]


def test_while_the_store_is_away_the_verdict_goes_on_and_says_why() -> None:
    world = KeeperWorld()
    world.turn(rows=5)
    world.fail("no space left on device")
    seen = [world.turn(rows=1) for _ in range(20)]
    assert [rows_of(each) for each in seen] == list(range(6, 26))
    assert all("no space left" in each.store for each in seen)
    world.recover()
    after = world.turn(rows=1, seconds=40)
    assert (after.store, rows_of(after), world.store.rows()) == ("ok", 26, 26)


def test_a_store_that_was_away_from_the_start_is_taken_up_when_it_comes() -> None:
    store = FakeStore()
    KeeperWorld(store, writer="a" * 32).turn(rows=100)
    world = KeeperWorld(store, writer="b" * 32)
    world.fail()
    assert rows_of(world.turn(rows=3)) == 3
    assert world.seen[-1].since == world.wall()
    world.recover()
    assert rows_of(world.turn(rows=1, seconds=1.5)) == 104


def test_a_store_that_fails_is_left_alone_for_longer_and_longer() -> None:
    world = KeeperWorld()
    asked: list[float] = []

    def store() -> FakeStore:
        asked.append(world.now)
        raise StoreError("gone")

    world.keeper.store = store
    world.keeper._patience.draw = lambda: 0.0
    for _ in range(1_000):
        world.turn(rows=1, seconds=0.5)
    pauses = [b - a for a, b in pairwise(asked)]
    assert pauses[:6] == [1.0, 1.0, 2.0, 4.0, 8.0, 16.0]
    assert set(pauses[6:]) == {30.0}


def test_a_batch_whose_fate_is_not_known_is_offered_again_as_it_was() -> None:
    world = KeeperWorld()
    world.turn()
    world.fail(after=True)
    world.turn(rows=5)
    world.turn(rows=1)
    world.recover()
    world.turn(rows=1)
    assert world.store.rows() == 7
    offered = [
        (batch.number, float(sum(b[ROWS][0] for b in batch.hours.values()))) for batch in world.store.batches
    ]
    assert offered == [(1, 5.0), (1, 5.0), (2, 1.0), (2, 1.0), (3, 1.0)]
    assert rows_of(world.seen[-1]) == 7


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from(["works", "fails", "fails after"]), st.integers(0, 3)),
        max_size=30,
    ),
    st.integers(0, 30),
)
@settings(deadline=None, max_examples=150)
def test_whatever_the_store_does_every_row_is_there_once_and_none_is_seen_twice(
    turns: list[tuple[int, str, int]], restart_at: int
) -> None:
    logging.getLogger("understudy.keeper").setLevel(logging.CRITICAL)
    store = FakeStore()
    world = KeeperWorld(store, writer="a" * 32)
    fed, sent = 0, 0
    for index, (rows, condition, requests) in enumerate(turns):
        store.error = None if condition == "works" else StoreError("no")
        store.fails_after = condition == "fails after"
        fed, sent = fed + rows, sent + requests
        world.source.answers = [answers(f"{index}-{number}") for number in range(requests)]
        seen = world.turn(rows=rows, seconds=45)
        if condition == "works":
            assert rows_of(seen) == fed
        if index == restart_at:
            store.error = None
            world.keeper.close()
            world = KeeperWorld(store, writer="b" * 32, now=world.now)
    store.error = None
    world.keeper.close()
    assert store.rows() == fed == rows_of(world.seen[-1])
    assert len(store.answers) == len(set(store.answers)) == sent


def test_many_answers_are_written_in_small_transactions() -> None:
    world = KeeperWorld()
    world.source.answers = [answers(f"r{number}") for number in range(35)]
    world.turn(rows=35)
    assert [len(batch.answers) for batch in world.store.batches] == [10, 10, 10, 5]
    assert [bool(batch.hours) for batch in world.store.batches] == [True, False, False, False]
    assert world.store.answers == [f"r{number}" for number in range(35)]


def test_a_backlog_is_written_without_waiting_for_the_next_look() -> None:
    world = KeeperWorld()
    world.source.answers = [answers(f"r{number}") for number in range(500)]
    world.turn()
    assert len(world.store.answers) == 200  # then others get their turn
    published = len(world.published)
    world.turn(seconds=0.0)
    world.turn(seconds=0.0)
    assert len(world.store.answers) == 500
    assert len(world.published) == published


def test_after_a_slow_transaction_there_is_a_rest() -> None:
    world = KeeperWorld()

    def slow() -> None:
        world.now += 0.2

    world.store.takes = slow
    world.source.answers = [answers(f"r{number}") for number in range(35)]
    world.turn()
    assert len(world.store.batches) == 1
    world.turn()
    assert len(world.store.batches) == 1  # nine times as long as it took
    world.turn()
    assert len(world.store.batches) == 2


@pytest.mark.parametrize("limit", [{"answers_rows": 6}, {"answers_bytes": 3 * (2 * 16 + 200)}])
def test_answers_that_find_no_room_while_the_store_is_away_are_counted_and_sums_are_not_lost(
    limit: dict[str, int],
) -> None:
    world = KeeperWorld(**limit)
    world.fail()
    for number in range(5):
        world.source.answers = [answers(f"r{number}", rows=2)]
        world.turn(rows=2)
    assert world.lost == {("m:new", "answers"): 4}
    world.recover()
    world.turn(seconds=40)
    assert (world.store.answers, world.store.rows()) == (["r0", "r1", "r2"], 10)
    world.source.answers = [answers("r5", rows=2)]  # there is room again
    world.turn()
    assert world.store.answers[-1] == "r5"


def test_of_the_cases_that_wait_the_best_are_kept() -> None:
    world = KeeperWorld()
    world.fail()
    for number in range(6):
        world.source.cases = [case(f"r{number}", -float(number))]
        world.turn()
    assert [each.request_id for each in world.seen[-1].cases] == ["r5", "r4", "r3"]
    world.recover()
    world.turn(seconds=40)
    assert {each.request_id for each in world.seen[-1].cases} == {"r5", "r4", "r3"}


def test_what_the_witness_lost_is_counted_too() -> None:
    world = KeeperWorld()
    world.source.lost = (2, 7)
    world.turn()
    assert world.lost == {("m:new", "cases"): 2, ("m:new", "answers"): 7}


def test_an_hour_long_gone_is_added_to_the_next_where_the_store_stays_away_for_days() -> None:
    world = KeeperWorld()
    world.fail()
    world.turn(rows=1)  # is offered once, and stays as it is
    for _ in range(MOST_HOURS + 5):
        seen = world.turn(rows=1, seconds=3_600)
    assert rows_of(seen) == MOST_HOURS + 6
    assert len(seen.hours[ROWS]) == MOST_HOURS
    world.recover()
    world.turn(seconds=40)
    assert world.store.rows() == MOST_HOURS + 6
    assert len(world.store.batches[-1].hours) == MOST_HOURS


def test_single_rows_that_no_store_can_take_do_not_hold_up_the_sums(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = KeeperWorld()
    world.store.poison = lambda batch: bool(batch.cases)
    world.source.cases = [case("a")]
    world.source.answers = [answers("b", rows=2)]
    with caplog.at_level(logging.ERROR, "understudy.keeper"):
        world.turn(rows=5)
    assert world.store.rows() == 5
    assert world.lost == {("m:new", "cases"): 1, ("m:new", "answers"): 2}
    world.turn(rows=1)
    assert (world.store.rows(), world.seen[-1].store) == (6, "ok")


def test_sums_that_no_store_can_take_are_judged_from_memory(caplog: pytest.LogCaptureFixture) -> None:
    world = KeeperWorld()
    world.store.poison = lambda batch: True
    with caplog.at_level(logging.ERROR, "understudy.keeper"):
        world.turn(rows=5)
    seen = world.turn(rows=1)
    assert rows_of(seen) == 6
    assert "not JSON" in seen.store


def test_what_the_ledger_counted_is_added_once() -> None:
    world = KeeperWorld()
    world.ledger.update(compared=5, queue_full=2)
    world.turn()
    world.turn()
    world.ledger.update(compared=8)
    seen = world.turn()
    counts = dict(zip(OUTCOMES, seen.books[Page(OUTCOMES_BOOK, "all")], strict=True))
    assert {name: rows for name, rows in counts.items() if rows} == {"compared": 8, "queue_full": 2}


def test_a_shadow_that_died_goes_on_counting_where_the_store_stopped() -> None:
    first = KeeperWorld(writer="a" * 32)
    first.ledger.update(compared=5)
    first.turn()
    first.fail()
    first.ledger.update(compared=9, deadline=1)  # dies before this is written
    first.turn()
    noted = first.remembered[-1]["m:new"]
    assert {name: rows for name, rows in noted.items() if rows} == {"compared": 5}
    first.recover()
    second = KeeperWorld(first.store, writer="b" * 32, accounted=noted)
    second.ledger.update(compared=12, deadline=1, shadow_down=4)
    seen = second.turn()
    counts = dict(zip(OUTCOMES, seen.books[Page(OUTCOMES_BOOK, "all")], strict=True))
    assert {name: rows for name, rows in counts.items() if rows} == {
        "compared": 12,
        "deadline": 1,
        "shadow_down": 4,
    }


def test_a_life_that_writes_nothing_forgets_nothing_that_was_noted() -> None:
    world = KeeperWorld(accounted={"compared": 5})
    world.ledger.update(compared=5)
    world.turn()
    assert world.remembered[-1]["m:new"] == {"compared": 5}


def test_a_ledger_that_began_anew_is_counted_from_nought() -> None:
    world = KeeperWorld(accounted={"compared": 500, "deadline": 3})
    world.ledger.update(compared=7)
    seen = world.turn()
    assert seen.books[Page(OUTCOMES_BOOK, "all")].sum() == 7


def test_old_evidence_is_let_go_once_a_minute() -> None:
    world = KeeperWorld()
    world.store.left = 45
    for _ in range(10):
        world.turn()
    assert len(world.store.forgotten) == 45  # in steps, over several turns
    world.store.left = 0
    for _ in range(60):
        world.turn()
    assert len(world.store.forgotten) == 46
    worst, sample, before = world.store.trimmed[-1]
    assert (worst, sample) == (3, 3)
    assert world.wall() - before == pytest.approx(90 * DAY, abs=120)


def test_on_stopping_everything_is_written() -> None:
    world = KeeperWorld()
    world.turn(rows=1)
    world.source.rows = 4
    world.source.answers = [answers(f"r{number}") for number in range(300)]
    world.source.cases = [case("a")]
    world.keeper.close()
    assert world.source.asked_for_everything
    assert (world.store.rows(), len(world.store.answers), len(world.store.found)) == (5, 300, 1)
    assert world.lost == {}
    assert world.published[-1]["m:new"]["rows"] == 5.0


def test_what_cannot_be_written_on_stopping_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    world = KeeperWorld()
    world.fail()
    world.source.rows = 4
    world.source.answers = [answers(f"r{number}") for number in range(30)]
    world.source.cases = [case("a")]
    with caplog.at_level(logging.ERROR, "understudy.keeper"):
        world.keeper.close()
    assert "lost" in caplog.text
    assert world.lost == {("m:new", "cases"): 1, ("m:new", "answers"): 30}


def test_one_candidates_trouble_is_not_the_others(caplog: pytest.LogCaptureFixture) -> None:
    world = KeeperWorld(tags=("m:new", "m:other"))
    world.source.error = ZeroDivisionError()
    world.sources["m:other"].rows = 3
    with caplog.at_level(logging.ERROR, "understudy.keeper"):
        world.turn()
    assert world.store.rows("m:other") == 3
    assert world.published[-1]["m:other"] == {"rows": 3.0, "store": "ok"}


def test_a_verdict_that_fails_leaves_the_last_one_standing(caplog: pytest.LogCaptureFixture) -> None:
    world = KeeperWorld()
    world.turn(rows=5)
    world.bug = ZeroDivisionError()
    with caplog.at_level(logging.ERROR, "understudy.keeper"):
        world.now += 1
        world.keeper.run_once(wait=0.0)
    assert world.published[-1] == {"m:new": {"rows": 5.0, "store": "ok"}}


def test_what_fails_every_second_is_not_logged_every_second(caplog: pytest.LogCaptureFixture) -> None:
    world = KeeperWorld()

    def publish(documents: object) -> None:
        raise OSError("the disk is full")

    world.keeper.publish = publish
    with caplog.at_level(logging.ERROR, "understudy.keeper"):
        for _ in range(121):
            world.turn(1)
    assert len(caplog.records) == 3


def test_what_is_written_is_noted_before_anything_else_is_done() -> None:
    world = KeeperWorld()
    seen: list[bool] = []
    world.store.keep_cases = lambda *_: seen.append(bool(world.remembered))  # type: ignore[method-assign]  # a fake
    world.ledger = {"compared": 5}
    world.turn(5)
    assert seen == [True]


def test_a_document_that_cannot_be_published_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    world = KeeperWorld()

    def publish(documents: object) -> None:
        raise OSError("disk full")

    def remember(counts: object) -> None:
        raise OSError("disk full")

    world.keeper.publish, world.keeper.remember = publish, remember
    with caplog.at_level(logging.ERROR, "understudy.keeper"):
        world.turn(rows=5)
        world.turn(rows=5)
    assert world.store.rows() == 10


def test_it_waits_no_longer_than_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    world = KeeperWorld()
    waited: list[float] = []
    monkeypatch.setattr(threading.Event, "wait", lambda self, seconds: waited.append(seconds))
    world.turn()
    world.keeper.run_once(wait=0.25)
    world.now += 0.9
    world.keeper.run_once(wait=0.25)
    assert waited == [0.25, pytest.approx(0.1)]
    assert len(world.published) == 2


def test_the_last_try_of_the_store_is_told() -> None:
    world = KeeperWorld()
    tries: list[bool] = []
    world.keeper.tried = tries.append
    world.turn(rows=1)
    assert tries == [True]
    world.fail()
    world.turn(rows=1)
    assert tries == [True, False]
    world.recover()
    world.turn(seconds=60)
    assert tries == [True, False, True]
