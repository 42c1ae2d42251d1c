"""The waterfall: how an output came about, from the average through one feature after the other.

Where a method's values are not parts of the output (LIME, occlusion), nothing may be stacked: the same bars
then all begin at zero and no output is shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.domain.pictures.frame import (
    BODY,
    HEAD,
    ROOM,
    arrow,
    axis,
    document_foot,
    document_head,
    legend,
    side_width,
)
from service.domain.pictures.layout import (
    MARGIN,
    WIDTH,
    Ink,
    Line,
    Mark,
    Picture,
    Scale,
    Shape,
    Text,
    scale_over,
)
from service.domain.pictures.wording import (
    QUANTILE,
    Document,
    Numbers,
    adds_up,
    headline,
    labelled,
    reached,
    told,
    unit,
)

TOP = 12
"""Features that get a bar of their own."""

ROW, BAR = 27.0, 17.0
LABELS = 270.0
"""Widest the column of labels may get."""

NO_OTHERS = {"features": 0, "value": 0.0}


@dataclass(frozen=True, slots=True)
class Bar:
    """One contribution, in units of the explained output."""

    name: str
    told: str | None
    """What the caller sent; None for what has no value of its own."""
    value: float
    start: float
    end: float
    error: float | None
    """Half the width of the whisker: 1.96 standard errors."""

    def label(self, room: float) -> str:
        return labelled(self.name, self.told, BODY, room)


def bars_of(document: Document, top: int = TOP) -> tuple[Bar, ...]:
    """The ``top`` features by size, greatest first, then all others as one bar if the values add up.

    The bar of the others has no whisker: errors of features that were sampled together do not add up
    to the error of their sum.
    """
    values, data = document["values"], document.get("data") or {}
    errors, others = document.get("standard_errors") or {}, document.get("others") or NO_OTHERS
    stacked = adds_up(document)
    order = sorted(values, key=lambda name: -abs(values[name]))
    shown = len(order) if len(order) <= top + 1 else top
    at = float(document["base_value"]) if stacked else 0.0
    found = []
    for name in order[:shown]:
        value, error = float(values[name]), errors.get(name)
        said = told(data[name]) if name in data else None
        found.append(Bar(name, said, value, at, at + value, None if error is None else QUANTILE * error))
        at += value if stacked else 0.0
    count = len(order) - shown + int(others["features"])
    if count and stacked:
        value = math.fsum([*(values[name] for name in order[shown:]), others["value"]])
        found.append(Bar(_others(count), None, value, at, at + value, None))
    return tuple(found)


def _others(count: int) -> str:
    return "1 other feature" if count == 1 else f"{count} other features"


def waterfall(document: Document, model: Mapping[str, Any], top: int = TOP) -> Picture:
    """The picture of one explanation.

    Args:
        document: an explanation with values.
        model: at least ``name`` and ``version``.
        top: how many features get a bar of their own.
    """
    bars, stacked = bars_of(document, top), adds_up(document)
    numbers = Numbers.of(max((abs(bar.value) for bar in bars), default=0.0))
    ends = [("average", _own(numbers, document["base_value"])), ("output", _own(numbers, reached(document)))]
    scale = _scale(bars, document, numbers, [number for _, number in ends] if stacked else [])
    top_y = HEAD + (ROW if stacked else 0)
    bottom = top_y + ROW * len(bars) + (ROW if stacked else 0)
    marks = document_head(document, model)
    marks += axis(scale, HEAD, bottom + 4, unit(document))
    marks += legend(bottom + 38)
    if stacked:
        marks += _end(scale, HEAD + ROW / 2, bars[0].start, *ends[0], "muted", bottom)
    else:
        marks.append(Line(scale(0), HEAD, scale(0), bottom, "muted"))
    for place, bar in enumerate(bars):
        middle = top_y + ROW * (place + 0.5)
        marks += _bar(scale, middle, bar, numbers, stacked)
    if stacked:
        marks += _end(scale, bottom - ROW / 2, bars[-1].end, *ends[1], "text", bottom)
    left_out = len(document["values"]) + int((document.get("others") or NO_OTHERS)["features"]) - len(bars)
    note = f"{_others(left_out)} not shown" if left_out and not stacked else None
    foot, height = document_foot(document, bottom + 50, note)
    description = _described(bars, numbers, ends if stacked else [], unit(document))
    return Picture(height, headline(document, model), description, tuple(marks + foot))


def _own(numbers: Numbers, value: float) -> str:
    """The average or the output, which may be far greater than what lies between them."""
    text = numbers.plain(value)
    return text if len(text) <= 14 else Numbers(None).plain(value)


def _value(bar: Bar, numbers: Numbers) -> str:
    error = "" if bar.error is None else f" ± {numbers.plain(bar.error)}"
    return numbers.signed(bar.value) + error


def _scale(bars: tuple[Bar, ...], document: Document, numbers: Numbers, ends: list[str]) -> Scale:
    """Leaves the labels on the left and the values on the right as much room as they need."""
    labels = [bar.label(LABELS) for bar in bars]
    left = MARGIN + max(side_width(labels), side_width(["average"])) + 14
    right = (
        WIDTH
        - MARGIN
        - max(side_width(ends, bold=True), side_width(_value(bar, numbers) for bar in bars))
        - 12
    )
    reach = [] if adds_up(document) else [0.0]
    for bar in bars:
        error = bar.error or 0.0
        reach += [bar.start, bar.end - error, bar.end + error]
    return scale_over(reach or [0.0], left, right)


def _bar(scale: Scale, middle: float, bar: Bar, numbers: Numbers, stacked: bool) -> list[Mark]:
    start, end = scale(bar.start), scale(bar.end)
    ink: Ink = "raise" if bar.value >= 0 else "lower"
    tip = f"{bar.label(10 * ROOM)}: {_value(bar, numbers)}"
    marks: list[Mark] = [
        Text(scale.left - 14, middle + 4.5, bar.label(scale.left - 14 - MARGIN), anchor="end"),
        Shape(arrow(start, end, middle, BAR), ink, tip),
        Text(WIDTH - MARGIN, middle + 4.5, _value(bar, numbers), anchor="end"),
    ]
    if stacked:
        marks.append(Line(end, middle, end, middle + ROW, "muted"))
    if bar.error:
        marks += whisker(scale(bar.end - bar.error), scale(bar.end + bar.error), middle)
    return marks


def whisker(left: float, right: float, middle: float) -> list[Mark]:
    """An error bar with a rim of paper, so that it is seen on a bar and beside it."""
    marks: list[Mark] = []
    strokes: tuple[tuple[Ink, float], ...] = (("paper", 4.0), ("text", 1.5))
    for ink, width in strokes:
        marks.append(Line(left, middle, right, middle, ink, width))
        marks += [Line(x, middle - 4.5, x, middle + 4.5, ink, width) for x in (left, right)]
    return marks


def _end(
    scale: Scale, middle: float, value: float, name: str, number: str, ink: Ink, bottom: float
) -> list[Mark]:
    """The row of the average or of the output: a dashed line through the picture and a diamond."""
    x, bold = scale(value), name == "output"
    diamond = ((x - 6, middle), (x, middle - 6), (x + 6, middle), (x, middle + 6))
    return [
        Line(x, HEAD, x, bottom + 4, ink, dashed=True),
        Shape(diamond, ink, f"{name}: {number}"),
        Text(scale.left - 14, middle + 4.5, name, ink, anchor="end", bold=bold),
        Text(WIDTH - MARGIN, middle + 4.5, number, ink, anchor="end", bold=bold),
    ]


def _described(bars: tuple[Bar, ...], numbers: Numbers, ends: list[tuple[str, str]], measured: str) -> str:
    parts = [f"{bar.label(10 * ROOM)}: {_value(bar, numbers)}" for bar in bars]
    if ends:
        parts = [f"average {ends[0][1]}", *parts, f"output {ends[1][1]}"]
    return f"In {measured}. " + "; ".join(parts) + "."
