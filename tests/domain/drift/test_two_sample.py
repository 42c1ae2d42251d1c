"""Telling live rows from reference rows: half of them rightly without a change, and more with one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from service.domain.drift.alerting import ACCURACY
from service.domain.drift.two_sample import CHANCE, FEWEST_ROWS, TESTED_ROWS, TESTED_SHARE, TwoSample
from service.domain.schema import Feature, ModelSpec
from tests.domain.models import spec

WORDS = ("a", "b", "c", "never seen")
NUMBERS = 6
FEATURES = (
    *(Feature(f"x{place}", "float", missing=place == 0) for place in range(NUMBERS)),
    Feature("first", "string", WORDS, missing=True),
    Feature("second", "string", WORDS),
)
SPEC = spec("prod", *FEATURES)
TOGETHER = np.eye(NUMBERS) + 0.6 * np.eye(NUMBERS, k=1)
REFERENCE, BATCH = 1_000, 100

Rows: TypeAlias = NDArray[np.float32]
Change: TypeAlias = Callable[[Rows, np.random.Generator], Rows]


def healthy(rows: int, random: np.random.Generator) -> Rows:
    """Numbers that go together, one of them skewed and one of whole numbers; words; missing values."""
    numbers = random.standard_normal((rows, NUMBERS)) @ TOGETHER
    words = np.clip(np.abs(numbers[:, :2]), 0, 2).astype(np.intp).astype(np.float64)
    numbers[:, 4] = np.exp(numbers[:, 4])
    numbers[:, 5] = np.round(2 * numbers[:, 5])
    numbers[random.random(rows) < 0.05, 0] = np.nan
    words[random.random(rows) < 0.05, 0] = np.nan
    return np.concatenate([numbers, words], axis=1).astype(np.float32)


def told(
    seed: int, change: Change, looks: int = 40, reference: int = REFERENCE, model: ModelSpec = SPEC
) -> NDArray[np.float64]:
    """Right ones and all, [looks, 2], where every live row is a new one."""
    random = np.random.default_rng([20261123, seed])
    test = TwoSample.of(model, healthy(reference, random), seed)
    return np.array([test.look(change(healthy(BATCH, random), random)) for _ in range(looks)], np.float64)


def accuracy(found: NDArray[np.float64]) -> float:
    right, rows = found.sum(axis=0)
    return float(right / rows)


def as_before(rows: Rows, random: np.random.Generator) -> Rows:
    return rows


def shuffled(rows: Rows, random: np.random.Generator) -> Rows:
    return random.permuted(rows, axis=0)


def half_a_spread(rows: Rows, random: np.random.Generator) -> Rows:
    rows[:, 2] += np.float32(0.5 * math.sqrt(1.36))
    return rows


def another_mix(rows: Rows, random: np.random.Generator) -> Rows:
    rows[random.random(len(rows)) < 0.5, 7] = 0
    return rows


def a_new_word(rows: Rows, random: np.random.Generator) -> Rows:
    rows[random.random(len(rows)) < 0.2, 6] = 3
    return rows


def gone_missing(rows: Rows, random: np.random.Generator) -> Rows:
    rows[random.random(len(rows)) < 0.2, 0] = np.nan
    return rows


@pytest.mark.parametrize("reference", [REFERENCE, 250])
def test_without_a_change_accuracy_is_half_within_what_both_chances_make(reference: int) -> None:
    """Twenty services of 3,200 told rows: a mean near one half, deviations as promised, no alarm."""
    found = np.array([told(seed, as_before, reference=reference) for seed in range(20)])
    shares = np.array([accuracy(each) for each in found])
    deviation = math.sqrt(0.25 / found[0, :, 1].sum() + CHANCE**2)
    assert abs(shares.mean() - 0.5) < 4 * deviation / math.sqrt(len(shares))
    # a chi-squared of 20 degrees is below 45.3 in 999 of 1,000 cases
    assert (((shares - 0.5) / deviation) ** 2).sum() < 45.3
    assert shares.max() < ACCURACY


def test_a_window_of_few_rows_stays_within_the_binomial_band() -> None:
    """Where the chance of the reference rows is the lesser one, z of guessing is z."""
    found = np.array([told(seed, as_before, looks=5) for seed in range(100, 140)])
    right, rows = found.sum(axis=1).T
    z = (right / rows - 0.5) / np.sqrt(0.25 / rows)
    assert (z > 4).sum() == 0
    assert z.std() < 1.4


@pytest.mark.parametrize(
    ("change", "at_least"),
    [
        (half_a_spread, 0.58),
        (shuffled, 0.6),
        (another_mix, ACCURACY),
        (a_new_word, ACCURACY),
        (gone_missing, ACCURACY),
    ],
)
def test_a_change_is_told_from_the_second_thousand_rows_on(change: Change, at_least: float) -> None:
    shares = [accuracy(told(seed, change)[10:]) for seed in range(3)]
    assert min(shares) > at_least


def test_it_notices_a_change_that_comes_after_many_healthy_rows() -> None:
    random = np.random.default_rng(5)
    test = TwoSample.of(SPEC, healthy(REFERENCE, random), 5)
    for _ in range(100):
        test.look(healthy(BATCH, random))
    late = [test.look(half_a_spread(healthy(BATCH, random), random)) for _ in range(60)]
    assert accuracy(np.array(late[30:], np.float64)) > 0.58


def test_rows_are_new_to_it_when_they_are_told() -> None:
    """The first look knows nothing of live rows, however far away they are; the second one does."""
    random = np.random.default_rng(6)
    test = TwoSample.of(SPEC, healthy(REFERENCE, random), 6)
    far = [healthy(BATCH, random) + np.float32(100) for _ in range(2)]
    first, second = (test.look(each) for each in far)
    assert first[0] / first[1] < 0.7
    assert second[0] / second[1] > 0.9


def test_rows_that_are_sent_again_and_again_are_not_told_by_heart() -> None:
    """Six hundred rows, 6,000 times: whoever learns them by heart tells most of them rightly."""
    shares = []
    for seed in range(12):
        random = np.random.default_rng([20261123, seed])
        test = TwoSample.of(SPEC, healthy(REFERENCE, random), seed)
        few = healthy(600, random)
        found = [test.look(few[random.integers(len(few), size=BATCH)]) for _ in range(60)]
        shares.append(accuracy(np.array(found[20:], np.float64)))
    few_told = 0.25 * 0.5**2 / (TESTED_SHARE * 600)  # these rows are a sample, as the reference rows are
    deviation = math.sqrt(CHANCE**2 + few_told + 0.25 / (2 * TESTED_SHARE * BATCH * 40))
    assert abs(np.mean(shares) - 0.5) < 4 * deviation / math.sqrt(len(shares))


def test_a_row_is_learnt_or_told_and_never_both() -> None:
    random = np.random.default_rng(14)
    test = TwoSample.of(SPEC, healthy(REFERENCE, random), 14)
    asked = [test.look(np.repeat(row[None], 10, axis=0))[1] for row in healthy(200, random)]
    assert set(asked) == {0, 20}
    assert np.mean(asked) / 20 == pytest.approx(TESTED_SHARE, abs=0.12)


def test_few_reference_rows_are_told_by_lot_in_part() -> None:
    """So that an accuracy says as much with them as with many."""
    random = np.random.default_rng(7)
    few = TwoSample.of(SPEC, healthy(100, random), 7)
    found = np.array([few.look(healthy(BATCH, random) + np.float32(100)) for _ in range(20)], np.float64)
    sure = math.sqrt(40 / TESTED_ROWS)
    assert accuracy(found[1:]) == pytest.approx(0.5 + sure / 2, abs=4 * math.sqrt(0.25 / 3_800))


@pytest.mark.parametrize("rows", [1, FEWEST_ROWS - 1])
def test_with_hardly_a_reference_row_nothing_is_told(rows: int) -> None:
    random = np.random.default_rng(8)
    test = TwoSample.of(SPEC, healthy(rows, random), 8)
    assert test.look(healthy(BATCH, random)) == (0, 0)


def test_no_rows_are_nothing_to_tell() -> None:
    random = np.random.default_rng(9)
    test = TwoSample.of(SPEC, healthy(REFERENCE, random), 9)
    assert test.look(healthy(0, random)) == (0, 0)
    assert test.look(healthy(1, random))[1] in {0, 2}
    assert test.look(healthy(3_000, random))[1] == pytest.approx(2 * TESTED_SHARE * 3_000, rel=0.1)


def test_the_same_seed_tells_the_same() -> None:
    once, again, other = (
        TwoSample.of(SPEC, healthy(REFERENCE, np.random.default_rng(0)), seed) for seed in (1, 1, 2)
    )
    batches = [healthy(BATCH, np.random.default_rng([1, batch])) for batch in range(10)]
    assert [once.look(each) for each in batches] == [again.look(each) for each in batches]
    assert [once.look(each) for each in batches] != [other.look(each) for each in batches]


def test_columns_without_a_value_or_a_spread_do_no_harm() -> None:
    features = (Feature("empty", "float", missing=True), Feature("always", "float"), Feature("x", "float"))
    model = spec("prod", *features)
    random = np.random.default_rng(10)

    def rows(count: int) -> Rows:
        return np.stack([np.full(count, np.nan), np.ones(count), random.random(count)], axis=1).astype(
            np.float32
        )

    test = TwoSample.of(model, rows(REFERENCE), 10)
    assert accuracy(np.array([test.look(rows(BATCH)) for _ in range(20)], np.float64)) < ACCURACY
    filled = [test.look(np.nan_to_num(rows(BATCH), nan=3.0)) for _ in range(20)]
    assert accuracy(np.array(filled[3:], np.float64)) > 0.9


@pytest.mark.parametrize(
    "features",
    [
        (Feature("word", "string", WORDS),),
        (Feature("empty", "float"),),
        tuple(Feature(f"x{place}", "float") for place in range(400)),
    ],
    ids=["words alone", "nothing to see", "many columns"],
)
def test_every_schema_can_be_looked_at(features: tuple[Feature, ...]) -> None:
    random = np.random.default_rng(11)

    def rows(count: int) -> Rows:
        found = random.integers(4, size=(count, len(features))).astype(np.float32)
        return np.full_like(found, np.nan) if features[0].name == "empty" else found

    test = TwoSample.of(spec("prod", *features), rows(REFERENCE), 11)
    found = np.array([test.look(rows(BATCH)) for _ in range(30)], np.float64)
    if features[0].name == "empty":
        assert not found.any()
        return
    deviation = math.sqrt(0.25 / found[:, 1].sum() + CHANCE**2)
    assert abs(accuracy(found) - 0.5) < 4 * deviation


def test_images_are_seen_by_what_their_pixels_are_like() -> None:
    model = spec("prod", task="multiclass", layout="image", shape=(1, 8, 8))
    random = np.random.default_rng(12)

    def images(count: int, more: float = 0.0) -> Rows:
        bright = random.normal(8, 2, (count, 1)) + more
        return (bright + random.normal(0, 3, (count, 64))).astype(np.float32)

    test = TwoSample.of(model, images(REFERENCE), 12)
    assert accuracy(np.array([test.look(images(BATCH)) for _ in range(30)], np.float64)) < ACCURACY
    brighter = [test.look(images(BATCH, more=2.0)) for _ in range(40)]
    assert accuracy(np.array(brighter[20:], np.float64)) > 0.6


def test_memory_is_bounded_whatever_arrives() -> None:
    random = np.random.default_rng(13)
    test = TwoSample.of(SPEC, healthy(REFERENCE, random), 13)

    def held() -> int:
        return sum(each.nbytes for each in vars(test).values() if isinstance(each, np.ndarray))

    before = held()
    for rows in (1, BATCH, 2_000):
        test.look(healthy(rows, random))
        assert held() == before < 3e6
