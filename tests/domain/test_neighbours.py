from __future__ import annotations

import json

import numpy as np
import pytest

from service.domain.distance import learn_distance
from service.domain.neighbours import Neighbours
from tests.domain import models
from tests.domain.test_distance import reference

SPEC = models.spec()


def test_the_nearest_rows_are_those_that_sorting_all_would_give() -> None:
    rows = reference(300)
    labels = np.random.default_rng(1).integers(2, size=300)
    distance = learn_distance(SPEC.schema, rows)
    neighbours = Neighbours(rows, labels, SPEC)
    for row in reference(30, seed=2):
        apart = distance.between(distance.scaled(rows), distance.scaled(row))
        wanted = np.lexsort([np.arange(300), apart])[:7]
        found = neighbours.nearest(row, 7)
        assert [record["distance"] for record in found] == apart[wanted].tolist()
        assert [record["label"] for record in found] == [SPEC.classes[labels[index]] for index in wanted]


def test_a_reference_row_is_its_own_nearest_with_its_outcome_and_in_the_callers_words() -> None:
    rows = np.array([[30.1, 1, np.nan], [50, 2, 80], [60, np.nan, 90]], dtype=np.float32)
    found = Neighbours(rows, np.array([1, 0, 0]), SPEC).nearest(rows[0], 1)
    assert found == [{"distance": 0, "data": {"age": 30.1, "home": "rent", "income": None}, "label": "good"}]


def test_equally_near_rows_come_in_the_reference_order() -> None:
    rows = np.array([[2, 0, 1], [1, 0, 1], [1, 0, 1], [1, 0, 1], [9, 0, 1]], dtype=np.float32)
    spec = models.spec(task="regression")
    found = Neighbours(rows, np.arange(5.0), spec).nearest(rows[1], 2)
    assert [record["value"] for record in found] == [1, 2]


@pytest.mark.parametrize(("asked", "given"), [(0, 0), (-1, 0), (3, 3), (50, 20)])
def test_there_are_as_many_as_asked_for_or_all(asked: int, given: int) -> None:
    neighbours = Neighbours(reference(20), np.zeros(20, dtype=np.intp), SPEC)
    assert len(neighbours.nearest(reference(1, seed=3)[0], asked)) == given


def test_an_images_neighbours_are_images() -> None:
    spec = models.spec(layout="image", shape=(1, 2, 2))
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    found = Neighbours(rows, np.array([0, 1, 1]), spec).nearest(rows[1], 1)
    assert found[0]["data"] == [[[4.0, 5.0], [6.0, 7.0]]]
    assert found[0]["label"] == "good"


def test_records_are_ready_for_json() -> None:
    found = Neighbours(reference(20), np.zeros(20, dtype=np.intp), SPEC).nearest(reference(1)[0], 5)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_rows_without_an_outcome_each_are_refused() -> None:
    with pytest.raises(ValueError, match="3 reference rows with 2 outcomes"):
        Neighbours(reference(3), np.zeros(2), SPEC)
    with pytest.raises(ValueError, match="0 reference rows"):
        Neighbours(reference(3)[:0], np.zeros(0), SPEC)
