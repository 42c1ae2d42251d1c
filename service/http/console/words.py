"""How the console writes numbers, times and the words of the report."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import datetime, timedelta

from service.domain.pictures.wording import MINUS, number, sentence

Write = Callable[[float | None], str]

NONE = "\N{EN DASH}"
"""Stands where a number is not known."""
SPACE = "\N{NO-BREAK SPACE}"
TIMES = f"{SPACE}\N{MULTIPLICATION SIGN}"

OUTCOMES = {
    "compared": "Compared: both models answered",
    "sampled_out": "Left out by the sampling rate",
    "queue_full": "A queue on the way was full",
    "deadline": "Waited too long, or the candidate was too slow",
    "breaker_open": "The candidate was paused after failures",
    "candidate_error": "The candidate failed",
    "too_large": "One row alone was too large to mirror",
    "shadow_down": "No shadow was running",
}
CRITERIA = {
    "flip_rate": "Rows with another label",
    "beyond_tolerance": "Rows beyond the tolerance",
    "gap": "Mean gap of the scores",
    "failures": "Rows on which the candidate failed",
    "accuracy": "Accuracy gained or lost",
    "loss": "Loss gained or lost",
    "nearer": "Candidate nearer to the truth",
    "cost": "Cost gained or lost",
}
REASONS = {
    "thin_data": "Too few rows have been compared",
    "thin_labels": "Too few labels have come",
    "refused": "The candidate may not serve",
    "behaviour": "A check of its behaviour fails",
    "coverage": "Too small a share of the rows is compared",
    "not_representative": "The compared rows do not look like the traffic",
    "too_large": "Too many rows are too large to mirror",
    "stale": "The evidence is old",
}
VARIANTS = {
    "threads": "with another number of threads",
    "alone": "one row at a time",
    "session": "in another session",
    "provider": "on another provider",
}
VARIABLES = {"domain": "distance from the reference data"}
"""Names that say too little by themselves."""
STATES = {
    "pass": "passes",
    "fail": "fails",
    "open": "undecided",
    "waived": "waived",
}


def share(value: float | None) -> str:
    """A part of a whole, in percent with three digits."""
    if value is None:
        return NONE
    percent = 100 * value
    if percent and abs(percent) < 0.001:
        return f"{number(percent, 2)}{SPACE}%"
    decimals = 0 if not percent else min(3, max(0, 2 - math.floor(math.log10(abs(percent)))))
    said = f"{percent:.{decimals}f}"
    if "." in said:
        said = said.rstrip("0").rstrip(".")
    return f"{said.replace('-', MINUS)}{SPACE}%"


def points(value: float | None) -> str:
    """A difference of two shares, in percentage points with its sign."""
    if value is None:
        return NONE
    said = share(value).removesuffix(f"{SPACE}%")
    return f"{'+' if value > 0 else ''}{said}{SPACE}points"


def span(write: Write, low: float | None, high: float | None) -> str:
    """Two bounds; a unit that both have is written once."""
    if low is None and high is None:
        return NONE
    before, after = write(low), write(high)
    unit = after.partition(SPACE)[2]
    return f"{before.removesuffix(SPACE + unit) if unit else before} to {after}"


def variable(name: str | None) -> str:
    """A variable of the reference data as people call it."""
    kind, colon, rest = (name or "unknown").partition(":")
    if not colon:
        return VARIABLES.get(kind, kind)
    return rest if kind == "feature" else f"{kind} of {rest}"


def bin_of(name: str | None) -> str:
    """A bin as people call it: without what sorts it, and without what tells words from numbers."""
    return re.sub(r"^(?:\d\d|is) ", "", name or "unknown")


def amount(value: float | None) -> str:
    """Any other number, with three digits."""
    return NONE if value is None else number(float(f"{value:.3g}"), 3)


def signed(value: float | None) -> str:
    """The same with its sign."""
    return NONE if value is None else ("+" if value > 0 else "") + amount(value)


def count(value: float | None) -> str:
    """So many rows."""
    if value is None:
        return NONE
    return f"{value:,.0f}".replace("-", MINUS) if abs(value) < 1e15 else amount(value)


def about(value: float) -> str:
    """A number of rows that is only guessed, with two digits."""
    return count(float(f"{value:.2g}"))


def rows(value: float | None) -> str:
    """So many rows, with the noun."""
    return f"{count(value)} {'row' if value == 1 else 'rows'}"


def seconds(value: float | None) -> str:
    """A duration in the unit that suits it."""
    if value is None:
        return NONE
    for unit, length in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= length:
            return f"{amount(value / length)}{SPACE}{unit}"
    return f"{amount(value / 1e-9)}{SPACE}ns"


def when(at: datetime | None) -> str:
    """A moment to the second."""
    return NONE if at is None else f"{at.day} {at:%b %Y, %H:%M:%S} UTC"


def day(at: datetime) -> str:
    """A moment on an axis."""
    return f"{at.day} {at:%b %H:%M}"


def age(past: timedelta) -> str:
    """How long ago, in the largest unit of which there are two."""
    length = max(past.total_seconds(), 0.0)
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if length >= 2 * size:
            return f"{int(length // size):,} {unit}s"
    return "1 second" if int(length) == 1 else f"{int(length)} seconds"


def because(code: str, detail: str | None) -> str:
    """A reason of the verdict as one or two sentences."""
    said = sentence(REASONS.get(code, code.replace("_", " ")))
    return said if not detail else f"{said} {sentence(detail)}"
