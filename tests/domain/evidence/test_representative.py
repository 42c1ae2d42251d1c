"""Rows that were left out may be like the others, unlike them, too few to matter, or too few to tell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.domain.binning import numbers
from service.domain.evidence.representative import LEAST_ROWS, MOST_SHOWN, representative
from service.domain.evidence.tallied import COLUMNS, Tallied

EVEN, SKEWED = np.full(10, 0.1), np.linspace(1, 9, 10) / 50
SLIGHTLY = np.linspace(0.9, 1.1, 10) / 10


def tallied(kept: NDArray, left_out: NDArray, name: str = "score") -> Tallied:
    """A variable of ten bins without missing values."""
    variable = numbers(name, (100,) * 10, 0, range(1, 10), 0.0, 10.0).variable
    compared, others = np.zeros((13, COLUMNS)), np.zeros(13)
    compared[1:11, 0], others[1:11] = kept, left_out
    return Tallied(variable, compared, others)


def drawn(
    rng: np.random.Generator, kept: int, left_out: int, shares: NDArray, name: str = "score"
) -> Tallied:
    """Rows that were kept evenly, and left out by ``shares``."""
    return tallied(rng.multinomial(kept, EVEN).astype(float), rng.multinomial(left_out, shares), name)


def test_rows_left_out_by_chance_are_represented_however_often_one_looks() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        found = representative([drawn(rng, 2_000, 500, EVEN, f"v{n}") for n in range(14)])
        assert found["representative"]
        assert found["judged"]


def test_rows_that_are_unlike_the_others_are_not_represented() -> None:
    rng = np.random.default_rng(2)
    found = representative(
        [drawn(rng, 2_000, 500, EVEN, "feature:age"), drawn(rng, 2_000, 500, SKEWED, "feature:income")]
    )
    assert found["representative"] is False
    assert (found["kept"], found["left_out"]) == (2_000, 500)
    worst = found["variables"][0]
    assert worst["variable"] == "feature:income"
    assert worst["excess"] > 0.1
    assert worst["z"] > 4


def test_a_sure_difference_that_is_small_is_no_matter() -> None:
    rng = np.random.default_rng(3)
    found = representative([drawn(rng, 100_000, 100_000, SLIGHTLY)])
    assert found["variables"][0]["z"] > 4
    assert found["representative"] is True


def test_few_rows_left_out_cannot_matter() -> None:
    rng = np.random.default_rng(4)
    found = representative([drawn(rng, 100_000, 900, SKEWED)])
    assert found["variables"][0]["excess"] > 0.1
    assert (found["representative"], found["judged"]) == (True, True)
    assert not representative([drawn(rng, 100_000, 1_100, SKEWED)])["representative"]


def test_where_every_row_was_compared_they_are_represented() -> None:
    found = representative([tallied(np.full(10, 3.0), np.zeros(10))])
    assert (found["representative"], found["judged"], found["left_out"]) == (True, True, 0)


def test_too_few_rows_are_not_judged() -> None:
    rng = np.random.default_rng(5)
    one_bin = np.eye(10)[0]
    found = representative([drawn(rng, 1_000, LEAST_ROWS - 1, one_bin)])
    assert (found["representative"], found["judged"]) == (True, False)
    assert representative([drawn(rng, LEAST_ROWS - 1, 1_000, one_bin)])["representative"]
    assert not representative([drawn(rng, 1_000, LEAST_ROWS, one_bin)])["representative"]


def test_nothing_seen_is_represented_and_not_judged() -> None:
    for tallies in ([], [tallied(np.zeros(10), np.zeros(10))]):
        found = representative(tallies)
        assert (found["representative"], found["judged"], found["kept"], found["left_out"]) == (
            True, False, 0, 0,
        )  # fmt: skip


def test_only_the_variables_that_differ_most_are_shown_and_all_are_judged() -> None:
    rng = np.random.default_rng(6)
    many = [drawn(rng, 2_000, 500, EVEN, f"v{number}") for number in range(100)]
    found = representative([*many, drawn(rng, 2_000, 500, SKEWED, "last")])
    assert len(found["variables"]) == MOST_SHOWN
    assert found["variables"][0]["variable"] == "last"
    assert not found["representative"]
