"""Flips, gaps and slices, held against plain loops over the rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.domain.comparison import Comparison, compare
from service.domain.conditions import Compare
from service.domain.disagreement.measure import Compared, Pair
from service.domain.evidence.measures import DISAGREEMENT
from service.domain.evidence.sheet import sheet
from service.domain.schema import ModelSpec
from service.domain.slices import Slice, members
from tests.domain.models import FEATURES, spec

RENTERS = Slice("renters", Compare(1, "==", 1.0))
THIRTY = Slice("thirty", Compare(0, "==", 30.0))
TENTH = Slice("a_tenth", Compare(2, "==", 0.1))
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


def compared(pair: Pair, batch: NDArray[Any], before: NDArray[Any], after: NDArray[Any]) -> Comparison:
    return compare(sheet(pair, DISAGREEMENT), batch, Compared(before, after), 0.25, SLICES)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("rows", [0, 1, 2, 400])
def test_a_comparison_counts_what_a_loop_over_the_rows_counts(pair: str, rows: int) -> None:
    production, candidate = PAIRS[pair]
    batch, before, after = traffic(rows, 1), answers(production, rows, 2), answers(candidate, rows, 3)
    after[: rows // 4] = before[: rows // 4]
    both = list(zip(before, after, strict=True))
    found = compared(Pair(production, candidate, spread=4.0), batch, before, after)

    for part in ("all", "renters", "thirty", "a_tenth"):
        inside = [index for index in range(rows) if belongs(part, batch[index])]
        assert found.rows[part] == len(inside)
        expected: Counter[tuple[str, str]] = Counter()
        for index in inside if production.classes else []:
            first, second = label(production, before[index]), label(candidate, after[index])
            expected[first, second] += first != second
        assert found.flips[part] == +expected
        assert (part in found.tallies) == bool(inside)
    flipped = [bool(production.classes) and label(production, x) != label(candidate, y) for x, y in both]
    assert found.flipped.tolist() == flipped
    wanted = [max(abs(float(x) - float(y)) for x, y in zip(*each, strict=True)) for each in both]
    np.testing.assert_allclose(found.gaps, wanted, rtol=1e-12)
    np.testing.assert_allclose(found.spreads, np.array(wanted) / 4, rtol=1e-12)
    assert len(found) == rows
    assert set(found.rows) == set(found.flips) == {"all", "renters", "thirty", "a_tenth"}
    assert found.seconds == 0.25


def test_what_is_counted_for_prometheus_is_what_the_sheet_sums_up() -> None:
    production, candidate = PAIRS["binary with two thresholds"]
    batch, before, after = traffic(300, 4), answers(production, 300, 5), answers(candidate, 300, 6)
    pair = Pair(production, candidate)
    found = compared(pair, batch, before, after)
    alone = sheet(pair, DISAGREEMENT).tally(Compared(before, after), members(SLICES, batch))
    assert alone.keys() == found.tallies.keys()
    for name, sums in alone.items():
        np.testing.assert_array_equal(sums, found.tallies[name])
        shown = found.sheet.show(sums)
        assert shown["rows"] == found.rows[name]
        assert shown["flips"]["flipped"] == found.flips[name].total()
    assert found.sheet.show(alone["all"])["gap"]["mean"] == pytest.approx(found.gaps.mean())


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
