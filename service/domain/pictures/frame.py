"""What pictures have in common: a head with the title, an axis, a foot of warnings and provenance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from service.domain.pictures.layout import (
    MARGIN,
    WIDTH,
    Ink,
    Line,
    Mark,
    Scale,
    Shape,
    Text,
    fitted,
    text_width,
    ticks,
    wrapped,
)
from service.domain.pictures.wording import (
    Document,
    Numbers,
    background,
    certain_order,
    clean,
    exactness,
    headline,
    unit,
    warnings,
)

TITLE, SUBTITLE, BODY, SMALL = 18.0, 13.0, 13.0, 11.5
ROOM = WIDTH - 2 * MARGIN
LEGEND = 180.0
HEAD = 76.0
"""Height of the head."""


def head(title: str, subtitle: str) -> list[Mark]:
    """Title and subtitle, ``HEAD`` px high."""
    return [
        Text(MARGIN, 36, fitted(title, TITLE, ROOM, bold=True), "text", TITLE, bold=True),
        Text(MARGIN, 58, fitted(subtitle, SUBTITLE, ROOM), "muted", SUBTITLE),
    ]


def document_head(document: Document, model: Mapping[str, Any]) -> list[Mark]:
    """The head of a picture of one explanation."""
    subtitle = f"{clean(document['method'])} · {exactness(document)} · {unit(document)}"
    return head(headline(document, model), subtitle)


def document_foot(document: Document, top: float, note: str | None = None) -> tuple[list[Mark], float]:
    """Warnings, a note and what the values are relative to, from ``top`` on; with the picture's height."""
    lines: list[tuple[str, Ink]] = [(warning, "warning") for warning in warnings(document)]
    order = certain_order(document) if document.get("standard_errors") else None
    said = [note, background(document), order]
    lines.append((" · ".join(part for part in said if part), "muted"))
    marks: list[Mark] = []
    for text, ink in lines:
        for line in wrapped(text, SMALL, ROOM, 4):
            top += 17
            marks.append(Text(MARGIN, top, line, ink, SMALL))
    return marks, top + 19


def side_width(texts: Iterable[str], bold: bool = False) -> float:
    """Width of a column that holds every text."""
    return max((text_width(text, BODY, bold) for text in texts), default=0.0)


def axis(scale: Scale, top: float, bottom: float, caption: str) -> list[Mark]:
    """Grid lines from ``top`` to ``bottom``, their numbers and what is measured; 44 px below ``bottom``."""
    found, numbers = _ticks(scale)
    marks: list[Mark] = []
    for value, number in zip(found, numbers, strict=True):
        x = scale(value)
        marks.append(Line(x, top, x, bottom, "grid"))
        marks.append(Text(x, bottom + 16, number, "muted", SMALL, "middle"))
    middle = (scale.left + scale.right) / 2
    caption = fitted(caption, SMALL, 2 * min(middle - LEGEND, WIDTH - MARGIN - middle))
    marks.append(Text(middle, bottom + 34, caption, "muted", SMALL, "middle"))
    return marks


def _ticks(scale: Scale) -> tuple[tuple[float, ...], list[str]]:
    """As many ticks as have room for their numbers, two or three at least."""
    most = 7
    while True:
        most -= 1
        found = ticks(scale, most)
        numbers = _tick_numbers(found)
        widest = side_width(numbers) * SMALL / BODY + 10
        if most == 2 or widest * max(len(found), 1) <= scale.right - scale.left:
            return found, numbers


def _tick_numbers(found: Sequence[float]) -> list[str]:
    """With just the decimals that tell neighbours apart; steps of other sizes in powers of ten."""
    step = min((after - before for before, after in pairwise(found)), default=1.0)
    largest = max(map(abs, found), default=0.0)
    if step >= 1e6 or (step < 1e-6 and largest < 1e-3):
        return [Numbers(None).plain(value) for value in found]
    return [Numbers(min(15, max(0, -math.floor(math.log10(step * 1.001))))).plain(value) for value in found]


def legend(y: float) -> list[Mark]:
    """What the two colours mean, left of the axis' caption and ``LEGEND`` px wide with the margin."""
    entries: tuple[tuple[float, str, Ink], ...] = (
        (MARGIN, "raises", "raise"),
        (MARGIN + 78, "lowers", "lower"),
    )
    marks: list[Mark] = []
    for left, text, ink in entries:
        start, end = (left, left + 16) if ink == "raise" else (left + 16, left)
        marks.append(Shape(arrow(start, end, y - 4, 10), ink))
        marks.append(Text(left + 22, y, text, "muted", SMALL))
    return marks


def arrow(start: float, end: float, middle: float, height: float) -> tuple[tuple[float, float], ...]:
    """A bar from x = ``start`` that points at x = ``end``: its direction is seen without colour."""
    half, tip = height / 2, min(abs(end - start), height / 2)
    neck = end - tip if end >= start else end + tip
    return (
        (start, middle - half),
        (neck, middle - half),
        (end, middle),
        (neck, middle + half),
        (start, middle + half),
    )
