"""Rules with one thing wrong: what a slip of the pen, or somebody who is sure of himself, makes of them.

The mutator knows as much of PromQL as it takes to leave a rule one that Prometheus reads: it tells numbers
from the digits of names, windows and texts, and operands of ``and``, ``or`` and ``unless`` by their brackets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

TOKEN = re.compile(
    r"""
    (?P<text>"[^"]*")
    | (?P<window>\[[^\]]*\])
    | (?P<name>[a-zA-Z_][\w:]*)
    | (?P<duration>\d+[smhd])
    | (?P<number>\d+(\.\d+)?(e-?\d+)?)
    | (?P<operator>=~|!~|==|!=|>=|<=|[-+*/^<>=])
    | (?P<bracket>[(){}])
    | (?P<comma>,)
    """,
    re.VERBOSE,
)
FLIPPED = {">": "<=", "<": ">=", ">=": "<", "<=": ">", "==": "!=", "!=": "=="}
SWAPPED = {"+": "-", "-": "+", "*": "/", "/": "*"}
FUNCTIONS = {
    "sum": "max",
    "max": "sum",
    "min": "max",
    "count": "sum",
    "rate": "increase",
    "abs": "-",
    "avg_over_time": "max_over_time",
    "max_over_time": "min_over_time",
    "ln": "log2",
    "log2": "ln",
    "clamp_min": "clamp_max",
}
SETS = ("and", "or", "unless")
LISTS = ("by", "on", "without", "ignoring")
"""Before a list of labels."""
UNITS = {"m": 1, "h": 60, "d": 1440}


class Token(NamedTuple):
    """A piece of an expression."""

    kind: str
    text: str
    start: int
    end: int
    depth: int
    """Brackets that are open around it."""
    selecting: bool
    """Whether it is in the braces of a selector."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A rule that is wrong."""

    rule: str
    """Its name, and its severity or kind where two have one name."""
    change: str
    entry: dict[str, Any]


def mutants(entry: dict[str, Any]) -> Iterator[Mutant]:
    """Every mutant of one rule of a rule file."""
    name = named(entry)
    seen = {entry["expr"]}
    for change, expr in expressions(entry["expr"]):
        if expr not in seen:
            seen.add(expr)
            yield Mutant(name, change, {**entry, "expr": expr})
    if "for" in entry:
        yield Mutant(name, "at once", {key: value for key, value in entry.items() if key != "for"})
        minutes = int(entry["for"][:-1]) * UNITS[entry["for"][-1]]
        yield Mutant(name, "three times as long", {**entry, "for": f"{3 * minutes}m"})


def named(entry: dict[str, Any]) -> str:
    """What tells a rule from all others."""
    if "record" in entry:
        return str(entry["record"])
    return " ".join([entry["alert"], *entry["labels"].values()])


def expressions(expr: str) -> Iterator[tuple[str, str]]:
    """Every wrong expression, with what was done to it."""
    tokens = list(tokenized(expr))
    for place, token in enumerate(tokens):
        for change, text in _replacements(token, tokens[place - 1 : place], tokens[place + 1 : place + 2]):
            words = f"{change} at {_around(expr, token)}"
            yield words, expr[: token.start] + text + expr[token.end :]
    for change, start, end in [*_operands(tokens, len(expr)), *_labels(tokens), *_matchers(tokens)]:
        yield f"without {change}", f"{expr[:start]} {expr[end:]}"


def tokenized(expr: str) -> Iterator[Token]:
    depth, selecting = 0, False
    for match in TOKEN.finditer(expr):
        kind, text = str(match.lastgroup), match.group()
        if match.group("number"):
            kind = "number"
        if text in ")}":
            depth -= 1
        yield Token(kind, text, *match.span(), depth, selecting and text != "}")
        if text in "({":
            depth += 1
        selecting = text == "{" or (selecting and text != "}")


def _around(expr: str, token: Token) -> str:
    """Where it is, for people and for the list of mutants that change nothing."""
    start, end = max(0, token.start - 20), token.end + 20
    before, after = " ".join(expr[start : token.start].split()), " ".join(expr[token.end : end].split())
    return f"{before} «{token.text}» {after}"


def _replacements(token: Token, before: list[Token], following: list[Token]) -> Iterator[tuple[str, str]]:
    if token.selecting:
        return
    if token.kind == "duration":
        yield "twice as long", f"{2 * int(token.text[:-1])}{token.text[-1]}"
    elif token.kind == "number":
        value = float(token.text)
        for factor in (0.5, 2) if value else ():
            yield f"times {factor:g}", f"{factor * value:.12g}"
        if not value:  # most that is compared is more than 1 or less than 0, or it is counts
            other = "-1" if before and before[0].text in FLIPPED else "1"
            yield other, other
    elif token.kind == "window":
        yield "twice as long", f"[{2 * int(token.text[1:-2])}{token.text[-2]}]"
    elif token.text in FLIPPED:
        yield "flipped", FLIPPED[token.text]
    elif token.text in SWAPPED:
        yield "swapped", SWAPPED[token.text]
    elif (
        token.kind == "name" and token.text in FUNCTIONS and following and following[0].text in ("(", *LISTS)
    ):
        yield "another function", FUNCTIONS[token.text]


def _operands(tokens: list[Token], length: int) -> Iterator[tuple[str, int, int]]:
    """Operands of ``and``, ``or`` and ``unless``, each with one such word."""
    for place, token in enumerate(tokens):
        if token.kind != "name" or token.text not in SETS or token.selecting:
            continue
        after = [each for each in tokens[place + 1 :] if each.depth <= token.depth]
        ends = [each for each in after if _closes(each, token) or _joins(each, token)]
        end = ends[0].start if ends else length
        start = token.start
        yield f"{token.text} {_short(tokens, start, end)}", start, end
        before = [each for each in tokens[:place] if each.depth <= token.depth]
        opened = [
            each for each in before if each.depth < token.depth or each.kind == "comma" or _joins(each, token)
        ]
        if token.text != "unless" and not (opened and opened[-1].text in SETS):
            first = opened[-1].end if opened else 0
            last = _modified(tokens, place)
            yield f"{_short(tokens, first, token.start)} {token.text}", first, last


def _closes(each: Token, token: Token) -> bool:
    """By a bracket, or as an argument of a function."""
    if each.kind == "comma":
        return each.depth == token.depth
    return each.depth < token.depth and each.text in (")", "}")


def _joins(each: Token, token: Token) -> bool:
    """``or`` binds less than the others."""
    words = ("or",) if token.text == "or" else SETS
    return each.depth == token.depth and each.kind == "name" and each.text in words


def _modified(tokens: list[Token], place: int) -> int:
    """Where an operator with its ``on (...)`` ends."""
    following = tokens[place + 1]
    if following.text not in LISTS:
        return tokens[place].end
    return next(
        each.end for each in tokens[place + 2 :] if each.text == ")" and each.depth == following.depth
    )


def _short(tokens: list[Token], start: int, end: int) -> str:
    words = [
        token.text for token in tokens if start <= token.start < end and token.kind in ("name", "number")
    ]
    return " ".join(words[1:6])


def _labels(tokens: list[Token]) -> Iterator[tuple[str, int, int]]:
    """Each label of each list."""
    for place, token in enumerate(tokens):
        if token.kind == "name" and token.text in LISTS and not token.selecting:
            inside = []
            for each in tokens[place + 2 :]:
                if each.text == ")":
                    break
                inside.append(each)
            yield from _items(f"in {token.text}", inside)


def _matchers(tokens: list[Token]) -> Iterator[tuple[str, int, int]]:
    """Each matcher of each selector."""
    for place, token in enumerate(tokens):
        if token.text == "{":
            inside = []
            for each in tokens[place + 1 :]:
                if each.text == "}":
                    break
                inside.append(each)
            yield from _items("matcher", inside)


def _items(what: str, inside: list[Token]) -> Iterator[tuple[str, int, int]]:
    """What stands between commas, each with the comma that it needs no more."""
    commas = [place for place, token in enumerate(inside) if token.kind == "comma"]
    starts = [0, *(place + 1 for place in commas)]
    ends = [*commas, len(inside)]
    for start, end in zip(starts, ends, strict=True):
        if start == end:
            continue
        words = " ".join(token.text for token in inside[start:end])
        where = f"{words} {what} @{inside[start].start}"
        if start:
            yield where, inside[start - 1].start, inside[end - 1].end
        elif end < len(inside):
            yield where, inside[start].start, inside[end].end
        else:
            yield where, inside[start].start, inside[end - 1].end
