"""Single rows worth a look: the inputs, both answers, and both models' reasons side by side."""

from __future__ import annotations

from service.domain.pictures.charts.image import image
from service.domain.pictures.charts.reasons import reasons, shares
from service.domain.pictures.wording import told
from service.http.console import words
from service.http.console.blocks import (
    Beside,
    Block,
    Cell,
    Chart,
    Facts,
    Fold,
    Part,
    Table,
    Words,
    cells,
    few,
)
from service.http.console.reading import Document, at, entries, mapping, moment, real, text

MOST_INPUTS = 24
MOST_CLASSES = 6
MOST_REASONS = 16


def worst(candidate: Document, tags: tuple[str, str], most: int) -> Part | None:
    """The worst disagreements, each folded up; None where none is kept."""
    found = entries(candidate, "evidence", "cases", "worst")
    if not found:
        return None
    folds = [_case(entry, place, tags) for place, entry in enumerate(found[:most], 1)]
    said = few(len(found), most, "kept cases")
    return Part("Worst cases", (*([Words(said, "quiet")] if said else []), *folds))


def _case(case: Document, place: int, tags: tuple[str, str]) -> Fold:
    before, after = _answer(mapping(case, "production")), _answer(mapping(case, "candidate"))
    left = [block for block in (_inputs(case), _answers(case, tags)) if block is not None]
    right = [*_reasons(mapping(case, "explanations"), tags), Facts(_about(case))]
    blocks = (Beside((tuple(left), tuple(right))),) if left else tuple(right)
    return Fold(f"{place}. {before} → {after}", blocks, open=place == 1)


def _about(case: Document) -> tuple[tuple[str, str], ...]:
    row = real(case, "row")
    name = text(case, "request_id") or "unknown"
    found = at(case, "slices")
    parts = (
        [part[:60] for part in found[:12] if isinstance(part, str)] if isinstance(found, list | tuple) else []
    )
    said = [
        ("Request", name if not row else f"{name}, row {words.count(row)}"),
        ("When", words.when(moment(case, "at"))),
        ("Severity", words.amount(real(case, "severity"))),
        ("Slices", ", ".join(parts) or words.NONE),
    ]
    return tuple((label, value) for label, value in said if value != words.NONE)


def _answer(answer: Document) -> str:
    label = text(answer, "label")
    probability = real(answer, "probabilities", label) if label is not None else None
    if label is not None:
        return label if probability is None else f"{label} ({words.share(probability)})"
    value = real(answer, "value")
    return "unknown" if value is None else told(value, 4)


def _inputs(case: Document) -> Block | None:
    inputs = mapping(case, "inputs")
    if not inputs:
        return None
    drawn = [(name, value) for name, value in inputs.items() if isinstance(value, list)]
    picture = image(drawn[0][1], "The image that was asked about") if len(inputs) == len(drawn) == 1 else None
    if picture is not None:
        return Chart("The image", picture)
    hidden = at(case, "redacted")
    redacted = hidden if isinstance(hidden, list | tuple) else list(inputs)
    rows = tuple(
        (Cell(str(name)[:60]), Cell(_input(value, name in redacted)))
        for name, value in list(inputs.items())[:MOST_INPUTS]
    )
    return Table("Inputs", ("Column", "Value"), rows, few(len(inputs), MOST_INPUTS, "columns"))


def _input(value: object, redacted: bool) -> str:
    if redacted and value == "dropped":
        return "not kept"
    if isinstance(value, list | tuple | dict):
        return f"{len(value):,} entries"
    if isinstance(value, float | int) and not isinstance(value, bool):
        known = real({"value": value}, "value")
        return words.NONE if known is None else told(known)
    return told(text({"value": value}, "value"))


def _answers(case: Document, tags: tuple[str, str]) -> Block | None:
    sides = [mapping(case, role) for role in ("production", "candidate")]
    tables = [mapping(side, "probabilities") for side in sides]
    names = list(dict.fromkeys(name for found in tables for name in found))
    if not names:
        values = [real(side, "value") for side in sides]
        if any(value is not None for value in values):
            said = [words.NONE if value is None else told(value, 4) for value in values]
            return Table("Both answers", ("", *tags), (cells("Value", *said),))
        return None
    moved = {name: abs((real(tables[1], name) or 0.0) - (real(tables[0], name) or 0.0)) for name in names}
    shown = sorted(names, key=lambda name: -moved[name])[:MOST_CLASSES]
    rows = tuple(
        cells(str(name)[:60], *(words.share(real(found, name)) for found in tables)) for name in shown
    )
    return Table("Both answers", ("Label", *tags), rows, few(len(names), MOST_CLASSES, "labels"))


def _reasons(explanations: Document, tags: tuple[str, str]) -> list[Block]:
    values = [_values(mapping(explanations, role)) for role in ("production", "candidate")]
    names = sorted(
        {**values[0], **values[1]},
        key=lambda name: -max(abs(values[0].get(name, 0.0)), abs(values[1].get(name, 0.0))),
    )
    if not names:
        return [Words("Its reasons were not kept.", "quiet")]
    head = ("Column", *tags)
    rows = tuple(
        cells(name[:60], *(words.share(side.get(name)) for side in values)) for name in names[:MOST_REASONS]
    )
    table = Table("Shares of the influence", head, rows, few(len(names), MOST_REASONS, "columns"))
    methods = [text(explanations, role, "method") for role in ("production", "candidate")]
    known = " and ".join(dict.fromkeys(method for method in methods if method))
    caption = "Both models' reasons" + (f", by {known}" if known else "")
    return [Chart(caption, reasons(values[0], values[1], tags), table)]


def _values(explanation: Document) -> dict[str, float]:
    found = mapping(explanation, "values")
    known = {str(name): value for name in found if (value := real(found, name)) is not None}
    return shares(known)
