"""Bins: every row is counted once for each variable, where the reference data would have counted it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import Bundle
from service.adapters.bundles import bins_of
from service.domain.binning import Binning, labels, numbers, words
from service.domain.evidence.bins import Bins
from service.domain.evidence.books import BINS, LEFT_OUT, Page, add
from service.domain.evidence.tallied import COLUMNS, FLIPS, GAP, ROWS, SQUARES
from service.domain.evidence.worst_slices import MOST_GAP
from tests.domain.models import HOMES, spec

BINNING = Binning.of(
    [
        numbers("feature:age", (10, 20, 30), 0, (18.0, 40.0), 17.0, 90.0),
        words("feature:home", (5, 5, 50), 0, HOMES),
        numbers("feature:income", (60,), 0, (), 1.0, 2.0),
        numbers("score", (30, 30), 0, (0.5,), 0.2, 0.9),
        labels(("bad", "good"), (30, 30)),
    ]
)
ROWS_ = np.array([[17, 0, 1], [18, 1, np.nan], [40, np.nan, 2], [np.inf, 2, np.nan]], np.float32)
BEFORE = np.array([[0.9, 0.1], [0.5, 0.5], [0.25, 0.75], [0.4, 0.6]], np.float32)
FLIPPED = np.array([True, False, False, True])
GAPS = np.array([0.5, 0.25, 0.0, 1.0], np.float32)


@pytest.fixture
def bins() -> Bins:
    return Bins(spec(), BINNING)


def tallied(bins: Bins, page: str, rows: NDArray = ROWS_) -> NDArray[np.float64]:
    """One page [bins, columns] of four rows."""
    return bins.tally(rows, BEFORE, FLIPPED, GAPS)[Page(BINS, page)].reshape(-1, COLUMNS)


def test_a_row_is_in_the_bin_of_its_value_for_each_variable(bins: Bins) -> None:
    assert tallied(bins, "feature:age")[:, ROWS].tolist() == [0, 1, 1, 1, 1, 0]
    assert tallied(bins, "feature:home")[:, ROWS].tolist() == [1, 1, 1, 1, 0]
    assert tallied(bins, "feature:income")[:, ROWS].tolist() == [0, 2, 0, 2]
    assert tallied(bins, "score")[:, ROWS].tolist() == [1, 0, 3, 0, 0]
    assert tallied(bins, "label")[:, ROWS].tolist() == [1, 3, 0, 0]


def test_flips_and_gaps_are_added_up_where_their_rows_are(bins: Bins) -> None:
    home = tallied(bins, "feature:home")
    assert home[:, FLIPS].tolist() == [1, 0, 1, 0, 0]
    assert home[:, GAP].tolist() == [0.5, 0.25, 1, 0, 0]
    assert home[:, SQUARES].tolist() == [0.25, 0.0625, 1, 0, 0]


def test_a_gap_counts_at_most_as_the_largest(bins: Bins) -> None:
    books = bins.tally(ROWS_, BEFORE, FLIPPED, GAPS * 1e9)
    page = books[Page(BINS, "feature:income")].reshape(-1, COLUMNS)
    assert page[1].tolist() == [2, 1, MOST_GAP, MOST_GAP**2]


def test_pages_are_those_of_the_variables_in_their_order(bins: Bins) -> None:
    books = bins.tally(ROWS_, BEFORE, FLIPPED, GAPS) | bins.left_out(ROWS_, BEFORE)
    names = ["score", "label", "feature:age", "feature:home", "feature:income"]
    assert [each.name for each in bins.variables] == names
    assert list(books) == [Page(book, name) for book in (BINS, LEFT_OUT) for name in names]


def test_batches_add_up_to_the_whole(bins: Bins) -> None:
    parts = [
        bins.tally(ROWS_[part], BEFORE[part], FLIPPED[part], GAPS[part])
        for part in (slice(0, 1), slice(1, 4), slice(0, 0))
    ]
    whole = bins.tally(ROWS_, BEFORE, FLIPPED, GAPS)
    assert {page: sums.tolist() for page, sums in add(parts).items()} == {
        page: sums.tolist() for page, sums in whole.items()
    }


def test_left_out_rows_are_counted_as_compared_ones_are(bins: Bins) -> None:
    books = bins.tally(ROWS_, BEFORE, FLIPPED, GAPS) | bins.left_out(ROWS_[:2], BEFORE[:2])
    for each in bins.read(books):
        assert each.kept.sum() == 4
        assert each.left_out.sum() == 2
        assert len(each.kept) == len(each.left_out) == len(each.variable.names)
        some = tallied(bins, each.variable.name, ROWS_)[:, ROWS]
        assert (each.left_out <= some).all()


def test_a_book_that_is_not_there_is_of_no_row(bins: Bins) -> None:
    for each in bins.read({}):
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
    known = set()
    for each in bins.variables:
        counted = books[Page(LEFT_OUT, each.name)]
        assert counted.sum() == len(rows)
        if not each.name.startswith("feature:"):
            assert counted.tolist() == list(each.reference)
            known.add(each.name)
    answers = {f"score:{each}" for each in bundle.spec.classes} if len(bundle.spec.classes) > 2 else {"score"}
    assert known == answers | ({"label"} if bundle.spec.classes else set())
    assert {each.name for each in bins.variables} == bundle.reference().keys() | known
