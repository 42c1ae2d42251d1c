"""Flips, gaps and slices, held against plain loops over the rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.domain.comparison import compare
from service.domain.disagreement.flips import count_flips, flips
from service.domain.disagreement.gap import PROBABILITY_BUCKETS, gap_buckets, gaps
from service.domain.schema import ModelSpec
from service.domain.slices import Slice, members
from tests.domain.models import FEATURES, spec

RENTERS = Slice("renters", 1, 1.0)
THIRTY = Slice("thirty", 0, 30.0)
TENTH = Slice("a_tenth", 2, 0.1)
SLICES = (RENTERS, THIRTY, TENTH)

PAIRS: dict[str, tuple[ModelSpec, ModelSpec]] = {
    "binary": (spec(), spec("new")),
    "binary with two thresholds": (spec(threshold=0.3), spec("new", threshold=0.6)),
    "multiclass": (spec(task="multiclass"), spec("new", task="multiclass")),
    "regression": (spec(task="regression"), spec("new", task="regression")),
}


def answers(model: ModelSpec, rows: int, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    if not model.classes:
        return rng.normal(0, 100, (rows, 1)).astype(np.float32)
    return rng.dirichlet(np.ones(model.outputs), rows).astype(np.float32)


def traffic(rows: int, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    columns = [rng.choice([30, 40], rows), rng.choice([0, 1, 2, np.nan], rows), rng.choice([0.1, 0.7], rows)]
    return np.stack(columns, axis=1).astype(np.float32)


def label(model: ModelSpec, row: Any) -> str:
    """The plain rule: the threshold for two classes, else the first of the largest."""
    values = [float(value) for value in row]
    if model.task == "binary":
        return model.classes[1] if values[1] >= float(np.float32(model.threshold)) else model.classes[0]
    return model.classes[values.index(max(values))]


def belongs(part: str, row: Any) -> bool:
    if part == "renters":
        return bool(row[1] == 1)
    if part == "thirty":
        return bool(row[0] == 30)
    if part == "a_tenth":
        return bool(row[2] == np.float32(0.1))
    return part == "all"


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("rows", [0, 1, 2, 400])
def test_a_comparison_counts_what_a_loop_over_the_rows_counts(pair: str, rows: int) -> None:
    production, candidate = PAIRS[pair]
    batch, before, after = traffic(rows, 1), answers(production, rows, 2), answers(candidate, rows, 3)
    after[: rows // 4] = before[: rows // 4]
    found = compare(production, candidate, batch, before, after, 0.25, SLICES)

    for part in ("all", "renters", "thirty", "a_tenth"):
        inside = [index for index in range(rows) if belongs(part, batch[index])]
        assert found.rows[part] == len(inside)
        expected: Counter[tuple[str, str]] = Counter()
        for index in inside if production.classes else []:
            first, second = label(production, before[index]), label(candidate, after[index])
            expected[first, second] += first != second
        assert found.flips[part] == +expected
    wanted = [
        max(abs(float(x) - float(y)) for x, y in zip(*pair_of, strict=True))
        for pair_of in zip(before, after, strict=True)
    ]
    np.testing.assert_allclose(found.gaps, wanted, rtol=1e-6, atol=1e-7)
    assert set(found.rows) == set(found.flips) == {"all", "renters", "thirty", "a_tenth"}
    assert found.seconds == 0.25


def test_the_same_scores_flip_where_the_thresholds_differ() -> None:
    scores = np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]], np.float32)
    codes = flips(spec(threshold=0.3), spec("new", threshold=0.6), scores, scores)
    assert codes.tolist() == [2, -1, -1]
    assert count_flips(codes, ("bad", "good")) == {("good", "bad"): 1}


def test_every_pair_of_classes_has_its_own_code() -> None:
    model = spec(task="multiclass")
    one_hot = np.eye(3, dtype=np.float32)
    before, after = np.repeat(one_hot, 3, axis=0), np.tile(one_hot, (3, 1))
    names = count_flips(flips(model, model, before, after), model.classes)
    assert names == {(x, y): 1 for x in "abc" for y in "abc" if x != y}


def test_values_never_flip() -> None:
    model = spec(task="regression")
    codes = flips(model, model, np.zeros((3, 1), np.float32), np.ones((3, 1), np.float32))
    assert codes.tolist() == [-1, -1, -1]
    assert not count_flips(codes, ())


def test_a_gap_of_nought_means_equal_to_the_bit() -> None:
    scores = answers(spec(), 50, 4)
    near = np.nextafter(scores, np.float32(2))
    assert not gaps(scores, scores.copy()).any()
    assert (gaps(scores, near) > 0).all()


def test_gap_bounds_grow_from_exact_agreement() -> None:
    assert gap_buckets(True, 7.0) == PROBABILITY_BUCKETS
    values = gap_buckets(False, 40.0)
    assert values[0] == 0.0
    assert values[-1] == 40.0
    assert list(values) == sorted(set(values))


def test_every_row_is_in_the_slice_all_and_missing_values_are_in_no_other() -> None:
    rows = np.array([[np.nan, np.nan, np.nan], [30, 1, 0.1]], np.float32)
    found = {name: mask.tolist() for name, mask in members(SLICES, rows).items()}
    both = [False, True]
    assert found == {"all": [True, True], "renters": both, "thirty": both, "a_tenth": both}
    assert next(iter(found)) == "all"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_fraction_is_found_in_the_dtype_of_the_rows(dtype: type) -> None:
    rows = np.array([[0, 0, 0.1], [0, 0, 0.2]], dtype)
    assert members((TENTH,), rows)["a_tenth"].tolist() == [True, False]


def test_without_slices_there_is_still_all() -> None:
    assert list(members((), np.zeros((2, len(FEATURES)), np.float32))) == ["all"]
