"""JSON schemas of drift: how far what was asked and answered is from the reference data."""

from __future__ import annotations

from service.domain.drift.slots import WINDOWS
from service.http.openapi_parts import COUNT, MAYBE_NUMBER, MAYBE_TEXT, TEXT, Json, array, closed, ref

TRUTH: Json = {"type": "boolean"}


def drift_schemas() -> dict[str, Json]:
    """The document and its parts."""
    return {
        "Drift": _drift(),
        "DriftModel": _model(),
        "DriftWindow": _window(),
        "DriftVariable": _variable(),
    }


def _drift() -> Json:
    measure = closed({"name": TEXT, "unit": {**TEXT, "description": "What the number counts."}})
    return closed(
        {
            "as_of": TEXT,
            "store": {**TEXT, "description": "ok, or why other replicas' rows may be missing."},
            "reason": {**MAYBE_TEXT, "description": "Why there is nothing; null where there is something."},
            "outcomes": {
                "type": "object",
                "additionalProperties": COUNT,
                "description": "Rows of this replica since its start, by what became of them; what was "
                "not counted are in no window.",
            },
            "measures": array(measure),
            "models": array(ref("DriftModel"), description="Production first."),
        }
    )


def _model() -> Json:
    return closed(
        {
            "model": {**TEXT, "description": "Its tag."},
            "role": {"type": "string", "enum": ["production", "candidate"]},
            "since": {
                **MAYBE_TEXT,
                "description": "When counting began, over all replicas and restarts; null before.",
            },
            "windows": {
                **closed(dict.fromkeys(WINDOWS, ref("DriftWindow"))),
                "description": "Of the length that their names say, or up to five minutes longer.",
            },
        }
    )


def _window() -> Json:
    two_sample = closed({"rows": COUNT, "accuracy": MAYBE_NUMBER, "z": MAYBE_NUMBER, "differs": TRUTH})
    return closed(
        {
            "from": TEXT,
            "rows": COUNT,
            "drifted": array(TEXT, description="Variables that have moved, surely and by much."),
            "variables": array(ref("DriftVariable"), description="By the PSI beyond chance, largest first."),
            "two_sample": {
                **two_sample,
                "type": ["object", "null"],
                "description": "How often a classifier tells live from reference rows, 0.5 by chance; "
                "null where none looks.",
            },
        }
    )


def _variable() -> Json:
    single = closed({"bin": TEXT, "reference": COUNT, "live": COUNT})
    return closed(
        {
            "variable": {**TEXT, "description": "score, score:CLASS, label, domain or feature:NAME."},
            "rows": COUNT,
            "drifted": TRUTH,
            "measures": {
                "type": "object",
                "additionalProperties": MAYBE_NUMBER,
                "description": "By name; null where a measure has nothing to say, or no row came.",
            },
            "reference_missing_share": MAYBE_NUMBER,
            "reference_unseen_share": MAYBE_NUMBER,
            "bins": array(single),
        }
    )
