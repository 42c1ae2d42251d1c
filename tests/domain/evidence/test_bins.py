"""Bins: every row is counted once for each variable, where the reference data would have counted it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import Bundle
from service.adapters.bundles import bins_of
from service.domain.evidence.bins import MOST_BINS, MOST_VARIABLES, OTHER, Bins
from service.domain.evidence.books import BINS, LEFT_OUT, Page, add
from service.domain.evidence.tallied import COLUMNS, FLIPS, GAP, ROWS, SQUARES, Variable
from service.domain.evidence.worst_slices import MOST_GAP
from service.domain.schema import Feature, ModelSpec
from tests.domain.models import HOMES, spec

VARIABLES = (
    Variable("feature:age", (10, 20, 30, 0), edges=(18.0, 40.0)),
    Variable("feature:home", (5, 5, 50, 0), categories=HOMES),
    Variable("feature:income", (60, 0)),
    Variable("score", (30, 30, 0), edges=(0.5,)),
)
ROWS_ = np.array([[17, 0, 1], [18, 1, np.nan], [40, np.nan, 2], [np.inf, 2, np.nan]], np.float32)
BEFORE = np.array([[0.9, 0.1], [0.5, 0.5], [0.25, 0.75], [0.4, 0.6]], np.float32)
FLIPPED = np.array([True, False, False, True])
GAPS = np.array([0.5, 0.25, 0.0, 1.0], np.float32)


def tallied(bins: Bins, page: str, rows: NDArray = ROWS_) -> NDArray[np.float64]:
    """One page [bins, columns] of four rows."""
    return bins.tally(rows, BEFORE, FLIPPED, GAPS)[Page(BINS, page)].reshape(-1, COLUMNS)


def test_a_row_is_in_the_bin_of_its_value_and_missing_values_are_in_the_last() -> None:
    bins = Bins.of(spec(), VARIABLES)
    assert tallied(bins, "feature:age")[:, ROWS].tolist() == [1, 1, 2, 0]
    assert tallied(bins, "feature:home")[:, ROWS].tolist() == [1, 1, 1, 1]
    assert tallied(bins, "feature:income")[:, ROWS].tolist() == [2, 2]
    assert tallied(bins, "score")[:, ROWS].tolist() == [1, 3, 0]


def test_flips_and_gaps_are_added_up_where_their_rows_are() -> None:
    home = tallied(Bins.of(spec(), VARIABLES), "feature:home")
    assert home[:, FLIPS].tolist() == [1, 0, 1, 0]
    assert home[:, GAP].tolist() == [0.5, 0.25, 1, 0]
    assert home[:, SQUARES].tolist() == [0.25, 0.0625, 1, 0]


def test_a_gap_counts_at_most_as_the_largest() -> None:
    books = Bins.of(spec(), VARIABLES).tally(ROWS_, BEFORE, FLIPPED, GAPS * 1e9)
    page = books[Page(BINS, "feature:income")].reshape(-1, COLUMNS)
    assert page[0].tolist() == [2, 1, MOST_GAP, MOST_GAP**2]


def test_pages_are_those_of_the_variables_in_their_order() -> None:
    bins = Bins.of(spec(), VARIABLES)
    books = bins.tally(ROWS_, BEFORE, FLIPPED, GAPS) | bins.left_out(ROWS_, BEFORE)
    names = ["score", "feature:age", "feature:home", "feature:income"]
    assert [each.name for each in bins.variables] == names
    assert list(books) == [Page(book, name) for book in (BINS, LEFT_OUT) for name in names]


def test_batches_add_up_to_the_whole() -> None:
    bins = Bins.of(spec(), VARIABLES)
    parts = [
        bins.tally(ROWS_[part], BEFORE[part], FLIPPED[part], GAPS[part])
        for part in (slice(0, 1), slice(1, 4), slice(0, 0))
    ]
    whole = bins.tally(ROWS_, BEFORE, FLIPPED, GAPS)
    assert {page: sums.tolist() for page, sums in add(parts).items()} == {
        page: sums.tolist() for page, sums in whole.items()
    }


def test_left_out_rows_are_counted_as_compared_ones_are() -> None:
    bins = Bins.of(spec(), VARIABLES)
    books = bins.tally(ROWS_, BEFORE, FLIPPED, GAPS) | bins.left_out(ROWS_[:2], BEFORE[:2])
    for each in bins.read(books):
        assert each.kept.sum() == 4
        assert each.left_out.sum() == 2
        assert len(each.kept) == len(each.left_out) == len(each.variable.labels)


def test_a_book_that_is_not_there_is_of_no_row() -> None:
    for each in Bins.of(spec(), VARIABLES).read({}):
        assert not each.compared.any()
        assert not each.left_out.any()


@pytest.mark.parametrize("tag", ["credit:gbm-1", "digits:mlp-1", "diabetes:gbr-1", "cancer:xgb-1"])
def test_the_reference_rows_fall_into_the_bins_that_they_were_counted_in(
    demo_bundle: Callable[[str], Bundle], tag: str
) -> None:
    bundle = demo_bundle(tag)
    bins = bins_of(bundle)
    rows, scores, _ = bundle.calibration()
    books = bins.left_out(rows, scores)
    known = 0
    for each in bins.variables:
        if each.name.startswith("score"):
            assert books[Page(LEFT_OUT, each.name)].tolist() == list(each.reference)
            known += 1
        assert books[Page(LEFT_OUT, each.name)].sum() == len(rows)
    assert known == (len(bundle.spec.classes) if bundle.spec.task == "multiclass" else 1)
    assert len(bins.variables) == len(bundle.reference())


def test_the_rarest_words_share_a_bin_where_there_are_too_many() -> None:
    words = tuple(f"w{number}" for number in range(2_000))
    counts = tuple(1_000 if number % 50 == 7 else 1 for number in range(2_000))
    model = spec("m", Feature("zip", "string", words, missing=True))
    bins = Bins.of(model, [Variable("feature:zip", (*counts, 4), categories=words)])
    (told,) = bins.variables
    assert len(told.reference) == len(told.labels) == MOST_BINS
    assert sum(told.reference) == sum(counts) + 4
    assert told.labels[-2:] == (OTHER, "missing")
    assert told.reference.count(1_000) == 40
    assert told.reference[-2:] == (2_000 - 48, 4)
    rows = np.array([[7], [57], [1_999], [1_998], [np.nan]], np.float32)
    books = bins.left_out(rows, np.zeros((5, 2), np.float32))
    counted = dict(zip(told.labels, books[Page(LEFT_OUT, "feature:zip")].tolist(), strict=True))
    assert {label: rows for label, rows in counted.items() if rows} == {
        "w7": 1, "w57": 1, OTHER: 2, "missing": 1,
    }  # fmt: skip


def test_no_more_variables_are_watched_than_are_allowed() -> None:
    features = [Feature(f"f{number}", "float") for number in range(2 * MOST_VARIABLES)]
    model: ModelSpec = spec("m", *features)
    known = [Variable("score", (1, 1, 0), edges=(0.5,))]
    known += [Variable(f"feature:{each.name}", (1, 1, 0), edges=(0.0,)) for each in features]
    bins = Bins.of(model, known)
    assert len(bins.variables) == MOST_VARIABLES
    assert bins.variables[0].name == "score"
    assert bins.variables[-1].name == f"feature:f{MOST_VARIABLES - 2}"


def test_bins_are_called_by_their_ends() -> None:
    assert VARIABLES[0].labels == ("below 18", "18 to 40", "40 or more", "missing")
    assert VARIABLES[2].labels == ("any", "missing")
    close = Variable("x", (1, 1, 1, 0), edges=(1_000_000.5, 1_000_001.5)).labels
    assert close == ("below 1000000", "1000000 to 1000002", "1000002 or more", "missing")
    neighbours = Variable("x", (1, 1, 1, 0), edges=(0.1, float(np.nextafter(0.1, 1)))).labels
    assert len(set(neighbours)) == 4
