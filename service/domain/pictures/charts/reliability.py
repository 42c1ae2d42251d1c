"""How often models are right against how sure they are: on the diagonal they are as right as they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from service.domain.pictures.charts.canvas import EDGE, LETTERS, WIDE, Told, rising
from service.domain.pictures.dumbbell import diamond, disc
from service.domain.pictures.layout import Ink, Line, Mark, Picture, Scale, Shape, Text, text_width, ticks
from service.domain.pictures.wording import clean

TOP, HEIGHT = 30.0, 220.0


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows that a model was about equally sure of; both numbers from 0 to 1."""

    confidence: float
    accuracy: float


def reliability(
    production: Sequence[Bin], candidate: Sequence[Bin], names: tuple[str, str], told: Told
) -> Picture:
    """Diamonds for production, discs for the candidate; one of the two may have no bins.

    Args:
        production: bins in ascending order of confidence.
        candidate: the same.
        names: tags of both.
        told: writes a share.
    """
    every = [*production, *candidate]
    least = min(min(found.confidence, found.accuracy) for found in every)
    low = max(0.0, round(least - 0.05, 1))
    bottom, left = TOP + HEIGHT, EDGE + 8 + text_width(told(1.0), LETTERS)
    right = WIDE - EDGE - 20
    over, upwards = Scale(low, 1.0, left, right), Scale(low, 1.0, bottom, TOP)
    marks = rising(upwards, left, right, told)
    for value in ticks(over, 5):
        marks.append(Text(over(value), bottom + 18, told(value), "muted", LETTERS, "middle"))
    middle = (left + right) / 2
    marks.append(Text(middle, bottom + 36, "how sure it was", "muted", LETTERS, "middle"))
    marks.append(Line(left, bottom, right, TOP, "muted", 1.5, dashed=True))
    marks += _track(production, over, upwards, "raise") + _track(candidate, over, upwards, "lower")
    for found in production:
        marks.append(Shape(diamond(over(found.confidence), upwards(found.accuracy), 6), "raise"))
    for found in candidate:
        marks.append(Shape(disc(over(found.confidence), upwards(found.accuracy), 5), "lower"))
    marks += _legend(names)
    described = " ".join(
        f"{clean(name)}: "
        + "; ".join(f"{told(found.confidence)} sure, {told(found.accuracy)} right" for found in bins)
        + "."
        for name, bins in zip(names, (production, candidate), strict=True)
        if bins
    )
    return Picture(bottom + 46, "How often it was right, by how sure it was", described, tuple(marks), WIDE)


def _track(bins: Sequence[Bin], over: Scale, upwards: Scale, ink: Ink) -> list[Mark]:
    return [
        Line(
            over(before.confidence),
            upwards(before.accuracy),
            over(after.confidence),
            upwards(after.accuracy),
            ink,
            1.5,
        )
        for before, after in pairwise(bins)
    ]


def _legend(names: tuple[str, str]) -> list[Mark]:
    first, second = (clean(name) for name in names)
    start = EDGE + 34 + text_width(first, LETTERS)
    return [
        Shape(diamond(EDGE + 7, 10, 6), "raise"),
        Text(EDGE + 20, 14.5, first, "muted", LETTERS),
        Shape(disc(start + 7, 10, 5), "lower"),
        Text(start + 20, 14.5, second, "muted", LETTERS),
    ]
