"""What the page is made of: frozen records that templates lay out and nothing computes any more.

Texts are plain; the template escapes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from service.domain.pictures.layout import Picture

Mark: TypeAlias = Literal["", "pass", "fail", "open", "waived"]
"""How a criterion stands; shown as a sign and a colour beside its word."""


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One cell of a table."""

    text: str
    number: bool = False
    """Whether it lines up to the right."""
    shade: int = 0
    """0 to 5: how dark its ground is; the number in it says the same."""
    mark: Mark = ""
    picture: Picture | None = None
    """Stands in the place of the text."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The first column names the rows."""

    kind: ClassVar[str] = "table"
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    """What was left out, or how to read it."""
    heard: bool = False
    """Whether the caption is only for those who listen: a heading above says the same to the others."""


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """A picture with its caption, and its numbers as a table that can be unfolded."""

    kind: ClassVar[str] = "chart"
    caption: str
    picture: Picture
    table: Table | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and what is to be said of them."""

    kind: ClassVar[str] = "facts"
    entries: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Words:
    """A paragraph."""

    kind: ClassVar[str] = "words"
    text: str
    tone: Literal["plain", "quiet", "warning"] = "plain"


@dataclass(frozen=True, slots=True)
class Fold:
    """Something that is read by those who unfold it."""

    kind: ClassVar[str] = "fold"
    summary: str
    blocks: tuple[Block, ...]
    open: bool = False


@dataclass(frozen=True, slots=True)
class Beside:
    """Columns of blocks, which stand below each other where there is no room."""

    kind: ClassVar[str] = "beside"
    columns: tuple[tuple[Block, ...], ...]


Block: TypeAlias = Table | Chart | Facts | Words | Fold | Beside


@dataclass(frozen=True, slots=True)
class Part:
    """One question about a candidate, with its answer."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Banner:
    """The verdict at a glance."""

    state: Literal["promote", "hold", "rollback", "none"]
    word: str
    because: str
    reasons: tuple[str, ...]
    more: str
    """How many more rows a decision needs; empty where that is not known."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One candidate."""

    tag: str
    anchor: str
    banner: Banner
    warnings: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    as_of: str
    parts: tuple[Part, ...]
    """In the order in which they are read."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Drift, of the page as a whole."""

    word: str
    """Of production, for the index."""
    drifted: bool
    """Whether production's has."""
    warnings: tuple[str, ...]
    as_of: str
    parts: tuple[Part, ...]
    """One for each model, production's first."""


def cells(*texts: str) -> tuple[Cell, ...]:
    """A row whose first cell is a name and whose others are numbers."""
    return tuple(Cell(text, number=place > 0) for place, text in enumerate(texts))


def few(count: int, shown: int, noun: str) -> str:
    """What a table says that does not show everything; nothing where it does."""
    return f"The first {shown:,} of {count:,} {noun}; the JSON report holds all." if count > shown else ""
