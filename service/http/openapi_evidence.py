"""JSON schemas of the verdict and of the evidence that it rests on."""

from __future__ import annotations

from service.domain.observation import OUTCOMES
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

TRUTH: Json = {"type": "boolean"}
MEASURES: Json = {**FREE, "description": "What each measure says, by its name."}


def evidence_schemas() -> dict[str, Json]:
    """Verdict, evidence and their parts."""
    return {
        "Verdict": _verdict(),
        "Criterion": _criterion(),
        "Evidence": _evidence(),
        "EvidenceCase": _case(),
    }


def _verdict() -> Json:
    reason = closed({"code": TEXT, "detail": TEXT})
    return closed(
        {
            "state": {"type": "string", "enum": ["promote", "hold", "rollback"]},
            "because": {"type": ["string", "null"], "enum": ["better", "no_worse", None]},
            "reasons": array(reason, description="Of a hold or a rollback."),
            "alpha": {**NUMBER, "description": "Of all criteria together, however often one looks."},
            "criteria": array(ref("Criterion")),
            "more_rows": {
                "type": ["integer", "null"],
                "description": "Further compared rows until it is decided, if they go on as so far.",
            },
            "as_of": TEXT,
        }
    )


def _criterion() -> Json:
    return closed(
        {
            "name": TEXT,
            "slice": TEXT,
            "value": MAYBE_NUMBER,
            "low": {**NUMBER, "description": "Bounds hold at every moment at once."},
            "high": NUMBER,
            "margin": NUMBER,
            "noise": {**NUMBER, "description": "What the margin is raised by before the criterion fails."},
            "direction": {"type": "string", "enum": ["at_most", "at_least"]},
            "rows": COUNT,
            "state": {"type": "string", "enum": ["pass", "fail", "open", "waived"]},
            "more_rows": {"type": ["integer", "null"]},
        }
    )


def _evidence() -> Json:
    found = array(
        closed(
            {
                "variable": TEXT,
                "label": TEXT,
                "rows": COUNT,
                "flips": COUNT,
                **dict.fromkeys(("rate", "low", "high", "rest_rate"), NUMBER),
            }
        )
    )
    return closed(
        {
            "as_of": TEXT,
            "since": MAYBE_TEXT,
            "store": {**TEXT, "description": "ok, or why the store is not up to date."},
            "rows": COUNT,
            "measures": MEASURES,
            "slices": {"type": "object", "additionalProperties": MEASURES},
            "noise": {
                **closed({"variants": FREE, "flip_rate": MAYBE_NUMBER, "gap": MAYBE_NUMBER}),
                "description": "Production against itself, run in other ways.",
            },
            "beyond_noise": closed(
                {"rows": {"type": ["integer", "null"]}, **_numbers("share", "low", "high")}
            ),
            "worst_slices": _or_null(closed({"looks": COUNT, "alpha": NUMBER, "of": TEXT, "found": found})),
            "labelled": {**FREE, "type": ["object", "null"], "description": "Rows whose truth is known."},
            "outcomes": closed(dict.fromkeys(OUTCOMES, COUNT)),
            "coverage": {**MAYBE_NUMBER, "description": "Share of the mirrored rows that were compared."},
            "representative": _or_null(_representative()),
            "speed": closed(
                {
                    "rows": COUNT,
                    **_numbers("production_seconds_per_row", "candidate_seconds_per_row"),
                    **_numbers("ratio", "low", "high"),
                }
            ),
            "drift": _or_null(array(_drift())),
            "timeline": array(FREE, description="What was known at the end of some hours, and now."),
            "cases": closed(
                {
                    "worst": array(ref("EvidenceCase")),
                    "samples": {"type": "object", "additionalProperties": array(ref("EvidenceCase"))},
                }
            ),
            "behaviour": {**FREE, "type": ["object", "null"]},
        }
    )


def _representative() -> Json:
    variable = closed({"variable": TEXT, **dict.fromkeys(("psi", "excess", "z"), NUMBER)})
    return closed(
        {
            "representative": TRUTH,
            "judged": TRUTH,
            "kept": COUNT,
            "left_out": COUNT,
            "variables": array(variable),
        }
    )


def _drift() -> Json:
    shares = closed({"label": TEXT, "reference": NUMBER, "live": NUMBER})
    return closed(
        {
            "variable": TEXT,
            **dict.fromkeys(("psi", "excess", "z"), NUMBER),
            "rows": COUNT,
            "drifted": TRUTH,
            "bins": array(shares),
        }
    )


def _case() -> Json:
    return closed(
        {
            "request_id": TEXT,
            "row": COUNT,
            "at": TEXT,
            "severity": NUMBER,
            "inputs": {**FREE, "description": "As posted; what must not be kept is a hash, or dropped."},
            "redacted": array(TEXT),
            "production": FREE,
            "candidate": FREE,
            "slices": array(TEXT),
            "explanations": {**FREE, "type": ["object", "null"]},
        }
    )


def _numbers(*names: str) -> Json:
    return dict.fromkeys(names, MAYBE_NUMBER)


def _or_null(schema: Json) -> Json:
    return {**schema, "type": [schema["type"], "null"]}
