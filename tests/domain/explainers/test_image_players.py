"""Patches and superpixels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from service.domain.explainers.image_players import FEWEST, MOST, pixel_columns, players_of, superpixels
from service.domain.schema import Feature, ModelSpec, Schema


def image_spec(*shape: int) -> ModelSpec:
    return ModelSpec("picture", "1", "binary", Schema((), "image", shape), ("no", "yes"))


SQUARES = [(8, 8), (1, 8, 8), (3, 28, 28), (28, 28, 3), (224, 224, 3), (3, 3)]
OBLONGS = [(4, 5, 7), (1, 2, 100), (31, 17), (1, 40)]
NO_PICTURES = [(5,), (7, 6, 5)]
SHAPES = SQUARES + OBLONGS + NO_PICTURES


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_element_of_an_image_belongs_to_exactly_one_patch(shape: tuple[int, ...]) -> None:
    players = players_of(image_spec(*shape))
    owned = np.concatenate(players.columns)
    assert sorted(owned) == list(range(int(np.prod(shape))))
    assert len(set(players.names)) == len(players) == len(players.columns)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if np.prod(shape) > 200], ids=str)
def test_a_picture_has_between_sixteen_and_thirty_six_nearly_square_patches(shape: tuple[int, ...]) -> None:
    players = players_of(image_spec(*shape))
    assert FEWEST <= len(players) <= MOST
    sizes = [len(own) for own in players.columns]
    assert max(sizes) <= 2 * min(sizes)


def test_a_patch_is_named_by_its_rows_and_columns_and_takes_all_channels() -> None:
    players = players_of(image_spec(3, 8, 8))
    patch = players.columns[players.names.index("rows 0-1, columns 2-3")]
    expected = [c * 64 + r * 8 + k for c in range(3) for r in (0, 1) for k in (2, 3)]
    assert sorted(patch) == expected
    assert players_of(image_spec(2, 2)).names[1] == "row 0, column 1"


def test_channels_are_found_at_either_end_and_first_where_both_could_be() -> None:
    first, last = pixel_columns((3, 5, 6)), pixel_columns((5, 6, 3))
    assert first is not None
    assert last is not None
    assert first.shape == last.shape == (5, 6, 3)
    assert list(first[1, 2]) == [8, 38, 68]
    assert list(last[1, 2]) == [24, 25, 26]
    both = pixel_columns((3, 4, 4))
    assert both is not None
    assert both.shape == (4, 4, 3)
    assert pixel_columns((7, 6, 5)) is None
    assert pixel_columns((9,)) is None


def test_a_table_has_one_player_for_each_column() -> None:
    schema = Schema((Feature("age", "float"), Feature("home", "string", ("own", "rent"))), "tensor")
    players = players_of(ModelSpec("table", "1", "regression", schema))
    assert players.names == ("age", "home")
    assert [list(own) for own in players.columns] == [[0], [1]]


def test_superpixels_follow_the_edges_of_plain_areas() -> None:
    image = np.zeros((24, 24, 1))
    image[:10, :14], image[10:, :9] = 1.0, 2.0
    noisy = image + 0.05 * np.random.default_rng(0).standard_normal(image.shape)
    segments = superpixels(noisy, 16)
    mixed = sum(len(np.unique(image[segments == number])) > 1 for number in range(segments.max() + 1))
    squares = superpixels(np.zeros((24, 24, 1)), 16)
    crossing = sum(len(np.unique(image[squares == number])) > 1 for number in range(squares.max() + 1))
    assert mixed == 0
    assert crossing >= 6


@pytest.mark.parametrize(("height", "width", "channels"), [(30, 30, 3), (12, 50, 1), (64, 48, 4)])
@pytest.mark.parametrize("count", [9, 25, 60])
def test_superpixels_are_connected_numbered_in_order_and_about_as_many_as_asked(
    height: int, width: int, channels: int, count: int
) -> None:
    rng = np.random.default_rng(1)
    image = ndimage.gaussian_filter(rng.random((height, width, channels)), (2, 2, 0))
    segments = superpixels(image, count)
    numbers, first = np.unique(segments, return_index=True)
    assert list(numbers) == list(range(len(numbers)))
    assert (np.diff(first) > 0).all()
    assert 0.5 * count <= len(numbers) <= 1.5 * count
    for number in numbers:
        assert ndimage.label(segments == number)[1] == 1
    np.testing.assert_array_equal(segments, superpixels(image, count))
