"""Batches keep every row beside what belongs to it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.observation import Origin, Parts, ShadowBatch, join


def batch(first: int, rows: int, received: float, *names: str) -> ShadowBatch:
    """Rows that all carry their own number, from ``first`` on; the requests share them evenly."""
    numbers = np.arange(first, first + rows)
    return ShadowBatch(
        rows=np.stack([numbers, -numbers], axis=1).astype(np.float32),
        scores=numbers[:, None].astype(np.float32),
        answerers=(numbers % 3).astype(np.uint8),
        senders=(numbers % 5).astype(np.int16),
        received=received,
        origin=origin(rows, *names),
    )


def origin(rows: int, *names: str) -> Origin:
    counts = np.array([len(part) for part in np.array_split(np.arange(rows), max(1, len(names)))])
    return Parts(names or ("a",), counts, counts * 0, counts).origin()


def assert_numbers(found: ShadowBatch, numbers: list[int]) -> None:
    assert len(found) == len(numbers)
    assert found.rows.tolist() == [[number, -number] for number in numbers]
    assert found.scores.ravel().tolist() == numbers
    assert found.answerers.tolist() == [number % 3 for number in numbers]
    assert found.canary.tolist() == [number % 3 > 0 for number in numbers]
    assert found.senders.tolist() == [number % 5 for number in numbers]


def test_joins_rows_in_order_and_remembers_the_oldest_arrival() -> None:
    together = join([batch(0, 3, 7.0, "a"), batch(3, 1, 5.0, "b"), batch(4, 4, 6.0, "c", "d")])
    assert_numbers(together, list(range(8)))
    assert together.received == 5.0
    assert together.request_ids == ("a", "b", "c", "d")
    assert together.senders.dtype == np.int16
    assert together.answerers.dtype == np.uint8


def test_one_batch_alone_is_not_copied() -> None:
    alone = batch(0, 2, 1.0)
    assert join([alone]) is alone


def test_takes_rows_by_mask_and_by_slice() -> None:
    whole = batch(10, 6, 1.0, "a")
    assert_numbers(whole.take(np.array([True, False, False, True, False, True])), [10, 13, 15])
    assert_numbers(whole.take(slice(2, 4)), [12, 13])
    assert whole.take(slice(0, 0)).request_ids == ("a",)
    assert_numbers(whole, list(range(10, 16)))


def test_taking_apart_and_joining_gives_the_same_rows() -> None:
    whole = batch(0, 9, 2.0)
    assert_numbers(join([whole.take(slice(0, 4)), whole.take(slice(4, None))]), list(range(9)))


def test_every_row_knows_its_request_and_its_place_in_it() -> None:
    parts = Parts(("a", "b", "c"), np.array([2, 0, 3]), np.array([4, 0, 0]), np.array([9, 7, 3]))
    found = parts.origin()
    assert [found.request_ids[index] for index in found.requests] == ["a", "a", "c", "c", "c"]
    assert found.places.tolist() == [4, 5, 0, 1, 2]
    assert found.totals[found.requests].tolist() == [9, 9, 3, 3, 3]


def test_stretches_are_whole_where_nothing_was_taken_out() -> None:
    parts = Parts(("a", "b", "a"), np.array([2, 1, 3]), np.array([0, 0, 2]), np.array([5, 1, 5]))
    assert [tuple(stretch) for stretch in parts.origin().stretches()] == [
        ("a", 0, 5, 0, 2),
        ("b", 0, 1, 2, 3),
        ("a", 2, 5, 3, 6),  # the same request, but in another part
    ]


def test_no_rows_are_no_stretches() -> None:
    assert Parts((), *[np.zeros(0, np.int64)] * 3).origin().stretches() == []


@given(
    requests=st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=8
    ),
    data=st.data(),
)
@settings(max_examples=200, deadline=None)
def test_whatever_is_taken_out_and_joined_each_row_keeps_its_request(
    requests: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    names = tuple(f"r{number}" for number in range(len(requests)))
    columns = [np.array(column) for column in zip(*requests, strict=True)]
    counts, firsts = columns[0], columns[1]
    totals = counts + firsts + columns[2]
    known = {name: int(total) for name, total in zip(names, totals, strict=True)}
    whole = Parts(names, counts, firsts, totals).origin()
    identity = [(names[index], place) for index, place in zip(whole.requests, whole.places, strict=True)]
    rows = len(identity)
    batch_of_all = ShadowBatch(
        np.arange(rows, dtype=np.float32)[:, None],
        np.zeros((rows, 1), np.float32),
        np.zeros(rows, np.uint8),
        np.zeros(rows, np.int16),
        0.0,
        whole,
    )
    cut = data.draw(st.integers(0, rows))
    pieces = []
    for piece in (batch_of_all.take(slice(0, cut)), batch_of_all.take(slice(cut, None))):
        kept = np.array(
            data.draw(st.lists(st.booleans(), min_size=len(piece), max_size=len(piece))), np.bool_
        )
        pieces.append(piece.take(kept))
    found = join(data.draw(st.permutations(pieces)))
    told = [identity[int(number)] for number in found.rows[:, 0]]
    stretches = found.origin.stretches()
    assert [
        (stretch.request_id, stretch.first + index)
        for stretch in stretches
        for index in range(stretch.end - stretch.start)
    ] == told
    assert [stretch.end for stretch in stretches] == [stretch.start for stretch in stretches[1:]] + (
        [len(found)] if stretches else []
    )
    assert all(stretch.total == known[stretch.request_id] for stretch in stretches)
