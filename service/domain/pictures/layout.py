"""Pictures as records: marks in pixels, from which every renderer draws the same.

The origin is the upper left corner and y grows downwards. Text is measured without a font: ``text_width`` is
an upper estimate for wide sans-serif fonts, so what is laid out with it fits in narrower ones too.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

WIDTH = 720
MARGIN = 24

Ink: TypeAlias = Literal["paper", "text", "muted", "grid", "band", "raise", "lower", "warning"]

INKS: dict[Ink, tuple[str, str]] = {
    "paper": ("#ffffff", "#0d1117"),
    "text": ("#1f2328", "#e6edf3"),
    "muted": ("#59636e", "#9198a1"),
    "grid": ("#dfe3e8", "#30363d"),
    "band": ("#d6e9f5", "#173b54"),
    "raise": ("#0072b2", "#56b4e9"),
    "lower": ("#d55e00", "#e69f00"),
    "warning": ("#9a3412", "#ffb86b"),
}
"""Colours on light and on dark paper; colour-blind eyes tell the blue from the orange (Okabe & Ito, 2008)."""

Pixels: TypeAlias = NDArray[np.uint8]
"""Red, green and blue, [height, width, 3]."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A filled polygon."""

    points: tuple[tuple[float, float], ...]
    ink: Ink
    tip: str = ""
    """What a pointer resting on it is told, where the medium can."""


@dataclass(frozen=True, slots=True)
class Line:
    """A straight stroke."""

    x1: float
    y1: float
    x2: float
    y2: float
    ink: Ink
    width: float = 1.0
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """One line of words; ``y`` is the line that letters stand on."""

    x: float
    y: float
    text: str
    ink: Ink = "text"
    size: float = 13.0
    anchor: Literal["start", "middle", "end"] = "start"
    bold: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Raster:
    """Pixels stretched over a rectangle."""

    x: float
    y: float
    width: float
    height: float
    pixels: Pixels


Mark: TypeAlias = Shape | Line | Text | Raster


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """Marks in drawing order on paper ``WIDTH`` px wide."""

    height: float
    title: str
    description: str
    """The picture in words, for those who do not see it."""
    marks: tuple[Mark, ...]
    width: float = WIDTH


@dataclass(frozen=True, slots=True)
class Scale:
    """Where a number lies: ``low`` at x = ``left``, ``high`` at x = ``right``."""

    low: float
    high: float
    left: float
    right: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.left + share * (self.right - self.left)


def scale_over(numbers: list[float], left: float, right: float) -> Scale:
    """A scale with some room on both sides of all ``numbers``; equal numbers lie in its middle."""
    low, high = min(numbers), max(numbers)
    room = (high - low) * 0.04 or abs(low) / 2 or 1.0
    return Scale(low - room, high + room, left, right)


def ticks(scale: Scale, most: int) -> tuple[float, ...]:
    """At most ``most`` round numbers (1, 2 or 5 times a power of ten apart) within the scale."""
    least = (scale.high - scale.low) / most
    power = 10.0 ** math.floor(math.log10(least))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))
    first, last = math.ceil(scale.low / step), math.floor(scale.high / step)
    return tuple(index * step for index in range(first, last + 1))


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Pixels that ``text`` takes at most in a sans-serif font of ``size`` px."""
    return sum(map(_advance, text)) * size * (1.1 if bold else 1.0)


def _advance(character: str) -> float:
    if unicodedata.combining(character):
        return 0.0
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    if character in " .,:;'|!()[]ijlIfrt/":
        return 0.42
    if character in "mwMW@%":
        return 0.98
    return 0.72 if character.isupper() else 0.64


def fitted(text: str, size: float, room: float, bold: bool = False) -> str:
    """``text``, cut with an ellipsis where it is wider than ``room`` px."""
    if (
        text_width(text, size, bold) <= room + 0.1
    ):  # what was measured with it in mind fits in spite of rounding
        return text
    left = room - text_width("…", size, bold)
    kept = 0
    for character in text:
        left -= text_width(character, size, bold)
        if left < 0:
            break
        kept += 1
    return text[:kept].rstrip() + "…"


def wrapped(text: str, size: float, room: float, most: int = 8) -> list[str]:
    """``text`` broken at spaces into lines of at most ``room`` px; what goes beyond ``most`` lines is cut."""
    lines: list[str] = []
    words = text.split()
    while words and len(lines) < most:
        line = words.pop(0)
        while words and text_width(f"{line} {words[0]}", size) <= room:
            line = f"{line} {words.pop(0)}"
        if words and len(lines) == most - 1:
            line = f"{line} {' '.join(words)}"
        lines.append(fitted(line, size, room))
    return lines
