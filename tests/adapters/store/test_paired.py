"""Labels meet both models' answers: each row once for each candidate, in whatever order all of it comes."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from sqlalchemy import select

from service.adapters.store.store import Store
from service.adapters.store.tables import ANSWERS, PAIRINGS
from service.domain.evidence.paired import Answers, LabelledAnswers, Pairing, Settled
from service.domain.labels import Answerer, Filed, Label, LabelCount
from tests.adapters.store.answers import CANARY as CANARY_MODEL
from tests.adapters.store.answers import CREDIT as PRODUCTION
from tests.adapters.store.answers import NOW, Pupil, given, record
from tests.adapters.store.comparisons import CREDIT, HOUSES, JUDGED, OTHER, Judge, answers, batch, total

Make = Callable[[], Store]


def join(store: Store, judge: Judge, pupil: Pupil | None = None) -> int:
    """Joins until there is nothing more to join; how many rows met both models' answers."""
    rows = 0
    while True:
        found = store.join(pupil or Pupil(), judge)
        rows += found.paired
        if not found.more:
            return rows


class Shadow:
    """Writes answers under numbers of its own."""

    def __init__(self, store: Store, pairing: Pairing = CREDIT, writer: str = "a" * 32) -> None:
        self.store, self.pairing, self.writer = store, pairing, writer
        self.number = 0

    def write(self, *found: Answers) -> None:
        self.number += 1
        assert self.store.add(batch(self.number, writer=self.writer, pairing=self.pairing, answers=found))


def test_both_answers_and_the_truth_come_out_as_they_went_in(store: Store) -> None:
    Shadow(store).write(answers("a", 3))
    Shadow(store, HOUSES).write(answers("h", 2, pairing=HOUSES))
    store.file([given("a", "good", None, "bad", at=7_205.0), given("h", -0.5, 1e300, at=3_599.0)])
    judge = Judge()
    assert join(store, judge) == 4
    credit, houses = sorted(judge.seen, key=lambda one: one.pairing.key.production)
    assert (credit.pairing, houses.pairing) == (CREDIT, HOUSES)
    np.testing.assert_array_equal(credit.before, answers("a", 3).before[[0, 2]])
    np.testing.assert_array_equal(credit.after, answers("a", 3).after[[0, 2]])
    assert (credit.before.dtype, credit.labels.dtype) == (np.float32, np.intp)
    assert credit.labels.tolist() == [1, 0]
    assert credit.slices.tolist() == [0, 2]
    assert (credit.hour, houses.hour) == (2, 0)
    assert houses.labels.tolist() == [-0.5, 1e300]
    assert houses.before[:, 0].tolist() == [0, 1]
    assert houses.slices.tolist() == [0, 0]


def test_labels_of_a_candidate_that_only_others_compare_are_left_to_them(make: Make) -> None:
    old, new = make(), make()
    Shadow(old, OTHER).write(answers("a", pairing=OTHER), answers("b", pairing=OTHER))
    Shadow(new).write(answers("a"), answers("b"))
    new.write([record("a"), record("b")])
    knows_old, knows_new = Judge(), Judge()
    knows_old.unknown, knows_new.unknown = {CREDIT.key}, {OTHER.key}
    new.file([given("a", "good"), given("b", "bad")])
    pupil = Pupil()
    assert join(new, knows_new, pupil) == 2
    assert join(old, knows_old, pupil) == 0
    for _ in range(2):
        old.look_again(knows_old)
        new.look_again(knows_new)
        join(new, knows_new, pupil)
        join(old, knows_old, pupil)
    assert pupil.rows == 2
    for key in (OTHER.key, CREDIT.key):
        assert total(old.sums(key)[0], JUDGED) == [2]


def test_what_labels_say_is_added_to_all_that_was_seen_and_to_its_hour(store: Store) -> None:
    shadow = Shadow(store)
    shadow.write(answers("a"), answers("b"), answers("c"))
    store.file([given("a", "good", at=3_600.0), given("b", "bad", at=7_200.0)])
    join(store, Judge())
    store.file([given("c", "bad", at=7_201.0)])
    join(store, Judge())
    books, _ = store.sums(CREDIT.key)
    assert total(books, JUDGED) == [3]
    assert [(hour, sums.tolist()) for hour, sums in store.hours(CREDIT.key, JUDGED)] == [(1, [1]), (2, [2])]


@pytest.mark.parametrize("seed", range(6))
def test_each_row_meets_its_label_once_for_each_candidate_in_any_order(
    store: Store, make: Make, seed: int
) -> None:
    """Records, answers of two candidates and labels, all of them in parts, in random order."""
    draw = random.Random(seed)
    stores = [store, make()]
    shadows = {
        (number, pairing.key): Shadow(at, pairing, f"{number:032d}")
        for number, at in enumerate(stores)
        for pairing in (CREDIT, OTHER)
    }
    truth: dict[str, list[str]] = {}
    events: list[Callable[[], object]] = []

    def parts(rows: int) -> list[tuple[int, int]]:
        cuts = sorted({0, rows, *draw.choices(range(rows), k=2)})
        return [(first, end - first) for first, end in itertools.pairwise(cuts)]

    for number in range(12):
        name, rows = f"request-{number}", draw.randrange(1, 6)
        who = draw.choice([PRODUCTION, CANARY_MODEL])
        truth[name] = [draw.choice(["good", "bad"]) for _ in range(rows)]
        if draw.random() < 0.8:  # of some requests no record is kept
            for first, some in parts(rows):
                part = record(name, some, first=first, total=rows, who=who)
                events.append(lambda part=part: draw.choice(stores).write([part]))
        for pairing in (CREDIT, OTHER):
            for first, some in parts(rows):
                both = answers(name, some, first=first, total=rows, pairing=pairing)
                events.append(lambda both=both, key=pairing.key: shadows[draw.randrange(2), key].write(both))
        for turn in range(2):
            told: list[Label] = [one if row % 2 == turn else None for row, one in enumerate(truth[name])]
            if any(told):
                events.append(lambda told=told, name=name: draw.choice(stores).file([given(name, *told)]))
    draw.shuffle(events)
    judge, pupil, rows = Judge(), Pupil(), 0
    for happen in events:
        happen()
        if draw.random() < 0.4:
            rows += join(draw.choice(stores), judge, pupil)
    rows += join(store, judge, pupil)

    expected = sorted(
        (candidate, row, float(CREDIT.classes.index(label)))
        for candidate in ("credit:2", "credit:3")
        for labels in truth.values()
        for row, label in enumerate(labels)
    )
    assert judge.rows == expected
    assert rows == len(expected)
    for pairing in (CREDIT, OTHER):
        assert total(store.sums(pairing.key)[0], JUDGED) == [len(expected) / 2]


def test_a_slow_candidate_meets_labels_that_were_joined_long_ago(store: Store) -> None:
    store.write([record("a", 2)])
    store.file([given("a", "good", "bad")])
    judge, pupil = Judge(), Pupil()
    assert join(store, judge, pupil) == 0
    assert pupil.rows == 2
    Shadow(store).write(answers("a", 1, total=2))
    assert join(store, judge, pupil) == 1
    Shadow(store, OTHER).write(answers("a", 2, pairing=OTHER))
    assert join(store, judge, pupil) == 2
    assert pupil.rows == 2
    assert judge.rows == [("credit:2", 0, 1.0), ("credit:3", 0, 1.0), ("credit:3", 1, 0.0)]


def test_labels_that_do_not_fit_are_counted_once_however_many_candidates_there_are(store: Store) -> None:
    store.file([given("a", "splendid")])
    store.write([record("a")])
    assert store.join(Pupil(), Judge()).misfits == 1
    for pairing in (CREDIT, OTHER):
        Shadow(store, pairing).write(answers("a", pairing=pairing))
        found = store.join(Pupil(), Judge())
        assert (found.misfits, found.paired) == (0, 0)


def test_the_first_answers_to_an_id_that_is_used_again_are_the_ones_that_count(store: Store) -> None:
    shadow, judge = Shadow(store), Judge()
    shadow.write(answers("twice", 2, total=3))
    shadow.write(answers("twice", 1, total=3, salt=10))  # the same first row
    shadow.write(answers("twice", 2, first=1, total=3, salt=20))  # another cut of another answer
    shadow.write(answers("twice", 1, first=7, total=9))  # a part of yet another one
    shadow.write(answers("twice", 1, first=2, total=3))
    store.file([given("twice", "good", "good", "bad")])
    assert join(store, judge) == 3
    assert judge.rows == [("credit:2", 0, 1.0), ("credit:2", 1, 1.0), ("credit:2", 2, 0.0)]


def test_a_label_of_a_request_that_was_never_mirrored_waits(store: Store) -> None:
    assert store.file([given("shed", "good")]) == [Filed(matched=False, fresh=True)]
    assert join(store, Judge()) == 0
    assert not store.join(Pupil(), Judge()).more
    Shadow(store).write(answers("shed"))
    assert join(store, Judge()) == 1


def test_a_label_is_matched_where_only_both_models_answers_are_kept(store: Store) -> None:
    Shadow(store).write(answers("a", 2))
    (refused,) = store.file([given("a", "good")])
    assert isinstance(refused, LabelCount)
    assert store.file([given("a", "good", "bad")]) == [Filed(matched=True, fresh=True)]


def test_what_labels_say_and_the_mark_that_they_were_joined_are_one_step(store: Store, make: Make) -> None:
    Shadow(store).write(answers("a"), answers("b"))
    store.write([record("a"), record("b")])
    store.file([given("a", "good"), given("b", "bad")])

    class Fails(Judge):
        def __call__(self, found: Sequence[LabelledAnswers]) -> list[Settled]:
            assert sum(len(one.labels) for one in found) == 2
            raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            store.join(Pupil(), Fails())
    assert JUDGED not in store.sums(CREDIT.key)[0]
    judge = Judge()
    assert join(make(), judge) == 2
    assert join(store, judge) == 0
    assert total(store.sums(CREDIT.key)[0], JUDGED) == [2]


def test_without_a_judge_answers_stay_as_they_are(store: Store) -> None:
    Shadow(store).write(answers("a", 1, total=2))
    store.file([given("a", "good", "bad")])
    assert store.join(Pupil()).paired == 0
    Shadow(store, CREDIT, "b" * 32).write(answers("a", 1, first=1, total=2))
    assert join(store, Judge()) == 2


def test_answers_whose_pairing_is_gone_hold_up_nothing(store: Store) -> None:
    Shadow(store).write(answers("a"))
    store.write([record("a")])
    with store._database.begin() as connection:
        connection.execute(PAIRINGS.delete())
    store.file([given("a", "good")])
    pupil = Pupil()
    assert join(store, Judge(), pupil) == 0
    assert pupil.rows == 1


def test_labels_count_as_writing_to_a_pairing(store: Store) -> None:
    store._now = lambda: 10.0
    Shadow(store).write(answers("a"))
    store.file([given("a", "good")])
    store._now = lambda: NOW
    join(store, Judge())
    while store.forget(NOW - 1):
        pass
    assert total(store.sums(CREDIT.key)[0], JUDGED) == [1]


def test_replicas_that_answer_label_and_join_at_once_miss_nothing(store: Store, make: Make) -> None:
    """Labels and answers of one request are written at the same moment, and joined at the next."""
    names = [f"request-{number:03d}" for number in range(120)]
    stores = [make() for _ in range(3)]
    judges = [Judge() for _ in stores]
    gate = threading.Barrier(3, timeout=120)

    def work(index: int) -> None:
        at, shadow = stores[index], Shadow(stores[index], CREDIT, f"{index:032d}")
        for turn, name in enumerate(names):
            gate.wait()
            role = (turn + index) % 3
            if role == 0:
                shadow.write(answers(name))
            elif role == 1:
                at.write([record(name)])
                at.file([given(name, "good")])
            else:
                at.join(Pupil(), judges[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    join(store, judges[0])
    assert sum(len(judge.rows) for judge in judges) == len(names)
    assert total(store.sums(CREDIT.key)[0], JUDGED) == [len(names)]
    with store._database.look() as connection:
        assert set(connection.execute(select(ANSWERS.c.joined)).scalars()) == {1}


def test_models_of_other_classes_are_not_judged_by_labels_meant_for_production(store: Store) -> None:
    colours = Answerer("paint:1", "production", "multiclass", ("red", "good"), 0.5, ())
    store.write([record("a", who=colours)])
    Shadow(store).write(answers("a"))
    store.file([given("a", "red")])
    pupil = Pupil()
    assert join(store, Judge(), pupil) == 0
    assert pupil.rows == 1
