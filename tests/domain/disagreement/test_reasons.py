"""Reasons: known distances, and the laws that make them fit to be compared over models and rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from service.domain.disagreement.reasons import (
    DISTANCE_BUCKETS,
    aligned,
    compare_reasons,
    distance,
    moved,
    shares,
    top_overlap,
)

# Whole numbers of any size and noughts, so that ties and features without influence are frequent.
phi = arrays(
    np.float64,
    st.tuples(st.just(4), st.integers(1, 6)),
    elements=st.one_of(st.integers(-3, 3).map(float), st.floats(-1e300, 1e300)),
)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[NDArray[Any], NDArray[Any]]:
    a = draw(phi)
    return a, draw(arrays(np.float64, a.shape, elements=st.floats(-1e3, 1e3)))


def row(*values: float) -> NDArray[np.float64]:
    return np.array([values], dtype=np.float64)


KNOWN: dict[str, tuple[tuple[float, ...], tuple[float, ...], float, float]] = {
    # production, candidate, distance, overlap of the top two
    "the same": ((1, 2, 3), (1, 2, 3), 0, 1),
    "the same on another scale": ((1, 2, 3), (10, 20, 30), 0, 1),
    "nothing in common": ((1, 0, 0), (0, 0, 5), 1, 0),
    "the opposite": ((1, -2, 3), (-1, 2, -3), 1, 1),
    "two roles swapped": ((2, 1, 0), (1, 2, 0), 1 / 3, 1),
    "two roles swapped wholly": ((4, 0, 0), (0, 4, 0), 1, 0),
    "one sign turned": ((3, 1, 0), (3, -1, 0), 1 / 4, 1),
    "one feature more": ((1, 0, 0), (3, 1, 0), 1 / 4, 1 / 2),
    "no reason at all, twice": ((0, 0, 0), (0, 0, 0), 0, 1),
    "no reason any more": ((1, 2, 3), (0, 0, 0), 1, 0),
}


@pytest.mark.parametrize("case", KNOWN)
def test_known_reasons_have_the_distance_and_overlap_worked_out_by_hand(case: str) -> None:
    production, candidate, apart, overlap = KNOWN[case]
    assert distance(row(*production), row(*candidate))[0] == pytest.approx(apart, abs=1e-15)
    assert top_overlap(row(*production), row(*candidate), k=2)[0] == overlap


def test_the_features_that_moved_are_told_by_their_change_of_share() -> None:
    assert moved(row(2, 1, -1), row(1, 2, 1)).tolist() == [[0.25, 0.25, 0.5]]


def test_a_list_of_three_holds_the_three_most_influential_of_either_sign() -> None:
    assert top_overlap(row(9, -8, 7, 6, 0), row(9, 0, 7, 6, -8))[0] == pytest.approx(2 / 3)


def test_rounding_is_no_influence() -> None:
    assert top_overlap(row(1, 1e-9, 0, 0), row(1, 0, 1e-9, 1e-9))[0] == 1


def test_of_equally_influential_features_both_models_name_the_same() -> None:
    assert top_overlap(row(1, 1, 1, 1, 1), row(2, 2, 2, 2, 2))[0] == 1


def test_columns_meet_by_name_and_a_feature_that_a_model_does_not_take_is_nought() -> None:
    found = aligned(np.array([[1.0, 2.0], [3.0, 4.0]]), ("c", "a"), ("a", "b", "c"))
    assert found.tolist() == [[2, 0, 1], [4, 0, 3]]


def test_a_feature_that_nobody_sends_is_refused() -> None:
    with pytest.raises(ValueError, match="'d' is not among the features"):
        aligned(np.zeros((1, 1)), ("d",), ("a", "b"))


def test_no_rows_give_no_measures() -> None:
    found = compare_reasons(("a", "b"), np.zeros((0, 2)), np.zeros((0, 2)))
    assert (len(found), found.overlaps.shape, found.moved.shape) == (0, (0,), (0, 2))


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_attributions_that_are_no_numbers_show_and_leave_other_rows_alone(broken: float) -> None:
    a, b = np.array([[1.0, 0.0], [broken, 1.0]]), np.array([[0.0, 1.0], [1.0, 1.0]])
    for found in (compare_reasons("ab", a, b), compare_reasons("ab", b, a)):
        assert found.distances[0] == 1
        assert np.isnan(found.distances[1])
        assert found.take(np.isfinite(found.distances)).distances.tolist() == [1]


@given(pairs())
def test_every_measure_stays_within_its_range(ab: tuple[NDArray[Any], NDArray[Any]]) -> None:
    found = compare_reasons([str(column) for column in range(ab[0].shape[1])], *ab)
    for measure, most in ((found.distances, 1), (found.overlaps, 1), (found.moved, 2)):
        assert ((measure >= 0) & (measure <= most)).all()


@given(pairs())
def test_no_measure_knows_which_model_is_production(ab: tuple[NDArray[Any], NDArray[Any]]) -> None:
    a, b = ab
    np.testing.assert_array_equal(distance(a, b), distance(b, a))
    np.testing.assert_array_equal(moved(a, b), moved(b, a))
    np.testing.assert_array_equal(top_overlap(a, b), top_overlap(b, a))


@given(phi)
def test_the_same_reasons_are_no_distance_apart(a: NDArray[Any]) -> None:
    assert (distance(a, a) == 0).all()
    assert (top_overlap(a, a) == 1).all()
    assert (moved(a, a) == 0).all()


@given(pairs(), st.integers(-40, 40), st.integers(-40, 40))
def test_no_measure_depends_on_either_models_scale(
    ab: tuple[NDArray[Any], NDArray[Any]], first: int, second: int
) -> None:
    a, b = np.where(np.abs(ab[0]) < 1e-200, 0, ab[0]) * 1e-20, np.where(np.abs(ab[1]) < 1e-200, 0, ab[1])
    scaled = a * 2.0**first, b * 2.0**second  # powers of two change no digit
    np.testing.assert_array_equal(distance(*scaled), distance(a, b))
    np.testing.assert_array_equal(moved(*scaled), moved(a, b))
    np.testing.assert_array_equal(top_overlap(*scaled), top_overlap(a, b))


@given(pairs(), st.randoms(use_true_random=False))
def test_the_order_of_the_features_does_not_matter(ab: tuple[NDArray[Any], NDArray[Any]], draw: Any) -> None:
    a, b = ab
    order = draw.sample(range(a.shape[1]), a.shape[1])
    np.testing.assert_allclose(distance(a[:, order], b[:, order]), distance(a, b), atol=1e-12)
    np.testing.assert_allclose(moved(a[:, order], b[:, order]), moved(a, b)[:, order], atol=1e-12)


@given(pairs(), phi)
def test_a_detour_over_a_third_model_is_never_shorter(
    ab: tuple[NDArray[Any], NDArray[Any]], c: NDArray[Any]
) -> None:
    a, b = ab
    c = np.resize(c, a.shape)
    assert (distance(a, b) <= distance(a, c) + distance(c, b) + 1e-12).all()


@given(pairs())
def test_what_the_features_moved_adds_up_to_the_distance(ab: tuple[NDArray[Any], NDArray[Any]]) -> None:
    a, b = ab
    reasoned = a.any(axis=1) & b.any(axis=1)
    np.testing.assert_allclose(moved(a, b).sum(axis=1)[reasoned] / 2, distance(a, b)[reasoned], atol=1e-12)


@given(phi)
def test_shares_add_up_to_one_wherever_there_is_a_reason(a: NDArray[Any]) -> None:
    np.testing.assert_allclose(np.abs(shares(a)).sum(axis=1), a.any(axis=1), atol=1e-12)


def test_the_histogram_tells_the_same_reasons_from_others_and_holds_every_distance() -> None:
    assert (DISTANCE_BUCKETS[0], DISTANCE_BUCKETS[-1]) == (0.0, 1.0)
    assert list(DISTANCE_BUCKETS) == sorted(set(DISTANCE_BUCKETS))
