"""JSON schemas that are the same whatever model is served, and the words they are written in."""

from __future__ import annotations

from typing import Any, TypeAlias, get_args

from service.domain.expectations import Reaction
from service.domain.observation import OUTCOMES
from service.domain.report import QUANTILES
from service.http.problem import TOO_MANY_ERRORS

Json: TypeAlias = dict[str, Any]

NUMBER: Json = {"type": "number"}
COUNT: Json = {"type": "integer", "minimum": 0}
TEXT: Json = {"type": "string"}
MAYBE_NUMBER: Json = {"type": ["number", "null"]}
MAYBE_TEXT: Json = {"type": ["string", "null"]}
FREE: Json = {"type": "object", "additionalProperties": True}


def ref(name: str) -> Json:
    """The component schema ``name``."""
    return {"$ref": f"#/components/schemas/{name}"}


def array(items: Json, **more: Any) -> Json:
    """A list of ``items``."""
    return {"type": "array", "items": items, **more}


def closed(properties: Json, optional: tuple[str, ...] = ()) -> Json:
    """An object with these properties and no others."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def fixed() -> dict[str, Json]:
    """Every component schema of this kind by name."""
    return {
        "Arm": {"type": "string", "enum": ["production", "canary"], "description": "Who answered."},
        "Problem": _problem(),
        "Model": _model(),
        "Models": closed({"production": ref("Model"), "candidates": array(ref("Model"))}),
        "Rollout": _rollout(),
        "ShadowReport": closed({"production": TEXT, "candidates": array(ref("CandidateReport"))}),
        "CandidateReport": _candidate_report(),
        "SliceReport": _slice_report(),
        "Histogram": _histogram(),
    }


def _problem() -> Json:
    where = array({"type": ["string", "integer"]}, description="The path to the value.")
    single = closed({"loc": where, "msg": TEXT})
    problem = closed(
        {
            "type": TEXT,
            "title": TEXT,
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "What is wrong with this request, in a sentence."},
            "request_id": TEXT,
            "errors": array(single, maxItems=TOO_MANY_ERRORS),
            "error": {"type": "string", "description": "As detail, where inference clients look for it."},
        }
    )
    return {**problem, "description": "An RFC 9457 problem document."}


def _model() -> Json:
    feature = closed(
        {
            "name": TEXT,
            "type": {"type": "string", "enum": ["float", "int64", "string"]},
            "categories": array(TEXT),
            "missing": {"type": "string", "enum": ["allow", "refuse"]},
            "range": {"type": ["array", "null"], "items": NUMBER},
            "expect": {**_expectation(), "description": "What is null is not expected, or not of its own."},
            "change": {"type": "string", "enum": ["free", "fixed", "increase", "decrease"]},
            "redact": {"type": "string", "enum": ["keep", "hash", "drop"], "description": "As evidence."},
        }
    )
    model = closed(
        {
            "name": TEXT,
            "version": TEXT,
            "state": {"type": "string", "enum": ["ready", "loading", "refused"]},
            "reason": {**MAYBE_TEXT, "description": "Why it is not ready."},
            "task": {"type": "string", "enum": ["binary", "multiclass", "regression"]},
            "classes": array(TEXT),
            "threshold": MAYBE_NUMBER,
            "features": array(feature),
            "input": FREE,
            "providers": array(TEXT, description="ONNX Runtime's execution providers in use."),
            "parity": closed({"passed": {"type": "boolean"}, "rows": COUNT, "summary": TEXT}),
            "digest": {"type": "string", "description": "SHA-256 over all parts of the bundle."},
            "training": FREE,
            "explanations": {
                "oneOf": [
                    closed({"methods": array(TEXT), "refused": FREE}),
                    {"type": "null"},
                ],
                "description": "What explains it, and why not the others; null while it is prepared.",
            },
            "uncertainty": {
                **FREE,
                "type": ["object", "null"],
                "description": "The measures that answer, by kind, and the live coverage; null without any.",
            },
        }
    )
    return {**model, "required": ["name", "version", "state", "reason"]}


def _expectation() -> Json:
    return closed(
        {
            "range": {"type": ["array", "null"], "items": NUMBER},
            "categories": {"type": ["array", "null"], "items": TEXT},
            "missing_rate": MAYBE_NUMBER,
            "whole": {"type": ["boolean", "null"]},
            "on_violation": {"type": ["string", "null"], "enum": [*get_args(Reaction), None]},
        }
    )


def _rollout() -> Json:
    when = {"type": "string", "format": "date-time"}
    refused = closed({"at": when, "reason": TEXT})
    return closed(
        {
            "candidate": MAYBE_TEXT,
            "share_basis_points": {"type": "integer", "minimum": 0, "maximum": 10_000},
            "salt": TEXT,
            "applied_at": when,
            "refused": {
                "oneOf": [refused, {"type": "null"}],
                "description": "The newest change that was not applied.",
            },
            "breaker": {"type": ["string", "null"], "enum": ["open", "closed", None]},
        }
    )


def _candidate_report() -> Json:
    outcomes = dict.fromkeys(("offered", "in_flight", *OUTCOMES), COUNT)
    return closed(
        {
            "candidate": TEXT,
            "state": {"type": "string", "enum": ["shadowing", "paused", "refused"]},
            "reason": MAYBE_TEXT,
            "rows": {**closed(outcomes), "description": "Rows by what became of them."},
            "coverage": {**MAYBE_NUMBER, "description": "Share of the offered rows that were compared."},
            "flips": ref("SliceReport"),
            "slices": {"type": "object", "additionalProperties": ref("SliceReport")},
            "gap": {**ref("Histogram"), "description": "Absolute score gap."},
            "seconds_per_row": {**ref("Histogram"), "description": "The candidate's CPU time."},
            "explanations": _explanations_report(),
            "verdict": {"oneOf": [ref("Verdict"), {"type": "null"}]},
            "evidence": {"oneOf": [ref("Evidence"), {"type": "null"}]},
        }
    )


def _explanations_report() -> Json:
    moved = closed({"feature": TEXT, "mean": {"type": "number"}})
    return closed(
        {
            "method": {**MAYBE_TEXT, "description": "What explains production and candidate."},
            "reason": {**MAYBE_TEXT, "description": "Why nothing is explained."},
            "explained": COUNT,
            "unexplained": {"type": "object", "additionalProperties": COUNT},
            "distance": {**ref("Histogram"), "description": "0 the same reasons, 1 nothing in common."},
            "top_overlap": {**MAYBE_NUMBER, "description": "Share of the top features that both name."},
            "moved": array(moved, description="By change of their share of the influence, largest first."),
        }
    )


def _slice_report() -> Json:
    flip = closed({"from": TEXT, "to": TEXT, "rows": COUNT})
    return closed(
        {
            "compared": COUNT,
            "flipped": COUNT,
            "rate": MAYBE_NUMBER,
            "matrix": array(flip, description="Largest first."),
        }
    )


def _histogram() -> Json:
    quantiles = tuple(f"p{share * 100:g}_at_most" for share in QUANTILES)
    values = {"count": COUNT, "mean": MAYBE_NUMBER, **dict.fromkeys(quantiles, MAYBE_NUMBER)}
    return closed(values, optional=quantiles)
