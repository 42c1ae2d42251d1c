"""One value with its bounds against its margin, small enough for a cell of a table."""

from __future__ import annotations

from typing import Literal

from service.domain.pictures.charts.canvas import bar, within
from service.domain.pictures.dumbbell import disc
from service.domain.pictures.layout import Ink, Line, Mark, Picture, Scale, Shape

WIDTH, HEIGHT = 150.0, 26.0
INSET = 6.0
"""Half a dot has room beside either end of the scale."""
WIDEST = 4.0
"""Distances from the margin beyond which bounds are cut, in distances between nought and margin."""


def interval(
    value: float,
    low: float,
    high: float,
    margin: float,
    allowed: Literal["at_most", "at_least"],
    ink: Ink,
    said: str,
) -> Picture:
    """Bounds as a bar with a dot for the value; the side that is allowed is shaded up to the margin.

    Args:
        value: between ``low`` and ``high``.
        low: the lower bound.
        high: the upper bound.
        margin: where the allowed side ends.
        allowed: whether values may be at most or at least the margin.
        ink: of bounds and value.
        said: all of it in words.
    """
    reach = WIDEST * (abs(margin) or max(abs(low), abs(high)) or 1.0)
    seen = [0.0, margin, *(within(number, margin - reach, margin + reach) for number in (value, low, high))]
    least, most = min(seen), max(seen)
    room = (most - least) * 0.08 or 1.0
    scale = Scale(least - room, most + room, INSET, WIDTH - INSET)
    middle = HEIGHT / 2

    def x(number: float) -> float:
        return scale(within(number, scale.low, scale.high))

    end = 0.0 if allowed == "at_most" else WIDTH
    marks: list[Mark] = [
        bar(min(end, x(margin)), max(end, x(margin)), middle, 20, "band"),
        Line(x(margin), 1, x(margin), HEIGHT - 1, "warning", 1.5, dashed=True),
        Line(x(low), middle, x(high), middle, ink, 3),
        Line(x(low), middle - 5, x(low), middle + 5, ink, 1.5),
        Line(x(high), middle - 5, x(high), middle + 5, ink, 1.5),
        Shape(disc(x(value), middle, 4), ink),
    ]
    return Picture(HEIGHT, "Bounds and margin", said, tuple(marks), WIDTH)
