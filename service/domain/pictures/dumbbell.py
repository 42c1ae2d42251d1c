"""Two models' reasons for one row, feature by feature: a diamond for production, a disc for the candidate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from service.domain.pictures.frame import BODY, HEAD, SMALL, axis, head, side_width
from service.domain.pictures.layout import (
    MARGIN,
    WIDTH,
    Line,
    Mark,
    Picture,
    Shape,
    Text,
    fitted,
    scale_over,
    text_width,
)
from service.domain.pictures.wording import Numbers, clean

ROW = 27.0
TOP = 12
LABELS = 230.0
MEASURED = "share of the total influence"
"""Models on different scales can be compared by shares; see ``service.domain.disagreement.reasons``."""


def dumbbell(moved: Sequence[Mapping[str, Any]], names: tuple[str, str]) -> Picture:
    """The features whose influence moved, at most ``TOP`` of them, in the order given.

    Args:
        moved: one or more of ``{"feature", "production", "candidate"}`` with signed shares of the influence.
        names: the tags of production and candidate.
    """
    shown = moved[:TOP]
    pairs = [(float(entry["production"]), float(entry["candidate"])) for entry in shown]
    numbers = Numbers.of(max(map(abs, sum(pairs, ()))))
    values = [f"{numbers.signed(before)} → {numbers.signed(after)}" for before, after in pairs]
    labels = [fitted(clean(str(entry["feature"])), BODY, LABELS) for entry in shown]
    left, right = MARGIN + side_width(labels) + 14, WIDTH - MARGIN - side_width(values) - 12
    scale = scale_over([0.0, *sum(pairs, ())], left, right)
    bottom = HEAD + ROW * len(shown)
    title = f"What moved from {names[0]} to {names[1]}"
    marks = head(title, f"the {len(shown)} features whose {MEASURED} moved most")
    marks += axis(scale, HEAD, bottom, MEASURED)
    marks.append(Line(scale(0), HEAD, scale(0), bottom, "muted"))
    for place, (label, (before, after), value) in enumerate(zip(labels, pairs, values, strict=True)):
        middle = HEAD + ROW * (place + 0.5)
        tip = f"{label}: {value}"
        marks += [
            Text(left - 14, middle + 4.5, label, anchor="end"),
            Line(scale(before), middle, scale(after), middle, "muted", 3),
            Shape(diamond(scale(before), middle, 7), "raise", tip),
            Shape(disc(scale(after), middle, 6), "lower", tip),
            Text(WIDTH - MARGIN, middle + 4.5, value, anchor="end"),
        ]
    marks += _legend(names, bottom + 58)
    described = "; ".join(f"{label}: {value}" for label, value in zip(labels, values, strict=True))
    return Picture(bottom + 76, title, f"{MEASURED}: {described}.", tuple(marks))


def diamond(x: float, y: float, radius: float) -> tuple[tuple[float, float], ...]:
    """A square on its corner."""
    return ((x - radius, y), (x, y - radius), (x + radius, y), (x, y + radius))


def disc(x: float, y: float, radius: float) -> tuple[tuple[float, float], ...]:
    """A circle, as near as 24 corners come to it."""
    turns = [2 * math.pi * corner / 24 for corner in range(24)]
    return tuple((x + radius * math.cos(turn), y + radius * math.sin(turn)) for turn in turns)


def _legend(names: tuple[str, str], y: float) -> list[Mark]:
    production, candidate = f"production {names[0]}", f"candidate {names[1]}"
    second = MARGIN + 40 + text_width(production, SMALL)
    return [
        Shape(diamond(MARGIN + 7, y - 4, 7), "raise"),
        Text(MARGIN + 20, y, production, "muted", SMALL),
        Shape(disc(second + 7, y - 4, 6), "lower"),
        Text(second + 20, y, candidate, "muted", SMALL),
    ]
