"""Every label meets the row it belongs to once, whatever order records and deliveries come in."""

from __future__ import annotations

import itertools
import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.domain.joining import labelled, match
from service.domain.labels import Answerer, Delivery, Label, Record

WHO = Answerer("m:1", "production", "multiclass", ("a", "b", "c"), 0.5, ("young",))


def told(identity: int, name: str, *labels: Label, number: int = 0, at: float = 1.0) -> Delivery:
    """Labels of a request, None where one is not known yet."""
    known = {row: label for row, label in enumerate(labels) if label is not None}
    return Delivery(identity, name, number, len(labels), known, at)


def answer(name: str, first: int, rows: int, total: int, identity: int, who: Answerer = WHO) -> Record:
    """Rows whose scores tell where in their request they are."""
    places = np.arange(first, first + rows, dtype=np.float32)
    scores = np.stack([places, places * 0, places * 0], axis=1)
    return Record(name, first, total, 1.0, who, scores, None, None, id=identity)


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
