"""The manifold: real rows are on it, rows that break what the data always obeys are off it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from service.domain.explainers.game import Players, Subject
from service.domain.explainers.manifold import manifold_of, warning
from service.domain.schema import Feature, ModelSpec, Schema, Scores
from tests.domain.explainers.games import subject_of


def subject_for(background: NDArray[np.float64]) -> Subject:
    return subject_of(lambda x: x.sum(axis=1), background)


def independent(rows: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(rows, 6)).astype(np.float32)


def correlated(rows: int, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    loadings = np.random.default_rng(77).normal(size=(2, 6))
    return (rng.normal(size=(rows, 2)) @ loadings + 0.1 * rng.normal(size=(rows, 6))).astype(np.float32)


def shuffled(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each column permuted on its own: right margins, no correlation."""
    return np.random.default_rng(3).permuted(rows, axis=0)


@pytest.mark.parametrize("draw", [independent, correlated])
def test_new_rows_of_the_same_kind_are_seldom_off(draw) -> None:
    share = manifold_of(subject_for(draw(800, 1))).share(draw(400, 2))
    assert share is not None
    assert share < 0.12


def test_rows_that_break_the_correlation_are_off_and_where_there_is_none_they_are_not() -> None:
    broken = manifold_of(subject_for(correlated(800, 1))).share(shuffled(correlated(400, 2)))
    harmless = manifold_of(subject_for(independent(800, 1))).share(shuffled(independent(400, 2)))
    assert broken is not None
    assert harmless is not None
    assert broken > 0.8
    assert harmless < 0.12


def test_a_background_row_itself_is_on() -> None:
    background = correlated(300, 4)
    assert manifold_of(subject_for(background)).share(background) < 0.06


def test_values_far_outside_are_off() -> None:
    manifold = manifold_of(subject_for(independent(300, 5)))
    assert manifold.share(independent(50, 6) + 4) == 1


def test_a_value_missing_where_it_never_is_counts_as_far() -> None:
    background = independent(500, 7)
    background[::2, 0] = np.nan
    background[::2, 1] = np.nan  # the two are missing together
    manifold = manifold_of(subject_for(background))
    torn = independent(200, 8)
    torn[:, 0] = np.nan
    together = torn.copy()
    together[:, 1] = np.nan
    assert manifold.share(torn) > manifold.share(together) + 0.2


def test_impossible_pairs_of_categories_are_off() -> None:
    schema = Schema(
        (Feature("city", "string", ("a", "b", "c")), Feature("country", "string", ("x", "y", "z"))), "tensor"
    )
    codes = np.random.default_rng(9).integers(0, 3, size=(300, 1)).repeat(2, axis=1).astype(np.float32)
    players = Players(("city", "country"), (np.array([0]), np.array([1])))

    def predict(rows: NDArray[np.float32]) -> Scores:
        return rows[:, :1].astype(np.float32)

    subject = Subject(ModelSpec("m", "1", "regression", schema), predict, codes, players)
    manifold = manifold_of(subject)
    assert manifold.share(codes) == 0
    assert manifold.share(np.array([[0, 1], [2, 0]], dtype=np.float32)) == 1


def test_constant_and_empty_columns_do_no_harm() -> None:
    background = independent(100, 10)
    background[:, 2] = 7
    background[:, 3] = np.nan
    assert manifold_of(subject_for(background)).share(background) < 0.06


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_tiny_background_is_no_error(rows: int) -> None:
    share = manifold_of(subject_for(independent(rows, 11))).share(independent(5, 12))
    assert share is not None
    assert 0 <= share <= 1


def test_wide_rows_are_judged_by_some_of_their_columns() -> None:
    wide = np.random.default_rng(13).normal(size=(60, 2000)).astype(np.float32)
    manifold = manifold_of(subject_for(wide))
    assert len(manifold.scales) == 256
    assert manifold.share(wide + 3) == 1


def test_no_rows_have_no_share() -> None:
    subject = subject_for(independent(30, 14))
    assert manifold_of(subject).share(subject.background[:0]) is None


def test_the_same_background_gives_the_same_judgement() -> None:
    subject, rows = subject_for(correlated(900, 15)), shuffled(correlated(200, 16))
    one, other = manifold_of(subject), manifold_of(replace(subject))
    assert (one.distances(rows) == other.distances(rows)).all()


def test_a_warning_needs_most_rows_to_be_off() -> None:
    assert warning(None) == warning(0.5) == {}
    assert warning(0.83)["warning"].startswith("83% of the rows made up")
