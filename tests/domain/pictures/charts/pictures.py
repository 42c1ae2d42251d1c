"""What tests ask of a chart."""

from __future__ import annotations

import re
from collections.abc import Iterator

from service.domain.pictures.layout import Ink, Line, Picture, Shape, Text
from service.domain.pictures.svg import svg_inline
from tests.domain.pictures.documents import typed


def shapes(picture: Picture, ink: Ink) -> list[Shape]:
    return [mark for mark in picture.marks if isinstance(mark, Shape) and mark.ink == ink]


def lines(picture: Picture, *, dashed: bool) -> list[Line]:
    return [mark for mark in picture.marks if isinstance(mark, Line) and mark.dashed is dashed]


def words(picture: Picture) -> list[str]:
    return [typed(mark.text) for mark in picture.marks if isinstance(mark, Text)]


def extent(shape: Shape) -> tuple[float, float]:
    """The smallest and the largest x."""
    xs = [x for x, _ in shape.points]
    return min(xs), max(xs)


def middle(shape: Shape) -> tuple[float, float]:
    xs, ys = zip(*shape.points, strict=True)
    return (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2


def places(picture: Picture) -> Iterator[tuple[float, float]]:
    for mark in picture.marks:
        if isinstance(mark, Shape):
            yield from mark.points
        elif isinstance(mark, Line):
            yield from ((mark.x1, mark.y1), (mark.x2, mark.y2))
        elif isinstance(mark, Text):
            yield mark.x, mark.y


def assert_sound(picture: Picture) -> None:
    """Everything lies on the paper, no number is none, and those who do not see it are told what it shows."""
    for x, y in places(picture):
        assert -0.01 <= x <= picture.width + 0.01
        assert -0.01 <= y <= picture.height + 0.01
    assert picture.title
    assert picture.description
    assert not re.search(r"\bnan\b|\binf\b", svg_inline(picture, "a-"))
