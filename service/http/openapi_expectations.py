"""How the documentation tells what is expected of callers, and how answers warn of the rest."""

from __future__ import annotations

from typing import get_args

from service.domain.expectations import Expectation, Kind, Reaction
from service.domain.watch import MANY_ROWS, MOST_BREACHES
from service.http.openapi_parts import TEXT, Json, array, closed, ref

CONSEQUENCES: dict[Reaction, str] = {
    "warn": "answered with a warning",
    "refuse": "refused",
    "ignore": "answered too",
}


def warning() -> Json:
    """One entry of ``warnings``."""
    where = array({"type": ["string", "integer"]}, description="The path to the value.")
    kind = {
        "type": "string",
        "enum": list(get_args(Kind)),
        "description": f"missing without a row in loc: too large a share of {MANY_ROWS} or more rows.",
    }
    return closed({"loc": where, "kind": kind, "msg": TEXT})


def warnings() -> Json:
    """The field of answers."""
    text = "Values unlike those of training; absent if there are none."
    return array(ref("Warning"), maxItems=MOST_BREACHES, description=text)


def tensor_warnings() -> Json:
    """The parameter of the Open Inference Protocol's answers, whose parameters hold no lists."""
    text = "JSON text: a list as the answer of /predict has it. Absent if there are no warnings."
    return {**TEXT, "description": text}


def usual(expected: Expectation) -> str:
    """What training saw of a feature, and what becomes of the rest; empty where nothing is known."""
    found = []
    if expected.range is not None:
        low, high = expected.range
        found.append(f"From {low:g} to {high:g} in training")
    if expected.whole:
        found.append("whole in training")
    if expected.categories is not None:
        found.append(f"In training: {', '.join(expected.categories[:20])}")
    if expected.missing_rate == 0:
        found.append("never missing in training")
    if not found:
        return ""
    text = ", ".join(found)
    return f"{text[0].upper()}{text[1:]}; other values are {CONSEQUENCES[expected.on_violation]}."
