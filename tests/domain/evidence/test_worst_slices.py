"""The worst slices: what was planted is found by its name, and where nothing was, nothing ever is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from service.domain.binning import Binning, numbers
from service.domain.evidence import worst_slices as module
from service.domain.evidence.bets import log_needed
from service.domain.evidence.bins import Bins
from service.domain.evidence.books import Books, add
from service.domain.evidence.sequential import proportion
from service.domain.evidence.tallied import Tallied
from service.domain.evidence.worst_slices import CLOSELY, MOST_FOUND, worst_slices
from service.domain.schema import Feature, Task
from tests.domain.models import spec

FEATURES = 12
BINS = 10
EACH = BINS + 3
"""With what is below, above and missing."""
ALPHA = 0.05


def bins(task: Task = "binary", features: int = FEATURES) -> Bins:
    """Variables that are even between 0 and 1 and have ten bins each."""
    names = [Feature(f"x{number}", "float", missing=True) for number in range(features)]
    edges = tuple((place + 1) / BINS for place in range(BINS - 1))
    known = ["score", *(f"feature:{each.name}" for each in names)]
    cuts = (numbers(name, (100,) * BINS, 0, edges, 0.0, 1.0) for name in known)
    return Bins(spec("m", *names, task=task), Binning.of(cuts))


def batch(
    rng: np.random.Generator, rows: int, task: Task = "binary", features: int = FEATURES
) -> tuple[NDArray, NDArray]:
    """Canonical rows, and production's scores."""
    scores = rng.random((rows, 1 if task == "regression" else 2), dtype=np.float32)
    return rng.random((rows, features), dtype=np.float32), scores


def flips(
    chosen: Bins, rows: NDArray, scores: NDArray, rate: NDArray | float, rng: np.random.Generator
) -> Books:
    """What is tallied where rows flip at a rate."""
    flipped = rng.random(len(rows)) < rate
    return chosen.tally(rows, scores, flipped, np.where(flipped, 0.3, 0.01))


def test_a_planted_slice_is_found_by_its_name() -> None:
    rng, chosen = np.random.default_rng(1), bins()
    rows, scores = batch(rng, 20_000)
    planted = (rows[:, 4] >= 0.3) & (rows[:, 4] < 0.4)
    found = chosen.worst_slices(flips(chosen, rows, scores, np.where(planted, 0.10, 0.04), rng), ALPHA)
    assert (found["looks"], found["alpha"], found["of"]) == ((FEATURES + 1) * EACH, ALPHA, "flips")
    (worst,) = found["found"]
    assert (worst["variable"], worst["label"]) == ("feature:x4", "04 0.3 to 0.4")
    assert worst["rows"] == planted.sum()
    assert worst["rate"] == worst["flips"] / worst["rows"] == pytest.approx(0.10, abs=0.02)
    assert worst["low"] < 0.10 < worst["high"]
    assert worst["rest_rate"] == pytest.approx(0.04, abs=0.005)
    assert worst["low"] > worst["rest_rate"]


def test_missing_values_are_a_slice_as_any_other() -> None:
    rng, chosen = np.random.default_rng(2), bins()
    rows, scores = batch(rng, 20_000)
    rows[rng.random(len(rows)) < 0.05, 2] = np.nan
    rate = np.where(np.isnan(rows[:, 2]), 0.2, 0.02)
    (worst,) = chosen.worst_slices(flips(chosen, rows, scores, rate, rng), ALPHA)["found"]
    assert (worst["variable"], worst["label"]) == ("feature:x2", "missing")


def test_of_values_the_mean_gap_is_what_is_worse() -> None:
    rng, chosen = np.random.default_rng(3), bins("regression")
    rows, scores = batch(rng, 20_000, "regression")
    gaps = rng.exponential(np.where(rows[:, 0] >= 0.9, 0.2, 0.1))
    books = chosen.tally(rows, scores, np.zeros(len(rows), np.bool_), gaps)
    found = chosen.worst_slices(books, ALPHA)
    (worst,) = found["found"]
    assert found["of"] == "gap"
    assert (worst["variable"], worst["label"], worst["flips"]) == ("feature:x0", "10 0.9 to 1", 0)
    assert worst["low"] < 0.2 < worst["high"]
    assert worst["rest_rate"] == pytest.approx(0.1, abs=0.01)


def test_of_two_equal_models_no_slice_is_ever_found() -> None:
    """200 streams of 20,000 rows, looked at 20 times each: one in twenty may be wrong at most.

    A test that is corrected for the bins and not for looking again finds something in more than that.
    """
    rng, chosen = np.random.default_rng(4), bins(features=5)
    wrong = naively_wrong = 0
    for _ in range(200):
        books: Books = {}
        found = naively_found = False
        for _ in range(20):
            rows, scores = batch(rng, 1_000, features=5)
            books = add([books, flips(chosen, rows, scores, 0.05, rng)])
            found |= bool(chosen.worst_slices(books, ALPHA)["found"])
            naively_found |= _naively(chosen.read(books), ALPHA)
        wrong += found
        naively_wrong += naively_found
    assert wrong <= 10
    assert naively_wrong > 20


def _naively(tallies: Sequence[Tallied], alpha: float) -> bool:
    """Whether a z-test finds a bin that is worse than the rest, at one look and corrected for all bins."""
    inside = np.concatenate([each.compared[:, :2] for each in tallies])
    rest = np.concatenate([each.compared[:, :2].sum(axis=0) - each.compared[:, :2] for each in tallies])
    inside, rest = inside[inside[:, 0] > 100], rest[inside[:, 0] > 100]
    rate, other = inside[:, 1] / inside[:, 0], rest[:, 1] / rest[:, 0]
    spread = np.sqrt(0.05 * 0.95 * (1 / inside[:, 0] + 1 / rest[:, 0]))
    return bool(((rate - other) / spread > stats.norm.isf(alpha / len(inside))).any())


def test_of_two_equal_regressions_no_slice_is_ever_found() -> None:
    rng, chosen = np.random.default_rng(9), bins("regression", features=5)
    wrong = 0
    for _ in range(100):
        books: Books = {}
        found = False
        for _ in range(20):
            rows, scores = batch(rng, 1_000, "regression", features=5)
            unflipped, gaps = np.zeros(1_000, np.bool_), rng.exponential(0.1, 1_000)
            books = add([books, chosen.tally(rows, scores, unflipped, gaps)])
            found |= bool(chosen.worst_slices(books, ALPHA)["found"])
        wrong += found
    assert wrong <= 5


def test_no_more_is_found_than_fits_a_table_and_the_worst_comes_first() -> None:
    rng, chosen = np.random.default_rng(5), bins()
    rows, scores = batch(rng, 100_000)
    books = flips(chosen, rows, scores, 0.01 + 0.5 * (rows > 0.7).mean(axis=1), rng)
    found = chosen.worst_slices(books, ALPHA)["found"]
    assert len(found) == MOST_FOUND
    lows = [each["low"] for each in found]
    assert lows == sorted(lows, reverse=True)


def test_what_is_not_looked_at_closely_could_not_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, chosen = np.random.default_rng(6), bins(features=3)
    monkeypatch.setattr(module, "CLOSELY", 10_000)
    for rate in (0.07, 0.08, 0.1):
        rows, scores = batch(rng, 8_000, features=3)
        planted = np.where(rows[:, 1] < 0.1, rate, 0.05)
        tallies = chosen.read(flips(chosen, rows, scores, planted, rng))
        found = worst_slices(tallies, ALPHA, "flips")
        told = {(each["variable"], each["label"]) for each in found["found"]}
        assert told == _exhaustively(tallies, ALPHA / found["looks"])


def _exhaustively(tallies: Any, level: float) -> set[tuple[str, str]]:
    """Every bin whose bounds are above those of the rest, all of them looked at."""
    found = set()
    for each in tallies:
        whole = each.compared.sum(axis=0)
        for place, sums in enumerate(each.compared):
            rest = whole - sums
            if sums[0] and proportion(sums[1], sums[0], level).low > proportion(rest[1], rest[0], level).high:
                found.add((each.variable.name, each.variable.names[place]))
    return found


def test_only_a_few_bins_are_looked_at_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[float] = []

    def counted(successes: float, rows: float, alpha: float) -> Any:
        looked.append(rows)
        return proportion(successes, rows, alpha)

    monkeypatch.setattr(module, "proportion", counted)
    rng, chosen = np.random.default_rng(7), bins(features=150)
    rows, scores = batch(rng, 10_000, features=150)
    quiet = flips(chosen, rows, scores, 0.05, rng)
    chosen.worst_slices(quiet, ALPHA)
    assert not looked
    loud = flips(chosen, rows, scores, 0.9 * (rows[:, :1] > 0.5)[:, 0] + 0.01, rng)
    many = [loud] * 50
    chosen.worst_slices(add(many), ALPHA)
    assert 0 < len(looked) <= 2 * CLOSELY


@pytest.mark.parametrize("of", ["flips", "gap"])
def test_nothing_is_found_in_nothing(of: Any) -> None:
    assert worst_slices([], ALPHA, of)["found"] == []
    assert worst_slices(bins().read({}), ALPHA, of)["found"] == []


def test_a_variable_with_all_rows_in_one_bin_has_no_rest_to_be_worse_than() -> None:
    rng, chosen = np.random.default_rng(8), bins(features=1)
    scores = np.full((5_000, 2), 0.55, np.float32)
    books = chosen.tally(
        np.full((5_000, 1), np.nan, np.float32), scores, rng.random(5_000) < 0.5, np.ones(5_000)
    )
    assert chosen.worst_slices(books, ALPHA)["found"] == []


def test_every_bin_of_every_variable_is_paid_for() -> None:
    few = bins(features=1).worst_slices({}, ALPHA)["looks"]
    many = bins(features=50).worst_slices({}, ALPHA)["looks"]
    assert (few, many) == (2 * EACH, 51 * EACH)
    assert log_needed(ALPHA / many) > log_needed(ALPHA / few)
