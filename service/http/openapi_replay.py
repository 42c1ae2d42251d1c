"""JSON schemas of replays."""

from __future__ import annotations

from service.domain.schema import ModelSpec
from service.http.openapi_parts import (
    COUNT,
    FREE,
    MAYBE_NUMBER,
    MAYBE_TEXT,
    NUMBER,
    TEXT,
    Json,
    array,
    closed,
    ref,
)


def replay_schemas(spec: ModelSpec, max_rows: int) -> dict[str, Json]:
    """The request and the answer of ``/shadow/replay`` for this model."""
    rows = {"minItems": 1, "maxItems": max_rows}
    label: Json = (
        {"type": ["string", "null"], "enum": [*spec.classes, None]} if spec.classes else MAYBE_NUMBER
    )
    recorded: Json = {
        **FREE,
        "type": ["object", "null"],
        "description": "As /predict answered it; null where that is not known.",
    }
    request = closed(
        {
            "candidate": {"type": "string", "description": "Any bundle of the model store, NAME:VERSION."},
            "source": {
                "type": "string",
                "enum": ["kept"],
                "description": "Replays the rows that the shadow has kept; goes without instances.",
            },
            "instances": array(ref("Instance"), **rows),
            "labels": array(label, description="What was true of each instance; null is not known.", **rows),
            "predictions": array(recorded, description="What production answered to each.", **rows),
        },
        optional=("source", "instances", "labels", "predictions"),
    )
    return {
        "ReplayRequest": {**request, "example": {"candidate": f"{spec.name}:next", "source": "kept"}},
        "ReplayReport": closed(
            {
                "inconsistent": _inconsistent(),
                "replay": _told(),
                "verdict": ref("Verdict"),
                "evidence": ref("Evidence"),
            }
        ),
    }


def _inconsistent() -> Json:
    example = closed(
        {
            "place": TEXT,
            "request_id": MAYBE_TEXT,
            "row": COUNT,
            "recorded": FREE,
            "now": FREE,
            "difference": NUMBER,
        }
    )
    found = closed(
        {
            "rows": COUNT,
            "checked": COUNT,
            "share": MAYBE_NUMBER,
            "flipped": {**COUNT, "description": "Those of them that get another label now."},
            "by_other_models": {**COUNT, "description": "Rows that another model answered, not checked."},
            "largest_difference": NUMBER,
            "examples": array(example, description="The largest differences first."),
        }
    )
    return {**found, "description": "Recorded answers that production does not give again."}


def _told() -> Json:
    skipped = closed({"place": TEXT, "detail": TEXT, "errors": array(FREE)})
    counts = ("rows", "compared", "failed", "unanswered", "labelled", "picked", "redacted")
    return closed(
        {
            "production": TEXT,
            "candidate": TEXT,
            "source": TEXT,
            **dict.fromkeys(counts, COUNT),
            "skipped": closed({"records": COUNT, "examples": array(skipped)}),
            "fields_left_out": array(TEXT),
            "seconds": NUMBER,
        }
    )
