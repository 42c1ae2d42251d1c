"""JSON schemas of labels."""

from __future__ import annotations

from service.domain.schema import ModelSpec
from service.http.codec import LONGEST_ID
from service.http.openapi_parts import MAYBE_NUMBER, Json, array, closed


def feedback_schemas(spec: ModelSpec, max_rows: int) -> dict[str, Json]:
    """The request and the answer of ``/feedback`` for this model."""
    name: Json = {
        "type": "string",
        "minLength": 1,
        "maxLength": LONGEST_ID,
        "description": "The request_id of the prediction.",
    }
    label: Json = (
        {"type": ["string", "null"], "enum": [*spec.classes, None]} if spec.classes else MAYBE_NUMBER
    )
    labels = array(
        label,
        minItems=1,
        maxItems=max_rows,
        description="What was true of each row, in the request's order. null is not known yet and may be "
        "told later; what was told is final.",
    )
    matched: Json = {
        "type": "boolean",
        "description": "Whether the answer is known. If not, the labels are kept and joined when it is.",
    }
    request = closed({"request_id": name, "labels": labels})
    example = {"request_id": "4f0c…", "labels": [spec.classes[0] if spec.classes else 12.5]}
    return {
        "FeedbackRequest": {**request, "example": example},
        "FeedbackResponse": closed({"matched": matched}),
    }
