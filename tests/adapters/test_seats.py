"""Every edge worker has a number of its own; what a number left is settled even where nobody has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.adapters.ledger import SENDERS, Ledger, Side
from service.adapters.seats import Seats, bury_vacant, departed
from service.errors import ConfigurationError

ROWS = 7


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.bin", ("m:1", "m:2"), records=True)


@pytest.fixture
def seats(tmp_path: Path) -> Seats:
    return Seats(tmp_path)


def test_a_worker_gets_the_number_it_wants_or_the_next_free_one(seats: Seats) -> None:
    held = [seats.take(wanted) for wanted in (0, 1, 0, 63, 63)]
    assert [number for number, _ in held] == [0, 1, 2, 63, 3]
    held[1][1].leave()
    assert seats.take(0)[0] == 1


def test_more_workers_than_there_are_numbers_are_refused(seats: Seats) -> None:
    held = [seats.take(0) for _ in range(SENDERS)]
    assert len({number for number, _ in held}) == SENDERS
    with pytest.raises(ConfigurationError, match="more than 64 edge workers"):
        seats.take(0)
    for _, each in held:
        each.leave()


def test_what_a_vanished_worker_had_not_handed_over_is_counted_once(ledger: Ledger, seats: Seats) -> None:
    number, held = seats.take(5)
    ledger.offer(number, ROWS)
    bury_vacant(ledger, seats)
    assert sum(ledger.totals(0).values()) == 0, "its worker lives and will say itself"
    held.leave()
    for _ in range(2):
        bury_vacant(ledger, seats)
    assert [ledger.totals(page)["shadow_down"] for page in range(ledger.pages)] == [ROWS] * 3


def test_only_workers_that_are_gone_and_left_rows_open_have_departed(ledger: Ledger, seats: Seats) -> None:
    (_, first), (_, second), (_, third) = (seats.take(number) for number in (1, 2, 3))
    for number in (1, 2):
        ledger.hand_over(number, ROWS)
    assert departed(ledger, seats) == []
    second.leave()
    third.leave()
    assert departed(ledger, seats) == [(2, ROWS)]
    ledger.count(Side.SHADOW, 2, 0, "compared", ROWS)
    ledger.count(Side.SHADOW, 2, 1, "compared", ROWS)
    assert departed(ledger, seats) == [(2, ROWS)], "its records are still open"
    ledger.count(Side.SHADOW, 2, 2, "store_error", ROWS)
    assert departed(ledger, seats) == []
    first.leave()


def test_a_number_is_free_again_after_it_was_looked_at(ledger: Ledger, seats: Seats) -> None:
    ledger.hand_over(4, ROWS)
    assert departed(ledger, seats) == [(4, ROWS)]
    assert seats.take(4)[0] == 4
