"""The rows that people look at: the right ones, explained where there is time, redacted before they leave."""

from __future__ import annotations

import json
import logging
from collections import defaultdict

import numpy as np
import pytest

from service.domain.evidence.cases import Case, draws
from service.paths.casebook import CaseLimits
from tests.paths.witnesses import WitnessWorld, batch


def by_sort(cases: tuple[Case, ...]) -> dict[tuple[str, str], list[Case]]:
    found: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for case in cases:
        found[case.kind, case.slice].append(case)
    return found


def worst(world: WitnessWorld) -> list[Case]:
    return by_sort(world.witness.drain(everything=True).cases)["worst", "all"]


def test_the_worst_rows_of_all_batches_are_among_the_cases() -> None:
    world = WitnessWorld()
    rng = np.random.default_rng(0)
    severities: dict[tuple[str, int], float] = {}
    cases: list[Case] = []
    for number in range(60):
        after = rng.uniform(0, 1, size=20).astype(np.float32)
        found = world.compare(batch(f"r{number}", rows=20), *after)
        severities |= {
            (f"r{number}", row): float(found.spreads[row] + found.flipped[row]) for row in range(20)
        }
        cases += by_sort(world.witness.drain(everything=True).cases)["worst", "all"]
    best = sorted(cases, key=lambda case: case.rank)[:3]
    assert [-case.rank for case in best] == sorted(severities.values(), reverse=True)[:3]
    assert all(-case.rank == severities[case.request_id, case.row] for case in cases)
    assert len(cases) < 60  # of 1,200 rows: K (1 + ln(n / K)) are ever among the best


def test_rows_on_which_both_models_agree_are_never_the_worst() -> None:
    world = WitnessWorld()
    world.compare(batch("a", rows=5), *[0.25] * 5)
    found = by_sort(world.witness.drain(everything=True).cases)
    assert ("worst", "all") not in found
    assert len(found["sample", "all"]) == 2


def test_the_sample_of_each_slice_is_that_of_the_smallest_numbers_drawn() -> None:
    world = WitnessWorld()
    expected: dict[str, list[tuple[float, str, int]]] = defaultdict(list)
    cases: list[Case] = []
    for number in range(100):
        homes = [number % 2] * 3
        rows = batch(f"r{number}", homes=homes, rows=3)
        world.compare(rows, *[0.25] * 3)
        cases += world.witness.drain(everything=True).cases
        for row, drawn in enumerate(draws(rows.origin, rows.origin.stretches()).tolist()):
            for name in ("all", "renters") if number % 2 else ("all",):
                expected[name].append((drawn, f"r{number}", row))
    for name, drawn in expected.items():
        mine = by_sort(tuple(cases))["sample", name]
        best = sorted((case.rank, case.request_id, case.row) for case in mine)[:2]
        assert best == sorted(drawn)[:2]
        assert len(mine) < 40
    assert ("sample", "old") not in by_sort(tuple(cases))


def test_a_case_says_what_was_posted_and_what_both_answered() -> None:
    world = WitnessWorld()
    world.compare(batch("a", "b", ages=[30, 70], homes=1.0, received=999.0), 0.25, 0.75)
    (case,) = worst(world)
    assert (case.request_id, case.row, case.at) == ("b", 0, world.wall() - 1.0)
    assert case.rank == -1.5
    assert dict(case.document) == {
        "severity": 1.5,
        "inputs": {"age": 70.0, "home": "rent", "income": 7.0},
        "redacted": [],
        "production": {"label": "bad", "probabilities": {"bad": 0.75, "good": 0.25}},
        "candidate": {"label": "good", "probabilities": {"bad": 0.25, "good": 0.75}},
        "slices": ["renters", "old"],
        "explanations": None,
    }


def test_nothing_of_a_dropped_column_leaves_the_casebook() -> None:
    world = WitnessWorld({"age": "drop", "income": "hash"})
    world.reasons()
    rows = batch(*(f"r{number}" for number in range(30)), ages=np.arange(30) + 4_711.0)
    world.compare(rows, *np.linspace(0, 1, 30))
    world.witness.explain(1.0)
    drained = world.witness.drain(everything=True)
    text = json.dumps([dict(case.document) for case in drained.cases])
    assert "dropped" in text
    assert '"redacted": ["age", "income"]' in text
    assert not any(str(number) in text for number in range(4_711, 4_741))
    assert "7.0" not in text


def test_cases_wait_for_their_reasons_and_then_have_them() -> None:
    world = WitnessWorld()
    world.compare(batch("a"), 0.75)
    world.now += 5
    assert world.witness.drain().cases == ()  # the methods are still being prepared
    reasons = world.reasons()
    world.witness.explain(1.0)
    found = world.witness.drain().cases
    assert [case.document["explanations"]["production"] for case in found] == [{"values": {"age": 0.5}}] * 2
    assert len(reasons.asked) == 1  # one row, although it is among the worst and in a sample
    assert world.running == [True, False]
    assert world.witness.drain(everything=True).cases == ()


def test_the_worst_is_explained_first() -> None:
    world = WitnessWorld()
    reasons = world.reasons()
    world.compare(batch("a", "b", "c", ages=[1, 2, 3]), 0.3, 0.75, 0.4)
    world.witness.explain(1.0)
    assert reasons.asked == [2.0, 3.0, 1.0]


def test_a_case_that_has_waited_long_enough_goes_without_reasons() -> None:
    world = WitnessWorld(cases=CaseLimits(worst=3, sample=0, patience=30.0))
    world.compare(batch("a"), 0.75)
    world.now += 29.9
    assert world.witness.drain().cases == ()
    world.now += 0.1
    (case,) = world.witness.drain().cases
    assert case.document["explanations"] is None


def test_where_nothing_is_explained_no_case_waits() -> None:
    world = WitnessWorld(cases=CaseLimits(worst=3, sample=0, patience=0.0))
    world.compare(batch("a"), 0.75)
    assert len(world.witness.drain().cases) == 1


def test_nothing_is_explained_while_the_candidate_is_needed() -> None:
    world = WitnessWorld()
    reasons = world.reasons()
    world.compare(batch("a"), 0.75)
    world.witness.explain(0.0)
    assert reasons.asked == []


def test_explaining_ends_with_the_time_there_is() -> None:
    world = WitnessWorld(cases=CaseLimits(worst=10, sample=0, burst=100.0, share=1.0, seconds=3.0))
    reasons = world.reasons()
    reasons.takes = 1.0
    world.compare(batch("a", rows=10), *np.linspace(0.3, 0.9, 10))
    world.witness.explain(4.5)
    assert len(reasons.asked) == 5  # the fifth began in time
    assert reasons.due == [1003.0, 1004.0, 1004.5, 1004.5, 1004.5]


def test_explaining_takes_its_share_of_the_time_and_no_more() -> None:
    world = WitnessWorld(cases=CaseLimits(worst=1000, sample=0, share=0.05, burst=0.5))
    reasons = world.reasons()
    reasons.takes = 0.1
    world.compare(batch("a", rows=1000), *np.linspace(0.3, 0.9, 1000))
    began = world.now
    while world.now < began + 200:
        world.witness.explain(60.0)
        world.now += 0.01
    took = 0.1 * len(reasons.asked)
    assert took == pytest.approx(0.05 * 200 + 0.5, abs=0.2)


def test_a_row_that_cannot_be_explained_is_not_tried_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    world = WitnessWorld(cases=CaseLimits(worst=3, sample=0))
    reasons = world.reasons()
    reasons.error = ZeroDivisionError("no")
    world.compare(batch("a", "b", "c"), 0.7, 0.8, 0.9)
    with caplog.at_level(logging.WARNING, "understudy.shadow"):
        for _ in range(5):
            world.witness.explain(1.0)
    assert len(reasons.asked) == 3
    assert len(caplog.records) == 1
    assert world.running == [True, False] * 3
    assert [case.document["explanations"] for case in world.witness.drain().cases] == [None] * 3


def test_a_row_for_which_time_runs_out_is_tried_once_more() -> None:
    world = WitnessWorld(cases=CaseLimits(worst=3, sample=0))
    reasons = world.reasons()
    reasons.late = True
    world.compare(batch("a"), 0.7)
    for _ in range(5):
        world.witness.explain(1.0)
    assert len(reasons.asked) == 2
    (case,) = world.witness.drain().cases
    assert case.document["explanations"] is None


def test_what_others_keep_already_is_not_handed_over_again() -> None:
    world = WitnessWorld(cases=CaseLimits(worst=1, sample=0))
    world.compare(batch("a"), 0.75)
    kept = worst(world)
    other = WitnessWorld(cases=CaseLimits(worst=1, sample=0))
    other.witness.knows(kept)
    other.compare(batch("b"), 0.75)  # as bad, not worse
    other.compare(batch("c"), 0.7)
    assert worst(other) == []
    other.compare(batch("d"), 0.8)
    assert [case.request_id for case in worst(other)] == ["d"]


def test_what_is_no_longer_kept_makes_room_again() -> None:
    world = WitnessWorld(cases=CaseLimits(worst=1, sample=0))
    world.compare(batch("a"), 0.9)
    assert [case.request_id for case in worst(world)] == ["a"]
    world.compare(batch("b"), 0.75)
    assert worst(world) == []
    world.witness.knows([])  # it was too old
    world.compare(batch("c"), 0.75)
    assert [case.request_id for case in worst(world)] == ["c"]


def test_a_case_that_waits_counts_as_kept() -> None:
    world = WitnessWorld(cases=CaseLimits(worst=1, sample=0))
    world.compare(batch("a"), 0.9)
    world.witness.knows([])
    world.compare(batch("b"), 0.75)
    assert [case.request_id for case in worst(world)] == ["a"]


def test_cases_beyond_the_room_are_counted() -> None:
    world = WitnessWorld(cases=CaseLimits(worst=10, sample=0, waiting=4))
    world.compare(batch("a", rows=6), *np.linspace(0.5, 0.9, 6))
    found = world.witness.drain(everything=True)
    assert (len(found.cases), found.lost_cases) == (4, 2)
    assert world.witness.drain(everything=True).lost_cases == 0


def test_what_a_redacted_column_contributes_to_an_answer_never_leaves() -> None:
    world = WitnessWorld({"age": "drop"})
    world.reasons()
    world.compare(batch("a", ages=41.0), 0.9)
    world.witness.explain(1.0)
    (case,) = worst(world)
    assert case.document["explanations"]["production"]["values"] == {}


def test_rows_that_wait_for_their_reasons_take_no_more_memory_than_they_may() -> None:
    size = batch("a").rows.nbytes
    world = WitnessWorld(cases=CaseLimits(worst=5, sample=0, nbytes=3 * size))
    for number in range(5):
        world.compare(batch(f"r{number}"), 0.9 - number / 100)
    cases = by_sort(world.witness.drain().cases)["worst", "all"]
    assert [case.request_id for case in cases] == ["r3", "r4"], "no room for their rows: they do not wait"
    reasons = world.reasons()
    world.witness.explain(1.0)
    assert len(reasons.asked) == 3
    assert [case.document["explanations"] is None for case in worst(world)] == [False] * 3
