"""Every label meets the row it belongs to once, whatever order records and deliveries come in."""

from __future__ import annotations

import itertools
import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.domain.evidence.books import Key
from service.domain.evidence.paired import Answers, Kept, Pairing
from service.domain.joining import labelled, labelled_answers, match
from service.domain.labels import Answerer, Delivery, Label, Record

WHO = Answerer("m:1", "production", "multiclass", ("a", "b", "c"), 0.5, ("young",))


PAIRS = [Pairing(Key("m:1", f"m:{n}", "0" * 32), "multiclass", ("a", "b", "c"), ("young",)) for n in (2, 3)]


def told(identity: int, name: str, *labels: Label, number: int = 0, at: float = 1.0) -> Delivery:
    """Labels of a request, None where one is not known yet."""
    known = {row: label for row, label in enumerate(labels) if label is not None}
    return Delivery(identity, name, number, len(labels), known, at)


def answer(name: str, first: int, rows: int, total: int, identity: int, who: Answerer = WHO) -> Record:
    """Rows whose scores tell where in their request they are."""
    places = np.arange(first, first + rows, dtype=np.float32)
    scores = np.stack([places, places * 0, places * 0], axis=1)
    return Record(name, first, total, 1.0, who, scores, None, None, id=identity)


def both(name: str, first: int, rows: int, total: int, identity: int, pairing: Pairing = PAIRS[0]) -> Kept:
    """The same of both models."""
    before = answer(name, first, rows, total, identity).scores
    bits = np.arange(first, first + rows, dtype=np.uint32) % 2
    return Kept(pairing, Answers(name, first, total, 1.0, before, -before, bits), id=identity)


@given(st.integers(0, 10_000))
def test_each_label_meets_its_own_row_exactly_once(seed: int) -> None:
    draw = random.Random(seed)
    total = draw.randrange(1, 8)
    truth: list[Label] = [draw.choice("abc") for _ in range(total)]
    cuts = sorted({0, total, draw.randrange(total)})
    parts = [
        answer("r", first, end - first, total, index + 1)
        for index, (first, end) in enumerate(itertools.pairwise(cuts))
    ]
    turn_of = [draw.randrange(3) for _ in truth]
    tellings = [
        told(
            turn + 1,
            "r",
            *(one if at == turn else None for one, at in zip(truth, turn_of, strict=True)),
            number=turn,
        )
        for turn in range(3)
    ]
    here: dict[int, Record] = {}
    open_ones: list[Delivery] = []
    waiting_parts, waiting_tellings = list(parts), list(tellings)
    draw.shuffle(waiting_parts)
    met: list[tuple[float, int]] = []
    done: set[int] = set()
    while waiting_parts or waiting_tellings:
        if waiting_parts and (not waiting_tellings or draw.random() < 0.5):
            part = waiting_parts.pop()
            here[part.id] = part
        else:
            open_ones.append(waiting_tellings.pop(0))
        found = match(here.values(), open_ones)
        for batch in labelled(found.matches):
            met += zip(batch.scores[:, 0].tolist(), batch.labels.tolist(), strict=True)
        here |= {name: here[name]._replace(joined=count) for name, count in found.seen.items()}
        assert set(found.done).isdisjoint(found.waiting)
        assert set(found.done + found.waiting) == {one.id for one in open_ones}
        done |= set(found.done)
        open_ones = [one for one in open_ones if one.id not in done]
        assert found.misfits == ()
    assert sorted(met) == [(float(row), "abc".index(str(label))) for row, label in enumerate(truth)]
    assert done == {1, 2, 3}


def test_rows_come_in_the_order_in_which_their_labels_came() -> None:
    records = [answer(name, 0, 1, 1, index + 1) for index, name in enumerate("pqr")]
    tellings = [told(9, "p", "a", at=5.0), told(7, "r", "c", at=3.0), told(8, "q", "b", at=4.0)]
    (batch,) = labelled(match(records, tellings).matches)
    assert batch.labels.tolist() == [2, 1, 0]
    assert batch.labelled_at.tolist() == [3.0, 4.0, 5.0]


def test_rows_with_evidence_of_different_width_are_kept_apart() -> None:
    records = [
        answer("p", 0, 1, 1, 1)._replace(evidence=np.ones((1, 3))),
        answer("q", 0, 1, 1, 2)._replace(evidence=np.ones((1, 1))),
        answer("r", 0, 1, 1, 3),
    ]
    batches = labelled(match(records, [told(i, name, "a") for i, name in enumerate("pqr")]).matches)
    assert [None if batch.evidence is None else batch.evidence.shape for batch in batches] == [
        (1, 3),
        (1, 1),
        None,
    ]


def test_labels_for_another_model_are_told_apart_from_labels_that_fit() -> None:
    records = [answer("p", 0, 2, 2, 1), answer("q", 0, 1, 1, 2)]
    found = match(records, [told(1, "p", "a"), told(2, "q", "z")])
    assert (found.matches, found.misfits) == ((), (1, 2))
    half = match([answer("p", 0, 1, 2, 1)], [told(1, "p", "a")])
    assert (half.misfits, half.waiting) == ((), (1,))


@given(st.integers(0, 10_000))
def test_each_label_meets_both_models_answers_once_for_each_candidate(seed: int) -> None:
    """Parts of a record and of two candidates' answers come in any order with the labels."""
    draw = random.Random(seed)
    total = draw.randrange(1, 7)
    truth = [draw.choice("abc") for _ in range(total)]

    def cuts() -> list[tuple[int, int]]:
        ends = sorted({0, total, draw.randrange(total), draw.randrange(total)})
        return [(first, end - first) for first, end in itertools.pairwise(ends)]

    names = itertools.count(1)
    records = [answer("r", first, rows, total, next(names)) for first, rows in cuts()]
    kept = [both("r", first, rows, total, next(names), each) for each in PAIRS for first, rows in cuts()]
    turns = [draw.randrange(3) for _ in truth]
    tellings = [
        told(
            n + 1,
            "r",
            *(one if turn == n else None for one, turn in zip(truth, turns, strict=True)),
            number=n,
        )
        for n in range(3)
    ]
    coming: list[Record | Kept | Delivery] = [*records, *kept, *tellings]
    draw.shuffle(coming)
    numbered = iter(tellings)
    here: dict[int, Record | Kept] = {}
    all_told: list[Delivery] = []
    open_ones: set[int] = set()
    met: list[tuple[str, float, int]] = []
    for one in [*coming, None]:
        if isinstance(one, Delivery):
            all_told.append(next(numbered))  # a request's deliveries are numbered as they come
            open_ones.add(all_told[-1].id)
        elif one is not None:
            here[one.id] = one
            open_ones = {each.id for each in all_told}
        if one is not None and draw.random() < 0.4:
            continue
        found = match(
            [part for part in here.values() if isinstance(part, Record)],
            [each for each in all_told if each.id in open_ones],
            [part for part in here.values() if isinstance(part, Kept)],
        )
        open_ones -= set(found.done)
        here |= {name: here[name]._replace(joined=n) for name, n in (found.seen | found.seen_pairs).items()}
        for batch in labelled(found.matches):
            met += [
                ("m:1", *row) for row in zip(batch.scores[:, 0].tolist(), batch.labels.tolist(), strict=True)
            ]
        for pair in labelled_answers(found.pairs):
            assert pair.slices.tolist() == [int(row) % 2 for row in pair.before[:, 0]]
            assert (pair.after == -pair.before).all()
            rows = zip(pair.before[:, 0].tolist(), pair.labels.tolist(), strict=True)
            met += [(pair.pairing.key.candidate, *row) for row in rows]
    wanted = [(float(row), "abc".index(label)) for row, label in enumerate(truth)]
    assert sorted(met) == sorted((f"m:{n}", *row) for n in (1, 2, 3) for row in wanted)


def test_labels_of_different_hours_come_apart() -> None:
    kept = [both(name, 0, 1, 1, index + 1) for index, name in enumerate("pqr")]
    hours = [3_599.0, 3_600.0, 7_199.0]
    tellings = [told(9 - i, name, "a", at=at) for i, (name, at) in enumerate(zip("pqr", hours, strict=True))]
    batches = labelled_answers(match([], tellings, kept).pairs)
    assert {batch.hour: len(batch.labels) for batch in batches} == {0: 1, 1: 2}


def test_rows_that_two_answers_under_one_id_both_have_are_judged_once() -> None:
    parts = [both("p", 0, 2, 3, 1), both("p", 1, 2, 3, 2), both("p", 2, 1, 3, 3), both("p", 0, 1, 4, 4)]
    found = match([], [told(1, "p", "a", "b", "c")], parts)
    (batch,) = labelled_answers(found.pairs)
    assert sorted(batch.before[:, 0].tolist()) == [0.0, 1.0, 2.0]
    assert set(found.seen_pairs) == {1, 3}
    assert found.waiting == (1,)  # its record may still come


def test_a_misfit_is_told_of_once() -> None:
    record, wrong = answer("p", 0, 1, 1, 1), told(1, "p", "z")
    first = match([record], [wrong])
    assert first.misfits == (1,)
    again = match([record._replace(joined=first.seen[1])], [wrong], [both("p", 0, 1, 1, 1)])
    assert (again.misfits, again.done, again.pairs) == ((), (1,), ())


def test_a_row_that_was_judged_is_not_judged_again_when_an_older_part_shows_up() -> None:
    """PostgreSQL shows what was begun first after what was begun later, where that is committed first."""
    younger = both("p", 0, 2, 3, 5)
    first = match([], [told(1, "p", "a", "b", "c")], [younger])
    assert [found.rows for found in first.pairs] == [[0, 1]]
    older = both("p", 1, 2, 3, 4)
    again = match([], [told(1, "p", "a", "b", "c")], [older, younger._replace(joined=first.seen_pairs[5])])
    assert again.pairs == ()
