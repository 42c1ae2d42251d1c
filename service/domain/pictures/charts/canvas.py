"""What charts have in common: their width, their letters, and scales with few numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from service.domain.pictures.layout import Ink, Line, Mark, Scale, Shape, Text, ticks

WIDE = 400.0
"""Width of a chart in px: on the narrowest phones its letters are still 10 px high."""
LETTERS = 12.5
EDGE = 4.0
"""Room on either side."""

Told = Callable[[float], str]
"""Writes one number of an axis."""


def rising(scale: Scale, left: float, right: float, told: Told, most: int = 5) -> list[Mark]:
    """Grid lines across, each with its number left of them; for scales that grow upwards."""
    marks: list[Mark] = []
    for value in ticks(scale, most):
        y = scale(value)
        marks.append(Line(left, y, right, y, "grid"))
        marks.append(Text(left - 8, y + 4, told(value), "muted", LETTERS, "end"))
    return marks


def bar(start: float, end: float, middle: float, height: float, ink: Ink, tip: str = "") -> Shape:
    """A bar that lies from x = ``start`` to x = ``end``."""
    half = height / 2
    points = ((start, middle - half), (end, middle - half), (end, middle + half), (start, middle + half))
    return Shape(points, ink, tip)


def stroke(points: Sequence[tuple[float, float]], width: float, ink: Ink) -> Shape:
    """A line through two points or more as one polygon, which takes less room in a file than its pieces."""
    sides: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
    last = len(points) - 1
    for place, (x, y) in enumerate(points):
        before, after = points[max(place - 1, 0)], points[min(place + 1, last)]
        across, down = after[0] - before[0], after[1] - before[1]
        length = math.hypot(across, down) or 1.0
        for side, sign in zip(sides, (1, -1), strict=True):
            side.append((x - sign * down / length * width / 2, y + sign * across / length * width / 2))
    return Shape((*sides[0], *reversed(sides[1])), ink)


def within(value: float, low: float, high: float) -> float:
    """``value``, or the end that it is beyond."""
    return min(max(value, low), high)


def largest(numbers: Sequence[float]) -> float:
    """The greatest magnitude, 1 where there is none to scale by."""
    found = max(map(abs, numbers), default=0.0)
    return found if found > 0 and math.isfinite(found) else 1.0
