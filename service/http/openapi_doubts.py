"""JSON schemas of how sure an answer is."""

from __future__ import annotations

from service.domain.abstention import REASONS
from service.domain.schema import ModelSpec
from service.domain.uncertainty.measure import LEAST_CONFIDENCE, MOST_CONFIDENCE
from service.domain.uncertainty.quantifier import EXTRA
from service.http.doubts import LONGEST_NAME
from service.http.openapi_parts import FREE, MAYBE_NUMBER, MAYBE_TEXT, NUMBER, TEXT, Json, array, closed


def doubt() -> Json:
    """What ``uncertainty`` may be in a request."""
    measure: Json = {
        "type": ["string", "null"],
        "minLength": 1,
        "maxLength": LONGEST_NAME,
        "description": "A measure that GET /models lists for the model; the bundle's choice if absent.",
    }
    options: dict[str, Json] = {
        "confidence": {
            "type": ["number", "null"],
            "minimum": LEAST_CONFIDENCE,
            "maximum": MOST_CONFIDENCE,
            "description": "Of the set or interval; the manifest's if absent.",
        },
        "region": measure,
        "probability": measure,
        "domain": measure,
        "include": {
            "type": ["array", "null"],
            "items": {"type": "string", "enum": list(EXTRA)},
            "description": "What is said only on request.",
        },
    }
    return {
        "oneOf": [{"type": ["boolean", "null"]}, closed(options, optional=tuple(options))],
        "description": "Whether, and how, to say how sure each answer is.",
    }


def doubt_schema(spec: ModelSpec) -> Json:
    """What is said of one row; a bundle need not have every measure."""
    confidence: dict[str, Json] = {
        "confidence": NUMBER,
        "region": {**TEXT, "description": "The conformal measure that the set or interval is from."},
        "degraded": {**MAYBE_TEXT, "description": "What falls short of what was asked for."},
    }
    by_class = closed(dict.fromkeys(spec.classes, NUMBER))
    bounds = array(MAYBE_NUMBER, minItems=2, maxItems=2)
    said: dict[str, Json] = {
        "in_domain": {"type": "boolean", "description": "Whether the training data had rows like it."},
        "domain_score": {**MAYBE_NUMBER, "description": "Distance from the training data."},
        "domain_percentile": {**MAYBE_NUMBER, "description": "Calibration rows less strange, 0 to 100."},
        "spread": {
            **closed(dict.fromkeys(("total", "aleatoric", "epistemic"), MAYBE_NUMBER)),
            "description": "Of the model's members: bits, or squared units of a value.",
        },
    }
    if spec.classes:
        said |= {
            "set": {
                **array({"type": "string", "enum": list(spec.classes)}),
                "description": "The labels that the confidence does not rule out.",
            },
            "p_values": {**by_class, "description": "Conformal p-value of each label."},
            "calibrated": {**by_class, "description": "Calibrated probabilities."},
            "venn_abers": {**bounds, "description": "Bounds of the second class's probability."},
            "entropy": {**MAYBE_NUMBER, "description": "Of the served probabilities, in bits."},
        }
    else:
        said["interval"] = {**bounds, "description": "Null where nothing is ruled out on that side."}
    whole = closed({**confidence, **said}, optional=(*confidence, *said))
    return {**whole, "type": ["object", "null"], "description": "Null from a canary that cannot say it."}


def abstained() -> Json:
    """Why no label is answered."""
    return {"type": "string", "enum": list(REASONS), "description": "Where no label is answered: why."}


DOCUMENT: Json = {**FREE, "description": "What packaging found out: losses, reliability tables, choices."}
"""What ``GET /models/{name}/{bundle}/uncertainty`` answers."""
