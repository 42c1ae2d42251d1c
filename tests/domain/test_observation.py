"""Batches keep every row beside what belongs to it."""

from __future__ import annotations

import numpy as np

from service.domain.observation import ShadowBatch, join


def batch(first: int, rows: int, received: float, *names: str) -> ShadowBatch:
    """Rows that all carry their own number, from ``first`` on."""
    numbers = np.arange(first, first + rows)
    return ShadowBatch(
        rows=np.stack([numbers, -numbers], axis=1).astype(np.float32),
        scores=numbers[:, None].astype(np.float32),
        answerers=(numbers % 3).astype(np.uint8),
        senders=(numbers % 5).astype(np.int16),
        received=received,
        request_ids=names,
    )


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
