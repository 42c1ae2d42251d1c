"""What a schema says of its rows, and a specification of its answers."""

from __future__ import annotations

import numpy as np
import pytest

from service.domain.schema import Schema, all_finite, label_indices
from tests.domain.models import spec

LARGEST = float(np.finfo(np.float32).max)


def test_a_tensor_and_an_image_hold_float32_and_columns_float64() -> None:
    assert [spec(layout=layout).schema.dtype for layout in ("tensor", "image", "columns")] == [
        np.dtype(np.float32),
        np.dtype(np.float32),
        np.dtype(np.float64),
    ]


def test_the_width_is_the_number_of_features_or_of_pixels() -> None:
    assert spec().schema.width == 3
    assert spec(layout="image", shape=(3, 4, 5)).schema.width == 60
    assert Schema((), "image", (7,)).width == 7


def test_a_model_answers_one_column_per_class_or_one_value() -> None:
    assert [spec(task=task).outputs for task in ("binary", "multiclass", "regression")] == [2, 3, 1]


@pytest.mark.parametrize("threshold", [0.5, 0.1, 0.7, 1 / 3, 0.999999])
def test_a_binary_model_answers_the_second_class_at_or_above_its_threshold(threshold: float) -> None:
    model = spec(threshold=threshold)
    border = np.float32(threshold)
    positive = np.array(
        [0, np.nextafter(border, np.float32(0)), border, np.nextafter(border, 1, dtype="f4"), 1]
    )
    scores = np.stack([1 - positive, positive], axis=1).astype(np.float32)
    assert label_indices(model, scores) == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_one_row_is_labelled_as_it_is_among_many(task: str) -> None:
    model = spec(task=task, threshold=0.3)  # type: ignore[arg-type]  # the parametrisation's strings
    rng = np.random.default_rng(3)
    scores = rng.dirichlet(np.ones(3), 500)[:, : model.outputs].astype(np.float32)
    scores[:50, -1] = np.float32(0.3)
    together = label_indices(model, scores)
    assert together == [label_indices(model, scores[row : row + 1])[0] for row in range(len(scores))]
    assert all(type(label) is int for label in together)
    if task != "regression":
        assert len(set(together)) == model.outputs


def test_the_first_of_equal_probabilities_is_answered() -> None:
    scores = np.array([[0.2, 0.4, 0.4], [0.4, 0.4, 0.2]], np.float32)
    assert label_indices(spec(task="multiclass"), scores) == [1, 0]


@pytest.mark.parametrize("rows", [1, 2, 300])
@pytest.mark.parametrize("poison", [[np.nan], [np.inf], [-np.inf], [np.inf, -np.inf], [np.nan, np.inf]])
def test_a_score_that_is_no_number_is_found(rows: int, poison: list[float]) -> None:
    scores = np.full((rows, 3), 0.25, np.float32)
    assert all_finite(scores)
    scores[-1, : len(poison)] = poison
    assert not all_finite(scores)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (2, 1), (300, 1)])
@pytest.mark.parametrize("value", [LARGEST, -LARGEST])
def test_values_at_the_end_of_float32_are_numbers(shape: tuple[int, int], value: float) -> None:
    assert all_finite(np.full(shape, value, np.float32))


def test_no_rows_hold_nothing_that_is_not_a_number() -> None:
    assert all_finite(np.empty((0, 2), np.float32))
