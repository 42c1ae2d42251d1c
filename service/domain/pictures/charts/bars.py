"""Bars with their names and numbers, alone or in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.domain.pictures.charts.canvas import EDGE, LETTERS, WIDE, bar, largest
from service.domain.pictures.layout import Ink, Line, Mark, Picture, Text, fitted, text_width
from service.domain.pictures.wording import clean

ROW, TWIN_ROW = 22.0, 30.0
NAMES = 150.0
"""Names are cut where they are wider than this, in px."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One name with its number, and the number written out."""

    name: str
    length: float
    said: str
    strong: bool = False
    """Whether it asks for attention; the words that go with it must say so too."""


def bars(entries: Sequence[Bar], title: str) -> Picture:
    """One bar below the other, in the order given.

    Args:
        entries: one or more, with lengths from 0.
        title: what the lengths are.
    """
    names = [fitted(clean(entry.name), LETTERS, NAMES) for entry in entries]
    left, right = _columns(names, [entry.said for entry in entries])
    most = largest([entry.length for entry in entries])
    top = 4.0
    bottom = top + ROW * len(entries)
    marks: list[Mark] = []
    for place, (entry, name) in enumerate(zip(entries, names, strict=True)):
        middle = top + ROW * (place + 0.5)
        end = left + max(entry.length, 0.0) / most * (right - left)
        if entry.length > 0:
            ink: Ink = "lower" if entry.strong else "raise"
            marks.append(bar(left, max(end, left + 1.5), middle, 14, ink, f"{name}: {entry.said}"))
        marks += _row(name, entry.said, left, middle)
    marks.append(Line(left, top, left, bottom, "muted"))
    described = "; ".join(f"{name}: {entry.said}" for name, entry in zip(names, entries, strict=True))
    return Picture(bottom + 6, title, f"{described}.", tuple(marks), WIDE)


@dataclass(frozen=True, slots=True)
class Twin:
    """One name with two numbers."""

    name: str
    before: float
    after: float
    said: str


def twins(entries: Sequence[Twin], legend: tuple[str, str], title: str) -> Picture:
    """Two bars for each name: the upper, grey one is what the lower is compared with."""
    names = [fitted(clean(entry.name), LETTERS, NAMES) for entry in entries]
    left, right = _columns(names, [entry.said for entry in entries])
    most = largest([length for entry in entries for length in (entry.before, entry.after)])
    top = 26.0
    bottom = top + TWIN_ROW * len(entries)
    marks: list[Mark] = []
    for place, (entry, name) in enumerate(zip(entries, names, strict=True)):
        middle = top + TWIN_ROW * (place + 0.5)
        sides: tuple[tuple[float, float, Ink], ...] = (
            (middle - 5.5, entry.before, "muted"),
            (middle + 5.5, entry.after, "raise"),
        )
        for y, length, ink in sides:
            if length > 0:
                end = left + length / most * (right - left)
                marks.append(bar(left, max(end, left + 1.5), y, 9, ink))
        marks += _row(name, entry.said, left, middle)
    marks.append(Line(left, top, left, bottom, "muted"))
    marks += _legend(legend)
    described = "; ".join(f"{name}: {entry.said}" for name, entry in zip(names, entries, strict=True))
    said = f"{legend[0]} → {legend[1]}. {described}."
    return Picture(bottom + 6, title, said, tuple(marks), WIDE)


def _columns(names: Sequence[str], said: Sequence[str]) -> tuple[float, float]:
    """Where bars begin and where the longest ends."""
    left = EDGE + max(text_width(name, LETTERS) for name in names) + 8
    numbers = max(text_width(text, LETTERS) for text in said)
    return left, max(left + 40, WIDE - EDGE - numbers - 10)


def _row(name: str, said: str, left: float, middle: float) -> list[Mark]:
    return [
        Text(left - 8, middle + 4.5, name, "text", LETTERS, "end"),
        Text(WIDE - EDGE, middle + 4.5, said, "muted", LETTERS, "end"),
    ]


def _legend(names: tuple[str, str]) -> list[Mark]:
    second = EDGE + 34 + text_width(names[0], LETTERS)
    return [
        bar(EDGE, EDGE + 14, 10, 9, "muted"),
        Text(EDGE + 20, 14.5, names[0], "muted", LETTERS),
        bar(second, second + 14, 10, 9, "raise"),
        Text(second + 20, 14.5, names[1], "muted", LETTERS),
    ]
