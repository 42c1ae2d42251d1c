from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.domain.distance import learn_distance, nearest_distances
from service.domain.schema import Feature, Schema
from tests.domain import models

NAN = np.nan
SCHEMA = models.spec().schema  # age, home (may be missing), income (may be missing)


def reference(rows: int = 200, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    made = np.column_stack([rng.normal(40, 12, rows), rng.integers(3, size=rows), rng.gamma(2, 50, rows)])
    made[rng.random(rows) < 0.1, 1] = NAN
    made[rng.random(rows) < 0.2, 2] = NAN
    return made.astype(np.float32)


def by_hand(one: NDArray[Any], other: NDArray[Any], rows: NDArray[Any]) -> float:
    total = 0.0
    for column in range(3):
        a, b = float(one[column]), float(other[column])
        if np.isnan(a) or np.isnan(b):
            total += float(np.isnan(a) != np.isnan(b))
        elif column == 1:
            total += float(a != b)
        else:
            lower, upper = np.nanquantile(rows[:, column].astype(float), (0.25, 0.75))
            total += abs(a - b) / (upper - lower)
    return total


def test_every_pair_is_as_far_apart_as_the_definition_says() -> None:
    rows = reference()
    distance = learn_distance(SCHEMA, rows)
    points = distance.scaled(rows)
    found = distance.pairwise(points[:20], points)
    wanted = [[by_hand(one, other, rows) for other in rows] for one in rows[:20]]
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(distance.between(points, points[3]), found[3])


def test_it_is_a_metric() -> None:
    rows = reference(60)
    distance = learn_distance(SCHEMA, rows)
    points = distance.scaled(rows)
    apart = distance.pairwise(points, points)
    assert (np.diagonal(apart) == 0).all()
    np.testing.assert_array_equal(apart, apart.T)
    there = rows[:, 2]
    known = ~np.isnan(there)  # a missing value is 1 away from everything, so only known ones can be far apart
    among = apart[np.ix_(known, known)]
    assert (among[:, None, :] <= among[:, :, None] + among[None, :, :] + 1e-9).all()


def test_a_few_extreme_values_do_not_change_what_is_far() -> None:
    rows = reference()
    wild = rows.copy()
    wild[:5, 2] = 1e9
    assert learn_distance(SCHEMA, wild).scale[2] == pytest.approx(
        learn_distance(SCHEMA, rows).scale[2], rel=0.15
    )


def test_a_column_that_is_mostly_one_value_keeps_a_scale() -> None:
    rows = np.zeros((100, 3), dtype=np.float32)
    rows[:10, 2] = 1000
    distance = learn_distance(SCHEMA, rows)
    assert distance.scale[2] == pytest.approx(300)
    assert distance.between(distance.scaled(rows[:1]), distance.scaled(rows[99:])).item() == pytest.approx(
        10 / 3
    )


def test_a_constant_number_differs_or_not() -> None:
    rows = np.full((10, 3), [5, 0, NAN], dtype=np.float32)
    distance = learn_distance(SCHEMA, rows)
    other = np.array([[5_000_000, 0, 17]], dtype=np.float32)
    assert distance.between(distance.scaled(rows[:1]), distance.scaled(other)).item() == 2


def test_pixels_share_one_scale() -> None:
    schema = Schema((), "image", (2, 2))
    rows = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    rows[:, 0] = 0
    distance = learn_distance(schema, rows)
    assert np.unique(distance.scale).tolist() == [pytest.approx(rows.astype(float).std())]
    assert not distance.same_or_not.any()


def test_the_nearest_other_row_is_another_row() -> None:
    schema = Schema((Feature("x", "float"),), "tensor")
    rows = np.array([[0.0], [1], [3], [6], [6]], dtype=np.float32)
    distance = learn_distance(schema, rows)
    found = nearest_distances(distance, distance.scaled(rows)) * distance.scale[0]
    np.testing.assert_allclose(found, [1, 1, 2, 0, 0])
    assert len(nearest_distances(distance, distance.scaled(rows), most=2)) == 2
