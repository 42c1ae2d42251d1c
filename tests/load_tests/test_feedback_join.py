"""The measurement of joined labels: what it fills, labels and kills is what it says."""

from __future__ import annotations

import pytest

from load_tests import feedback_join
from load_tests.report import Finding


@pytest.mark.process
@pytest.mark.parametrize(
    "store", ["SQLite", pytest.param("PostgreSQL", marks=pytest.mark.system("postgres"))]
)
def test_every_label_is_joined_and_no_kill_costs_a_batch(store: str) -> None:
    rows = feedback_join.SECOND
    found = feedback_join.measure(store, rows, turns=2, kills=1)
    assert found is not None
    assert (found.rows, found.not_joined, found.killed, found.lost) == (rows, 0, 1, 0)
    assert found.record_bytes > 50
    assert found.answer_bytes > 50


def test_what_is_lost_or_slow_with_many_rows_is_a_broken_promise() -> None:
    few = feedback_join.Measured(
        "SQLite", 10, 1.0, 1.0, 1.0, 1.0, 1.0, (1.0, 2.0), (10.0, 20.0), 0, 1.0, killed=3
    )
    many = feedback_join.Measured(
        "SQLite", 500, 1.0, 1.0, 1.0, 1.0, 1.0, (2.0, 2.0), (90.0, 99.0), 7, 1.0, killed=3, lost=1
    )

    def broken(found: list[Finding]) -> list[float]:
        return [each.value for each in found if each.verdict == "not met"]

    assert broken(list(feedback_join._claims(few, few))) == []
    assert broken(list(feedback_join._claims(few, many))) == [9.0, 7, 1]
