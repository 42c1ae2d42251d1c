"""What a panel shows, before anybody draws it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Literal, TypeAlias

Step: TypeAlias = tuple[float | None, str]
"""From which value on which colour; None is for everything below the first bound."""
Bounds: TypeAlias = tuple[Step, ...]
Word: TypeAlias = tuple[str, str]
Unit: TypeAlias = Literal[
    "none",
    "short",
    "percentunit",
    "s",
    "reqps",
    "rowsps",
    "string",
    "suffix:times",
    "suffix:sd",
    "suffix:bins",
]
"""Names of Grafana; what follows ``suffix:`` is shown after the number. ``string`` shows the legend alone."""

FINE, WATCH, BAD = "green", "orange", "red"
PLAIN: Bounds = ((None, "text"),)
"""No value is better than another."""


class Kind(Enum):
    """How a panel looks."""

    LINES = auto()
    """One line for each series, over the time."""
    STACK = auto()
    """Parts of a whole, over the time."""
    NUMBER = auto()
    """What is so now."""
    STATES = auto()
    """One row for each series, coloured by its value, over the time."""
    HEAT = auto()
    """One row for each series, darker the larger, over the time."""
    HISTOGRAM = auto()
    """One row for each bucket of a histogram, over the time."""
    RANKING = auto()
    """One bar for each series, now."""
    BARS = auto()
    """For each value of a label a bar of every query, now; queries leave this one label."""
    TABLE = auto()
    """For each value of a label a row, for each query a column, now; queries leave this one label."""


@dataclass(frozen=True, slots=True)
class Query:
    """One expression."""

    expr: str
    """PromQL; ``$name`` is a variable of the dashboard."""
    legend: str
    """What its series are called; ``{{label}}`` is a label's value. Of a table, the column."""
    unit: Unit | None = None
    """Of a table's column, where it is not the panel's."""
    bounds: Bounds | None = None
    """Of a table's column."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture, its meaning, and where to read on."""

    kind: Kind
    title: str
    description: str
    unit: Unit
    queries: tuple[Query, ...]
    runbooks: tuple[str, ...] = ()
    """Names of alerts without their prefix."""
    bounds: Bounds = PLAIN
    words: Mapping[int, Word] = field(default_factory=dict)
    """What a value is called, in which colour."""
    least: float | None = None
    most: float | None = None
    by: str = ""
    """The label of bars and tables."""
    sort: str = ""
    """The column of a table with the largest value first; the first one where nothing is said."""
    empty: str = "nothing to show"
    """What is said where there is no value."""
    repeat: str = ""
    """A variable; one panel is drawn for each of its values."""
    width: int = 12
    """Of 24 columns."""
    height: int = 8
    """In rows of some 30 pixels."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


def more_is_worse(watch: float, bad: float | None = None) -> Bounds:
    """Fine below ``watch``, bad from ``bad`` on."""
    steps: Bounds = ((None, FINE), (watch, WATCH))
    return steps if bad is None else (*steps, (bad, BAD))


def less_is_worse(fine: float) -> Bounds:
    """Bad below ``fine``."""
    return ((None, BAD), (fine, FINE))


def apart(bound: float) -> Bounds:
    """Bad beyond either sign of ``bound``."""
    return ((None, BAD), (-bound, FINE), (bound, BAD))


def or_nought(expr: str, **labels: str) -> str:
    """The expression, or one 0 with ``labels`` where it is empty because nothing of its kind has happened."""
    nought = "vector(0)"
    for name, value in labels.items():
        nought = f'label_replace({nought}, "{name}", "{value}", "", "")'
    return f"{expr} or on () {nought}"


def quantile(share: float, buckets: str, by: str = "le") -> str:
    """A quantile of a histogram over five minutes; empty where nothing was observed, never NaN."""
    return f"histogram_quantile({share:g}, sum by ({by}) (rate({buckets}[5m]))) >= 0"


def mean(histogram: str, chosen: str, window: str, by: str = "") -> str:
    """What a histogram observed on average; empty where it observed nothing."""
    total, count = (
        f"sum by ({by}) (increase({histogram}_{part}{{{chosen}}}[{window}]))" for part in ("sum", "count")
    )
    return f"{total} / ({count} > 0)"
