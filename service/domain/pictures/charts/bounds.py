"""A value over time within its bounds, and the margin that it is held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.domain.pictures.charts.canvas import EDGE, LETTERS, WIDE, Told, rising, stroke, within
from service.domain.pictures.dumbbell import disc
from service.domain.pictures.layout import Line, Mark, Picture, Scale, Shape, Text, text_width

TOP, HEIGHT = 16.0, 148.0
ROOM = 0.25
"""Share of the height that is left above and below what has to be seen."""


@dataclass(frozen=True, slots=True)
class Point:
    """One look at the evidence."""

    at: float
    """Anything that grows with time."""
    when: str
    value: float
    low: float
    high: float


def bounds(points: Sequence[Point], margin: float | None, told: Told, title: str) -> Picture:
    """The value as a line within the band of its bounds; the margin is dashed.

    The scale shows the values, the margin and the latest bounds. Early bounds are as wide as all that is
    possible; where they leave the scale the band is cut.

    Args:
        points: one or more, oldest first.
        margin: what the value is held against, or None.
        told: writes one value.
        title: what the value is.
    """
    last = points[-1]
    seen = [*(point.value for point in points), last.low, last.high, *([] if margin is None else [margin])]
    extent = max(seen) - min(seen) or abs(max(seen)) or 1.0
    low, high = min(seen) - ROOM * extent, max(seen) + ROOM * extent
    if min(seen) >= 0:
        low = max(low, 0.0)
    bottom = TOP + HEIGHT
    upwards = Scale(low, high, bottom, TOP)
    left = EDGE + 8 + max(text_width(told(value), LETTERS) for value in (low, high, margin or 0.0))
    right = WIDE - EDGE - 6
    length = last.at - points[0].at or 1.0
    over = Scale(points[0].at, points[0].at + length, left, right) if len(points) > 1 else None

    def x(point: Point) -> float:
        return (left + right) / 2 if over is None else over(point.at)

    def y(value: float) -> float:
        return upwards(within(value, low, high))

    marks = rising(upwards, left, right, told)
    if len(points) > 1:
        above = [(x(point), y(point.high)) for point in points]
        below = [(x(point), y(point.low)) for point in reversed(points)]
        marks.append(Shape((*above, *below), "band"))
        marks.append(stroke([(x(point), y(point.value)) for point in points], 2, "raise"))
    else:
        marks.append(Line(x(last), y(last.low), x(last), y(last.high), "raise", 2))
    if margin is not None:
        marks += _margin(y(margin), left, right, f"margin {told(margin)}")
    marks.append(Shape(disc(x(last), y(last.value), 4.5), "raise", f"{last.when}: {told(last.value)}"))
    marks += _dates(points, left, right, bottom + 18)
    return Picture(bottom + 26, title, _described(points, margin, told), tuple(marks), WIDE)


def _margin(y: float, left: float, right: float, said: str) -> list[Mark]:
    above = y - 5 if y > TOP + LETTERS + 6 else y + LETTERS + 3
    return [
        Line(left, y, right, y, "warning", 1.5, dashed=True),
        Text(left + 4, above, said, "warning", LETTERS),
    ]


def _dates(points: Sequence[Point], left: float, right: float, y: float) -> list[Mark]:
    if len(points) == 1:
        return [Text((left + right) / 2, y, points[0].when, "muted", LETTERS, "middle")]
    return [
        Text(left, y, points[0].when, "muted", LETTERS),
        Text(right, y, points[-1].when, "muted", LETTERS, "end"),
    ]


def _described(points: Sequence[Point], margin: float | None, told: Told) -> str:
    last = points[-1]
    said = f"At {last.when} {told(last.value)}, surely between {told(last.low)} and {told(last.high)}"
    if len(points) > 1:
        first = points[0]
        said = (
            f"At {first.when} {told(first.value)}, between {told(first.low)} and {told(first.high)}. {said}"
        )
    return said + ("." if margin is None else f". The margin is {told(margin)}.")
