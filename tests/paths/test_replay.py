"""A replay compares as the shadow does, finds what production no longer answers, and keeps only sums."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.domain.disagreement.measure import Compared
from service.domain.evidence.books import AGREEMENT, BINS, LABELLED, OUTCOMES, Page
from service.domain.evidence.document import Seen, assess
from service.domain.evidence.redaction import redaction
from service.domain.observation import OUTCOMES as OUTCOME_NAMES
from service.domain.schema import FeatureBatch, Scores
from service.domain.slices import ALL, members
from service.errors import InferenceError
from service.paths import replay
from service.paths.casebook import Casebook, CaseLimits
from service.paths.replay import MOST_EXAMPLES, Models, Replay
from service.paths.traffic import Traffic
from service.paths.witness import AnswerLimits, Witness
from tests.domain.evidence.studies import PAIR, PRODUCTION, YOUNG, study

POISON, NOT_A_NUMBER, UNFIT = 101.0, 102.0, 103.0
"""Ages at which the candidate fails, the candidate answers no number, and production fails."""


def binary(positive: Any) -> Scores:
    return np.column_stack([1 - np.asarray(positive), positive]).astype(np.float32)


def before(rows: FeatureBatch) -> Scores:
    if (rows == UNFIT).any():
        raise InferenceError("unfit")
    return binary(np.abs(np.sin(rows[:, 0])))


def after(rows: FeatureBatch) -> Scores:
    if (rows == POISON).any():
        raise InferenceError("poison")
    scores = binary(np.abs(np.sin(rows[:, 0] + 0.2)))
    scores[rows[:, 0] == NOT_A_NUMBER] = np.nan
    return scores


def traffic(*ages: float, place: str = "line 1", **more: Any) -> Traffic:
    rows = np.array(ages, dtype=np.float32)[:, None]
    unknown = np.full((len(rows), 2), np.nan)
    return Traffic(
        place, more.pop("name", None), rows, more.pop("recorded", unknown),
        np.array(more.pop("labels", [np.nan] * len(rows)), dtype=np.float64), **more,
    )  # fmt: skip


def world(batch: int = 512, worst: int = 5, **models: Any) -> Replay:
    one = study()
    casebook = Casebook("m:new", redaction(PRODUCTION.schema, {}), CaseLimits(worst, 3))
    witness = Witness("m:new", one.agreement, one.slices, casebook, one.bins, limits=AnswerLimits(share=0.0))
    asked = Models(PAIR.production, PAIR.candidate, before, after, lambda rows: rows, 1e-5, 1e-5)
    return Replay(
        replace(asked, **models),
        (YOUNG,),
        one.agreement,
        one.judgement,
        witness,
        cases=(worst, 3),
        batch=batch,
    )


def run(work: Replay, *parts: Traffic, limit: int | None = None) -> Replay:
    assert sum(work.run(parts, limit)) == work.rows
    return work


def many(rows: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(18, 90, rows).astype(np.float32)


def test_the_sums_are_those_of_all_rows_compared_at_once() -> None:
    ages, truth = many(700), np.random.default_rng(2).integers(0, 2, 700)
    work = run(world(batch=64), *(
        traffic(*ages[start : start + 7], labels=truth[start : start + 7], place=f"line {start}")
        for start in range(0, 700, 7)
    ))  # fmt: skip
    one, rows, books = study(), ages[:, None], work.books()
    masks = members((YOUNG,), rows)
    whole = Compared(before(rows), after(rows))
    for name, sums in one.agreement.tally(whole, masks).items():
        np.testing.assert_allclose(_without(books[Page(AGREEMENT, name)]), _without(sums), rtol=1e-9)
    judged = one.judgement.tally(replace(whole, labels=truth.astype(np.intp)), masks)
    for name, sums in judged.items():
        np.testing.assert_allclose(books[Page(LABELLED, name)], sums, rtol=1e-9)
    assert books[Page(OUTCOMES, ALL)][OUTCOME_NAMES.index("compared")] == 700
    assert books[Page(BINS, "score")].reshape(-1, 4)[:, 0].sum() == 700
    assert (work.rows, work.labelled) == (700, 700)


def _without(sums: np.ndarray) -> np.ndarray:
    """All but the distances from what was expected, which depend on the batches."""
    return np.delete(sums, study().agreement.place("gap/deviation"))


def test_the_report_is_the_shadows() -> None:
    work = run(world(), traffic(*many(1500), labels=[1.0] * 1500))
    found = assess(study(), Seen(work.books(), cases=work.cases))
    assert found["evidence"]["rows"] == found["evidence"]["labelled"]["rows"] == 1500
    assert found["evidence"]["slices"][YOUNG.name]["rows"] == (many(1500) < 30).sum()
    assert len(found["evidence"]["cases"]["worst"]) == 5
    assert found["verdict"]["state"] == "rollback"


def test_the_worst_cases_are_those_of_all_batches_and_say_where_they_stand() -> None:
    ages = many(300)
    work = run(world(batch=16), *(
        traffic(age, place=f"line {index}", name=f"r{index}" if index % 2 else None)
        for index, age in enumerate(ages)
    ))  # fmt: skip
    rows = ages[:, None]
    gap = np.abs(before(rows) - after(rows))[:, 1]
    flipped = (before(rows)[:, 1] >= 0.5) != (after(rows)[:, 1] >= 0.5)
    order = np.lexsort((-gap, ~flipped))[:5]
    worst = sorted((case for case in work.cases if case.kind == "worst"), key=lambda case: case.rank)
    assert [case.request_id for case in worst] == [
        f"r{index}" if index % 2 else f"line {index}" for index in order
    ]


def test_recorded_answers_that_are_given_again_are_no_inconsistency() -> None:
    ages = many(40)
    work = run(world(), traffic(*ages, recorded=before(ages[:, None]).astype(np.float64)))
    assert work.inconsistent.document() == {
        "rows": 0, "checked": 40, "share": 0.0, "flipped": 0, "by_other_models": 0,
        "largest_difference": 0.0, "examples": [],
    }  # fmt: skip


@pytest.mark.parametrize(("off", "found"), [(0.9e-5, 0), (2.1e-5, 1)])
def test_the_tolerance_is_that_of_the_parity_gate(off: float, found: int) -> None:
    (told,) = before(np.array([[1.0]], np.float32)).astype(np.float64)
    assert run(world(), traffic(1.0, recorded=(told + off)[None])).inconsistent.rows == found


def test_what_production_does_not_answer_again_is_named_worst_first_and_not_without_end() -> None:
    ages = many(100)
    told = before(ages[:, None]).astype(np.float64)
    shift = np.where(np.arange(100) % 2 == 0, 0.0, np.arange(100) / 1000)
    told = np.stack([told[:, 0] + shift, told[:, 1] - shift], axis=1)
    work = run(world(batch=8), *(
        traffic(*ages[start : start + 10], recorded=told[start : start + 10], place=f"line {start}", name="r")
        for start in range(0, 100, 10)
    ))  # fmt: skip
    found = work.inconsistent.document()
    assert (found["rows"], found["checked"], found["share"]) == (50, 100, 0.5)
    assert found["flipped"] == ((told[:, 1] >= 0.5) != (before(ages[:, None])[:, 1] >= 0.5)).sum()
    assert len(found["examples"]) == MOST_EXAMPLES
    first = found["examples"][0]
    assert (first["place"], first["row"], first["request_id"]) == ("line 90", 9, "r")
    assert first["difference"] == pytest.approx(found["largest_difference"]) == pytest.approx(0.099, abs=1e-4)
    now = first["now"]["probabilities"]["good"]
    assert now == pytest.approx(float(before(ages[99:, None])[0, 1]))
    assert first["recorded"]["probabilities"]["good"] == pytest.approx(now - 0.099, abs=1e-4)


def test_answers_of_other_models_are_not_held_against_production() -> None:
    wrong = np.array([[0.5, 0.5]])
    work = run(world(), traffic(1.0, recorded=wrong, by_another=True), traffic(1.0, recorded=wrong))
    assert (work.inconsistent.checked, work.inconsistent.rows, work.inconsistent.by_others) == (1, 1, 1)


def test_rows_on_which_a_model_fails_are_counted_and_the_others_compared() -> None:
    work = run(world(batch=16), traffic(*many(20), POISON, *many(5), NOT_A_NUMBER, UNFIT, *many(10)))
    assert (work.rows, work.unanswered) == (38, 1)
    assert dict(work.outcomes) == {"compared": 35, "candidate_error": 2}
    assert work.books()[Page(AGREEMENT, ALL)][0] == 35


def test_a_batch_in_which_nobody_answers_is_counted_too() -> None:
    work = run(world(), traffic(UNFIT, UNFIT))
    assert (work.rows, work.unanswered, sum(work.outcomes.values())) == (2, 2, 0)
    work = run(world(), traffic(POISON))
    assert dict(work.outcomes) == {"candidate_error": 1, "compared": 0}


def test_no_more_rows_are_taken_than_wanted() -> None:
    taken: list[int] = []

    def endless() -> Iterator[Traffic]:
        while True:
            taken.append(3)
            yield traffic(1.0, 2.0, 3.0, picked=True)

    work = world(batch=4)
    assert list(work.run(endless(), 10)) == [4, 4, 2]
    assert sum(taken) <= 12
    assert (work.rows, work.picked) == (10, 10)


def test_a_request_of_many_rows_is_taken_in_parts() -> None:
    asked: list[int] = []

    def infer(rows: FeatureBatch) -> Scores:
        asked.append(len(rows))
        return before(rows)

    work = run(world(batch=100, infer=infer), traffic(*many(250)), traffic(*many(30)))
    assert asked[:3] == [100, 100, 80]
    assert {case.row for case in work.cases} <= set(range(250))


def test_the_memory_does_not_grow_with_the_traffic() -> None:
    def peak(requests: int) -> int:
        work, ages = world(batch=64), many(64)
        tracemalloc.start()
        for _ in work.run(
            traffic(*ages, labels=[0.0] * 64, recorded=binary(ages * 0)) for _ in range(requests)
        ):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert work.inconsistent.checked == 64 * requests
        return most

    peak(4)
    assert peak(120) < peak(12) + 200_000


def test_what_is_replayed_is_drawn_from_the_records_one_after_the_other() -> None:
    held = list(replay._batches([traffic(1.0, 2.0), traffic(3.0), traffic(4.0, 5.0, 6.0)], 4, None))
    assert [rows.rows[:, 0].tolist() for rows in held] == [[1, 2, 3, 4], [5, 6]]
    assert [rows.number.tolist() for rows in held] == [[0, 1, 0, 0], [1, 2]]
    assert [rows.record.tolist() for rows in held] == [[0, 0, 1, 2], [0, 0]]
