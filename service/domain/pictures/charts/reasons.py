"""Two models' reasons for one row, side by side on scales of their own.

Models may count in different units, so each side shows shares of its model's whole influence, as
``service.domain.disagreement.reasons`` compares them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from service.domain.pictures.charts.canvas import EDGE, LETTERS, WIDE, largest
from service.domain.pictures.frame import arrow
from service.domain.pictures.layout import Ink, Line, Mark, Picture, Scale, Shape, Text, fitted, text_width
from service.domain.pictures.wording import MINUS, clean

ROW = 22.0
TOP = 42.0
NAMES = 176.0
"""Most room for the name of a feature: patches of an image begin alike."""


def shares(values: Mapping[str, float]) -> dict[str, float]:
    """Each value as a signed share of their summed magnitudes; all nought where there is no influence."""
    most = largest(list(values.values()))
    whole = math.fsum(abs(value / most) for value in values.values())
    return {name: value / most / whole if whole else 0.0 for name, value in values.items()}


def reasons(
    production: Mapping[str, float], candidate: Mapping[str, float], names: tuple[str, str], most: int = 8
) -> Picture:
    """The features that weigh most in either model, production's shares left and the candidate's right.

    Args:
        production: feature to its signed share of the influence.
        candidate: the same; the two have one feature or more between them.
        names: tags of both.
        most: features shown.
    """

    def weight(name: str) -> float:
        return max(abs(production.get(name, 0.0)), abs(candidate.get(name, 0.0)))

    every = sorted({**production, **candidate}, key=lambda name: (-weight(name), name))[:most]
    labels = [fitted(clean(name), LETTERS, NAMES) for name in every]
    left = EDGE + max(text_width(label, LETTERS) for label in labels) + 10
    half = (WIDE - EDGE - left - 12) / 2
    reach = largest([weight(name) for name in every]) * 1.02
    sides = (Scale(-reach, reach, left, left + half), Scale(-reach, reach, left + half + 12, WIDE - EDGE))
    bottom = TOP + ROW * len(every)
    marks: list[Mark] = []
    for scale, name in zip(sides, names, strict=True):
        middle = (scale.left + scale.right) / 2
        tag = fitted(clean(name), LETTERS, half, bold=True)
        marks.append(Text(middle, 16, tag, "text", LETTERS, "middle", bold=True))
        marks.append(Text(scale.left, 34, "lowers", "muted", LETTERS))
        marks.append(Text(scale.right, 34, "raises", "muted", LETTERS, "end"))
        marks.append(Line(middle, TOP, middle, bottom, "muted"))
    said = []
    for place, (name, label) in enumerate(zip(every, labels, strict=True)):
        y = TOP + ROW * (place + 0.5)
        marks.append(Text(left - 10, y + 4.5, label, "text", LETTERS, "end"))
        told = []
        for scale, values in zip(sides, (production, candidate), strict=True):
            share = values.get(name, 0.0)
            told.append(_percent(share))
            if share:
                ink: Ink = "raise" if share > 0 else "lower"
                marks.append(Shape(arrow(scale(0.0), scale(share), y, 13), ink, f"{label}: {told[-1]}"))
        said.append(f"{label}: {told[0]} and {told[1]}")
    first, second = (clean(name) for name in names)
    described = f"Shares of the influence in {first} and in {second}. {'; '.join(said)}."
    return Picture(bottom + 8, "Both models' reasons side by side", described, tuple(marks), WIDE)


def _percent(share: float) -> str:
    sign = "+" if share > 0 else MINUS if share < 0 else ""
    return f"{sign}{abs(share):.0%}"
