"""Rank correlation from a table of bins, held against scipy's over the rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import kendalltau, spearmanr

from service.domain.disagreement.measure import Compared, Pair
from service.domain.disagreement.rank import Rank, kendall, spearman
from tests.domain.models import spec

tables = arrays(np.float64, (4, 4), elements=st.integers(0, 6).map(float))


@given(tables)
def test_a_table_says_what_its_rows_say(table: np.ndarray) -> None:
    before, after = (np.repeat(side, table.ravel().astype(int)) for side in np.divmod(np.arange(16), 4))
    if len(set(before.tolist())) < 2 or len(set(after.tolist())) < 2:
        assert spearman(table) is None
        assert kendall(table) is None
    else:
        assert spearman(table) == pytest.approx(spearmanr(before, after).statistic, abs=1e-9)
        assert kendall(table) == pytest.approx(kendalltau(before, after).statistic, abs=1e-9)


@given(tables)
def test_a_table_that_is_a_billion_times_as_full_says_the_same(table: np.ndarray) -> None:
    assert spearman(table * 1e9) == pytest.approx(spearman(table), abs=1e-6)


def test_opposite_orders_are_minus_one_and_independent_ones_nought() -> None:
    assert spearman(np.eye(5)[::-1] * 7) == kendall(np.eye(5)[::-1] * 7) == pytest.approx(-1)
    assert spearman(np.ones((5, 5))) == kendall(np.ones((5, 5))) == pytest.approx(0)


def test_rows_in_one_bin_have_no_order() -> None:
    assert spearman(np.diag([9.0, 0, 0])) is None
    assert kendall(np.diag([9.0, 0, 0])) is None


def test_ten_bins_are_a_few_hundredths_off_the_scores_themselves() -> None:
    rng = np.random.default_rng(2)
    pair = Pair(
        spec(task="regression"), spec("new", task="regression"), cuts=tuple(np.linspace(-1.6, 1.6, 9))
    )
    for noise in (0.1, 0.5, 1.0, 3.0):
        before = rng.normal(size=(4_000, 1)).astype(np.float32)
        after = (before + noise * rng.normal(size=before.shape)).astype(np.float32)
        shown = Rank().show(pair, Rank().contributions(pair, Compared(before, after)).sum(axis=0), 4_000)
        assert abs(shown["spearman"] - spearmanr(before[:, 0], after[:, 0]).statistic) < 0.03
        assert abs(shown["kendall"] - kendalltau(before[:, 0], after[:, 0]).statistic) < 0.08


def test_scores_on_an_edge_belong_above_it_as_in_the_reference() -> None:
    pair = Pair(spec(), spec("new"), cuts=(0.25, 0.5))
    scores = np.array([[0.75, 0.25], [0.5, 0.5], [0.8, 0.2]], np.float32)
    found = Rank().contributions(pair, Compared(scores, scores[::-1]))
    columns = Rank().columns(pair)
    assert [columns[place] for place in found.argmax(axis=1)] == ["1,0", "2,2", "0,1"]


def test_of_many_classes_every_score_is_counted() -> None:
    pair = Pair(spec(task="multiclass"), spec("new", task="multiclass"), cuts=(0.5,))
    scores = np.array([[0.6, 0.3, 0.1]], np.float32)
    found = Rank().contributions(pair, Compared(scores, scores))
    assert found.tolist() == [[2, 0, 0, 1]]


def test_without_bins_nothing_is_said() -> None:
    assert Rank().columns(Pair(spec(), spec("new"))) == ()
