"""Writers that measure a store write what they say, each its own batches, and together the sums."""

from __future__ import annotations

import numpy as np
import pytest

from load_tests.postgres import installed
from load_tests.replicas import pace
from service.domain.evidence.books import AGREEMENT, Books, Key, Page
from service.domain.evidence.paired import Pairing

PAIRING = Pairing(Key("credit:1", "credit:2", "0" * 32), "binary", ("bad", "good"), ())


@pytest.mark.system("postgres")
@pytest.mark.parametrize("rows", [0, 3])
def test_writers_are_timed_and_nothing_of_theirs_is_lost(rows: int) -> None:
    programs = installed()
    assert programs is not None
    books: Books = {Page(AGREEMENT, name): np.array([1.0, 0.25]) for name in ("all", "young")}
    found = pace(programs, PAIRING, books, writers=3, rows=rows, seconds=0.3)  # holds the sums against them
    assert (found.writers, found.rows) == (3, rows)
    assert found.batches > 0
    assert 0 < found.median <= found.p99
