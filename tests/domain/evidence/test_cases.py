"""Which rows are kept: the worst, and a sample that is fair, whoever saw which rows."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from service.domain.evidence.cases import Case, Shelf, answer, best, draws, severity, shelf
from service.domain.observation import Origin, Parts
from tests.domain.models import spec


def case(rank: float, name: str = "a", row: int = 0, kind: str = "worst", part: str = "all") -> Case:
    return Case(kind, part, rank, name, row, 0.0, {})  # type: ignore[arg-type]  # a Kind


def origin(*names: str, rows: int = 1, first: int = 0) -> Origin:
    counts = np.full(len(names), rows)
    return Parts(names, counts, counts * 0 + first, counts + first).origin()


def drawn(found: Origin) -> list[float]:
    return draws(found, found.stretches()).tolist()


def test_a_flip_is_worse_than_any_gap_without_one() -> None:
    found = severity(np.array([False, True, True, False]), np.array([1.0, 0.01, 0.6, 0.2]))
    assert np.argsort(-found).tolist() == [2, 1, 0, 3]


def test_a_rows_number_depends_on_its_request_and_place_alone() -> None:
    whole = drawn(origin("x", "y", rows=5))
    assert len(set(whole)) == 10
    assert drawn(origin("y", rows=5)) == whole[5:]
    assert drawn(origin("y", rows=2, first=3)) == whole[8:]
    kept = np.array([1, 0, 0, 1, 1, 0, 1, 0, 0, 1], np.bool_)
    found = origin("x", "y", rows=5).take(kept)
    assert drawn(found) == [number for number, keep in zip(whole, kept, strict=True) if keep]


def test_numbers_are_those_of_plain_arithmetic_and_hence_the_same_on_every_machine() -> None:
    names = [f"request-{number}" for number in range(50)]
    expected = [plain(name, place) for name in names for place in range(3, 7)]
    assert drawn(origin(*names, rows=4, first=3)) == expected
    assert plain("request-1", 0) == 0.7720132165120998


def plain(name: str, place: int) -> float:
    """The same number by Python's integers."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    mixed = (int.from_bytes(digest, "little") + place * 0x9E3779B97F4A7C15) % 2**64
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB % 2**64
    return ((mixed ^ mixed >> 31) >> 11) / 2**53


def test_no_rows_draw_no_numbers() -> None:
    assert drawn(origin()) == []


def test_the_numbers_are_uniform_over_requests_and_over_rows() -> None:
    over_requests = drawn(origin(*(f"{number}" for number in range(20_000))))
    over_rows = drawn(origin("one", rows=20_000))
    for numbers in (over_requests, over_rows):
        assert 0.0 <= min(numbers) <= max(numbers) < 1.0
        assert stats.kstest(numbers, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(over_rows[:-1], over_rows[1:])[0, 1]) < 4 / math.sqrt(20_000)


def test_a_shelf_takes_everything_while_it_has_room_and_then_only_better_ones() -> None:
    found = Shelf(3)
    assert found.limit == math.inf
    assert found.pick(np.array([5.0, 1.0]), once=False) == [1, 0]
    assert found.limit == math.inf
    assert found.pick(np.array([9.0, 4.0, 2.0]), once=False) == [2, 1]
    assert found.limit == 4.0
    assert found.pick(np.array([4.0, 4.5]), once=False) == []


def test_a_shelf_without_room_takes_nothing() -> None:
    assert Shelf(0).pick(np.array([-1.0]), once=False) == []


def test_the_same_row_is_sampled_once_however_often_it_is_sent() -> None:
    found = Shelf(3)
    assert found.pick(np.array([0.5, 0.5, 0.1]), once=True) == [2, 0]
    assert found.pick(np.array([0.1, 0.2]), once=True) == [1]
    assert Shelf(3).pick(np.array([0.5, 0.5, 0.1]), once=False) == [2, 0, 1]


def test_rows_that_are_no_candidates_at_all_are_never_taken() -> None:
    assert Shelf(3).pick(np.full(5, math.inf), once=False) == []


@given(st.lists(st.lists(st.integers(0, 50), max_size=12), max_size=8), st.integers(0, 6))
@settings(deadline=None)
def test_shelf_by_shelf_the_best_of_all_are_found(batches: list[list[int]], most: int) -> None:
    found = Shelf(most)
    taken: list[float] = []
    for batch in batches:
        ranks = np.array(batch, dtype=np.float64)
        taken += [float(ranks[index]) for index in found.pick(ranks, once=False)]
    everything = sorted(rank for batch in batches for rank in batch)
    assert sorted(taken)[:most] == everything[:most]


def test_a_shelf_goes_on_from_what_is_kept_elsewhere() -> None:
    assert shelf([3.0, 1.0, 2.0], 2).limit == 2.0
    assert shelf([3.0], 2).limit == math.inf


def test_the_best_of_each_sort_are_kept_and_a_row_once() -> None:
    cases = [case(-1.0), case(-3.0, "b"), case(-2.0, "c"), case(-1.0)]
    cases += [case(0.5, kind="sample"), case(0.1, "b", kind="sample"), case(0.7, kind="sample", part="rent")]
    found = best(cases, 2, 1)
    assert [(each.kind, each.slice, each.rank) for each in found] == [
        ("worst", "all", -3.0),
        ("worst", "all", -2.0),
        ("sample", "all", 0.1),
        ("sample", "rent", 0.7),
    ]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)), max_size=40), st.data())
@settings(deadline=None)
def test_replicas_that_keep_their_best_have_the_best_of_all(
    rows: list[tuple[int, int]], data: st.DataObject
) -> None:
    cases = [case(float(rank), f"r{index}", row) for index, (rank, row) in enumerate(rows)]
    cut = data.draw(st.integers(0, len(cases)))
    parts = [best(part, 5, 5) for part in (cases[:cut], cases[cut:])]
    merged = best([*parts[0], *parts[1]], 5, 5)
    assert [each.rank for each in merged] == [each.rank for each in best(cases, 5, 5)]


def test_of_a_request_whose_name_was_used_again_the_worse_row_is_kept() -> None:
    found = best([case(-0.2), case(-0.9), case(-0.5, "b")], 2, 2)
    assert [(each.request_id, each.rank) for each in found] == [("a", -0.9), ("b", -0.5)]


def test_an_answer_is_told_as_it_was_served() -> None:
    assert answer(spec(threshold=0.3), np.array([0.65, 0.35], np.float32)) == {
        "label": "good",
        "probabilities": {"bad": 0.65, "good": 0.35},
    }
    assert answer(spec(task="multiclass"), np.array([0.2, 0.5, 0.3], np.float32))["label"] == "b"
    assert answer(spec(task="regression"), np.array([12.3], np.float32)) == {"value": 12.3}
