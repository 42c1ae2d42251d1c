"""JSON schemas of explanations."""

from __future__ import annotations

from typing import get_args

from service.domain.explainers.game import OutputKind
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
from service.http.wishes import FEWEST_EVALS, LONGEST_NAME, MOST_NEIGHBOURS

_BY_FEATURE: Json = {"type": "object", "additionalProperties": NUMBER}


def wish(spec: ModelSpec) -> Json:
    """What ``explain`` may be in a request about this model."""
    options: dict[str, Json] = {
        "method": {
            "type": ["string", "null"],
            "maxLength": LONGEST_NAME,
            "description": "auto, or a method that GET /models lists for the model.",
        },
        "output": {"type": ["string", "null"], "enum": [*get_args(OutputKind), None]},
        "label": {
            "type": ["string", "null"],
            "enum": [*spec.classes, None],
            "description": "The explained class; by default a binary model's second, else the answered one.",
        },
        "top": {
            "type": ["integer", "null"],
            "minimum": 1,
            "description": "Features named; others are summed.",
        },
        "max_evals": {
            "type": ["integer", "null"],
            "minimum": FEWEST_EVALS,
            "description": "Model rows that may be evaluated for each explained row.",
        },
        "deadline_ms": {"type": ["number", "null"], "minimum": 1},
        "neighbours": {"type": ["integer", "null"], "minimum": 0, "maximum": MOST_NEIGHBOURS},
        "seed": {"type": ["integer", "null"], "minimum": 0},
    }
    return {
        "oneOf": [{"type": ["boolean", "null"]}, closed(options, optional=tuple(options))],
        "description": "Whether, and how, to explain each row.",
    }


def explanation_schemas() -> dict[str, Json]:
    """Every component that explanations are made of."""
    moved = closed({"feature": TEXT, "production": NUMBER, "candidate": NUMBER})
    comparison = closed(
        {
            "distance": {**MAYBE_NUMBER, "description": "0: the same reasons; 1: nothing in common."},
            "top_overlap": {
                **MAYBE_NUMBER,
                "description": "Share of the three strongest features in common.",
            },
            "moved": array(moved, description="Shares of the total influence; largest change first."),
        }
    )
    side = closed({"model": FREE, "explanations": array(ref("Explanation"))})
    return {
        "Explanation": _explanation(),
        "Comparison": comparison,
        "CompareResponse": closed(
            {
                "request_id": TEXT,
                "production": side,
                "candidate": side,
                "comparisons": array(ref("Comparison")),
            }
        ),
        "GlobalViews": {**FREE, "description": "Computed at packaging; see the README for its parts."},
    }


def _explanation() -> Json:
    optional: dict[str, Json] = {
        "others": closed({"features": COUNT, "value": NUMBER}),
        "detail": {**FREE, "description": "What only this method says."},
        "neighbours": array(FREE, description="The most similar reference rows, with their outcomes."),
    }
    values: dict[str, Json] = {
        "method": TEXT,
        "exact": {"type": "boolean", "description": "Whether the values are exact for this background."},
        "output": {"type": "string", "enum": list(get_args(OutputKind))},
        "label": {**MAYBE_TEXT, "description": "The explained class."},
        "base_value": {**NUMBER, "description": "The average output over the background."},
        "values": {**_BY_FEATURE, "description": "Contributions; with base_value they add up to the output."},
        "data": {**FREE, "description": "What was sent."},
        "standard_errors": {"oneOf": [_BY_FEATURE, {"type": "null"}]},
        "additivity_gap": {**MAYBE_NUMBER, "description": "What is left over, in units of the answer."},
        "rows_evaluated": COUNT,
        "background": closed({"rows": COUNT, "digest": TEXT}),
        "off_manifold_share": {**MAYBE_NUMBER, "description": "Evaluated rows unlike any real one, 0 to 1."},
        "rank_certain_k": {
            "type": ["integer", "null"],
            "description": "So many of the strongest features are in certain order, given the errors.",
        },
        "certificate": {**MAYBE_TEXT, "description": "Digest of the bundle's integrity certificate."},
        "elapsed_ms": NUMBER,
        "degraded": {**MAYBE_TEXT, "description": "What falls short of what was asked for."},
    }
    return closed({**values, **optional}, optional=tuple(optional))
