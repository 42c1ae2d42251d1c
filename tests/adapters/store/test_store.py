"""The store: what is acknowledged is there, labels meet their answers once, in whatever order they come."""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from service.adapters.store.store import Store
from service.domain.labels import Filed, Label, LabelConflict, LabelCount, Labelled
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
