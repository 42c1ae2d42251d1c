"""The store: what is acknowledged is there, labels meet their answers once, in whatever order they come."""

from __future__ import annotations

import contextlib
import itertools
import random
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import event, func, select

from service.adapters.store import labels as labels_table
from service.adapters.store import retention
from service.adapters.store.database import Database
from service.adapters.store.store import Store
from service.adapters.store.tables import RECORDS
from service.domain.labels import Filed, Label, LabelConflict, LabelCount, Labelled, Labels
from tests.adapters.store.answers import CANARY, CREDIT, HOUSES, NOW, THEN, Pupil, given, record

Make = Callable[[], Store]


def join(store: Store, pupil: Pupil | None = None) -> Pupil:
    """Joins until there is nothing more to join."""
    pupil = pupil or Pupil()
    while store.join(pupil).more:
        pass
    return pupil


def test_a_label_says_whether_its_answer_is_known(store: Store) -> None:
    store.write([record("known")])
    assert store.file([given("known", "good"), given("unknown", "good")]) == [
        Filed(matched=True, fresh=True),
        Filed(matched=False, fresh=True),
    ]


def test_the_same_label_again_is_no_news(store: Store) -> None:
    assert store.file([given("a", "good")]) == [Filed(matched=False, fresh=True)]
    assert store.file([given("a", "good"), given("a", "good")]) == [Filed(matched=False, fresh=False)] * 2


def test_a_label_is_final(store: Store, make: Make) -> None:
    store.file([given("a", "good", None)])
    (refused,) = make().file([given("a", "bad", None)])
    assert isinstance(refused, LabelConflict)
    (shorter,) = store.file([given("a", "good")])
    assert isinstance(shorter, LabelConflict)
    assert store.file([given("a", "good", "bad")]) == [Filed(matched=False, fresh=True)]
    assert store.file([given("a", "good", "bad"), given("a", None, "bad")]) == [Filed(False, False)] * 2


def test_news_of_one_request_in_one_breath_are_weighed_against_each_other(store: Store) -> None:
    first, second, third = store.file(
        [given("a", "good", None), given("a", "bad", None), given("a", None, "bad")]
    )
    assert (first, third) == (Filed(False, True), Filed(False, True))
    assert isinstance(second, LabelConflict)


def test_as_many_labels_as_rows_where_the_answer_is_known(store: Store) -> None:
    store.write([record("a", 2, total=5), record("a", 3, first=2, total=5)])
    (refused,) = store.file([given("a", "good", "good")])
    assert isinstance(refused, LabelCount)
    assert "expected 5 labels" in str(refused)


def test_labels_and_answers_come_out_as_they_went_in(store: Store) -> None:
    store.write([record("a", 3), record("b", who=CANARY), record("c", 2, who=HOUSES)])
    store.file(
        [given("a", "good", None, "bad", at=NOW), given("b", "bad", at=NOW + 1), given("c", -0.5, 1e300)]
    )
    credit, canary, houses = sorted(join(store).batches, key=lambda batch: batch.answerer.tag)

    assert (credit.answerer, canary.answerer, houses.answerer) == (CREDIT, CANARY, HOUSES)
    np.testing.assert_array_equal(credit.scores, record("a", 3).scores[[0, 2]])
    np.testing.assert_array_equal(credit.evidence, record("a", 3).scores[[0, 2]].astype(np.float64) * 2)
    assert credit.labels.tolist() == [1, 0]
    assert credit.predicted.tolist() == [1, 0]
    assert credit.correct is not None
    assert credit.correct.tolist() == [True, True]
    assert {name: mask.tolist() for name, mask in credit.members().items()} == {
        "young": [False, False],
        "rent": [False, True],
    }
    assert credit.answered_at.tolist() == [THEN, THEN]
    assert credit.labelled_at.tolist() == [NOW, NOW]
    assert canary.correct is not None
    assert canary.correct.tolist() == [True]  # 0.6 is below its threshold
    assert houses.labels.tolist() == [-0.5, 1e300]
    assert houses.correct is None
    assert houses.scores.dtype == np.float32


def test_a_label_that_comes_before_its_answer_is_joined_when_that_comes(store: Store, make: Make) -> None:
    store.file([given("late", "good"), given("never", "good")])
    assert join(store).rows == 0
    make().write([record("other"), record("late")])
    assert join(store).rows == 1
    assert join(store).rows == 0


def test_every_part_of_a_request_meets_every_label_of_it_once_in_any_order(store: Store, make: Make) -> None:
    draw = random.Random(3)
    truth: dict[str, list[Label]] = {}
    events: list[tuple[str, Callable[[Store], object]]] = []
    for number in range(40):
        name, rows = f"request-{number}", draw.randrange(1, 9)
        truth[name] = [draw.choice(["good", "bad"]) for _ in range(rows)]
        cuts = sorted({0, rows, *draw.choices(range(rows), k=2)})
        for first, end in itertools.pairwise(cuts):
            part = record(name, end - first, first=first, total=rows)
            events.append((name, lambda at, part=part: at.write([part])))
        for turn in range(3):  # each label in one of three deliveries; some say nothing new
            some = [one if row % 3 == turn else None for row, one in enumerate(truth[name])]
            if any(some):
                events.append((name, lambda at, some=some, name=name: at.file([given(name, *some)])))
    draw.shuffle(events)
    pupil, stores = Pupil(), [store, make()]
    for _, happen in events:
        happen(draw.choice(stores))
        if draw.random() < 0.3:
            join(draw.choice(stores), pupil)
    join(store, pupil)

    expected = Counter(label for labels in truth.values() for label in labels)
    found = Counter(str(CREDIT.classes[label]) for batch in pupil.batches for label in batch.labels)
    assert found == expected
    positive = sorted(float(row[1]) for batch in pupil.batches for row in batch.scores)
    wanted = sorted(float(row[1]) for labels in truth.values() for row in record("", len(labels)).scores)
    assert positive == wanted
    assert store.learnt() == {CREDIT.tag: str(sum(expected.values())).encode()}


def test_the_first_answer_to_an_id_that_is_used_again_is_the_one_that_counts(store: Store) -> None:
    assert store.write([record("twice"), record("once")]) == {("twice", 0), ("once", 0)}
    assert store.write([record("twice", who=CANARY), record("new")]) == {("new", 0)}
    store.write([record("twice", 2, first=1, total=3)])  # a part of yet another answer
    store.file([given("twice", "good")])
    (batch,) = join(store).batches
    assert (batch.answerer, len(batch)) == (CREDIT, 1)


def test_labels_that_turn_out_not_to_fit_are_counted_and_hold_up_nothing(store: Store) -> None:
    store.file(
        [given("long", "good", "bad"), given("value", 7.5), given("stranger", "splendid"), given("a", "good")]
    )
    join(store)
    store.write([record("long"), record("value"), record("stranger"), record("a")])
    pupil = Pupil()
    found = store.join(pupil)
    assert (found.misfits, pupil.rows) == (3, 1)
    assert store.join(pupil).misfits == 0


def test_what_was_learnt_and_the_mark_that_rows_were_joined_are_one_step(store: Store, make: Make) -> None:
    store.write([record("a"), record("b")])
    store.file([given("a", "good")])
    join(store)
    store.file([given("b", "good")])

    def fails(batches: Sequence[Labelled], learnt: Mapping[str, bytes]) -> dict[str, bytes]:
        assert learnt == {CREDIT.tag: b"1"}
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            store.join(fails)
    assert store.learnt() == {CREDIT.tag: b"1"}
    assert join(make()).rows == 1
    assert store.learnt() == {CREDIT.tag: b"2"}


def test_replicas_that_join_at_once_learn_from_each_row_once(store: Store, make: Make) -> None:
    names = [f"request-{number}" for number in range(300)]
    store.write([record(name) for name in names])
    pupils = [Pupil() for _ in range(3)]
    stores = [make() for _ in pupils]

    def work(at: Store, pupil: Pupil, mine: Sequence[str]) -> None:
        for name in mine:
            at.file([given(name, "good")])
            at.join(pupil)

    threads = [
        threading.Thread(target=work, args=(stores[index], pupils[index], names[index::3]))
        for index in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    join(store, pupils[0])
    assert sum(pupil.rows for pupil in pupils) == 300
    assert store.learnt() == {CREDIT.tag: b"300"}


def test_of_two_who_contradict_each_other_at_once_exactly_one_is_believed(store: Store, make: Make) -> None:
    stores = [make() for _ in range(2)]
    outcomes: list[object] = []

    def tell(at: Store, label: str) -> None:
        for number in range(40):
            outcomes.extend(at.file([given(f"request-{number}", label)]))

    threads = [threading.Thread(target=tell, args=pair) for pair in zip(stores, ("good", "bad"), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(outcome == Filed(False, True) for outcome in outcomes) == 40
    assert sum(isinstance(outcome, LabelConflict) for outcome in outcomes) == 40


def test_labels_that_come_after_older_ones_were_deleted_are_filed_and_learnt_from(store: Store) -> None:
    store.write([record("a", 3, at=NOW)])
    store.file([given("a", "good", None, None, at=THEN)])
    store.file([given("a", None, "bad", None, at=NOW)])
    pupil = join(store)
    store.sweep(NOW)  # the first delivery is gone
    assert store.file([given("a", None, "bad", "good"), given("b", "good")]) == [
        Filed(True, True),
        Filed(False, True),
    ]
    assert join(store, pupil).rows == 3


def test_the_labels_of_a_large_request_may_come_row_by_row(store: Store) -> None:
    rows, pupil = 400, Pupil()
    store.write([record("large", rows)])
    for row in range(rows):
        told: list[Label] = [None] * rows
        told[row] = "good"
        assert store.file([given("large", *told)]) == [Filed(True, True)]
        if row % 100 == 50:
            join(store, pupil)
    assert join(store, pupil).rows == rows
    assert store.file([given("large", *["good"] * rows)]) == [Filed(True, False)]
    assert isinstance(store.file([given("large", *["bad"] * rows)])[0], LabelConflict)


def test_what_is_written_of_labels_is_read_again() -> None:
    few: Labels = (None,) * 5_000 + ("good",)
    for labels in (few, ("good", None, 0.5), (None, 1e300), ("good",)):
        text = labels_table.written(labels)
        assert labels_table.read(text) == (
            len(labels),
            {row: label for row, label in enumerate(labels) if label is not None},
        )
    assert len(labels_table.written(few)) < 100


def test_few_long_labels_are_joined_at_a_time_because_others_wait_for_it(store: Store) -> None:
    rows = 2_000
    names = [f"large-{number}" for number in range(20)]
    store.write([record(name, rows) for name in names])
    store.file([given(name, *["good"] * rows) for name in names])
    pupil, turns = Pupil(), 1
    while store.join(pupil).more:
        turns += 1
    assert pupil.rows == 20 * rows
    assert turns >= 7


def test_what_is_too_old_goes_and_the_rest_stays(store: Store) -> None:
    store.write([record(f"old-{number}", at=THEN) for number in range(1_200)])
    store.file([given(f"old-{number}", "good", at=THEN) for number in range(1_200)])
    store.write([record("young", at=NOW)])
    store.file([given("young", "good", at=NOW)])
    sweeps = 1
    while store.sweep(NOW):
        sweeps += 1
    assert sweeps > 2  # a little at a time
    assert store.file([given("old-7", "bad"), given("young", "good")]) == [
        Filed(False, True),
        Filed(True, False),
    ]
    assert store.write([record("old-7")]) == {("old-7", 0)}


def test_what_is_too_much_goes_the_oldest_first(store: Store) -> None:
    store.write([record(f"large-{number}", 10) for number in range(30)])
    store.file([given(f"large-{number}", *["good"] * 10) for number in range(30)])
    store.measure(100)
    while store.sweep(0.0):
        pass
    kept = [
        number
        for number in range(30)
        if store.file([given(f"large-{number}", *["good"] * 10)])[0] == Filed(True, False)
    ]
    assert kept == list(range(20, 30))


def test_long_labels_count_for_more_than_short_ones(store: Store) -> None:
    store.file([given(f"short-{number}", "good") for number in range(100)])
    store.measure(200)
    assert not store.sweep(0.0)
    store.file([given(f"long-{number}", *["good"] * 1_000) for number in range(10)])
    store.measure(200)
    while store.sweep(0.0):
        pass
    assert store.file([given("short-99", "good")]) == [Filed(False, True)]
    assert store.file([given("long-9", *["good"] * 1_000)]) == [Filed(False, False)]
    assert store.file([given("long-0", *["good"] * 1_000)]) == [Filed(False, True)]


def test_what_is_held_is_measured_right_however_it_comes_and_goes(store: Store) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "BLOCK", 7)
        draw, number = random.Random(1), 0
        for _ in range(30):
            for _ in range(draw.randrange(25)):
                number += 1
                store.write([record(f"r{number}", draw.randrange(1, 4))])
            store.measure(10**9 if draw.random() < 0.5 else 40)
            store.sweep(0.0)
            with store._database.look() as connection:
                total = connection.execute(select(func.sum(RECORDS.c.rows))).scalar() or 0
                assert store._holdings["records"].count(connection) == total


def test_open_labels_are_found_without_reading_all_of_them(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 's.db'}", patience=1)
    store, asked = Store(database), {}

    def note(_: object, __: object, statement: str, values: object, *___: object) -> None:
        asked[statement] = values

    event.listen(database._engine, "before_cursor_execute", note)
    store.file([given("a", "good"), given("b", "good")])
    join(store)
    store.write([record("a")])
    join(store)
    store.sweep(0.0)
    database.close()
    chosen = {text: values for text, values in asked.items() if "state = ?" in text or "IN (" in text}
    assert len(chosen) >= 4
    with contextlib.closing(sqlite3.connect(tmp_path / "s.db")) as other:
        for text, values in chosen.items():
            plan = str([row[3] for row in other.execute(f"EXPLAIN QUERY PLAN {text}", values)])
            assert "SEARCH" in plan, text
            assert "SCAN" not in plan, text


def test_there_is_nothing_to_sweep_where_all_is_young_and_little(store: Store) -> None:
    store.write([record("a")])
    store.measure(1)
    assert not store.sweep(THEN)
    assert store.file([given("a", "good")]) == [Filed(True, True)]


def test_many_requests_are_filed_and_joined_at_once(store: Store) -> None:
    names = [f"request-{number}" for number in range(1_300)]
    store.write([record(name) for name in names])
    assert set(store.file([given(name, "good") for name in names])) == {Filed(True, True)}
    pupil, looks = Pupil(), 1
    while store.join(pupil).more:
        looks += 1
    assert (pupil.rows, looks) == (1_300, 3)
