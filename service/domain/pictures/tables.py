"""The tables of a page: what was computed, as text that can be copied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from service.domain.pictures.svg import escaped
from service.domain.pictures.wording import (
    QUANTILE,
    Document,
    Numbers,
    adds_up,
    number,
    reached,
    told,
    unit,
)


def values_table(document: Document) -> str:
    """Every value that the document names, greatest first."""
    values, data = document["values"], document.get("data") or {}
    errors, others = document.get("standard_errors") or {}, document.get("others")
    numbers = Numbers.of(max(map(abs, values.values())))

    def row(name: str, sent: str, contribution: str, error: str = "") -> list[str]:
        return [name, *([sent] if data else []), contribution, *([error] if errors else [])]

    rows = []
    for name in sorted(values, key=lambda name: -abs(values[name])):
        sent = told(data[name]) if name in data else ""
        error = numbers.plain(QUANTILE * errors[name]) if errors.get(name) is not None else ""
        rows.append(row(name, sent, numbers.signed(values[name]), error))
    if others:
        rows.append(row(f"{others['features']} others", "", numbers.signed(others["value"])))
    if adds_up(document):
        average, output = numbers.plain(document["base_value"]), numbers.plain(reached(document))
        rows = [row("average", "", average), *rows, row("output", "", output)]
    head = row("Feature", "Value", "Contribution", f"± {QUANTILE} se")
    return _table(f"Contributions, {unit(document)}", head, rows)


def moved_table(moved: Sequence[Mapping[str, Any]]) -> str:
    """Each feature's share of the total influence in both models, in the order given."""
    pairs = [
        (str(entry["feature"]), float(entry["production"]), float(entry["candidate"])) for entry in moved
    ]
    numbers = Numbers.of(max(max(abs(before), abs(after)) for _, before, after in pairs))
    rows = [
        [name, numbers.signed(before), numbers.signed(after), numbers.signed(after - before)]
        for name, before, after in pairs
    ]
    return _table(
        "Shares of the total influence, by how far they moved",
        ["Feature", "Production", "Candidate", "Change"],
        rows,
    )


def neighbours_table(document: Document) -> str:
    """Similar reference rows with their outcomes, a column each beside the row itself.

    An image's neighbours are told by distance and outcome alone.
    """
    neighbours, own = document["neighbours"], document.get("data") or {}
    tabular = [entry["data"] if isinstance(entry.get("data"), Mapping) else {} for entry in neighbours]
    outcomes = [
        entry["label"] if entry.get("label") is not None else entry.get("value") for entry in neighbours
    ]
    rows = [
        ["Outcome", "", *map(told, outcomes)],
        ["Distance", "", *(number(float(f"{entry['distance']:.3g}")) for entry in neighbours)],
    ]
    for name in dict.fromkeys(name for data in tabular for name in data):
        sent = told(own[name]) if name in own else ""
        rows.append([name, sent, *(told(data[name]) if name in data else "" for data in tabular)])
    head = ["", "this row", *(f"no. {place + 1}" for place in range(len(neighbours)))]
    return f'<div class="wide">{_table("Most similar reference rows", head, rows)}</div>'


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column names the rows."""

    def cells(kind: str, texts: Sequence[str]) -> str:
        first, rest = (f"<{kind}>{escaped(texts[0])}</{kind}>", texts[1:])
        return first + "".join(f'<{kind} class="n">{escaped(text)}</{kind}>' for text in rest)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return (
        f"<table><caption>{escaped(caption)}</caption><thead><tr>{cells('th', head)}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )
