"""A small language for conditions on a model's own columns: ``Age < 25 and Home in ('rent', 'other')``.

    condition   Age < 25        18 <= Age < 25      Debt > Assets       Home != 'rent'
                Home in ('rent', 'other')           Home not in ('rent', 'other')
                Income is missing                   Income is not missing
    together    not, and, or: ``not`` binds closest, ``or`` least; parentheses around conditions
    column      its name; in backticks where it is more than letters, digits, '_' and '.', or a word of this
                language: `petal length`
    word        in single or double quotes; a quote within is written twice

A missing value is in no comparison, see ``service.domain.conditions``. Everything is checked against the
schema when it is read, so that a condition cannot fail on a row later; nothing is ever executed.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, cast

from service.domain.conditions import (
    COMPARE,
    Both,
    Compare,
    CompareColumns,
    Condition,
    Either,
    Missing,
    Not,
    OneOf,
    Sign,
)
from service.domain.schema import LARGEST, Schema
from service.errors import UnderstudyError

LONGEST = 500
"""Characters of an expression."""
DEEPEST = 10
"""Parentheses and ``not`` within each other."""
WORDS_SHOWN = 8
"""Categories that a refusal lists."""

KEYWORDS = frozenset({"and", "or", "not", "in", "is", "missing"})
MIRRORED: dict[Sign, Sign] = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    | (?P<name>[^\W\d][\w.]*)
    | (?P<column>`(?:[^`]|``)*`)
    | (?P<word>'(?:[^']|'')*'|"(?:[^"]|"")*")
    | (?P<sign>==|!=|<=|>=|<|>|\(|\)|,)
    | (?P<end>\Z)
    )""",
    re.VERBOSE,
)


class ExpressionError(UnderstudyError, ValueError):
    """An expression is not understood, or does not fit the schema; says what is wrong and where."""


class Token(NamedTuple):
    """A piece of an expression's text."""

    kind: str
    """``number``, ``name``, ``column``, ``word``, ``sign`` or ``end``."""
    text: str
    at: int
    """The first character is 1."""

    def __str__(self) -> str:
        return f"{self.text!r} at character {self.at}" if self.text else "the end"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the schema, named in an expression."""

    index: int
    name: str
    categories: tuple[str, ...]
    may_miss: bool


Operand: TypeAlias = Column | float | str
"""A column, a number, or a quoted word."""


def compile_expression(text: str, schema: Schema) -> Condition:
    """The condition that an expression states about canonical rows of the schema.

    Raises:
        ExpressionError: it is too long, nested too deeply or malformed, names an unknown column or a word
            that is no category, or compares what cannot be compared.
    """
    if len(text) > LONGEST:
        raise ExpressionError(f"{len(text)} characters are too many; at most {LONGEST}")
    reader = _Reader(_tokens(text), schema)
    found = reader.either()
    rest = reader.take()
    if rest.kind != "end":
        raise ExpressionError(f"expected 'and', 'or' or the end, found {rest}")
    return found


def column_of(name: str, schema: Schema) -> Column:
    """The column of this name.

    Raises:
        ExpressionError: there is none; names the nearest that there is.
    """
    names = schema.names()
    if not names:
        raise ExpressionError(f"unknown column {name!r}: an image has none")
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        quoted = any(name in feature.categories for feature in schema.features)
        hint = "; words are quoted" if quoted else f"; there is {near[0]!r}" if near else ""
        raise ExpressionError(f"unknown column {name!r}{hint}")
    index = names.index(name)
    feature = schema.features[index]
    return Column(index, name, feature.categories, feature.missing)


def value_of(column: Column, value: float | str) -> float:
    """The value as canonical rows hold it: a word's index, or the number.

    Raises:
        ExpressionError: it is no category of a column of words, or no number of one of numbers.
    """
    if column.categories:
        if value not in column.categories:
            shown = ", ".join(column.categories[:WORDS_SHOWN])
            more = ", ..." if len(column.categories) > WORDS_SHOWN else ""
            raise ExpressionError(f"{_shown(value)} is no category of {column.name!r}: {shown}{more}")
        return float(column.categories.index(value))
    if isinstance(value, str):
        raise ExpressionError(f"{column.name!r} is a number, not {value!r}")
    if not -LARGEST <= value <= LARGEST:
        raise ExpressionError(f"{column.name!r} never is {value:g}: float32 ends at {LARGEST:g}")
    return value


def equal_to(column: Column, value: float | str) -> Condition:
    """The column has this value; raises as ``value_of``."""
    return Compare(column.index, "==", value_of(column, value))


def between(column: Column, low: float | None, high: float | None) -> Condition:
    """``low`` <= value < ``high``; None where there is no such end.

    Raises:
        ExpressionError: the column holds words, or no number is in the range.
    """
    if column.categories:
        raise ExpressionError(f"{column.name!r} holds words, which have no range")
    ends: list[tuple[Sign, float | None]] = [(">=", low), ("<", high)]
    given = [Compare(column.index, sign, value_of(column, end)) for sign, end in ends if end is not None]
    if not given or (low is not None and high is not None and low >= high):
        raise ExpressionError(
            f"a range of {column.name!r} has two numbers, the smaller one first, or null for one of them"
        )
    return given[0] if len(given) == 1 else Both(tuple(given))


def missing_of(column: Column) -> Condition:
    """The column has no value.

    Raises:
        ExpressionError: the schema refuses rows without one, so it always has.
    """
    if not column.may_miss:
        raise ExpressionError(f"{column.name!r} is never missing: the manifest refuses rows without it")
    return Missing(column.index)


def _tokens(text: str) -> list[Token]:
    found: list[Token] = []
    place = 0
    while not found or found[-1].kind != "end":
        match = TOKEN.match(text, place)
        if match is None:
            raise ExpressionError(_stray(text, place + len(text[place:]) - len(text[place:].lstrip())))
        kind = str(match.lastgroup)
        found.append(Token(kind, match[kind], match.start(kind) + 1))
        place = match.end()
    return found


def _stray(text: str, place: int) -> str:
    """Why no token starts here."""
    character = text[place]
    if character in "'\"`":
        return f"the quote {character} at character {place + 1} is never closed"
    hint = "; write == to compare" if character == "=" else ""
    return f"character {place + 1}, {character!r}, is not understood{hint}"


class _Reader:
    """Reads tokens from the left, one method for each rule of the grammar."""

    def __init__(self, tokens: list[Token], schema: Schema) -> None:
        self.tokens = tokens
        self.schema = schema
        self.next = 0
        self.depth = 0

    @property
    def ahead(self) -> Token:
        return self.tokens[self.next]

    def take(self) -> Token:
        token = self.ahead
        self.next += token.kind != "end"
        return token

    def passes(self, text: str) -> bool:
        """Takes the keyword or sign if it is next."""
        found = self.ahead.kind in ("name", "sign") and self.ahead.text == text
        self.next += found
        return found

    def expect(self, text: str, after: str) -> None:
        if not self.passes(text):
            raise ExpressionError(f"expected {text!r} {after}, found {self.ahead}")

    def either(self) -> Condition:
        parts = [self.both()]
        while self.passes("or"):
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def both(self) -> Condition:
        parts = [self.single()]
        while self.passes("and"):
            parts.append(self.single())
        return parts[0] if len(parts) == 1 else Both(tuple(parts))

    def single(self) -> Condition:
        """``not`` something, something in parentheses, or a comparison."""
        self.depth += 1
        if self.depth > DEEPEST + 1:
            raise ExpressionError(f"nested too deeply at character {self.ahead.at}; at most {DEEPEST} levels")
        if self.passes("not"):
            found: Condition = Not(self.single())
        elif self.passes("("):
            found = self.either()
            self.expect(")", "to close the parenthesis")
        else:
            found = self.comparison()
        self.depth -= 1
        return found

    def comparison(self) -> Condition:
        first = self.operand()
        if self.passes("is"):
            negated = self.passes("not")
            self.expect("missing", "after 'is'")
            missing = missing_of(_column(first, "is missing"))
            return Not(missing) if negated else missing
        if self.passes("in"):
            return self.one_of(_column(first, "in"), negated=False)
        if self.passes("not"):
            self.expect("in", "after 'not'")
            return self.one_of(_column(first, "not in"), negated=True)
        links = []
        while self.ahead.kind == "sign" and self.ahead.text in COMPARE:
            sign = cast(Sign, self.take().text)
            second = self.operand()
            links.append(_link(first, sign, second))
            first = second
        if not links:
            raise ExpressionError(f"expected a comparison, 'in' or 'is missing', found {self.ahead}")
        return links[0] if len(links) == 1 else Both(tuple(links))

    def one_of(self, column: Column, *, negated: bool) -> Condition:
        self.expect("(", "after 'in'")
        values = [value_of(column, self.literal())]
        while self.passes(","):
            values.append(value_of(column, self.literal()))
        self.expect(")", "after the last value")
        return OneOf(column.index, tuple(values), negated)

    def literal(self) -> float | str:
        token = self.ahead
        found = self.operand()
        if isinstance(found, Column):
            raise ExpressionError(f"expected a number or a quoted word, found {token}")
        return found

    def operand(self) -> Operand:
        token = self.take()
        if token.kind == "number":
            return float(token.text)
        if token.kind == "word":
            return _unquoted(token.text)
        if token.kind == "column":
            return column_of(_unquoted(token.text), self.schema)
        if token.kind == "name" and token.text not in KEYWORDS:
            return column_of(token.text, self.schema)
        raise ExpressionError(f"expected a column, a number or a quoted word, found {token}")


def _unquoted(text: str) -> str:
    quote = text[0]
    return text[1:-1].replace(2 * quote, quote)


def _shown(operand: Operand) -> str:
    if isinstance(operand, Column):
        return operand.name
    return repr(operand) if isinstance(operand, str) else f"{operand:g}"


def _column(operand: Operand, sign: str) -> Column:
    if not isinstance(operand, Column):
        raise ExpressionError(f"{_shown(operand)} is no column; one stands before {sign!r}, unquoted")
    return operand


def _link(first: Operand, sign: Sign, second: Operand) -> Condition:
    if isinstance(first, Column) and isinstance(second, Column):
        for column in (first, second):
            if column.categories:
                raise ExpressionError(f"{column.name!r} holds words; compare it with a quoted word")
        return CompareColumns(first.index, sign, second.index)
    if isinstance(second, Column):
        first, sign, second = second, MIRRORED[sign], first
    if not isinstance(first, Column) or isinstance(second, Column):
        said = f"{_shown(first)} {sign} {_shown(second)}"
        raise ExpressionError(f"{said} compares no column; words are quoted, columns are not")
    if first.categories and sign not in ("==", "!="):
        raise ExpressionError(f"{first.name!r} holds words, which have no order to be compared by {sign}")
    return Compare(first.index, sign, value_of(first, second))
